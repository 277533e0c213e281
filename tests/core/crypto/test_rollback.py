"""An older copy of the store is noticed before it encrypts: no place of a ratchet is used twice, the user is told."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vodozemac import GroupSession

from tandem_core.crypto import outbox as to_device
from tandem_core.crypto import rollback
from tandem_core.crypto.rollback import FIRST_ROOMS, Own, is_unknown, own_events
from tandem_core.errors import Offline, ServerRefused
from tandem_core.store import crypto, devices, session
from tandem_core.store.codec import loads
from tandem_core.store.crypto import RESTORED_FACT
from tandem_core.types import DeviceId, EventId, Me, RoomId, UserId
from tests.core.crypto.key_server import KeyServer, me_key
from tests.core.crypto.test_sending import places, read_by, send, sent, write
from tests.core.crypto.world import NOW, ROOM, Device
from tests.support.keys import retire_keys
from tests.torture.ledger import olm_index

ME = Me(UserId("@me:example.org"), DeviceId("HERE"))
KEY = "identity+key"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def sealed(session_: GroupSession, **changed: Any) -> dict[str, Any]:
    """Our own event as the server has it."""
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": session_.encrypt(b"{}").to_base64(),
        "session_id": session_.session_id,
        "sender_key": KEY,
        "device_id": ME.device_id,
    }
    event = {"event_id": "$e", "sender": ME.user_id, "type": "m.room.encrypted", "content": content}
    content.update({name: value for name, value in changed.items() if name in content})
    return event | {name: value for name, value in changed.items() if name not in content}


@given(st.integers(0, 300))
def test_a_place_is_unknown_exactly_when_it_was_not_used_here(place: int) -> None:
    session_ = GroupSession()
    for _ in range(place):
        session_.encrypt(b"before")
    [own] = own_events(ROOM, [sealed(session_)], ME, KEY)
    assert (own.session_id, own.place) == (session_.session_id, place)
    for used in (0, place, place + 1, crypto.ALL_PLACES):
        assert is_unknown(own, used) == (place >= used)


@pytest.mark.parametrize(
    "changed",
    [
        {"sender_key": "another"},
        {"device_id": "OTHER"},
        {"sender": "@you:example.org"},
        {"ciphertext": "AwgA"},
    ],
)
def test_what_another_device_or_person_sent_proves_nothing(changed: dict[str, str]) -> None:
    assert own_events(ROOM, [sealed(GroupSession(), **changed)], ME, KEY) == []


def test_an_event_in_clear_is_ours_by_its_transaction_id_and_proves_nothing() -> None:
    event = {"event_id": "$e", "sender": ME.user_id, "content": {}, "unsigned": {"transaction_id": "t1"}}
    [own] = own_events(ROOM, [event], ME, KEY)
    assert own == Own(ROOM, EventId("$e"), "t1")
    assert not is_unknown(own, 0)


@given(st.lists(JSON | st.fixed_dictionaries({"sender": st.just(ME.user_id)}, optional={
    "event_id": JSON, "content": JSON | st.dictionaries(st.sampled_from(["sender_key", "device_id", "session_id",
    "ciphertext"]), st.sampled_from([KEY, ME.device_id, "AwgA", None, 7])), "unsigned": JSON})) | JSON)  # fmt: skip
def test_nothing_that_a_server_may_answer_breaks_the_look_or_proves_anything(chunk: Any) -> None:
    assert not [own for own in own_events(ROOM, chunk, ME, KEY) if own.session_id is not None]


# With stores.


class Copies:
    """Alice's store is copied, goes on, and is put back as it was; Bob reads all that she sends."""

    def __init__(self, alice: Device, bob: Device, server: KeyServer) -> None:
        self.alice = alice
        self.bob = bob
        self.server = server
        self.written: list[str] = []
        self._copy = alice.folder / "copy.db"

    def say(self, *bodies: str, room: RoomId = ROOM) -> None:
        for body in bodies:
            write(self.alice, body)
            send(self.alice)
            self.written.append(body)

    def keep(self) -> None:
        with closing(sqlite3.connect(self._copy)) as to:
            self.alice.db.read_now(lambda conn: conn.backup(to))

    def put_back(self) -> None:
        """What somebody does who copies old files over new ones while no program runs."""
        self.alice.close()
        path = self.alice.paths.database
        for left in path.parent.glob(f"{path.name}-*"):
            left.unlink()
        path.write_bytes(self._copy.read_bytes())
        self.alice = self.alice.restarted()

    def restart(self) -> None:
        self.alice = self.alice.restarted()

    def rotate(self) -> None:
        self.alice.write(retire_keys)

    @property
    def told(self) -> Any:
        return self.alice.read(session.fact, RESTORED_FACT)

    def asked(self) -> int:
        return len(self.server.asked("/messages"))

    def assert_sound(self) -> None:
        """Bob reads everything, and no place of any ratchet was used for two things."""
        assert read_by(self.bob, self.server, self.alice) == self.written
        used = places(self.server)
        assert len(used) == len(set(used))
        assert self.bob.inbox_errors() == []
        letters = {
            (part["type"], part["body"])
            for request in self.server.asked("/sendToDevice/m.room.encrypted")
            for by_device in request.body["messages"].values()
            for content in by_device.values()
            for part in content["ciphertext"].values()
        }
        assert len({olm_index(*letter) for letter in letters}) == len(letters)


@pytest.fixture
def copies(friends: tuple[Device, Device], server: KeyServer) -> Iterator[Copies]:
    alice, bob = friends
    alice.is_in(ROOM, bob.me.user_id)
    bob.is_in(ROOM, alice.me.user_id)
    made = Copies(alice, bob, server)
    yield made
    made.alice.close()


def test_without_a_copy_put_back_nobody_is_alarmed_and_one_question_a_start_is_asked(copies: Copies) -> None:
    copies.say("one", "two")
    copies.rotate()
    copies.say("three")
    copies.restart()
    before = copies.asked()
    copies.say("four", "five")
    assert copies.told is None
    assert copies.asked() == before + 1
    assert len(copies.alice.rows("SELECT 1 FROM olm_session WHERE stale")) == 0
    copies.assert_sound()


@pytest.mark.parametrize("goes_on", ["in the same session", "in a new session", "first in this room"])
def test_an_older_copy_encrypts_nothing_with_what_it_holds(copies: Copies, goes_on: str) -> None:
    if goes_on != "first in this room":
        copies.say("before the copy")
    copies.keep()
    if goes_on == "in a new session":
        copies.rotate()
    copies.say("lost one", "lost two")
    copies.put_back()
    copies.say("afterwards", "and on")
    assert copies.told == {"at": NOW, "put_away": False}
    copies.assert_sound()


def test_what_was_noticed_once_is_no_news_at_the_next_start(copies: Copies) -> None:
    copies.say("one")
    copies.keep()
    copies.rotate()
    copies.say("lost")
    copies.put_back()
    copies.say("afterwards")
    session_id = copies.alice.one("SELECT session_id FROM megolm_outbound")
    copies.alice.write(session.set_fact, RESTORED_FACT, None)
    copies.restart()
    copies.say("later")
    assert copies.told is None
    assert copies.alice.one("SELECT session_id FROM megolm_outbound") == session_id
    copies.assert_sound()


def test_the_same_copy_put_back_twice_is_noticed_twice(copies: Copies) -> None:
    copies.say("one")
    copies.keep()
    for number in range(2):
        copies.say(f"lost {number}")
        copies.put_back()
        copies.say(f"afterwards {number}")
        assert copies.told is not None
    copies.assert_sound()


def test_the_program_that_started_second_finds_it_settled(copies: Copies) -> None:
    copies.say("one")
    copies.keep()
    copies.say("lost")
    copies.put_back()
    notifier = copies.alice.other_program()
    notifier.is_in(ROOM, copies.bob.me.user_id)
    try:
        copies.say("by the window")
        made = copies.alice.rows("SELECT session_id FROM olm_session WHERE stale = 0")
        write(copies.alice, "by the notifier")
        send(notifier)
        copies.written.append("by the notifier")
        assert copies.alice.rows("SELECT session_id FROM olm_session WHERE stale = 0") == made
        copies.assert_sound()
    finally:
        notifier.close()


def test_an_olm_session_that_went_back_still_opens_what_comes(copies: Copies) -> None:
    copies.say("one")
    copies.bob.receive()
    copies.bob.seal("from Bob over the old session", {copies.alice.me.user_id})
    copies.keep()
    copies.say("lost")
    copies.put_back()
    copies.say("afterwards")
    asyncio.run(copies.bob.flush())
    copies.alice.receive()
    assert copies.alice.inbox_errors() == []
    assert {stale for (stale,) in copies.alice.rows("SELECT stale FROM olm_session")} == {0, 1}
    copies.say("and on")
    copies.assert_sound()


def test_a_message_that_waits_in_the_copy_and_was_sent_since_is_not_sent_again(
    copies: Copies, server: KeyServer
) -> None:
    copies.say("one")
    write(copies.alice, "waits in the copy")
    copies.keep()
    send(copies.alice)
    copies.say("lost")
    copies.put_back()
    server._seen.clear()  # a server keeps transaction ids for a day
    copies.say("afterwards")
    copies.written[1:1] = ["waits in the copy"]
    assert copies.alice.rows("SELECT 1 FROM send_queue WHERE state != 'sent'") == []
    copies.assert_sound()


def test_a_message_encrypted_in_the_copy_and_never_sent_is_encrypted_anew(
    copies: Copies, server: KeyServer
) -> None:
    copies.say("one")
    write(copies.alice, "never sent")
    server.lose_request.append("/send/")
    with pytest.raises(Offline):
        send(copies.alice)
    copies.keep()
    assert copies.alice.rows("SELECT 1 FROM send_queue WHERE wire_content IS NOT NULL AND state = 'sending'")
    # In the copy it waits with its ciphertext; the world went on without it.
    copies.alice.write(lambda txn: txn.execute("DELETE FROM send_queue WHERE state != 'sent'"))
    copies.say("lost")
    copies.put_back()
    copies.say("afterwards")
    copies.written.insert(2, "never sent")
    copies.assert_sound()


def test_what_one_program_gives_up_the_other_does_not_send_without_its_keys(copies: Copies) -> None:
    """The other one notices while this one is about to send: the keys of these bytes went with the ratchets."""
    copies.say("one")
    copies.rotate()
    notifier = copies.alice.other_program()
    try:
        keys = asyncio.run(notifier.crypto.keys())

        async def notice_meanwhile() -> None:
            real = to_device.flush

            async def flush(*args: Any) -> None:
                monkey.setattr(to_device, "flush", real)
                await keys.rollback.keys_went_back()
                await real(*args)

            with pytest.MonkeyPatch.context() as monkey:
                monkey.setattr(to_device, "flush", flush)
                await copies.alice.sender.step()

        write(copies.alice, "two")
        asyncio.run(notice_meanwhile())
        copies.written.append("two")
        assert copies.told is not None
        copies.assert_sound()
    finally:
        notifier.close()


def test_a_kill_between_sending_and_its_answer_alarms_nobody(copies: Copies, server: KeyServer) -> None:
    copies.say("one")
    write(copies.alice, "on the server, and nobody was told")
    server.lose_answer.append("/send/")
    with pytest.raises(Offline):
        send(copies.alice)
    copies.restart()
    send(copies.alice)
    copies.written.append("on the server, and nobody was told")
    copies.say("later")
    assert copies.told is None
    copies.assert_sound()


def test_another_device_of_the_account_alarms_nobody(
    copies: Copies, make_device: Callable[..., Device], server: KeyServer
) -> None:
    copies.say("one")
    second = make_device("alice", "TWO")
    second.knows(copies.bob)
    second.is_in(ROOM, copies.bob.me.user_id)
    write(second, "from the other device")
    send(second)
    assert len(sent(server)) == 2
    copies.restart()
    copies.say("later")
    assert copies.told is None


def test_nothing_is_encrypted_while_the_server_cannot_be_asked(copies: Copies, server: KeyServer) -> None:
    copies.say("one")
    copies.keep()
    copies.say("lost")
    copies.put_back()
    write(copies.alice, "waits")
    server.lose_request.append("/messages")
    with pytest.raises(Offline):
        send(copies.alice)
    assert (
        copies.alice.rows("SELECT 1 FROM send_queue WHERE wire_content IS NOT NULL AND state != 'sent'") == []
    )
    send(copies.alice)
    copies.written.append("waits")
    copies.assert_sound()


def test_a_room_whose_history_is_refused_keeps_nobody_from_writing(copies: Copies, server: KeyServer) -> None:
    copies.say("one")
    copies.restart()
    server.refuse.append(("/messages", ServerRefused(403, "M_FORBIDDEN", "no")))
    copies.say("two")
    assert copies.told is None
    copies.assert_sound()


def test_broken_sessions_are_not_mended_with_ratchets_that_went_back(
    copies: Copies, server: KeyServer
) -> None:
    copies.say("one")
    [known] = copies.alice.devices(copies.bob)
    copies.alice.write(
        crypto.note_wedged, known.curve25519, known.user_id, known.device_id, copies.alice.clock.now_ms(), 1
    )
    copies.keep()
    copies.rotate()
    copies.say("lost")
    copies.put_back()
    server.one_time[me_key(copies.bob.me)].clear()
    server.fallback[me_key(copies.bob.me)].clear()
    asyncio.run(copies.alice.crypto.step())
    assert copies.told is not None
    copies.assert_sound()


def test_the_rooms_with_the_newest_messages_are_looked_at_first_and_others_when_written_in(
    copies: Copies, server: KeyServer
) -> None:
    alice, names = copies.alice, [RoomId(f"!r{number}:example.org") for number in range(FIRST_ROOMS + 4)]
    random.Random(3).shuffle(names)
    for place, name in enumerate(names):
        alice.is_in(name, copies.bob.me.user_id)
        alice.write(
            lambda txn, place=place, name=name: txn.execute(
                "UPDATE room SET last_at = ? WHERE room_id = ?", (place + 1, name)
            )
        )
    copies.restart()
    copies.alice.clock.time_ms += 1
    asyncio.run(copies.alice.crypto.step())
    looked = {request.path.split("/")[5] for request in server.asked("/messages")}
    assert looked == {name.replace("!", "%21").replace(":", "%3A") for name in names[-FIRST_ROOMS:]}
    copies.say("in the room that was not among them")
    assert copies.asked() == FIRST_ROOMS + 1


def test_the_first_encryption_waits_for_the_first_answer_of_sync(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = copies.alice
    synced = asyncio.Event()
    keys = asyncio.run(check.crypto.keys())
    keys.rollback._synced = synced

    async def work() -> tuple[bool, bool]:
        task = asyncio.ensure_future(keys.rollback.before_encrypting())
        for _ in range(5):
            await asyncio.sleep(0)
        early = task.done()
        synced.set()
        await task
        return early, task.done()

    assert asyncio.run(work()) == (False, True)
    monkeypatch.setattr(rollback, "SYNC_PATIENCE_S", 0.0)
    copies.restart()
    keys = asyncio.run(copies.alice.crypto.keys())
    keys.rollback._synced = asyncio.Event()
    asyncio.run(keys.rollback.before_encrypting())


def test_letters_of_an_old_copy_do_not_go_out_again(copies: Copies, server: KeyServer) -> None:
    copies.say("one")
    copies.rotate()
    write(copies.alice, "two")
    server.lose_answer.append("/sendToDevice/")
    with pytest.raises(Offline):
        send(copies.alice)
    copies.keep()
    send(copies.alice)
    copies.written.append("two")
    copies.say("lost")
    copies.put_back()
    old = [loads(text) for (text,) in copies.alice.rows("SELECT messages FROM to_device_out WHERE done = 0")]
    assert old
    server.requests.clear()
    server._seen.clear()
    copies.alice.write(devices.note_key_counts, {"signed_curve25519": 50}, ["signed_curve25519"], NOW)
    asyncio.run(copies.alice.crypto.step())
    assert [request.body["messages"] for request in server.asked("/sendToDevice/")] == []
