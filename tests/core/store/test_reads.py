"""Read markers move forwards only; our own are owed to the server."""

from __future__ import annotations

from tandem_core.store import reads
from tandem_core.sync import rooms_api
from tests.core.sync_world import APP, BOB, ME, NOTIFIER, NOW, ROOM, Account, message


def test_a_marker_never_moves_back_where_the_order_is_known(alice: Account) -> None:
    alice.join(APP, message("a"), message("b"))
    assert alice.write(reads.put_marker, ROOM, BOB, "$b", NOW)
    assert not alice.write(reads.put_marker, ROOM, BOB, "$a", NOW + 1000)
    assert alice.read(reads.marker, ROOM, BOB).event_id == "$b"


def test_where_the_order_is_not_known_the_later_time_wins(alice: Account) -> None:
    alice.write(reads.put_marker, ROOM, BOB, "$x", NOW)
    assert not alice.write(reads.put_marker, ROOM, BOB, "$y", NOW - 1)
    assert alice.write(reads.put_marker, ROOM, BOB, "$z", NOW + 1)


def test_reading_a_room_is_kept_at_once_and_owed_to_the_server(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link)
        alice.sync_room(link, timeline=[message("a"), message("b")])
    assert alice.write(rooms_api.mark_read, APP, ROOM, None, NOW)
    assert alice.rows("SELECT conn, unread FROM room ORDER BY conn") == [("app", 0), ("notifier", 0)]
    (owed,) = alice.read(reads.owed)
    assert (owed.event_id, owed.kind) == ("$b", "public")


def test_reading_what_is_read_owes_nothing(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(timeline=[message("a"), message("b")])
    alice.write(reads.put_marker, ROOM, ME.user_id, "$b", NOW, is_me=True)
    assert not alice.write(rooms_api.mark_read, APP, ROOM, None, NOW)
    assert not alice.write(rooms_api.mark_read, APP, ROOM, "$a", NOW)
    assert alice.read(reads.owed) == []


def test_an_answer_for_an_older_event_leaves_the_newer_one_owed(alice: Account) -> None:
    alice.write(reads.owe, ROOM, "$a", "public", NOW)
    (older,) = alice.read(reads.owed)
    alice.write(reads.owe, ROOM, "$b", "public", NOW + 1)
    alice.write(reads.settle, older)
    assert [owed.event_id for owed in alice.read(reads.owed)] == ["$b"]
