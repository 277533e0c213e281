"""A new identity of somebody in the room: the line about it, and what can be done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt

from tandem_app.identity_watch import in_room
from tandem_core import trust
from tandem_core.trust import PersonTrust
from tandem_core.types import DeviceId, Me, UserId
from tests.app.by_keyboard import heard, reads, silent, tab_to
from tests.app.encryption_seed import person
from tests.app.glass import Glass
from tests.app.seed import ME, Seed

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]

BOB = "@bob:example.org"
HERE = Me(ME, DeviceId("ALICEDEV"))


def bob(seed: Seed) -> PersonTrust:
    return seed.db.read_now(trust.person, HERE, UserId(BOB))


def test_a_new_identity_of_a_verified_person_is_said_and_gone_on_with_by_keyboard(
    seed: Seed, show: Show
) -> None:
    room = seed.room("Bob", direct=True)
    person(seed, BOB, is_verified=True, is_new=True)
    assert bob(seed) is PersonTrust.VIOLATED
    glass = show(engine=True)
    glass.main.shell.openRoom(room)
    reads(glass, "Bob has a new identity. It is not the one that you verified. Nothing is sent")
    assert silent(glass.item("identityBar")) == []
    tab_to(glass, "acceptIdentity")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("identityBar") == [], "the line to go")
    assert bob(seed) is PersonTrust.SEEN


def test_of_others_it_is_a_notice_that_is_put_away(seed: Seed, show: Show) -> None:
    room = seed.room("Bob", direct=True)
    person(seed, BOB, is_new=True)
    assert bob(seed) is PersonTrust.CHANGED
    glass = show(engine=True)
    glass.main.shell.openRoom(room)
    reads(glass, "somebody pretends to be them")
    tab_to(glass, "acceptIdentity")
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("identityBar") == [], "the line to go")


def test_it_is_said_only_where_the_person_is_and_leads_to_verification(seed: Seed, show: Show) -> None:
    with_bob = seed.room("Bob", direct=True)
    without = seed.room("Carol", people={"@carol:example.org": "Carol"})
    person(seed, BOB, is_verified=True, is_new=True)
    assert [one.user_id for one in seed.db.read_now(in_room, HERE, with_bob)] == [BOB]
    assert seed.db.read_now(in_room, HERE, without) == []
    glass = show(engine=True)
    glass.main.shell.openRoom(with_bob)
    reads(glass, "Bob has a new identity")
    tab_to(glass, "verifyAgain")
    glass.press(Qt.Key.Key_Return)
    assert glass.items("verificationPage")
    glass.main.shell.openPage("")
    glass.main.shell.openRoom(without)
    glass.settle()
    assert glass.items("identityBar") == []


def test_the_rooms_settings_say_who_is_verified_and_offer_it(seed: Seed, show: Show) -> None:
    carol, dora = "@carol:example.org", "@dora:example.org"
    room = seed.room("Hike", people={BOB: "Bob", carol: "Carol", dora: "Dora"})
    person(seed, BOB, is_verified=True)
    person(seed, carol)
    glass = show()
    glass.main.shell.openRoom(room)
    glass.main.shell.openSettings(room)
    glass.settle()
    for words in ("Verified", "Not verified", "Has no identity that could be verified"):
        assert heard(glass, words), words
    assert [item.property("spoken") for item in glass.items("verifyPerson")] == ["Verify Carol"]
