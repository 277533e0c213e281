"""The marks of delivery: told apart by their shape alone, seen in every theme, and news of them is said aloud once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import pytest
from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtQml import QQmlComponent, QQmlEngine, QQmlError
from PySide6.QtQuick import QQuickItem, QQuickWindow

from tandem_app.window import QML
from tandem_core import settings
from tests.app.glass import Glass, says
from tests.app.seed import NOON_MS, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]
BOB, CAROL = "@bob:example.org", "@carol:example.org"
STATES = (
    "queued", "sending", "sent", "untracked", "delivered_some", "delivered_all", "read_some", "read_all",
    "trouble", "trouble_some", "trouble_sent", "nobody", "failed",
)  # fmt: skip
THEMES = [(choice, contrast) for choice in ("light", "dark") for contrast in ("system", "high")]
_SIZE = 40


class Stage:
    """One mark on the ground that it has in a message of ours."""

    def __init__(self, application: QGuiApplication) -> None:
        self._application = application
        self.engine = QQmlEngine()
        self.warnings: list[str] = []
        self.engine.warnings.connect(self._warn)
        self.window = QQuickWindow()
        self.window.resize(_SIZE, _SIZE)
        self.window.show()
        maker = QQmlComponent(self.engine)
        maker.setData(b"import QtQuick\nQtObject { property var theme: Theme }", self._url("Probe.qml"))
        self._probe = maker.create()
        self.theme: QObject = self._probe.property("theme")

    def wear(self, choice: str, contrast: str) -> None:
        self.theme.setProperty("choice", choice)
        self.theme.setProperty("contrast", contrast)

    def colour(self, name: str) -> QColor:
        found = self.theme.property(name)
        assert isinstance(found, QColor), name
        return found

    def picture(self, state: str) -> QImage:
        """The mark at its own size, in the top left corner."""
        maker = QQmlComponent(self.engine, self._url("DeliveryMark.qml"))
        mark = maker.createWithInitialProperties({"state_": state, "count": "", "words": state})
        assert isinstance(mark, QQuickItem), maker.errorString()
        self.window.setColor(self.colour("ownBubble"))
        mark.setParentItem(self.window.contentItem())
        for _ in range(3):
            self._application.processEvents()
            picture = self.window.grabWindow()
        mark.setParentItem(None)
        mark.deleteLater()
        return picture

    def close(self) -> None:
        self.window.close()
        self._application.processEvents()

    def _url(self, name: str) -> QUrl:
        return QUrl.fromLocalFile(str(QML / name))

    def _warn(self, errors: list[QQmlError]) -> None:
        self.warnings.extend(error.toString() for error in errors)


@pytest.fixture
def stage(qapp: QGuiApplication) -> Iterator[Stage]:
    made = Stage(qapp)
    yield made
    made.close()
    assert made.warnings == []


def luminance(colour: QColor) -> float:
    """Relative luminance (WCAG 2.2)."""

    def part(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    return 0.2126 * part(colour.redF()) + 0.7152 * part(colour.greenF()) + 0.0722 * part(colour.blueF())


def contrast(one: QColor, other: QColor) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink(picture: QImage, ground: QColor) -> frozenset[tuple[int, int]]:
    """Where something is drawn that stands out from the ground by 3:1 at least, whatever its colour."""
    return frozenset(
        (x, y)
        for x in range(picture.width())
        for y in range(picture.height())
        if contrast(picture.pixelColor(x, y), ground) >= 3
    )


@pytest.mark.parametrize(("choice", "strength"), THEMES)
def test_every_state_is_seen_and_has_a_shape_of_its_own(stage: Stage, choice: str, strength: str) -> None:
    stage.wear(choice, strength)
    ground = stage.colour("ownBubble")
    drawn = {state: ink(stage.picture(state), ground) for state in STATES}
    assert {state for state, pixels in drawn.items() if len(pixels) < 12} == set(), "hardly seen"
    alike = [pair for pair in combinations(STATES, 2) if len(drawn[pair[0]] ^ drawn[pair[1]]) < 6]
    assert alike == []


@pytest.mark.parametrize(("choice", "strength"), THEMES)
def test_words_and_marks_stand_out_from_what_they_stand_on(stage: Stage, choice: str, strength: str) -> None:
    stage.wear(choice, strength)
    least = 7.0 if strength == "high" else 4.5
    grounds = ("surface", "sidebar", "raised", "bubble", "ownBubble")
    for ground in grounds:
        for words in ("text", "softText"):
            assert contrast(stage.colour(words), stage.colour(ground)) >= least, (words, ground)
        for mark in ("accent", "danger"):
            assert contrast(stage.colour(mark), stage.colour(ground)) >= 3, (mark, ground)
    if strength == "high":
        assert contrast(stage.colour("line"), stage.colour("surface")) >= 4.5


def test_the_mark_names_those_who_have_it_and_opens_what_is_known(seed: Seed, show: Show) -> None:
    people = {BOB: "Bob", CAROL: "Carol"}
    talk = seed.room("Talk", people=people)
    seed.sent(talk, "hello", people={user: [] for user in people}, at=5, delivered=[(BOB, "")])
    glass = show()
    glass.click(glass.item("roomRow"))
    assert glass.marks() == ["Delivered to 1 of 2 people: Bob"]
    glass.click(glass.item("deliveryMark"))
    assert says(glass.item("infoSummary")) == "Delivered to 1 of 2 people"


def test_only_the_last_of_a_run_has_a_mark_unless_fewer_people_have_an_earlier_one(
    seed: Seed, show: Show
) -> None:
    people: dict[str, list[str]] = {BOB: [], CAROL: []}
    talk = seed.room("Talk", people={BOB: "Bob", CAROL: "Carol"})
    first = seed.sent(talk, "first", people=people, at=9)
    second = seed.sent(talk, "second", people=people, at=8)
    glass = show()
    glass.click(glass.item("roomRow"))
    assert glass.marks() == ["Sent to your server"]
    seed.deliver(second, BOB, "")
    seed.deliver(second, CAROL, "")
    glass.wait(
        lambda: glass.marks() == ["Sent to your server", "Delivered to everyone"], "the first is behind"
    )
    seed.deliver(first, BOB, "")
    glass.wait(lambda: glass.marks()[0] == "Delivered to 1 of 2 people: Bob", "still behind")
    seed.deliver(first, CAROL, "")
    glass.wait(lambda: glass.marks() == ["Delivered to everyone"], "as far as the last one")


def test_a_new_state_is_said_aloud_once(seed: Seed, show: Show) -> None:
    talk = seed.room("Bob", direct=True)
    event = seed.sent(talk, "are you there?", people={BOB: ["Phone", "Laptop"]}, at=5)
    glass = show()
    glass.click(glass.item("roomRow"))
    said: list[tuple[str, bool]] = []
    glass.main.timeline.told.connect(lambda words, grave: said.append((words, grave)))
    seed.deliver(event, BOB, "", "Phone")
    glass.wait(lambda: said, "the first device")
    seed.deliver(event, BOB, "Laptop")
    glass.wait(lambda: glass.marks() == ["Delivered to Bob (2 of 2 devices)"], "the second device")
    seed.read_up_to(talk, event, BOB)
    glass.wait(lambda: glass.marks() == ["Read by Bob"], "read")
    assert said == [("Delivered to Bob (1 of 2 devices)", False), ("Read by Bob", False)]


def test_of_many_messages_that_arrive_together_the_newest_is_told_of(seed: Seed, show: Show) -> None:
    talk = seed.room("Bob", direct=True)
    events = [seed.sent(talk, f"number {number}", at=60 - 10 * number) for number in range(4)]
    glass = show()
    glass.click(glass.item("roomRow"))
    said: list[str] = []
    glass.main.timeline.told.connect(lambda words, grave: said.append(words))
    seed.db.write_now(
        lambda txn: [
            txn.execute(
                "INSERT INTO delivery (event_id, user_id, device_id, outcome, ts, heard_at, via)"
                " VALUES (?, ?, '', 'delivered', 1, 1, 'server')",
                (event, BOB),
            )
            for event in events
        ]
    )
    glass.wait(lambda: glass.marks() == ["Delivered to Bob"] * 4, "all of them")
    assert said == ["Delivered to Bob"]


def test_what_was_not_sent_interrupts(seed: Seed, show: Show) -> None:
    talk = seed.room("Bob", direct=True)
    seed.say(talk, seed.message("hello", at=5))
    key = seed.pending(talk, "will not go", state="sending")
    glass = show()
    glass.click(glass.item("roomRow"))
    said: list[tuple[str, bool]] = []
    glass.main.timeline.told.connect(lambda words, grave: said.append((words, grave)))
    seed.db.write_now(
        lambda txn: txn.execute("UPDATE send_queue SET state = 'failed' WHERE txn_id = ?", (key,))
    )
    glass.wait(lambda: said, "it is told")
    assert said == [("Not sent. Try again or delete. will not go", True)]


def test_marks_are_words_where_those_are_wanted(seed: Seed, show: Show) -> None:
    people = {BOB: "Bob", CAROL: "Carol"}
    talk = seed.room("Talk", people=people)
    seed.sent(talk, "hello", people={user: [] for user in people}, at=30, delivered=[(BOB, "")])
    seed.pending(talk, "on its way", state="sending")
    glass = show()
    glass.click(glass.item("roomRow"))
    before = [mark.width() for mark in glass.items("deliveryMark")]
    seed.db.write_now(settings.set_value, "appearance.marks", "words", now_ms=NOON_MS)
    glass.wait(
        lambda: (
            [mark.property("label") for mark in glass.items("deliveryMark")] == ["Delivered 1/2", "Sending"]
        ),
        "words",
    )
    assert all(mark.width() > width for mark, width in zip(glass.items("deliveryMark"), before, strict=True))
    assert glass.marks() == ["Delivered to 1 of 2 people: Bob", "Sending"]


def test_high_contrast_is_worn_at_once(seed: Seed, show: Show) -> None:
    seed.room("Talk")
    glass = show()
    glass.main.shell.set_theme("dark")
    glass.settle()
    assert glass.picture().pixelColor(1100, 5).lightness() > 0
    seed.db.write_now(settings.set_value, "appearance.theme", "dark", now_ms=NOON_MS)
    seed.db.write_now(settings.set_value, "appearance.contrast", "high", now_ms=NOON_MS)
    glass.wait(lambda: glass.picture().pixelColor(1100, 5).lightness() == 0, "black ground")
