"""The open room as a person reads and writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QGuiApplication

from tandem_core.receipts import marker
from tandem_core.store.codec import loads
from tandem_core.types import Json
from tests.app.by_keyboard import tab_to
from tests.app.glass import Glass, says
from tests.app.seed import ME, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]
BOB, CAROL = "@bob:example.org", "@carol:example.org"


def test_a_run_shows_its_sender_once_and_days_are_told_apart(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(
        talk,
        seed.message("yesterday's", at=24 * 60),
        seed.message("first", at=30),
        seed.message("second", at=29),
        seed.message("by Carol", CAROL, at=28),
    )
    glass = show()
    glass.click(glass.item("roomRow"))
    rows = glass.items("messageRow")
    assert [row.property("runStart") for row in rows] == [True, True, False, True]
    assert [row.property("day") for row in rows] == ["Yesterday", "Today", "", ""]


def test_each_kind_of_row_is_told_in_words(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    joined = {"membership": "join", "displayname": "Carol"}
    events = seed.say(
        talk,
        seed.message("", CAROL, type="m.room.member", state_key=CAROL, content=joined, at=20),
        seed.message("is happy", msgtype="m.emote", at=19),
        seed.sealed(at=18),
        seed.message("secret mistake", at=17),
    )
    seed.redact(talk, events[3])
    glass = show()
    glass.click(glass.item("roomRow"))
    said = glass.messages()
    assert "joined" in said[0]
    assert said[1] == "Bob: is happy, 11:41"
    assert said[2] == "Bob: Waiting for the key to this message…, 11:42"
    assert said[3] == "Bob: Message deleted, 11:43"
    assert "secret mistake" not in " ".join(glass.sayings())


def test_a_sealed_message_opens_by_itself_when_the_other_program_got_the_key(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    (event,) = seed.say(talk, seed.sealed(at=5))
    glass = show()
    glass.click(glass.item("roomRow"))
    assert "Waiting for the key" in glass.messages()[0]
    seed.open_sealed(event, "the words were these")
    glass.wait(lambda: "the words were these" in glass.messages()[0], "opened")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("withheld:m.unverified", "The sender only shares keys with verified devices"),
        ("withheld:m.blacklisted", "The sender has blocked this device"),
        ("forged", "does not come from whom it claims"),
        ("bad_key", "does not fit"),
    ],
)
def test_a_message_that_cannot_be_opened_says_why(seed: Seed, show: Show, reason: str, words: str) -> None:
    from tandem_core.store.timeline import set_sealed_reason

    talk = seed.room("Talk")
    (event,) = seed.say(talk, seed.sealed(at=5))
    seed.db.write_now(set_sealed_reason, event, reason, True)
    glass = show()
    glass.click(glass.item("roomRow"))
    assert words in glass.messages()[0]


def test_delivery_marks_say_how_far_each_message_got(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk", people={BOB: "Bob", CAROL: "Carol"})
    people = {BOB: ["Phone", "Laptop"], CAROL: ["Phone"]}
    seed.sent(talk, "both have it", people=people, at=40, delivered=[(BOB, ""), (CAROL, "")])
    seed.sent(talk, "one has it", people=people, at=30, delivered=[(BOB, ""), (BOB, "Phone")])
    seed.sent(talk, "nobody yet", people=people, at=20)
    seed.pending(talk, "waits")
    glass = show()
    glass.click(glass.item("roomRow"))
    states = [(mark.property("state_"), mark.property("count")) for mark in glass.items("deliveryMark")]
    assert states == [("delivered_all", ""), ("delivered_some", "1/2"), ("sent", ""), ("queued", "")]
    assert glass.marks() == [
        "Delivered to everyone",
        "Delivered to 1 of 2 people: Bob",
        "Sent to your server",
        "Waiting for connection",
    ]


def test_a_mark_follows_a_receipt_that_arrives(seed: Seed, show: Show) -> None:
    talk = seed.room("Bob", direct=True)
    event = seed.sent(talk, "are you there?", people={BOB: ["Phone", "Laptop"]}, at=5)
    glass = show()
    glass.click(glass.item("roomRow"))
    assert glass.marks() == ["Sent to your server"]
    seed.deliver(event, BOB, "", "Phone")
    glass.wait(lambda: glass.marks() == ["Delivered to Bob (1 of 2 devices)"], "the first device")
    seed.deliver(event, BOB, "Laptop")
    glass.wait(lambda: glass.marks() == ["Delivered to Bob (2 of 2 devices)"], "both devices")


def test_typing_and_enter_send_and_the_words_stand_there_at_once(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("hello", at=5))
    glass = show(engine=True)
    glass.click(glass.item("roomRow"))
    glass.type("good")
    glass.press(Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    glass.type("morning")
    glass.press(Qt.Key.Key_Return)
    assert glass.item("composer").property("text") == ""
    glass.wait(lambda: any("good\nmorning" in row for row in glass.messages()), "the local echo")
    assert glass.focus() == "composer"
    assert "Waiting for connection" in glass.marks()[-1] or "Sending" in glass.marks()[-1]


def test_in_a_large_group_a_single_message_can_ask_for_confirmations(seed: Seed, show: Show) -> None:
    few = seed.room("Team")
    many = seed.room("Club", people={f"@p{n}:example.org": f"P{n}" for n in range(30)})
    glass = show(engine=True)
    glass.main.shell.openRoom(few)
    assert glass.items("askButton") == []
    glass.main.shell.openRoom(many)
    button = glass.item("askButton")
    tab_to(glass, "askButton")
    glass.press(Qt.Key.Key_Space)
    assert "Asking for confirmations of this message" in glass.sayings()
    glass.main.shell.openRoom(few)
    glass.main.shell.openRoom(many)
    assert button.property("checked") is False, "what was chosen in another room is not meant here"
    glass.click(button)
    glass.click(glass.item("composer"))
    glass.type("who comes on Friday?")
    glass.press(Qt.Key.Key_Return)
    assert button.property("checked") is False, "it is for one message"
    glass.type("bye")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: len(seed.db.read_now(waiting)) == 2, "two messages in the queue")
    assert [marker.KEY in content for content in seed.db.read_now(waiting)] == [True, False]


def waiting(conn: sqlite3.Connection) -> list[Json]:
    """What the messages in the queue say, in the order of writing."""
    return [loads(row[0]) for row in conn.execute("SELECT content FROM send_queue ORDER BY id")]


def test_a_local_echo_becomes_the_event_without_being_made_anew(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("hello", at=5))
    txn_id = seed.pending(talk, "mine", state="sending")
    glass = show()
    glass.click(glass.item("roomRow"))
    row = glass.items("messageRow")[-1]
    place = row.mapToScene(QPointF(0, 0)).y()
    resets: list[None] = []
    glass.main.timeline.modelReset.connect(lambda: resets.append(None))
    removed: list[int] = []
    glass.main.timeline.rowsRemoved.connect(lambda parent, first, last: removed.append(first))
    seed.say(talk, seed.message("mine", ME, txn_id=txn_id, at=4))
    glass.wait(lambda: "Sent to your server" in glass.messages()[-1], "it arrived")
    assert glass.items("messageRow")[-1] == row
    assert row.mapToScene(QPointF(0, 0)).y() == place
    assert (resets, removed) == ([], [])


def test_a_failed_message_can_be_tried_again_or_deleted(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.pending(talk, "will not go", state="failed", error="the room is gone")
    glass = show(engine=True)
    glass.click(glass.item("roomRow"))
    assert "Not sent: the room is gone" in glass.sayings()
    glass.click(glass.item("retryButton"))
    glass.wait(lambda: glass.items("retryButton") == [], "it is tried again")
    assert len(glass.messages()) == 1


def test_a_deleted_message_is_gone(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.pending(talk, "will not go", state="failed", error="")
    glass = show(engine=True)
    glass.click(glass.item("roomRow"))
    glass.click(glass.item("discardButton"))
    glass.wait(lambda: glass.messages() == [], "it is gone")


def test_a_scrolled_up_view_stays_where_it_is_when_something_new_comes(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, *[seed.message(f"message {number}", at=200 - number) for number in range(80)])
    glass = show()
    glass.click(glass.item("roomRow"))
    assert glass.items("toNewest") == []
    glass.press(Qt.Key.Key_PageUp, times=2)
    before = {says(row): row.mapToScene(QPointF(0, 0)).y() for row in glass.items("messageRow")}
    assert not any("message 79" in words for words in before)
    seed.say(talk, seed.message("brand new", at=1), seed.message("another", at=1))
    glass.wait(lambda: glass.main.timeline.rowCount() == 82, "it arrived")
    after = {says(row): row.mapToScene(QPointF(0, 0)).y() for row in glass.items("messageRow")}
    stayed = [words for words in before if words in after]
    assert len(stayed) > 5
    assert all(after[words] == before[words] for words in stayed)
    assert says(glass.item("toNewest")).startswith("Jump to the newest message")
    glass.click(glass.item("toNewest"))
    assert "another" in glass.messages()[-1]
    assert glass.items("toNewest") == []


def test_at_the_newest_end_a_new_message_is_shown_at_once(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, *[seed.message(f"message {number}", at=200 - number) for number in range(60)])
    glass = show()
    glass.click(glass.item("roomRow"))
    seed.say(talk, seed.message("brand new", at=1))
    glass.wait(lambda: "brand new" in glass.messages()[-1], "it is shown")


def test_the_line_of_new_messages_stands_where_reading_stopped(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    events = seed.say(talk, *[seed.message(f"message {number}", at=60 - number) for number in range(4)])
    seed.read_up_to(talk, events[1])
    glass = show()
    glass.click(glass.item("roomRow"))
    lines = [row.property("unreadLine") for row in glass.items("messageRow")]
    assert lines == [False, False, True, False]


def test_the_keyboard_alone_walks_the_messages_and_comes_back(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("theirs", at=9))
    seed.sent(talk, "ours", at=8)
    seed.say(talk, seed.message("theirs again", at=7))
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.press(Qt.Key.Key_Up)
    assert glass.focus() == "messageRow"
    glass.press(Qt.Key.Key_Up)
    focused = [says(row) for row in glass.items("messageRow") if row.property("focused")]
    assert len(focused) == 1
    assert focused[0].startswith("You: ours")
    glass.press(Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "ours"
    glass.press(Qt.Key.Key_Escape)
    assert glass.focus() == "composer"


def test_a_draft_is_kept_for_its_room(seed: Seed, show: Show) -> None:
    one, two = seed.room("One"), seed.room("Two")
    seed.say(one, seed.message("hi", at=5))
    seed.say(two, seed.message("hi", at=6))
    glass = show(engine=True)
    glass.main.shell.openRoom(one)
    glass.settle()
    glass.type("half a tho")
    glass.main.shell.openRoom(two)
    glass.settle()
    assert glass.item("composer").property("text") == ""
    glass.wait(lambda: glass.main.source.draft(one) == "half a tho", "written down")
    glass.main.shell.openRoom(one)
    glass.settle()
    assert glass.item("composer").property("text") == "half a tho"


def test_a_room_of_fifty_thousand_messages_keeps_few_in_memory(seed: Seed, show: Show) -> None:
    from tandem_app.models.timeline import MOST_ROWS

    talk = seed.room("Talk")
    seed.say(talk, seed.message("the newest", at=5))
    seed.many_messages(talk, 50_000)
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.wait(lambda: glass.main.timeline.rowCount() == 50_001, "all are counted")
    view = glass.item("timeline")
    for place in (0, 10_000, 25_000, 40_000, 50_000):
        glass.main.timeline.row(place)
    glass.press(Qt.Key.Key_PageUp, times=60)
    assert glass.main.timeline.rows_in_memory <= MOST_ROWS
    assert len(glass.items("messageRow")) < 80
    assert view.property("count") == 50_001


def test_the_qt_thread_never_writes(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("hello", at=5))
    glass = show(engine=True)
    conn = glass.main.reader()
    assert conn is not None
    said: list[str] = []
    conn.set_trace_callback(said.append)
    glass.click(glass.item("roomRow"))
    glass.type("words")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: len(glass.messages()) == 2, "the echo")
    assert said
    assert all(statement.lstrip().upper().startswith(("SELECT", "PRAGMA DATA_VERSION")) for statement in said)
