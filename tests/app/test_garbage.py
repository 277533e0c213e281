"""Qt objects that only cycles hold go in the Qt thread, whoever allocates."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
from PySide6.QtCore import QObject

from tandem_app.garbage import GarbageCollector
from tests.app.glass import Glass

pytestmark = pytest.mark.gui

Show = Callable[..., Glass]


class Knot(QObject):
    """Holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self


def tie(ends: list[int]) -> None:
    """Leave a Qt object behind that only a collection can clear away; notes in which thread that was."""
    knot = Knot()
    weakref.finalize(knot, lambda: ends.append(threading.get_ident()))


def allocate_elsewhere() -> list[list[int]]:
    kept: list[list[int]] = []
    thread = threading.Thread(target=lambda: kept.extend([] for _ in range(200_000)))
    thread.start()
    thread.join()
    return kept


def test_python_alone_clears_away_in_any_thread(qapp: object) -> None:
    """What the collector is for."""
    ends: list[int] = []
    tie(ends)
    allocate_elsewhere()
    assert len(ends) == 1
    assert ends != [threading.get_ident()]


def test_with_a_collector_only_its_thread_does(qapp: object) -> None:
    ends: list[int] = []
    owner = QObject()
    collector = GarbageCollector(owner)
    try:
        tie(ends)
        kept = allocate_elsewhere()
        assert ends == []
        collector.look()
        assert ends == [threading.get_ident()]
        collector.look()
        assert len(kept) == 200_000
    finally:
        collector.close()
    assert gc.isenabled()


def test_a_window_has_one_for_as_long_as_it_is_open(show: Show) -> None:
    glass = show()
    assert not gc.isenabled()
    assert glass.main.garbage.parent() is glass.main
    glass.close()
    assert gc.isenabled()
