"""The releases of Synapse that the module is made for, and how one that it is not made for is told."""

from __future__ import annotations

from synapse import __version__

RUNNING = __version__
OLDEST = "1.158"
NEWEST = "1.163"
"""The tests run in the oldest and in the newest; between them the methods that the module uses are the same ones."""

WORDS = f"the module was tested with Synapse {OLDEST} to {NEWEST}"


def is_tested(version: str) -> bool:
    """Whether this release lies between the two, both included."""
    return _minor(OLDEST) <= _minor(version) <= _minor(NEWEST)


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
