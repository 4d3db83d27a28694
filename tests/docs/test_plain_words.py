"""Mechanical rules of plain words: docstrings end as sentences do, named files exist."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages.markdown import PAGES, ROOT, tokens

PACKAGES = (
    ROOT / "runner" / "server_jobs",
    ROOT / "operator" / "server_jobs_operator",
    ROOT / "cloudflare" / "server_jobs_cloudflare",
)
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
CODE = sorted(
    path
    for folder in ("runner", "operator", "cloudflare", "tests", "benchmarks", "examples", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if not {"__pycache__", "node_modules", ".venv", "python_modules"} & set(path.parts)
)
BASES = (ROOT, *(package.parent for package in PACKAGES), *PACKAGES)

ENDS_A_SENTENCE = re.compile(r"""[.!?:…]["'`)\]]*$""")

EXTENSIONS = "md|py|sql|toml|ya?ml|json|sh|mako"
FILE = re.compile(rf"(?<![\w./<>-])(?:[\w-]+/)*[\w-]+\.(?:{EXTENSIONS})(?![\w/-])")

OUR_FOLDERS = {path.name for base in BASES for path in base.iterdir() if path.is_dir()}
HISTORY = ROOT / "CHANGELOG.md"
"""It may name files that a release had."""

Named = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def public(node: ast.Module | ast.ClassDef) -> Iterator[Named]:
    """The module or class itself, and its public classes and functions, at any depth."""
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public(child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            # The docstring of a method that a protocol or a base class has stands there.
            is_method = isinstance(node, ast.ClassDef)
            if not child.name.startswith("_") and (not is_method or ast.get_docstring(child)):
                yield child


def is_overload(node: Named) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list
    )


def is_example(paragraph: str) -> bool:
    """Whether it isn't prose: code, or the commands below a command's help."""
    return paragraph.startswith((">>>", "    ", "::", "server-jobs ", "export "))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_public_names_have_docstrings_that_end_as_sentences_do(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    faults = []
    for node in public(tree):
        name = "the module" if isinstance(node, ast.Module) else f"{node.name}, line {node.lineno}"
        docstring = ast.get_docstring(node)
        if docstring is None:
            if not is_overload(node):
                faults.append(f"{name} has no docstring")
            continue
        paragraphs = [text for text in docstring.split("\n\n") if not is_example(text)]
        if not paragraphs or not ENDS_A_SENTENCE.search(paragraphs[-1].rstrip()):
            faults.append(f"the docstring of {name} ends without punctuation")

    assert faults == []


def prose_of(module: Path) -> Iterator[tuple[int, str]]:
    """The comments and the strings that stand alone (docstrings are such), with their lines."""
    with tokenize.open(module) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def missing(text: str, beside: Path) -> Iterator[str]:
    """Files of ours that the text names and that aren't there.

    Ours are pages, and paths that begin with a folder of ours; other names may be a reader's.
    """
    for file in FILE.findall(text):
        ours = file.endswith(".md") or ("/" in file and file.partition("/")[0] in OUR_FOLDERS)
        if ours and not any((base / file).exists() for base in (*BASES, beside)):
            yield file


@pytest.mark.parametrize("module", CODE, ids=name_of)
def test_docstrings_and_comments_refer_to_files_that_are_there(module: Path) -> None:
    faults = [
        f"line {line}: there is no {file}"
        for line, text in prose_of(module)
        for file in missing(text, module.parent)
    ]

    assert faults == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=name_of)
def test_pages_refer_to_files_that_are_there(page: Path) -> None:
    faults = [
        f"there is no {file}"
        for token in tokens(page)
        if token.type == "inline"
        for file in missing(token.content, page.parent)
        if not file.startswith("NNNN")  # the template of decisions
    ]

    assert faults == []
