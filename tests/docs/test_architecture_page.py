"""The architecture page names every module, and its arrows are the enforced ones."""

import tomllib

from tests.support.pages import ROOT, codes, tables, tokens

PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "runner" / "server_jobs"


def test_every_module_has_its_line() -> None:
    (rows,) = tables(PAGE)["Modules, in the order of the data"]
    documented = [name for row in rows for name in codes(row["module"])]

    modules = {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(documented) == sorted(modules | packages)


def test_arrows_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["id"] == "core-layers"
    ]
    # Brackets and colons say how a layer is checked, not where it stands.
    enforced = [
        layer.translate(str.maketrans("", "", "():")).split() for layer in contract["layers"]
    ]

    (shown,) = [
        [line.split() for line in token.content.splitlines()]
        for token in tokens(PAGE)
        if token.type == "fence" and token.content.startswith("cli ")
    ]
    assert shown == enforced
