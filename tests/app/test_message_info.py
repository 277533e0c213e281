"""The panel about one message: who has it, in groups that begin with what needs attention; by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from tandem_app.models import info_rows
from tandem_core.errors import Offline
from tandem_core.receipts.failed_heard import PROVISIONAL_MS
from tandem_core.receipts.states import DeviceDelivery, PersonDelivery
from tandem_core.types import UserId
from tests.app.by_keyboard import silent, sticks_out, tab_to
from tests.app.glass import Glass, says
from tests.app.seed import NOON_MS, Seed

Show = Callable[..., Glass]
BOB, CAROL, DAN = "@bob:example.org", "@carol:example.org", "@dan:example.org"
LONG = "Maximiliane-Friederike von und zu Hohenstein-Wolkenburg auf Niederlangenau" * 2
AT = NOON_MS - 3_600_000


def device(name: str, at: int | None = None, **facts: object) -> DeviceDelivery:
    return replace(DeviceDelivery(name.upper(), name, at), **facts)  # type: ignore[arg-type]


def person(name: str, *devices: DeviceDelivery, at: int | None = None, **facts: object) -> PersonDelivery:
    made = PersonDelivery(UserId(f"@{name.lower()}:example.org"), name, devices, at, None, tracked=True)
    return replace(made, **facts)  # type: ignore[arg-type]


def told(*people: PersonDelivery, own: tuple[DeviceDelivery, ...] = (), **how: object) -> list[str]:
    """What the rows say, top to bottom."""
    rows = info_rows.rows(people, own, NOON_MS, **({"tracked": True} | how))  # type: ignore[arg-type]
    return [row["words"] or row["spoken"] for row in rows]


def test_what_needs_attention_comes_first_then_who_is_waited_for() -> None:
    found = told(
        person("Alice", at=AT, read_at=AT),
        person(
            "Bob", device("Phone", AT), device("Laptop", failed_at=AT, code="no_key", verified=True), at=AT
        ),
        person("Carol", last_heard_at=AT),
        person("Dan", at=AT),
        person("Eve", at=AT, counted=False, why_not="joined later"),
        person("Robot", counted=False, why_not="bot"),
    )
    assert found == [
        "Needs attention (1)",
        (
            "Bob: 1 of 2 devices cannot decrypt it · delivered 11:00 · 1 of 2 devices. Phone: 11:00."
            " Laptop (verified): no key · reported 11:00"
        ),
        "Waiting (1)",
        "Carol: No confirmation yet",
        "Delivered (1)",
        "Dan: Delivered 11:00 · device details not shared",
        "Read (1)",
        "Alice: Read 11:00 · delivered 11:00 · device details not shared",
        "Not counted (2)",
        "Eve: Joined later · delivered 11:00 · device details not shared",
        "Robot: A bot, which confirms nothing",
    ]


def test_nothing_is_called_missing_because_it_did_not_come() -> None:
    assert told(person("Carol"))[1] == "Carol: No confirmation. Their app may not send any (last one: never)"
    silent_since = person("Carol", tracked=False, last_heard_at=NOON_MS - 40 * 86_400_000)
    assert told(silent_since)[1] == "Carol: No confirmation. Their app may not send any (last one: 12 Oct)"
    assert told(person("Carol"), tracked=False) == ["Not tracked (1)", "Carol: Delivery is not tracked here"]


def test_the_servers_word_and_who_has_left_are_marked() -> None:
    assert told(person("Bob", at=AT, reported="server", has_left=True))[1] == (
        "Bob: Delivered 11:00 · device details not shared · reported by the server · has left the room"
    )


def test_more_than_eight_people_are_folded_to_counts_but_not_what_needs_attention() -> None:
    people = [person(f"P{number}", at=AT if number < 5 else None) for number in range(9)]
    people[0] = replace(people[0], devices=(device("Phone", failed_at=AT),))
    found = told(*people)
    assert [words for words in found if "(" in words and ":" not in words] == [
        "Needs attention (1)",
        "Waiting (4)",
        "Delivered (4)",
    ]
    assert len(found) == 4, "one person is shown"
    assert len(told(*people, unfolded={"waiting"})) == 8
    assert told(*people[1:])[:2] == ["Waiting (4)", told(*people[1:])[1]]
    assert len(told(*people[1:])) == 10, "eight are shown at once"


def test_a_search_finds_people_in_every_group() -> None:
    people = [person(f"P{number}", at=AT if number < 5 else None) for number in range(12)]
    people.append(person("Élise", at=AT))
    assert told(*people, wanted="éli") == ["Delivered (1 of 6)", told(people[-1])[1]]
    assert told(*people, wanted="@p11:")[0] == "Waiting (1 of 7)"
    assert told(*people, wanted="nobody has this name") == []


def test_our_own_devices_are_folded_and_kept_apart() -> None:
    own = (device("Desk", AT, verified=True), device("Phone"))
    assert told(person("Bob"), own=own)[-1] == "Your other devices (1 of 2)"
    assert (
        told(person("Bob"), own=own, unfolded={info_rows.OWN})[-1]
        == "Desk (verified): 11:00. Phone: no answer yet"
    )
    assert len(told(person("Bob"), own=(device("Phone"),))) == 2, "nothing is known of them"


def test_the_question_says_which_device_and_whether_it_is_verified() -> None:
    laptop = device("Laptop", failed_at=AT, verified=True)
    asked = info_rows.question(person("Bob", laptop), laptop)
    assert asked["title"] == 'Send the key again to Bob\'s "Laptop"?'
    assert asked["words"].startswith("You have verified it.")
    unknown = info_rows.question(person("Bob"), device("Laptop", failed_at=AT, verified=False))
    assert unknown["words"].startswith("It is not verified: nobody has checked that it is Bob's own.")
    assert len(info_rows.question(person(LONG), device(LONG, failed_at=AT))["title"]) < 120


@pytest.mark.gui
def test_a_group_is_unfolded_and_a_person_found_by_keyboard(seed: Seed, show: Show) -> None:
    people = {f"@p{number:02}:example.org": f"Person {number:02}" for number in range(12)}
    talk = seed.room("Talk", people=people)
    seed.sent(talk, "hello", people={user: [] for user in people}, at=5, delivered=[("@p03:example.org", "")])
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.press(Qt.Key.Key_Up)
    glass.press(Qt.Key.Key_I)
    assert [says(item) for item in glass.items("infoHeading")] == [
        "Waiting (11), folded",
        "Delivered (1), folded",
    ]
    assert glass.items("infoPerson") == []
    tab_to(glass, "infoRow")
    glass.press(Qt.Key.Key_End)
    glass.press(Qt.Key.Key_Space)
    assert [says(item) for item in glass.items("infoPerson")] == [
        "Person 03: Delivered 11:55 · device details not shared"
    ]
    glass.press(Qt.Key.Key_Space)
    assert glass.items("infoPerson") == []
    tab_to(glass, "findPerson")
    glass.type("07")
    assert [says(item) for item in glass.items("infoHeading")] == ["Waiting (1 of 11)"]
    assert [says(item).partition(":")[0] for item in glass.items("infoPerson")] == ["Person 07"]
    assert silent(glass.item("messageInfo")) == []


@pytest.mark.gui
def test_all_of_it_is_copied_as_text_also_what_is_folded(seed: Seed, show: Show) -> None:
    people = {f"@p{number:02}:example.org": f"Person {number:02}" for number in range(12)}
    talk = seed.room("Talk", people=people)
    event = seed.sent(
        talk, "hello", people={user: [] for user in people}, at=5, delivered=[("@p03:example.org", "")]
    )
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.main.shell.showInfo(event)
    glass.settle()
    tab_to(glass, "copyInfo")
    glass.press(Qt.Key.Key_Space)
    text = QGuiApplication.clipboard().text()
    assert text.startswith("Delivered to 1 of 12 people\nSent 11:55\nNot encrypted · for 12 people\n")
    assert "Waiting (11)" in text
    assert "- Person 03 (@p03:example.org): Delivered 11:55" in text
    assert text.count("- Person") == 12


@pytest.mark.gui
def test_long_names_stay_within_a_narrow_window(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk", people={BOB: LONG}, direct=True)
    event = seed.sent(talk, "hello", people={BOB: [LONG, "Phone"]}, at=5, delivered=[(BOB, ""), (BOB, LONG)])
    glass = show(width=360)
    glass.main.shell.openRoom(talk)
    glass.main.shell.showInfo(event)
    glass.settle()
    panel = glass.item("messageInfo")
    assert sticks_out(glass, panel) == []
    (card,) = glass.items("infoPerson")
    assert card.width() <= panel.width()


@pytest.fixture
def sent_keys(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The keys that were sent again: event, person, device."""
    sent: list[tuple[str, str, str]] = []

    async def send(self: object, event_id: str, user_id: str, device_id: str) -> None:
        sent.append((event_id, user_id, device_id))

    monkeypatch.setattr("tandem_core.encryption.Encryption.send_key_again", send)
    return sent


def unreadable(seed: Seed, show: Show, **how: object) -> tuple[Glass, str]:
    """Bob's laptop cannot read what we wrote, and the panel about it is open."""
    talk = seed.room("Bob", direct=True)
    event = seed.sent(
        talk, "hello", people={BOB: ["Phone", "Laptop"]}, at=90, delivered=[(BOB, ""), (BOB, "Phone")]
    )
    seed.cannot_read(talk, event, BOB, "Laptop")
    glass = show(**how)
    glass.click(glass.item("roomRow"))
    glass.press(Qt.Key.Key_Up)
    glass.press(Qt.Key.Key_I)
    return glass, event


@pytest.mark.gui
def test_a_device_that_cannot_decrypt_is_named_by_mark_and_panel(seed: Seed, show: Show) -> None:
    glass, _ = unreadable(seed, show)
    assert glass.marks() == ['Delivered, but Bob\'s "Laptop" cannot decrypt it']
    assert glass.item("deliveryMark").property("state_") == "trouble"
    assert [says(item) for item in glass.items("infoHeading")] == ["Needs attention (1)"]
    (bob,) = glass.items("infoPerson")
    assert "Laptop: no key · reported 11:40" in says(bob)
    assert says(glass.item("sendKeyAgain")) == "Send the key again to Laptop"
    assert silent(glass.item("messageInfo")) == []


@pytest.mark.gui
def test_the_key_is_sent_again_only_after_a_question_answered_by_keyboard(
    seed: Seed, show: Show, sent_keys: list[tuple[str, str, str]]
) -> None:
    glass, event = unreadable(seed, show, engine=True)
    tab_to(glass, "infoRow")
    glass.press(Qt.Key.Key_Down)
    glass.press(Qt.Key.Key_Return)
    question = says(glass.item("keyQuestion"))
    assert question.startswith('Send the key again to Bob\'s "Laptop"?')
    assert "not among Bob's devices any more" in question
    assert glass.focus() == "keepKey", "what changes nothing is at hand"
    glass.press(Qt.Key.Key_Escape)
    assert glass.items("keyQuestion") == []
    assert glass.items("messageInfo"), "only the question is answered"
    assert sent_keys == []
    tab_to(glass, "sendKeyAgain")
    glass.press(Qt.Key.Key_Space)
    tab_to(glass, "sendKey")
    glass.press(Qt.Key.Key_Space)
    glass.wait(lambda: glass.items("keyNote"), "an answer")
    assert says(glass.item("keyNote")) == "The key is on its way."
    assert sent_keys == [(event, BOB, "LAPTOP")]


@pytest.mark.gui
def test_a_key_that_could_not_be_sent_is_told_with_the_reason(
    seed: Seed, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: object, *asked: str) -> None:
        raise Offline

    monkeypatch.setattr("tandem_core.encryption.Encryption.send_key_again", refuse)
    glass, _ = unreadable(seed, show, engine=True)
    glass.click(glass.item("sendKeyAgain"))
    glass.click(glass.item("sendKey"))
    glass.wait(lambda: glass.items("keyNote"), "an answer")
    assert says(glass.item("keyNote")).startswith("The key was not sent: No connection to your homeserver.")


@pytest.mark.gui
def test_what_may_be_a_passing_trouble_is_shown_once_it_has_lasted(
    seed: Seed, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem_app.watch.MINUTE_MS", 20)
    talk = seed.room("Bob", direct=True)
    event = seed.sent(talk, "hello", people={BOB: ["Laptop"]}, at=90)
    seed.cannot_read(talk, event, BOB, "Laptop", at=NOON_MS)
    glass = show()
    glass.click(glass.item("roomRow"))
    assert glass.marks() == ["Sent to your server"]
    monkeypatch.setattr(glass.main.source, "_clock_ms", lambda: NOON_MS + PROVISIONAL_MS)
    glass.wait(lambda: glass.item("deliveryMark").property("state_") == "nobody", "with time alone")


@pytest.mark.gui
def test_trouble_is_said_at_once_and_its_end_too(seed: Seed, show: Show) -> None:
    talk = seed.room("Bob", direct=True)
    event = seed.sent(talk, "hello", people={BOB: ["Laptop"]}, at=90)
    glass = show()
    glass.click(glass.item("roomRow"))
    said: list[tuple[str, bool]] = []
    glass.main.timeline.told.connect(lambda words, grave: said.append((words, grave)))
    seed.cannot_read(talk, event, BOB, "Laptop")
    glass.wait(lambda: said, "it is told")
    assert glass.item("deliveryMark").property("state_") == "nobody"
    assert said == [("No device of Bob could decrypt it. Send the key again. hello", True)]
    seed.db.write_now(lambda txn: txn.execute("UPDATE receipt_failed SET cleared_at = 1"))
    seed.deliver(event, BOB, "", "Laptop")
    glass.wait(lambda: glass.marks() == ["Delivered to Bob"], "it is resolved")
    assert said[1:] == [("Delivered to Bob", False)]


@pytest.mark.gui
def test_what_others_wrote_says_whether_and_why_it_was_confirmed(seed: Seed, show: Show) -> None:
    talk = seed.room("Bob", direct=True)
    (event,) = seed.say(talk, seed.message("hello", at=30))
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.press(Qt.Key.Key_Up)
    glass.press(Qt.Key.Key_I)
    assert says(glass.item("infoSummary")) == "Not confirmed"
    assert any(said.startswith("It came without encryption") for said in glass.sayings())
    assert "From Bob · 11:30" in glass.sayings()
    seed.confirmed(talk, BOB, {event: NOON_MS - 60_000})
    glass.wait(lambda: says(glass.item("infoSummary")) == "Confirmed 11:59", "it is confirmed by now")
    assert "Its author was told that it reached you." in glass.sayings()
    tab_to(glass, "aboutMe")
    glass.press(Qt.Key.Key_Space)
    assert glass.items("confirmationsPage")
    assert glass.items("messageInfo") == []
