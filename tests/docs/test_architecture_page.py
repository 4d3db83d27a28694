"""The architecture page maps every module, and its arrows are the enforced ones."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.pages.markdown import ROOT, codes, tables, tokens

PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = {
    "The core": ROOT / "runner" / "server_jobs",
    "The operator": ROOT / "operator" / "server_jobs_operator",
    "The edge": ROOT / "cloudflare" / "server_jobs_cloudflare",
}


def modules(package: Path) -> list[str]:
    # Migrations' steps are numbered; the map has the folder.
    return sorted(
        str(path.relative_to(package).with_suffix(""))
        for path in package.rglob("*.py")
        if path.stem != "__init__" and "versions" not in path.parts
    )


@pytest.mark.parametrize("heading", PACKAGES)
def test_every_module_is_on_the_map_in_its_room(heading: str) -> None:
    (rows,) = tables(PAGE)[heading]
    room, mapped = "", []
    for row in rows:
        room = codes(row["room"])[0] if row["room"] else room
        mapped += [room + name for name in codes(row["module"])]
        assert row["what it is"], row

    assert sorted(mapped) == modules(PACKAGES[heading])


def test_each_question_leads_to_what_is_in_the_file_that_it_names() -> None:
    folders = {package.name: package.parent for package in PACKAGES.values()}
    (rows,) = tables(PAGE)["A question, and the file that answers it"]

    for row in rows:
        ((path,), (name,)) = codes(row["file"]), codes(row["look for"])
        source = (folders[path.partition("/")[0]] / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(async def|class|def) {name}\b", source, re.MULTILINE), row


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_every_room_says_what_belongs_there(package: Path) -> None:
    rooms = [path for path in package.rglob("__init__.py") if "versions" not in path.parts]

    assert [
        str(room) for room in rooms if not room.read_text(encoding="utf-8").startswith('"""')
    ] == []


@pytest.mark.parametrize(
    ("contract_id", "first"), [("core-layers", "cli\n"), ("operator-layers", "__main__\n")]
)
def test_arrows_are_those_that_are_checked(contract_id: str, first: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["id"] == contract_id
    ]
    # Colons say how a layer is checked, not where it stands.
    enforced = [layer.replace(":", "").split() for layer in contract["layers"]]

    (shown,) = [
        [line.split() for line in token.content.splitlines()]
        for token in tokens(PAGE)
        if token.type == "fence" and token.content.startswith(first)
    ]
    assert shown == enforced
