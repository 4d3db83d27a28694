"""What the operator's modules look like, so that each can be read in one go."""

import ast
from pathlib import Path

import pytest

import server_jobs_operator

PACKAGE = Path(server_jobs_operator.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_PARAMETERS = 5
LONGEST_CLASS, LONGEST_MODULE = 300, 400


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_classes_and_constructors_are_small(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) < LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ClassDef):
            continue
        assert (node.end_lineno or 0) - node.lineno < LONGEST_CLASS, node.name
        for method in node.body:
            # A frozen dataclass is data and may have many fields: it has no constructor here.
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                given = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
                assert len(given) - 1 <= MOST_PARAMETERS, node.name


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_are_named_for_nouns_or_commands(module: Path) -> None:
    assert not module.stem.endswith("ing")
