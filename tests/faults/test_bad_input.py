"""Wrong servers, wrong passwords, expired sessions, garbage: what a user reads, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_demo.raw import RawClient
from tests.faults.conftest import PASSWORD, Alice, until
from tests.support.fake_homeserver import SYNC, FakeHomeserver


def test_a_wrong_password_is_said_and_keeps_nobody(stranger: Alice) -> None:
    done = stranger.login(password="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tandemctl: User name or password is wrong. Check both and try again.\n"
    assert stranger.ask("SELECT count(*) FROM session") == [(0,)]


def test_a_web_server_is_no_homeserver(stranger: Alice, server: FakeHomeserver) -> None:
    server.answer("", 200, b"<html>Hello</html>", times=99, content_type="text/html")
    done = stranger.login()
    assert done.returncode == 1
    assert done.stderr.startswith("tandemctl: There is no Matrix homeserver at this address.")


def test_a_server_without_sliding_sync_is_named_as_such(stranger: Alice, server: FakeHomeserver) -> None:
    server.answer("/versions", 200, {"versions": ["v1.11"], "unstable_features": {}}, times=9)
    done = stranger.login()
    assert done.returncode == 1
    assert done.stderr.startswith("tandemctl: This homeserver does not offer sliding sync.")
    assert server.seen("/login") == []


def test_an_unreachable_server_is_said(stranger: Alice) -> None:
    done = stranger.login("http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("tandemctl: No connection to your homeserver (cannot connect).")


@pytest.mark.parametrize(
    ("soft", "words"),
    [
        (True, "Your session has expired. Sign in again; your messages and keys are kept."),
        (
            False,
            "You were signed out. This device was removed from your account. Sign in again as a new device.",
        ),
    ],
)
def test_an_expired_session_ends_with_a_sentence_and_keeps_the_store(
    alice: Alice, server: FakeHomeserver, bob: RawClient, soft: bool, words: str
) -> None:
    room = bob.create_room(invite=[alice.user_id])
    RawClient(server.base_url).login("alice", PASSWORD).join(room)
    bob.say(room, "keep me")
    alice.start()
    until(lambda: alice.ask("SELECT 1 FROM event WHERE body = 'keep me'"))
    [(device,)] = alice.ask("SELECT device_id FROM session")
    server.expire(alice.user_id, soft=soft)
    alice.poke("im.last")  # ends the poll under way; the next request is refused
    if not soft:
        assert alice.ended() == 1
    until(lambda: alice.last_words() == f"tandem-notifier: {words}")
    assert alice.ctl("send", room, "hello").returncode == 1
    done = alice.login()
    assert done.returncode == 0, done.stderr
    if soft:
        until(alice.is_syncing)  # the notifier has waited, and goes on
    [(new_device,)] = alice.ask("SELECT device_id FROM session")
    assert (new_device == device) is soft
    assert alice.ask("SELECT count(*) FROM event WHERE body = 'keep me'") == [(1,)]


@pytest.mark.parametrize(
    "garbage",
    [
        7,
        None,
        [],
        {"type": 7, "sender": "@bob:fake.test", "content": {}},
        {"type": "im.x", "sender": None, "content": {}},
        {"type": "m.room.encrypted", "sender": "@bob:fake.test", "content": [1]},
        {"type": "m.room.encrypted", "sender": "bob", "content": {"algorithm": 3, "ciphertext": "x"}},
        {"type": "m.room_key", "sender": "@bob:fake.test", "content": {"session_key": "A" * 400_000}},
    ],
    ids=["number", "null", "list", "type", "sender", "content", "sealed", "huge"],
)
def test_garbage_among_to_device_events_holds_up_nothing(
    alice: Alice, server: FakeHomeserver, garbage: Any
) -> None:
    alice.poke("im.before")
    server.put_to_device(alice.user_id, garbage)
    alice.poke("im.after")
    alice.start()
    until(lambda: server.queued(alice.user_id) == [])
    kept = alice.inbox()
    assert kept[0] == "im.before"
    assert kept[-1] == "im.after"
    until(lambda: alice.ask("SELECT count(*) FROM inbox WHERE state = 0") == [(0,)])
    assert alice.is_syncing()


def test_an_answer_that_is_no_sync_response_acknowledges_nothing(
    alice: Alice, server: FakeHomeserver
) -> None:
    server.edit(SYNC, lambda answer: {"extensions": answer["extensions"]})
    server.edit(SYNC, lambda answer: b"[]")
    server.edit(SYNC, lambda answer: b"{broken")
    alice.poke("im.one", "im.two")
    alice.start()
    until(lambda: alice.inbox() == ["im.one", "im.two"])
    assert len([one for one in server.seen(SYNC) if one.status == 200]) >= 4
