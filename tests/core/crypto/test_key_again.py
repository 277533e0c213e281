"""A key is sent again by hand only, once, and only to a device that was to have it and whose owner is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tandem_core import settings
from tandem_core.crypto.key_again import CannotSendKey
from tandem_core.crypto.trust import EventTrust, of_event
from tandem_core.errors import BadInput, Offline
from tandem_core.store import events
from tandem_core.store import session as sessions
from tandem_core.types import DeviceId, EventId, UserId
from tests.core.crypto.failed_kit import DAY, MINUTE, Talk, change, first_index
from tests.core.crypto.key_server import me_key
from tests.core.crypto.own_devices import verify
from tests.core.crypto.world import NOW, ROOM, Device, user

ONE = DeviceId("ONE")
BOB = user("bob")


def send(talk: Talk, event_id: str, user_id: UserId = BOB, device_id: DeviceId = ONE) -> None:
    """What a person at Alice's machine does."""
    asyncio.run(talk.alice.crypto.send_key_again(EventId(event_id), user_id, device_id))


def refused(talk: Talk, event_id: str, user_id: UserId = BOB, device_id: DeviceId = ONE) -> str:
    """Why it was not sent; nothing has gone out."""
    before = len(talk.server.asked("sendToDevice"))
    with pytest.raises((CannotSendKey, BadInput)) as error:
        send(talk, event_id, user_id, device_id)
    assert len(talk.server.asked("sendToDevice")) == before
    assert talk.alice.rows("SELECT * FROM key_again") == []
    return error.value.detail


def test_the_device_can_read_that_message_and_what_follows_and_nothing_before(talk: Talk) -> None:
    before, event_id, after = talk.say("before"), talk.lost("this one"), talk.say("after")
    send(talk, event_id)
    for other in (before, after):
        talk.see(other)
    assert [talk.bob.body(each) for each in (before, event_id, after)] == [None, "this one", "after"]
    assert first_index(talk.bob, talk.session(event_id)) == 2


def test_the_key_proves_its_sender_as_the_first_one_did(talk: Talk) -> None:
    event_id = talk.lost()
    send(talk, event_id)
    talk.bob.receive()
    assert talk.bob.read(of_event, talk.bob.me, event_id) is EventTrust.GOOD


def test_a_session_that_was_replaced_since_can_still_be_sent(talk: Talk) -> None:
    event_id = talk.lost()
    talk.rotate()
    talk.see(talk.say("in another session"))
    send(talk, event_id)
    talk.bob.receive()
    assert talk.bob.body(event_id) == "lost"


def test_what_is_sent_again_uses_no_place_of_the_ratchet(talk: Talk) -> None:
    event_id = talk.lost()
    send(talk, event_id)
    later = talk.say("later")
    talk.see(later)
    assert talk.bob.body(later) == "later"
    assert talk.alice.one("SELECT max(message_index) FROM megolm_replay") == 2


def test_nothing_is_given_twice(talk: Talk) -> None:
    event_id = talk.lost()
    send(talk, event_id)
    sent = len(talk.server.asked("sendToDevice"))
    with pytest.raises(CannotSendKey, match="already"):
        send(talk, event_id)
    with pytest.raises(CannotSendKey, match="already"):
        send(talk, talk.say("covered by the same key"))
    keys = [r for r in talk.server.asked("sendToDevice")[sent:] if "m.room_key" in r.path]
    assert keys == []


def test_a_device_that_has_begun_a_new_channel_since_may_be_sent_it_once_more(talk: Talk) -> None:
    """What was encrypted for its old channel may never have been read."""
    event_id = talk.lost()
    send(talk, event_id)
    change(talk.bob, "DELETE FROM olm_session")
    talk.server.inboxes.pop(me_key(talk.bob.me))
    asyncio.run(talk.bob.keys.claim(talk.bob.devices(talk.alice)))
    talk.bob.seal("a word over the new channel", {BOB, talk.alice.me.user_id})
    asyncio.run(talk.bob.flush())
    talk.alice.receive()
    send(talk, event_id)
    talk.bob.receive()
    assert talk.bob.body(event_id) == "lost"


def test_a_person_who_asks_may_cost_a_one_time_key(talk: Talk) -> None:
    event_id = talk.lost()
    change(talk.alice, "DELETE FROM olm_session")
    claims = len(talk.server.asked("keys/claim"))
    send(talk, event_id)
    assert len(talk.server.asked("keys/claim")) == claims + 1
    talk.bob.receive()
    assert talk.bob.body(event_id) == "lost"


def test_a_device_that_had_no_one_time_key_then_gets_the_key_now(
    talk: Talk, make_device: Callable[..., Device]
) -> None:
    tablet = make_device("bob", "TABLET")
    verify(talk.bob, tablet)
    talk.alice.knows(talk.bob)
    held = {kind: getattr(talk.server, kind).pop(me_key(tablet.me)) for kind in ("one_time", "fallback")}
    event_id, later = talk.say("out of keys"), talk.say("still out of keys")
    assert talk.alice.rows("SELECT outcome, first_index FROM key_share WHERE device_id = 'TABLET'") == [
        ("no_olm", 1)
    ]
    for kind, keys in held.items():
        getattr(talk.server, kind)[me_key(tablet.me)] = keys
    talk.wait(2 * MINUTE)
    send(talk, event_id, device_id=tablet.me.device_id)
    for each in (event_id, later):
        talk.see(each, to=tablet)
    assert [tablet.body(each) for each in (event_id, later)] == ["out of keys", "still out of keys"]
    assert talk.alice.rows("SELECT outcome FROM key_share WHERE device_id = 'TABLET'") == [("shared",)]


def test_a_key_that_is_on_its_way_when_the_net_goes_arrives_later(talk: Talk) -> None:
    event_id = talk.lost()
    talk.server.lose_request.append("sendToDevice")
    with pytest.raises(Offline):
        send(talk, event_id)
    asyncio.run(talk.alice.flush())
    talk.bob.receive()
    assert talk.bob.body(event_id) == "lost"


def test_no_key_for_a_device_that_was_not_there_when_the_message_was_sent(
    talk: Talk, make_device: Callable[..., Device]
) -> None:
    event_id = talk.say("before the tablet")
    tablet = make_device("bob", "TABLET")
    verify(talk.bob, tablet)
    assert "not to have" in refused(talk, event_id, device_id=tablet.me.device_id)
    talk.say("the tablet gets this one")
    assert "not to have" in refused(talk, event_id, device_id=tablet.me.device_id)


def test_no_key_for_another_device_under_the_same_name(talk: Talk) -> None:
    event_id = talk.lost()
    change(talk.alice, "UPDATE key_share SET curve25519 = 'another'")
    assert "not to have" in refused(talk, event_id)


def test_no_key_for_a_device_that_its_owner_has_not_signed(talk: Talk) -> None:
    event_id = talk.lost()
    talk.server.signatures.clear()
    change(talk.alice, "UPDATE device SET signed_by = NULL WHERE user_id = ?", BOB)
    assert "not confirmed" in refused(talk, event_id)


def test_no_key_for_a_device_that_is_gone(talk: Talk) -> None:
    event_id = talk.lost()
    talk.server.devices[BOB].pop(ONE)
    assert "no device" in refused(talk, event_id)


def test_no_key_for_somebody_who_has_left(talk: Talk) -> None:
    event_id = talk.lost()
    talk.alice.leaves(BOB)
    assert "not in the room" in refused(talk, event_id)


def test_no_key_for_somebody_who_was_not_there_then(talk: Talk) -> None:
    event_id = talk.lost()
    change(talk.alice, "UPDATE audience SET user_id = '@carol:example.org' WHERE device_id = ''")
    assert "not for" in refused(talk, event_id)


def test_no_key_for_who_may_not_read_what_we_write_any_more(talk: Talk) -> None:
    event_id = talk.lost()
    talk.alice.write(settings.set_value, "encryption.verified_only", True, now_ms=NOW)
    change(talk.alice, "UPDATE identity SET signed_by = NULL WHERE user_id = ?", BOB)
    talk.server.signatures[:] = [made for made in talk.server.signatures if made[0] != talk.alice.me.user_id]
    assert "settings" in refused(talk, event_id)


def test_no_key_while_a_verified_identity_has_changed(talk: Talk) -> None:
    event_id = talk.lost()
    change(talk.alice, "UPDATE identity SET verified_master = 'another' WHERE user_id = ?", BOB)
    change(talk.alice, "UPDATE identity SET signed_by = NULL WHERE user_id = ?", BOB)
    talk.server.signatures[:] = [made for made in talk.server.signatures if made[0] != talk.alice.me.user_id]
    assert "identity" in refused(talk, event_id)


def test_no_key_of_a_message_that_is_not_ours_or_deleted_or_unknown(talk: Talk) -> None:
    event_id = talk.lost()
    assert "no message" in refused(talk, "$unknown")
    assert "your own" in refused(talk, event_id, user_id=talk.alice.me.user_id)
    talk.alice.write(events.redact, ROOM, event_id, "$redaction")
    assert "deleted" in refused(talk, event_id)


def test_what_another_device_of_ours_wrote_it_alone_can_send(
    talk: Talk, make_device: Callable[..., Device]
) -> None:
    event_id = talk.lost()
    change(talk.alice, "DELETE FROM megolm_first")
    assert "another device of yours" in refused(talk, event_id)


def test_the_beginnings_of_sessions_are_kept_for_two_months_and_go_with_the_device(talk: Talk) -> None:
    sessions_kept = "SELECT count(*) FROM megolm_first"
    talk.wait(61 * DAY)
    talk.rotate()
    talk.say("much later")
    assert talk.alice.one(sessions_kept) == 1
    talk.alice.write(sessions.become_new_device)
    assert talk.alice.one(sessions_kept) == 0
    assert talk.alice.rows("SELECT * FROM key_again") == []
