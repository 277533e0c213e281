"""Who is in a room, per connection, and when all that is known fits together."""

from __future__ import annotations

from typing import Any

from tandem_core.store import members, rooms, session
from tandem_core.types import Role
from tests.core.sync_world import APP, BOB, CAROL, ME, NOTIFIER, NOW, ROOM, Account, member, message


def _complete(alice: Account, *people: str, link: Role = APP, asked_above: int | None = None) -> bool:
    above = alice.read(members.newest_place, link, ROOM) if asked_above is None else asked_above
    done = alice.write(members.put_complete, link, ROOM, [member(user) for user in people], above)
    return bool(done)


def test_a_member_list_is_believed_once_it_is_complete(alice: Account) -> None:
    alice.join(APP)
    assert alice.read(members.agreed_members, ROOM) is None
    assert _complete(alice, ME.user_id, BOB, CAROL)
    assert alice.read(members.agreed_members, ROOM) == {ME.user_id, BOB, CAROL}


def test_somebody_missing_from_the_list_has_left(alice: Account) -> None:
    alice.join(APP)
    _complete(alice, ME.user_id)
    assert alice.read(members.agreed_members, ROOM) == {ME.user_id}


def test_what_sync_brings_while_the_list_is_on_its_way_wins(alice: Account) -> None:
    alice.join(APP, message("a"))
    asked_above = alice.read(members.newest_place, APP, ROOM)
    alice.sync_room(timeline=[member(BOB, "Bob", "leave"), member(CAROL, "Carol")])
    assert _complete(alice, ME.user_id, BOB, asked_above=asked_above)
    assert alice.read(members.agreed_members, ROOM) == {ME.user_id, CAROL}


def test_a_hole_that_opens_meanwhile_keeps_the_list_from_being_complete(alice: Account) -> None:
    alice.join(APP, message("a"))
    asked_above = alice.read(members.newest_place, APP, ROOM)
    alice.sync_room(timeline=[message("z")], limited=True, prev_batch="t1")
    assert not _complete(alice, ME.user_id, BOB, asked_above=asked_above)
    assert alice.read(members.agreed_members, ROOM) is None


def test_a_hole_makes_a_complete_list_incomplete(alice: Account) -> None:
    alice.join(APP, message("a"))
    _complete(alice, ME.user_id, BOB)
    alice.sync_room(timeline=[message("z")], limited=True, prev_batch="t1")
    assert not alice.read(members.is_complete, APP, ROOM)


def test_connections_that_disagree_are_not_believed(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link)
    _complete(alice, ME.user_id, BOB)
    _complete(alice, ME.user_id, BOB, CAROL, link=NOTIFIER)
    assert alice.read(members.agreed_members, ROOM) is None


def test_an_incomplete_connection_may_contradict_but_need_not_know_all(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link)
    _complete(alice, ME.user_id, BOB, CAROL)
    assert alice.read(members.agreed_members, ROOM) == {ME.user_id, BOB, CAROL}
    alice.sync_room(NOTIFIER, timeline=[member(BOB, None, "leave")])
    assert alice.read(members.agreed_members, ROOM) is None


def test_a_stopped_programs_old_list_does_not_count(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link)
    _complete(alice, ME.user_id, BOB)
    _complete(alice, ME.user_id, BOB, CAROL, link=NOTIFIER)
    alice.write(session.set_pos, NOTIFIER, "1", NOW - 3_600_000)
    assert alice.read(members.agreed_members, ROOM) == {ME.user_id, BOB}


def test_joined_people_come_from_the_connection_that_knows_all(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link)
    _complete(alice, ME.user_id, BOB, CAROL)
    assert alice.read(rooms.joined_people, ROOM, ME.user_id) == [BOB, CAROL]


def test_names_that_are_no_names_fall_back_to_the_id(alice: Account) -> None:
    alice.join(APP)
    odd: list[Any] = [5, "", "  ", None]
    for name in odd:
        alice.write(members.set_member, APP, ROOM, BOB, {"membership": "join", "displayname": name}, NOW)
        assert alice.read(members.display_name, ROOM, BOB) == "bob"


def test_a_membership_that_does_not_exist_is_not_kept(alice: Account) -> None:
    assert not alice.write(members.set_member, APP, ROOM, BOB, {"membership": "owner"}, NOW)
    assert not alice.write(members.set_member, APP, ROOM, BOB, {}, NOW)
    assert alice.read(members.members, APP, ROOM) == []
