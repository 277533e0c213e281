"""What was answered with 200 is kept until every account has it; ids are remembered by what came with them."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from tandem_appservice.queue import KEEP_IDS_MS, Account, Queue
from tandem_appservice.routing import Kind
from tandem_appservice.transaction import read
from tandem_core.errors import StoreTooNew
from tests.appservice.world import for_device, of_room
from tests.core.sync_world import BOB, CAROL, ME, NOW, ROOM, member, message, olm

A, C = ME.user_id, str(CAROL)


@pytest.fixture
def pair(queue: Queue) -> Queue:
    """Alice and Carol are hosted and share a room."""
    for user, device in ((A, ME.device_id), (C, "CAROL1")):
        queue.add(Account(user, device, user[1:6].strip(":")), NOW)
        queue.settle_homes(user, [ROOM])
    return queue


def _send(queue: Queue, txn_id: str, *bodies: str, **more: object) -> bool:
    events = [of_room(message(body)) for body in bodies]
    return queue.accept(read(txn_id, {"events": events, **more}), NOW).is_new


def _bodies(queue: Queue, user: str = A, after: int = 0) -> list[str]:
    pieces = queue.pieces(user, after)
    events = [piece.content for piece in pieces if piece.kind is Kind.EVENT]
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


def _counts(queue: Queue) -> dict[str, int]:
    return {name: count for name, count in queue.fact("counts").items() if count}


def test_pieces_wait_over_a_restart_in_the_order_in_which_they_came(pair: Queue, tmp_path: Path) -> None:
    _send(pair, "1", "a", "b")
    _send(pair, "2", "c")
    pair.close()
    again = Queue.open(tmp_path / "service.db")
    assert _bodies(again) == _bodies(again, C) == ["a", "b", "c"]
    assert again.epoch == pair.epoch
    again.close()


def test_a_piece_goes_when_the_last_account_has_it(pair: Queue, tmp_path: Path) -> None:
    _send(pair, "1", "a", "b")
    first, second = pair.pieces(A, 0)
    assert first.seq == second.seq
    pair.done(A, first.id)
    assert (_bodies(pair), _bodies(pair, C)) == (["b"], ["a", "b"])
    pair.done(A, second.id)
    pair.done(C, second.id)
    with sqlite3.connect(tmp_path / "service.db") as conn:
        assert conn.execute("SELECT count(*) FROM piece").fetchone() == (0,)
    conn.close()


def test_a_repeated_transaction_changes_nothing_also_after_a_restart(pair: Queue, tmp_path: Path) -> None:
    assert _send(pair, "1", "a")
    pair.close()
    again = Queue.open(tmp_path / "service.db")
    assert not _send(again, "1", "a")
    assert _bodies(again) == ["a"]
    assert _counts(again) == {"transactions": 1, "repeated": 1}
    again.close()


def test_a_repetition_with_another_content_is_kept_as_well(pair: Queue) -> None:
    """Stock Synapse repeats without to-device events; a server that was reset counts from one."""
    _send(pair, "1", "a", to_device=[for_device(olm("k"))])
    assert _send(pair, "1", "a", to_device=[])
    assert _send(pair, "1", "another life")
    assert _bodies(pair) == ["a", "a", "another life"]
    assert _counts(pair)["changed_repeats"] == 2
    assert "out_of_order" not in _counts(pair)


def test_a_transaction_that_comes_late_is_kept_and_told_as_such(pair: Queue) -> None:
    _send(pair, "7", "g")
    late = of_room(member(BOB, "Bob"))
    pair.accept(read("5", {"events": [late]}), NOW)
    assert _counts(pair)["out_of_order"] == 1
    assert [piece.kind for piece in pair.pieces(A, 0)] == [Kind.EVENT, Kind.EVENT, Kind.LOOK_AGAIN]


def test_a_server_that_counts_anew_is_in_order_again_after_a_few(pair: Queue) -> None:
    _send(pair, "900", "a")
    for number in range(1, 9):
        _send(pair, str(number), f"n{number}")
    assert _counts(pair)["out_of_order"] == 3
    assert len(_bodies(pair)) == 9


def test_ids_are_forgotten_after_a_month(pair: Queue) -> None:
    _send(pair, "x", "a")
    pair.accept(read("y", {"events": []}), NOW + KEEP_IDS_MS + 1)
    assert _send(pair, "x", "a")


def test_an_account_with_something_waiting_is_not_released(pair: Queue) -> None:
    _send(pair, "1", "a")
    assert not pair.release(A)
    pair.done(A, pair.newest())
    assert pair.release(A)
    assert [(account.user_id, account.is_hosted) for account in pair.accounts()] == [(A, False), (C, True)]


def test_a_released_account_gets_its_to_device_events_and_nothing_else(pair: Queue) -> None:
    """A server that loses nothing deletes them once they are answered with 200."""
    assert pair.release(A)
    invite = of_room(member(A, membership="invite", sender=BOB))
    pair.accept(read("1", {"events": [invite], "to_device": [for_device(olm("k"))]}), NOW)
    _send(
        pair,
        "2",
        "b",
        device_lists={"changed": [BOB]},
        account_data={A: {"events": [{"type": "x", "content": {}}]}},
    )
    assert [piece.kind for piece in pair.pieces(A, 0)] == [Kind.TO_DEVICE]
    assert _bodies(pair, C) == ["b"]
    pair.add(Account(A, ME.device_id, "alice"), NOW)
    assert pair.depth(A) == 1
    assert not next(account for account in pair.accounts() if account.user_id == A).is_prepared


def test_a_forgotten_account_leaves_nothing_behind(pair: Queue) -> None:
    _send(pair, "1", "a")
    pair.forget(A)
    assert [account.user_id for account in pair.accounts()] == [C]
    assert (pair.depth(A), _bodies(pair, C)) == (0, ["a"])


def test_the_same_account_on_a_new_device_begins_anew(pair: Queue) -> None:
    _send(pair, "1", "a")
    pair.add(Account(A, "ALICE2", "alice"), NOW)
    assert pair.depth(A) == 0
    assert not next(account for account in pair.accounts() if account.user_id == A).is_prepared
    pair.add(Account(A, "ALICE2", "alice"), NOW)
    assert _bodies(pair, C) == ["a"]


def test_the_file_is_private_and_one_of_a_newer_program_is_left_alone(queue: Queue, tmp_path: Path) -> None:
    file = tmp_path / "service.db"
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.glob("service.db*")} == {0o600}
    with sqlite3.connect(file) as conn:
        conn.execute("PRAGMA user_version=99")
    conn.close()
    with pytest.raises(StoreTooNew):
        Queue.open(file)


def test_it_remembers_what_the_server_is_like(pair: Queue) -> None:
    assert pair.fact("lossless") is None
    _send(pair, "1", "a")
    assert (pair.fact("lossless"), pair.fact("account_data")) == (False, None)
    _send(pair, "2", "b", **{"im.tandem.lossless_to_device": True, "account_data": {}})
    assert (pair.fact("lossless"), pair.fact("account_data")) == (True, True)
    assert pair.fact("last")["txn_id"] == "2"
