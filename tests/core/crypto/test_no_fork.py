"""Law 5: no program forks, for a child would repeat its parent's random numbers."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

_FORKS = frozenset({"fork", "forkpty", "ProcessPoolExecutor"})
_PACKAGES = ("tandem_core", "tandem_notifier", "tandem_app", "tandem_demo")


def forks_in(source: str) -> Iterator[int]:
    """The lines of a module that fork, or that load what forks."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in _FORKS:
                yield node.lineno
            case ast.Import(names=names) if any(one.name.startswith("multiprocessing") for one in names):
                yield node.lineno
            case ast.ImportFrom(module=str(module), names=names) if module.startswith(
                "multiprocessing"
            ) or any(one.name in _FORKS for one in names):
                yield node.lineno
            case ast.keyword(arg="preexec_fn"):  # makes subprocess fork, and runs our code in the child
                yield node.value.lineno


@pytest.mark.parametrize("package", _PACKAGES)
def test_no_program_forks(package: str) -> None:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    files = list(Path(found.origin).parent.rglob("*.py"))
    assert len(files) > 5
    forking = {file.name: lines for file in files if (lines := list(forks_in(file.read_text("utf-8"))))}
    assert forking == {}


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.fork()",
        "from os import fork",
        "import multiprocessing",
        "from multiprocessing.pool import Pool",
        "from concurrent.futures import ProcessPoolExecutor",
        "subprocess.run(['x'], preexec_fn=work)",
    ],
)
def test_every_way_to_fork_is_seen(source: str) -> None:
    assert list(forks_in(source))
