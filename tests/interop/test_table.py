"""The page that says what is played with other clients says so truly."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_PAGE = (_ROOT / "docs" / "INTEROP.md").read_text("utf-8")
_TEST = re.compile(r"`(test_\w+\.py)::(\w+)`")


def test_the_page_names_every_test_and_no_other() -> None:
    ours = {
        (file.name, node.name)
        for file in (*_HERE.glob("test_js_*.py"), *_HERE.glob("test_nio_*.py"))
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    assert {found.groups() for found in _TEST.finditer(_PAGE)} == ours
    assert len(ours) > 10


def test_what_is_left_out_of_make_test_is_marked_on_the_page() -> None:
    for line in _PAGE.splitlines():
        for file, name in _TEST.findall(line):
            source = (_HERE / file).read_text("utf-8")
            head = source[: source.index(f"def {name}(")].rpartition("\n\n\n")[2]
            assert ("@pytest.mark.complete" in head) == line.rstrip(" |").endswith("long"), name


def test_the_versions_are_the_locked_ones() -> None:
    locked = json.loads((_HERE / "js" / "package-lock.json").read_text("utf-8"))["packages"]
    wanted = json.loads((_HERE / "js" / "package.json").read_text("utf-8"))["dependencies"]
    node = (_ROOT / "requirements" / "node.txt").read_text("utf-8").partition("==")[2].split()[0]
    table = dict(re.findall(r"^\| ([@\w/.-]+) \| ([\d.]+) \|$", _PAGE, re.MULTILINE))
    assert table.pop("Node.js") == node
    assert "matrix-js-sdk" in table
    assert table == {name: locked[f"node_modules/{name}"]["version"] for name in table}
    assert wanted == {name: locked[f"node_modules/{name}"]["version"] for name in wanted}


def test_the_lock_checks_every_package_by_hash_and_names_no_host() -> None:
    locked = json.loads((_HERE / "js" / "package-lock.json").read_text("utf-8"))["packages"]
    packages = {name: entry for name, entry in locked.items() if name}
    assert packages
    assert all(
        entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values()
    )
