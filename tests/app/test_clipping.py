"""What a list has scrolled away is not drawn over what stands around the list."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QImage

from tests.app.glass import Glass, says
from tests.app.seed import Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

PEOPLE = {f"@p{number}:example.org": f"Person {number}" for number in range(12)}


def test_delivery_marks_stay_within_the_timeline(seed: Seed, show: Show) -> None:
    room = seed.room("Talk")
    for number in range(24):
        seed.sent(room, f"mine {number}", at=100 - 2 * number)
        seed.say(room, seed.message(f"yours {number}", at=99 - 2 * number))
    glass = show()
    glass.main.shell.openRoom(room)
    glass.settle()
    _stays_within(glass, "timeline", -1)


def test_device_icons_stay_within_the_people_of_the_info_panel(seed: Seed, show: Show) -> None:
    room = seed.room("Talk", people=PEOPLE)
    key = seed.sent(room, "for everybody", people={user: ["Phone", "Laptop"] for user in PEOPLE})
    glass = show()
    glass.main.shell.openRoom(room)
    glass.main.shell.showInfo(key)
    glass.settle()
    _stays_within(glass, "infoPeople", 1)


def _stays_within(glass: Glass, name: str, direction: int) -> None:
    """Scroll by less than a row at a time: what is above and below the list never changes."""
    # The keyboard goes elsewhere: a blinking cursor or a focused row would differ by themselves.
    glass.press(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    view = glass.item(name)
    first = view.property("contentY")
    # One step first: a mark to jump to the newest message may appear with it.
    view.setProperty("contentY", first + direction * 200)
    seen = _around(glass, name)
    for step in range(1, 16):
        view.setProperty("contentY", first + direction * (200 + 7 * step))
        assert _around(glass, name) == seen, f"drawn outside after {7 * step} pixels"


def _around(glass: Glass, name: str) -> list[QImage]:
    view = glass.item(name)
    corner = view.mapToScene(QPointF(0, 0)).toPoint()
    picture = glass.picture()
    width, height = int(view.width()), int(view.height())
    below = corner.y() + height
    return [
        picture.copy(QRect(corner.x(), 0, width, corner.y())),
        picture.copy(QRect(corner.x(), below, width, picture.height() - below)),
    ]


def test_marks_that_come_into_view_in_any_way_are_drawn(seed: Seed, show: Show) -> None:
    room = seed.room("Talk")
    for number in range(30):
        seed.sent(room, f"mine {number}", at=100 - 2 * number)
        seed.say(room, seed.message(f"yours {number}\nwith\nmore\nlines", at=99 - 2 * number))
    failed = [
        seed.pending(room, f"failed {number}", state="failed", error="no answer") for number in range(6)
    ]
    glass = show(height=500)
    glass.main.shell.openRoom(room)
    glass.settle()
    assert _undrawn(glass) == []
    view = glass.item("timeline")
    view.setProperty("contentY", view.property("contentY") - 333)
    glass.settle()
    assert _undrawn(glass) == []
    # Rows above move down without any scrolling.
    glass.main.timeline.refresh()
    seed.db.write_now(lambda txn: txn.execute("DELETE FROM send_queue WHERE txn_id IN (?, ?, ?)", failed[:3]))
    glass.main.watch.refresh_all()
    glass.settle()
    assert _undrawn(glass) == []
    seed.say(room, *[seed.message(f"newer {number}", at=5) for number in range(4)])
    glass.main.watch.refresh_all()
    glass.settle()
    assert _undrawn(glass) == []
    for height in (740, 420, 900):
        glass.window.setHeight(height)
        glass.settle()
        assert _undrawn(glass) == [], height


def _undrawn(glass: Glass) -> list[str]:
    """Delivery marks on the screen whose shape is not drawn; there must be marks to look at."""
    view = glass.item("timeline")
    top = view.mapToScene(QPointF(0, 0)).y()
    inside = [
        mark
        for mark in glass.items("deliveryMark")
        if top <= mark.mapToScene(QPointF(0, 0)).y() <= top + view.height() - mark.height()
    ]
    assert inside
    return [
        says(mark)
        for mark in inside
        if not any(
            item.metaObject().className().startswith("Ink") and item.isVisible() for item in mark.childItems()
        )
    ]
