"""The shared inbox: kept with its token, once, in order (laws 1 and 2)."""

from __future__ import annotations

import pytest

from tandem_core.store import inbox, session
from tests.core.sync_world import APP, NOTIFIER, NOW, Account, olm, to_device


def test_a_batch_and_its_token_are_kept_together(alice: Account) -> None:
    fresh = alice.write(inbox.put_batch, APP, [olm("a"), olm("b")], "7", NOW)
    assert fresh == 2
    assert alice.read(session.token, APP) == "7"
    assert alice.read(session.token, NOTIFIER) is None
    assert [row.content["ciphertext"]["k"]["body"] for row in alice.read(inbox.waiting, 10)] == ["a", "b"]


def test_if_keeping_fails_neither_events_nor_token_are_there(alice: Account) -> None:
    def work(txn: object) -> None:
        inbox.put_batch(txn, APP, [olm("a")], "7", NOW)  # type: ignore[arg-type]
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        alice.write(work)
    assert alice.read(session.token, APP) is None
    assert alice.read(inbox.depth) == 0


def test_the_same_encrypted_event_over_both_connections_is_kept_once(alice: Account) -> None:
    alice.write(inbox.put_batch, APP, [olm("a"), olm("b")], "2", NOW)
    assert alice.write(inbox.put_batch, NOTIFIER, [olm("a"), olm("b"), olm("c")], "3", NOW) == 1
    assert alice.read(inbox.depth) == 3


def test_a_processed_event_is_not_taken_in_again(alice: Account) -> None:
    alice.write(inbox.put_batch, APP, [olm("a")], "1", NOW)
    (row,) = alice.read(inbox.waiting, 10)
    alice.write(inbox.mark_done, row.seq)
    assert alice.write(inbox.put_batch, NOTIFIER, [olm("a")], "1", NOW) == 0
    assert alice.read(inbox.depth) == 0
    assert alice.one("SELECT content FROM inbox") is None, "what is processed keeps no content"


def test_equal_plaintext_events_are_two_events(alice: Account) -> None:
    request = to_device("m.room_key_request", {"action": "request"})
    assert alice.write(inbox.put_batch, APP, [request, request], "1", NOW) == 2


def test_an_event_of_the_same_ciphertext_from_somebody_else_is_another(alice: Account) -> None:
    alice.write(inbox.put_batch, APP, [olm("a"), {**olm("a"), "sender": "@mallory:x"}], "1", NOW)
    assert alice.read(inbox.depth) == 2


def test_events_that_cannot_be_used_hold_up_nobody(alice: Account) -> None:
    odd = [{"type": "m.room.encrypted"}, {"type": "x", "sender": "@b:x", "content": []}, olm("a")]
    alice.write(inbox.put_batch, APP, odd, "9", NOW)
    (row,) = alice.read(inbox.waiting, 10)
    alice.write(inbox.mark_unusable, row.seq, "malformed")
    assert alice.read(inbox.depth) == 0
    assert alice.read(session.token, APP) == "9"


def test_waiting_gives_the_oldest_first_and_no_more_than_asked(alice: Account) -> None:
    alice.write(inbox.put_batch, APP, [olm(str(number)) for number in range(5)], "9", NOW)
    seqs = [row.seq for row in alice.read(inbox.waiting, 3)]
    assert seqs == sorted(seqs)
    assert len(seqs) == 3


def test_old_digests_are_forgotten_and_waiting_events_are_not(alice: Account) -> None:
    alice.write(inbox.put_batch, APP, [olm("a"), olm("b")], "1", NOW)
    (first, _) = alice.read(inbox.waiting, 10)
    alice.write(inbox.mark_done, first.seq)
    alice.write(inbox.forget_old, NOW + 1)
    assert alice.one("SELECT count(*) FROM inbox") == 1
