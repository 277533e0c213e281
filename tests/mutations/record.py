"""What a mutant is: a bug as a patch, and the tests that must notice it."""

from __future__ import annotations

from dataclasses import dataclass

CORE_TESTS = "tests/core"


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement in one file of the tree; ``old`` is found there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug, brought back. ``source`` is who taught it; ``tests`` are node ids, the quickest first."""

    name: str
    source: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def mutant(name: str, source: str, *edits: Edit, by: tuple[str, ...]) -> Mutant:
    return Mutant(name, source, edits, by)


def core(file: str, old: str, new: str) -> Edit:
    """An edit of the core."""
    return Edit(f"core/tandem_core/{file}", old, new)
