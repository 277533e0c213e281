"""The room list: names, order, last message, unread; and what is believed of a room (law 13)."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_core.store import reads, room_facts, rooms, timeline
from tandem_core.store.rooms import RoomKind
from tandem_core.types import RoomId
from tests.core.sync_world import APP, BOB, ME, NOTIFIER, NOW, ROOM, Account, member, message, sealed, state

ALGORITHM = {"algorithm": "m.megolm.v1.aes-sha2"}


def _room(alice: Account, link: Any = APP, room_id: str = ROOM) -> rooms.RoomRow:
    row = alice.read(rooms.room, link, room_id)
    assert isinstance(row, rooms.RoomRow)
    return row


def _new(alice: Account, *bodies: str, link: Any = APP) -> None:
    alice.sync_room(link, timeline=[message(body) for body in bodies])


@pytest.mark.parametrize(
    ("heroes", "name"),
    [
        ([], "Empty room"),
        ([{"user_id": "@bob:x", "displayname": "Bob"}], "Bob"),
        ([{"user_id": "@bob:x"}], "bob"),
        (
            [{"user_id": "@b:x", "displayname": "Bob"}, {"user_id": "@c:x", "displayname": "Carol"}],
            "Bob and Carol",
        ),
        ([{"user_id": f"@{n}:x", "displayname": n} for n in ("A", "B", "C", "D")], "A, B and 2 more"),
    ],
)
def test_a_room_without_a_name_is_named_after_its_people(alice: Account, heroes: Any, name: str) -> None:
    alice.join(APP, heroes=heroes)
    assert _room(alice).name == name


def test_an_alias_names_a_room_that_has_nothing_else(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(required_state=[state("m.room.canonical_alias", {"alias": "#kitchen:x"})])
    assert _room(alice).name == "#kitchen:x"


def test_a_name_stays_when_a_later_answer_does_not_mention_it(alice: Account) -> None:
    alice.join(APP, name="Kitchen")
    alice.sync_room(timeline=[message("a")])
    assert _room(alice).name == "Kitchen"


def test_a_name_that_is_removed_is_gone(alice: Account) -> None:
    alice.join(APP, name="Kitchen", heroes=[{"user_id": BOB, "displayname": "Bob"}])
    alice.sync_room(required_state=[state("m.room.name", {})])
    assert _room(alice).name == "Bob"


def test_invites_come_first_and_then_the_newest_message(alice: Account) -> None:
    for number in range(3):
        alice.sync_room(
            room_id=f"!{number}:x", initial=True, timeline=[message(f"m{number}", ts=NOW - number)]
        )
    alice.sync_room(room_id="!invite:x", invite_state=[member(ME.user_id, None, "invite", sender=BOB)])
    listed = [room.room_id for room in alice.read(rooms.room_list, APP)]
    assert listed == ["!invite:x", "!0:x", "!1:x", "!2:x"]
    assert [room.room_id for room in alice.read(rooms.room_list, APP, limit=2, offset=1)] == ["!0:x", "!1:x"]


def test_an_invite_says_who_invites_and_whether_it_is_a_direct_chat(alice: Account) -> None:
    own = state("m.room.member", {"membership": "invite", "is_direct": True}, ME.user_id, sender=BOB)
    del own["event_id"]
    alice.sync_room(invite_state=[own, {"type": "m.room.name", "state_key": "", "content": {"name": "Hi"}}])
    row = _room(alice)
    assert (row.membership, row.inviter, row.is_dm, row.name) == ("invite", BOB, True, "Hi")


def test_an_invite_without_a_name_is_named_after_who_invites(alice: Account) -> None:
    alice.sync_room(invite_state=[member(ME.user_id, None, "invite", sender=BOB)])
    assert _room(alice).name == "bob"


def test_searching_finds_rooms_by_a_part_of_the_shown_name(alice: Account) -> None:
    alice.join(APP, heroes=[{"user_id": BOB, "displayname": "Bob Ölmann"}])
    alice.sync_room(room_id="!k:x", initial=True, name="Kitchen")
    assert [room.name for room in alice.read(rooms.room_list, APP, search="ölm")] == ["Bob Ölmann"]


def test_a_room_that_was_left_is_not_listed(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(required_state=[member(ME.user_id, None, "leave")])
    assert alice.read(rooms.room_list, APP) == []
    assert _room(alice).membership == "leave"


def test_rooms_only_the_notifier_knows_are_listed_for_the_window(alice: Account) -> None:
    alice.join(NOTIFIER, message("a"), name="Kitchen")
    assert [room.name for room in alice.read(rooms.room_list, APP)] == ["Kitchen"]


def test_the_last_message_is_shown_with_its_sender_and_not_a_state_change(alice: Account) -> None:
    alice.join(APP, message("hello\nyou"), member("@c:x", "Carol"))
    row = _room(alice)
    assert (row.last_text, row.last_sender_name) == ("hello you", "Bob")


def test_a_forged_time_in_the_future_does_not_pin_a_room_to_the_top(alice: Account) -> None:
    alice.join(APP, message("a", ts=NOW * 2))
    assert _room(alice).last_at == alice.now


def test_new_messages_of_others_are_unread_until_read_in_both_programs(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link, message("a"))
        _new(alice, "b", "c", link=link)
    assert (_room(alice).unread, _room(alice, NOTIFIER).unread) == (2, 2)
    alice.write(reads.put_marker, ROOM, ME.user_id, "$b", NOW, is_me=True)
    assert (_room(alice).unread, _room(alice, NOTIFIER).unread) == (1, 1)
    alice.write(reads.put_marker, ROOM, ME.user_id, "$c", NOW, is_me=True)
    assert (_room(alice).unread, _room(alice, NOTIFIER).unread) == (0, 0)


def test_history_of_the_first_sync_is_not_unread_without_a_marker(alice: Account) -> None:
    alice.join(APP, message("a"))
    assert _room(alice).unread == 0


def test_own_messages_are_never_unread_and_read_what_was_before(alice: Account) -> None:
    alice.join(APP)
    _new(alice, "a")
    alice.sync_room(timeline=[message("mine", ME.user_id)])
    assert _room(alice).unread == 0
    _new(alice, "b")
    assert _room(alice).unread == 1


def test_notices_and_state_changes_are_not_unread(alice: Account) -> None:
    alice.join(APP)
    notice = message("bot")
    notice["content"]["msgtype"] = "m.notice"
    alice.sync_room(timeline=[notice, member("@c:x", "Carol")])
    assert _room(alice).unread == 0


def test_sealed_messages_are_unread(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(timeline=[sealed("s")])
    assert (_room(alice).unread, _room(alice).last_text) == (1, "Encrypted message")


def test_highlights_are_counted_by_verdict(alice: Account) -> None:
    alice.join(APP)
    _new(alice, "a", "b")
    alice.write(timeline.set_verdict, "$a", 2)
    alice.write(timeline.set_verdict, "$b", 1)
    assert (_room(alice).unread, _room(alice).highlights) == (2, 1)


def test_a_marker_on_an_event_not_known_here_counts_by_time(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(timeline=[message("old", ts=NOW - 10), message("new", ts=NOW - 2)])
    alice.write(reads.put_marker, ROOM, ME.user_id, "$unknown", NOW - 5, is_me=True)
    assert _room(alice).unread == 1


def test_what_the_notifier_received_alone_is_unread_in_the_windows_list(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link, message("a"))
    _new(alice, "b", link=NOTIFIER)
    assert (_room(alice, APP).unread, _room(alice, APP).last_text) == (1, "b")


def test_thousands_of_unread_messages_are_counted_up_to_a_bound(alice: Account) -> None:
    alice.join(APP)
    _new(alice, *(f"m{number}" for number in range(rooms.UNREAD_LOOK + 50)))
    assert _room(alice).unread == rooms.UNREAD_LOOK


def _facts(alice: Account, link: Any, **facts: Any) -> None:
    known = {
        "membership": "join",
        "join_rule": "invite",
        "history_visibility": "shared",
        "is_dm": 1,
        "joined_count": 2,
        "invited_count": 0,
    }
    alice.write(rooms.set_room, link, ROOM, known | facts)


def _synced(alice: Account, link: Any, at: int) -> None:
    from tandem_core.store import session

    alice.write(session.set_pos, link, "1", at)


def test_an_encrypted_chat_of_two_is_direct_and_in_clear_it_is_not(alice: Account) -> None:
    _facts(alice, APP)
    assert alice.read(rooms.kind, ROOM) is RoomKind.PRIVATE_PLAIN
    alice.write(rooms.note_encryption, ROOM, ALGORITHM)
    assert alice.read(rooms.kind, ROOM) is RoomKind.DIRECT


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"join_rule": "public"}, RoomKind.PUBLIC),
        ({"history_visibility": "world_readable"}, RoomKind.PUBLIC),
        ({"join_rule": None}, RoomKind.UNKNOWN),
        ({"join_rule": "made_up"}, RoomKind.UNKNOWN),
        ({"join_rule": "knock"}, RoomKind.PUBLIC),
        ({"join_rule": "restricted"}, RoomKind.PUBLIC),
        ({"join_rule": "knock_restricted"}, RoomKind.PUBLIC),
        ({"history_visibility": None}, RoomKind.DIRECT),
        ({"history_visibility": "joined"}, RoomKind.DIRECT),
        ({"history_visibility": "made_up"}, RoomKind.UNKNOWN),
        ({"joined_count": None}, RoomKind.UNKNOWN),
        ({"joined_count": 3}, RoomKind.PRIVATE_GROUP),
        ({"invited_count": 1}, RoomKind.PRIVATE_GROUP),
        ({"is_dm": 0}, RoomKind.PRIVATE_GROUP),
        ({"membership": "leave"}, RoomKind.UNKNOWN),
    ],
)
def test_a_rooms_kind_is_told_cautiously(alice: Account, facts: dict[str, Any], kind: RoomKind) -> None:
    _facts(alice, APP, **facts)
    alice.write(rooms.note_encryption, ROOM, ALGORITHM)
    assert alice.read(rooms.kind, ROOM) is kind


def test_an_unknown_room_has_no_kind(alice: Account) -> None:
    assert alice.read(rooms.kind, RoomId("!nowhere:x")) is RoomKind.UNKNOWN


def test_where_two_live_connections_disagree_the_kind_is_unknown(alice: Account) -> None:
    _facts(alice, APP)
    _facts(alice, NOTIFIER, join_rule="public")
    _synced(alice, APP, NOW)
    _synced(alice, NOTIFIER, NOW - 1000)
    assert alice.read(rooms.kind, ROOM) is RoomKind.UNKNOWN


def test_a_program_that_does_not_run_has_no_say(alice: Account) -> None:
    _facts(alice, APP)
    _facts(alice, NOTIFIER, join_rule="public")
    _synced(alice, APP, NOW)
    _synced(alice, NOTIFIER, NOW - 3_600_000)
    assert alice.read(rooms.kind, ROOM) is RoomKind.PRIVATE_PLAIN


def test_encryption_once_on_never_turns_off(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(required_state=[state("m.room.encryption", ALGORITHM)])
    alice.sync_room(required_state=[state("m.room.encryption", {})])
    alice.sync_room(timeline=[state("m.room.encryption", {"algorithm": ""})])
    alice.join(NOTIFIER)
    assert alice.read(rooms.encryption, ROOM) == ALGORITHM
    assert _room(alice).encrypted
    assert _room(alice, NOTIFIER).encrypted


def test_the_helpers_of_a_room_are_known_as_its_state_names_them(alice: Account) -> None:
    alice.join(APP)
    assert alice.read(room_facts.service_members, ROOM) == frozenset()
    named = {"service_members": ["@bot:x", 7, "no id", "@" + "x" * 300]}
    alice.sync_room(required_state=[state("io.element.functional_members", named)])
    assert alice.read(room_facts.service_members, ROOM) == {"@bot:x"}
    alice.sync_room(timeline=[state("io.element.functional_members", {"service_members": {"@bot:x": 1}})])
    assert alice.read(room_facts.service_members, ROOM) == frozenset()


def test_the_reason_for_accepting_a_room_is_the_first_one(alice: Account) -> None:
    alice.write(rooms.accept, ROOM, "accepted_invite")
    alice.write(rooms.accept, ROOM, "sent")
    assert alice.one("SELECT accepted FROM room_fact") == "accepted_invite"


def test_account_data_makes_and_unmakes_direct_chats(alice: Account) -> None:
    alice.join(APP, is_dm=False)
    alice.apply(
        {"extensions": {"account_data": {"global": [{"type": "m.direct", "content": {BOB: [ROOM]}}]}}}
    )
    assert _room(alice).is_dm
    alice.apply({"extensions": {"account_data": {"global": [{"type": "m.direct", "content": {BOB: "odd"}}]}}})
    assert not _room(alice).is_dm
