"""The chart's values as a table for its README: `python -m tools.values_table` writes it.

A value is what a comment that begins with `# --` stands above; what lies below such a value is its
own affair.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[1] / "charts" / "server-jobs"
README = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"

_LINE = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z]+):")


def described(text: str) -> Iterator[tuple[str, str]]:
    """Path and description of each value that has one."""
    path: list[str] = []
    comment = ""
    for line in text.splitlines():
        if line.strip().startswith("# --"):
            comment = line.strip().removeprefix("# --").strip()
        elif found := _LINE.match(line):
            path = [*path[: len(found["indent"]) // 2], found["key"]]
            if comment:
                yield ".".join(path), comment
            comment = ""


def leaves(values: dict[str, Any], known: set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value, down to what has a description or holds no others."""
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and name not in known:
            yield from leaves(value, known, f"{name}.")
        else:
            yield name, value


def table() -> str:
    """Raises KeyError for a value without a description."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    known = dict(described(text))
    # A group's own description stands for it where nothing in it is described.
    groups = {name for name in known if not any(other.startswith(f"{name}.") for other in known)}
    rows = [
        f"| `{name}` | `{json.dumps(value)}` | {known[name]} |"
        for name, value in leaves(yaml.safe_load(text), groups)
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])


def with_table(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
