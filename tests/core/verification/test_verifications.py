"""Verifications of windows, over stores, encryption and a homeserver in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tandem_core.crypto import trust
from tandem_core.crypto.trust import DeviceTrust, PersonTrust
from tandem_core.errors import BadInput, Offline
from tandem_core.store import identities
from tandem_core.store import verification as rows
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Role
from tandem_core.verification import messages
from tandem_core.verification.flow import REQUEST_MS, STEP_MS, NotNow, Phase, Step
from tandem_core.verification.messages import Code, Kind, Place
from tandem_core.verification.qr import BadCode
from tandem_core.verification.verifications import NoDevice, View
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import NOW, ROOM, StillClock, user
from tests.core.verification.acts import Make, agree, compare, device_trust, own_devices, people
from tests.core.verification.windows import Window, carry


def test_a_new_device_is_verified_by_an_old_one_and_asks_it_for_the_secrets(
    make_device: Make, server: KeyServer
) -> None:
    old, new = own_devices(make_device)
    assert device_trust(old, new) is DeviceTrust.UNSIGNED
    new.run(new.verifications.request_own())
    compare(new, old)
    assert new.view.phase is old.view.phase is Phase.DONE
    assert new.view.is_signed
    assert old.view.is_signed
    own = new.device.read(identities.identity, user("alice"))
    assert own.verified_master == own.master
    old.device.knows(new.device)
    assert device_trust(old, new) is DeviceTrust.VERIFIED
    asked = server.asked("sendToDevice/m.secret.request")
    wanted = [
        (request.by.device_id, device, content["name"])
        for request in asked
        for device, content in request.body["messages"][user("alice")].items()
        if content["name"].startswith("m.cross_signing.")
    ]
    assert {(by, device) for by, device, _ in wanted} == {("NEW", "OLD")}
    assert "m.cross_signing.self_signing" in {name for _, _, name in wanted}


def test_two_people_verify_each_other_in_their_encrypted_chat(make_device: Make, server: KeyServer) -> None:
    alice, bob = people(make_device)
    alice.run(alice.verifications.request_person(user("bob")))
    first = alice.id
    compare(alice, bob)
    assert alice.view.phase is bob.view.phase is Phase.DONE
    assert alice.id == first  # although its event has a name by now
    for window, other in ((alice, bob), (bob, alice)):
        assert (
            window.device.read(trust.person, window.device.me, other.device.me.user_id)
            is PersonTrust.VERIFIED
        )
    assert {event["type"] for event in server.events[ROOM]} == {"m.room.encrypted"}
    assert not server.asked("createRoom")


Looks = Callable[[Window, Callable[[Any], bool]], list[View]]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Look at a window's verifications as soon as one of these changes is in its store; returns what is seen then."""

    def begin(window: Window, is_meant: Callable[[Any], bool]) -> list[View]:
        seen, looking, write = list[View](), list[asyncio.Task[None]](), Database.write

        async def look() -> None:
            seen.extend(await window.verifications.flows())

        async def write_and_look(db: Database, work: Any, *words: Any, **more: Any) -> Any:
            done = await write(db, work, *words, **more)
            if db is window.device.db and is_meant(done):
                looking.append(asyncio.ensure_future(look()))
                await asyncio.sleep(0.05)
            return done

        monkeypatch.setattr(Database, "write", write_and_look)
        return seen

    return begin


def test_a_request_keeps_its_id_while_the_store_gives_it_another_name(
    make_device: Make, looks: Looks
) -> None:
    alice, bob = people(make_device)
    alice.run(alice.verifications.request_person(user("bob")))
    first = alice.id
    seen = looks(alice, lambda done: isinstance(done, dict) and any(isinstance(at, Place) for at in done))
    compare(alice, bob)
    assert [view.id for view in seen] == [first]


@pytest.mark.parametrize("which", [0, 1])
def test_there_is_something_to_compare_as_soon_as_it_is_time_to(
    make_device: Make, looks: Looks, which: int
) -> None:
    both = people(make_device)
    both[0].run(both[0].verifications.request_person(user("bob")))
    seen = looks(both[which], lambda done: isinstance(done, Step) and done.flow.phase is Phase.COMPARE)
    compare(*both)
    assert [(view.phase, len(view.emoji), len(view.decimals)) for view in seen] == [(Phase.COMPARE, 7, 3)]


def test_what_belongs_to_a_verification_is_no_message_of_the_chat(make_device: Make) -> None:
    alice, bob = people(make_device)
    alice.run(alice.verifications.request_person(user("bob")))
    compare(alice, bob)
    for window in (alice, bob):
        shown = window.device.rows(
            "SELECT e.kind, e.body FROM event e JOIN timeline t USING (event_id) WHERE t.shown"
        )
        assert set(shown) == {("notice", "Asks to verify each other")}
    assert bob.device.one("SELECT count(*) FROM notification") == 0


@pytest.mark.parametrize("new_one_shows", [True, False])
def test_a_text_code_does_the_same_between_own_devices(make_device: Make, new_one_shows: bool) -> None:
    old, new = own_devices(make_device)
    old.run(old.verifications.request_own(DeviceId("NEW")))
    agree(old, new)
    shower, reader = (new, old) if new_one_shows else (old, new)
    assert shower.view.shown is not None
    assert reader.view.can_scan
    with pytest.raises(BadCode):
        reader.do("scan", "nothing of the kind")
    reader.do("scan", shower.view.shown.to_text())
    carry(old, new)
    assert (shower.view.phase, reader.view.phase) == (Phase.SHOWN, Phase.SCANNED)
    shower.do("confirm")
    carry(old, new)
    assert old.view.is_signed
    assert new.view.is_signed
    own = new.device.read(identities.identity, user("alice"))
    assert own.verified_master == own.master
    old.device.knows(new.device)
    assert device_trust(old, new) is DeviceTrust.VERIFIED


def test_all_own_devices_are_asked_and_those_that_do_not_answer_are_told(make_device: Make) -> None:
    old, new = own_devices(make_device)
    third = Window(make_device("alice", "THIRD"))
    new.run(new.verifications.request_own())
    carry(new, old, third)
    assert third.view.phase is old.view.phase is Phase.ASKED
    old.do("accept")
    carry(new, old, third)
    assert (third.view.phase, third.view.code) == (Phase.CANCELLED, Code.ACCEPTED)
    assert new.view.device_id == DeviceId("OLD")
    with pytest.raises(NotNow):
        third.do("accept")


def test_there_must_be_another_device_to_ask(make_device: Make) -> None:
    alone = Window(make_device("alice"))
    with pytest.raises(NoDevice):
        alone.run(alone.verifications.request_own())
    with pytest.raises(BadInput):
        alone.run(alone.verifications.request_person(user("alice")))
    with pytest.raises(BadInput):
        alone.run(alone.verifications.cancel("nothing"))


def test_a_device_with_a_swapped_key_is_not_verified(make_device: Make, server: KeyServer) -> None:
    old, new = own_devices(make_device)
    # The server has told the old device another key than the new one has.
    old.device.write(
        lambda txn: txn.execute("UPDATE device SET ed25519 = ? WHERE device_id = 'NEW'", ("A" * 43,))
    )
    new.run(new.verifications.request_own())
    agree(new, old)
    new.do("start_sas")
    carry(new, old)
    for window in (new, old):
        window.do("confirm")
        carry(new, old)
        if old.view.phase is Phase.CANCELLED:
            break
    assert old.view.code == new.view.code == Code.KEY_MISMATCH
    assert device_trust(old, new) is DeviceTrust.UNSIGNED


@pytest.mark.parametrize("act", ["mismatch", "cancel"])
def test_a_no_reaches_the_other_side(make_device: Make, act: str) -> None:
    old, new = own_devices(make_device)
    new.run(new.verifications.request_own())
    agree(new, old)
    new.do("start_sas")
    carry(new, old)
    old.do(act)
    carry(new, old)
    assert new.view.code == {"mismatch": Code.MISMATCHED_SAS, "cancel": Code.USER}[act]
    assert new.view.is_theirs
    assert not old.view.is_theirs
    assert device_trust(old, new) is DeviceTrust.UNSIGNED


def test_a_window_that_died_ends_what_it_had_begun(make_device: Make) -> None:
    old, new = own_devices(make_device)
    new.run(new.verifications.request_own())
    agree(new, old)
    new.do("start_sas")
    carry(new, old)
    old = old.restarted()
    carry(new, old)
    assert old.view.phase is new.view.phase is Phase.CANCELLED
    assert (new.view.code, new.view.is_theirs) == (Code.USER, True)


def test_a_request_that_nobody_touched_outlives_the_window(make_device: Make) -> None:
    old, new = own_devices(make_device)
    new.run(new.verifications.request_own())
    carry(new, old)
    old = old.restarted()
    compare(new, old)
    assert old.view.phase is Phase.DONE


def test_what_was_verified_is_signed_after_all_when_the_server_was_away(
    make_device: Make, server: KeyServer
) -> None:
    alice, bob = people(make_device)
    alice.run(alice.verifications.request_person(user("bob")))
    agree(alice, bob)
    alice.do("start_sas")
    carry(alice, bob)
    bob.do("confirm")
    carry(alice, bob)
    server.lose_request.append("signatures/upload")
    with pytest.raises(Offline):
        alice.do("confirm")
    assert alice.view.phase is Phase.DONE
    assert not alice.view.is_signed
    alice = alice.restarted()
    carry(alice, bob)
    assert alice.view.is_signed
    assert alice.device.read(trust.person, alice.device.me, user("bob")) is PersonTrust.VERIFIED


def test_what_cannot_be_kept_is_not_called_signed(make_device: Make) -> None:
    """Bob has compared all right, but neither of them has an identity."""
    alice, bob = people(make_device, has_identities=False)
    alice.run(alice.verifications.request_person(user("bob")))
    compare(alice, bob)
    for window in (alice, bob):
        assert window.view.phase is Phase.DONE
        assert window.view.is_settled
        assert not window.view.is_signed
        assert window.view.reason.startswith("The other side's account has no identity")


def test_requests_and_silences_are_over_in_time(make_device: Make, clock: StillClock) -> None:
    old, new = own_devices(make_device)
    new.run(new.verifications.request_own())
    carry(new, old)
    assert old.run(old.verifications.work()) == REQUEST_MS / 1000
    clock.time_ms += REQUEST_MS
    assert old.view.code == Code.TIMEOUT  # also before anybody has looked
    with pytest.raises(NotNow):
        old.do("accept")
    old.work()
    new.work()
    assert old.view.code == new.view.code == Code.TIMEOUT
    assert old.run(old.verifications.work()) is None
    assert old.device.rows("SELECT * FROM to_device_out WHERE done = 0") == []

    clock.time_ms += 1
    new.run(new.verifications.request_own())
    carry(new, old)
    newest = old.views[0].id
    old.run(old.verifications.accept(newest))
    carry(new, old)
    new.run(new.verifications.start_sas(new.views[0].id))
    carry(new, old)
    clock.time_ms += STEP_MS
    new.work()
    carry(new, old)
    assert new.views[0].code == old.views[0].code == Code.TIMEOUT


def test_a_request_in_a_room_that_is_called_off_before_it_is_sent_is_not_sent(
    make_device: Make, server: KeyServer
) -> None:
    alice, bob = people(make_device)
    alice.run(alice.verifications.request_person(user("bob")))
    alice.do("cancel")
    carry(alice, bob)
    assert alice.view.code == Code.USER
    assert bob.views == []
    assert server.events.get(ROOM, []) == []


def test_a_request_in_a_room_that_is_called_off_on_its_way_is_taken_back(make_device: Make) -> None:
    alice, bob = people(make_device)
    alice.run(alice.verifications.request_person(user("bob")))
    alice.device.write(lambda txn: txn.execute("UPDATE send_queue SET state = 'sending'"))
    alice.do("cancel")
    carry(alice, bob)
    assert (bob.view.phase, bob.view.code) == (Phase.CANCELLED, Code.USER)


def test_a_request_that_the_server_refuses_is_over(make_device: Make, server: KeyServer) -> None:
    from tandem_core.errors import ServerRefused

    alice, bob = people(make_device)
    server.refuse.append(("send/", ServerRefused(403, "M_FORBIDDEN", "no")))
    alice.run(alice.verifications.request_person(user("bob")))
    carry(alice, bob)
    assert (alice.view.phase, alice.view.reason) == (Phase.CANCELLED, "You may not write in this room")


def test_another_device_that_answers_in_the_room_takes_the_request_from_us(make_device: Make) -> None:
    alice, bob = people(make_device)
    other = make_device("bob", "PHONE")
    other.is_in(ROOM, user("alice"))
    other.knows(alice.device)
    alice.device.knows(bob.device)
    phone = Window(other)
    alice.run(alice.verifications.request_person(user("bob")))
    carry(alice, bob, phone)
    phone.do("accept")
    carry(alice, bob, phone)
    assert (bob.view.phase, bob.view.code) == (Phase.CANCELLED, Code.ACCEPTED)
    assert alice.view.device_id == DeviceId("PHONE")


def test_a_start_of_a_verification_that_nobody_knows_is_answered_so_once(
    make_device: Make, server: KeyServer
) -> None:
    old, new = own_devices(make_device)
    start = {**messages.starts_sas(DeviceId("NEW")), "transaction_id": "forgotten"}
    event = {"type": Kind.START, "sender": user("alice"), "content": start}
    old.device.put_inbox(event, event)
    old.device.drain()
    carry(old, new)
    sent = server.asked("sendToDevice/m.key.verification.cancel")
    assert [request.body["messages"][user("alice")]["NEW"]["code"] for request in sent] == [
        Code.UNKNOWN_TRANSACTION
    ]


def test_requests_between_own_devices_can_come_encrypted(make_device: Make) -> None:
    from tandem_core.crypto import olm
    from tandem_core.store import outbox

    old, new = own_devices(make_device)
    asyncio.run(new.device.keys.claim(new.device.devices(old.device)))
    target = next(device for device in new.device.devices(old.device) if device.device_id == "OLD")

    def seal(txn: object, claimed: str, flow: str) -> None:
        content = {"from_device": claimed, "methods": ["m.sas.v1"], "timestamp": NOW, "transaction_id": flow}
        sealed = olm.encrypt(txn, new.device.state, target, Kind.REQUEST, content, NOW)  # type: ignore[arg-type]
        outbox.put_to_device(txn, olm.SEALED, {user("alice"): {"OLD": sealed}}, NOW)  # type: ignore[arg-type]

    new.device.write(seal, "NEW", "true")
    new.device.write(seal, "THIRD", "forged")
    carry(new, old)
    assert old.view.device_id == DeviceId("NEW")
    assert old.view.id == "true"
    assert old.device.inbox_errors() == ["a verification under another device's name"]


def test_only_the_window_answers(make_device: Make) -> None:
    old, new = own_devices(make_device)
    new.run(new.verifications.request_own())
    new.send()
    notifier = old.device.other_program()
    try:
        notifier.fetch()
        notifier.drain()
        assert [row.phase for row in notifier.read(rows.untold, NOW)] == ["asked"]
        assert notifier.role is Role.NOTIFIER
        assert notifier.rows("SELECT * FROM to_device_out") == []
    finally:
        notifier.close()
    compare(new, old)
    assert old.view.phase is Phase.DONE
