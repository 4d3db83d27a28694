"""The demo's real input: what the modules of Python's standard library are made of."""

from __future__ import annotations

import ast
import importlib.util
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

LIBRARY = Path(sysconfig.get_path("stdlib"))

# CPython's parser tracks its depth per process and mixes threads up, up to some 3.11 and 3.12
# releases (gh-106905). Under the GIL, taking turns costs nothing.
_parser = threading.Lock()

_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}


class Function(BaseModel):
    """A function and how many lines it has."""

    name: str
    lines: int


class ModuleStatistics(BaseModel):
    """What one file is made of; ``problem`` says why it couldn't be parsed."""

    path: str
    lines: int = 0
    comment_lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: list[str] = []
    longest_function: Function | None = None
    problem: str | None = None


def find_modules(limit: int | None = None) -> list[str]:
    """Paths of the library's modules, relative to it; with ``limit``, that many from all over."""
    paths = sorted(
        path.relative_to(LIBRARY)
        for path in LIBRARY.rglob("*.py")
        if not _NOT_THE_LIBRARY.intersection(path.parts)
    )
    step = max(len(paths) // limit, 1) if limit else 1
    return [path.as_posix() for path in paths[::step][:limit]]


def measure(path: str, source: bytes) -> ModuleStatistics:
    """The statistics of a file. One that isn't valid Python has a ``problem`` instead."""
    try:
        with _parser:
            tree = ast.parse(source)
        text = importlib.util.decode_source(source)
    # The library's own test data has files that are broken on purpose. They will be tomorrow,
    # too: that is what there is to say about them, and no reason to try again.
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
    """Lines that hold nothing but a comment; a ``#`` inside a string is none."""
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
    """The packages that a statement imports, without those that are relative to itself."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]
