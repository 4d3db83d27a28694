"""Finds and measures the modules of Python's standard library, which are the demo's input."""

from __future__ import annotations

import ast
import importlib.util
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

LIBRARY = Path(sysconfig.get_path("stdlib"))

# CPython's parser counts its depth per process and confuses threads, up to some releases of 3.11
# and 3.12 (gh-106905). Under the GIL, taking turns costs nothing.
_parser = threading.Lock()

_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}


class Function(BaseModel):
    """Describes a function: its name and its number of lines."""

    name: str
    lines: int


class ModuleStatistics(BaseModel):
    """Counts what one file contains. ``problem`` says why it couldn't be parsed."""

    path: str
    lines: int = 0
    comment_lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: list[str] = []
    longest_function: Function | None = None
    problem: str | None = None


def find_modules(limit: int | None = None) -> list[str]:
    """List the library's modules → paths within it.

    With ``limit``, it returns at most that many, spread evenly over the list.
    """
    paths = sorted(
        path.relative_to(LIBRARY)
        for path in LIBRARY.rglob("*.py")
        if not _NOT_THE_LIBRARY.intersection(path.parts)
    )
    step = max(len(paths) // limit, 1) if limit else 1
    return [path.as_posix() for path in paths[::step][:limit]]


def measure(path: str, source: bytes) -> ModuleStatistics:
    """Compute the statistics of a file. A file that isn't valid Python gets a ``problem``."""
    try:
        with _parser:
            tree = ast.parse(source)
        text = importlib.util.decode_source(source)
    # The library's test data has files that are broken on purpose. Trying again wouldn't help, so
    # the problem is the job's result.
    except (SyntaxError, ValueError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        return ModuleStatistics(path=path, lines=source.count(b"\n"), problem=problem)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    longest = max(functions, key=_length, default=None)
    lines = text.splitlines()
    return ModuleStatistics(
        path=path,
        lines=len(lines),
        comment_lines=_comment_lines(lines, nodes),
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        imports=sorted({name for node in nodes for name in _imported(node)}),
        longest_function=None
        if longest is None
        else Function(name=longest.name, lines=_length(longest)),
    )


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _comment_lines(lines: list[str], nodes: list[ast.AST]) -> int:
    """Count the lines that hold only a comment; a ``#`` inside a string doesn't count."""
    in_strings = {
        number
        for node in nodes
        if isinstance(node, ast.Constant | ast.JoinedStr)
        for number in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)
    }
    return sum(
        line.lstrip().startswith("#")
        for number, line in enumerate(lines, start=1)
        if number not in in_strings
    )


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield the packages that a statement imports, without relative imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]
