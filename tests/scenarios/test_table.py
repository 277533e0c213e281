"""The page that says where each scenario of the field is played says so truly."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "FIELD_SCENARIOS.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_page_names_exists() -> None:
    named = [cell for _, cell, _ in _rows() if cell != "–"]
    missing = [cell for cell in named if not (found := _TEST.fullmatch(cell)) or not _exists(*found.groups())]
    assert missing == []
    assert len(named) > 30


def test_what_has_no_test_says_why() -> None:
    assert [name for name, cell, remark in _rows() if cell == "–" and not remark] == []


def test_every_scenario_test_is_on_the_page() -> None:
    ours = {
        f"tests/scenarios/{file.name}::{name}"
        for file in Path(__file__).parent.glob("test_*.py")
        if file != Path(__file__)
        for name in _tests(file)
    }
    named = {"::".join(found.groups()) for _, cell, _ in _rows() if (found := _TEST.fullmatch(cell))}
    assert ours - named == set()


def _rows() -> list[tuple[str, str, str]]:
    """Scenario, test and remark of each line of the table."""
    lines = [line for line in _PAGE.read_text("utf-8").splitlines() if line.startswith("|")][2:]
    rows = []
    for line in lines:
        name, cell, remark = (part.strip() for part in line.strip("|").split("|"))
        rows.append((name, cell, remark))
    return rows


def _exists(file: str, name: str) -> bool:
    path = _ROOT / file
    return path.is_file() and name in _tests(path)


def _tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}
