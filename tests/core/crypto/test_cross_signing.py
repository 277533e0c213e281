"""Our own identity: set up once, replaced only when its owner says so, the same one whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tandem_core.crypto import own_identity, secrets, trust
from tandem_core.crypto.cross_signing import IdentityChanged, IdentityExists, NotConfirmed
from tandem_core.crypto.trust import DeviceTrust, PersonTrust
from tandem_core.errors import BadInput, Cancelled, NeedsApproval, Offline, ServerRefused
from tandem_core.store import identities
from tandem_core.store.codec import dumps
from tandem_core.store.outbox import put_to_device
from tandem_core.types import UserId
from tests.core.crypto.identity_kit import Identity
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.world import Device, StillClock

SECRETS = (secrets.MASTER, secrets.SELF_SIGNING, secrets.USER_SIGNING)
HOUR_MS = 3_600_000


class Person:
    """Somebody who is asked for the password; None: would rather not."""

    def __init__(self, *passwords: str | None) -> None:
        self.passwords = list(passwords)
        self.asked = 0

    async def password(self, *, was_wrong: bool) -> str | None:
        self.asked += 1
        return self.passwords.pop(0)

    async def in_browser(self, url: str) -> bool:
        raise AssertionError("nobody asks for that")


def _keep_up(*devices: Device) -> None:
    for device in devices:
        asyncio.run(device.cross_signing.keep_up())


def _master(server: KeyServer, user: UserId) -> str:
    return str(next(iter(server.identities[user]["master"]["keys"].values())))


def _own(device: Device) -> PersonTrust:
    found: PersonTrust = device.read(trust.person, device.me, device.me.user_id)
    return found


def _this(device: Device, seen_by: Device | None = None) -> DeviceTrust:
    seer = seen_by or device
    found: DeviceTrust = seer.read(trust.device, seer.me, device.me.user_id, device.me.device_id)
    return found


def _uploaded(server: KeyServer) -> set[str]:
    """The identities that were ever sent to the server."""
    return {dumps(request.body) for request in server.asked("device_signing/upload")}


def _held(device: Device) -> list[str]:
    return [name for name in SECRETS if device.read(secrets.has, name)]


def _seeds(device: Device) -> dict[str, str]:
    return {name: device.read(secrets.read, device.state, name) for name in SECRETS}


@pytest.fixture
def second(alice: Device, make_device: Callable[..., Device]) -> Device:
    """Another device of Alice, signed in after the first has set up her identity."""
    _keep_up(alice)
    return make_device("alice", "TWO")


def test_the_first_device_sets_an_identity_up_by_itself(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    _keep_up(alice)
    assert (_own(alice), _this(alice)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)
    assert _held(alice) == list(SECRETS)
    bob.knows(alice)
    assert bob.read(trust.person, bob.me, alice.me.user_id) is PersonTrust.SEEN
    assert _this(alice, bob) is DeviceTrust.SIGNED_BY_OWNER


def test_the_server_has_the_master_key_signed_by_the_device(alice: Device, server: KeyServer) -> None:
    _keep_up(alice)
    assert [signature[:3] for signature in server.signatures] == [
        (alice.me.user_id, alice.me.user_id, alice.me.device_id)
    ]
    shown = server.identities[alice.me.user_id]["master"]["signatures"][alice.me.user_id]
    assert list(shown) == [f"ed25519:{alice.me.device_id}"]


def test_nothing_more_is_asked_once_it_is_there(alice: Device, server: KeyServer, clock: StillClock) -> None:
    _keep_up(alice)
    server.requests.clear()
    clock.time_ms += HOUR_MS
    _keep_up(alice)
    assert server.requests == []


def test_a_second_device_replaces_nothing_and_stays_unsigned(
    alice: Device, second: Device, server: KeyServer
) -> None:
    before = _master(server, alice.me.user_id)
    _keep_up(second)
    assert _master(server, alice.me.user_id) == before
    assert (_own(second), _this(second)) == (PersonTrust.SEEN, DeviceTrust.UNSIGNED)
    assert len(server.asked("device_signing/upload")) == 1


def test_both_programs_at_once_make_one_identity(alice: Device, server: KeyServer) -> None:
    other = alice.other_program()

    async def at_once() -> None:
        await asyncio.gather(alice.cross_signing.keep_up(), other.cross_signing.keep_up())

    asyncio.run(at_once())
    other.close()
    assert len(server.asked("device_signing/upload")) == 1
    assert _own(alice) is PersonTrust.VERIFIED


def test_no_identity_is_set_up_on_an_answer_that_does_not_know_this_device(
    make_device: Callable[..., Device], server: KeyServer
) -> None:
    device = make_device("alice", is_new=True)
    _keep_up(device)
    assert server.asked("device_signing/upload") == []


def test_no_identity_is_set_up_where_the_server_shows_one_that_is_not_sound(
    alice: Device, server: KeyServer
) -> None:
    broken = {"master": {"keys": {}}, "self_signing": None, "user_signing": None}
    server.serve_raw = {alice.me.user_id: broken}
    _keep_up(alice)
    assert server.asked("device_signing/upload") == []


def test_no_identity_is_set_up_where_the_server_hides_the_one_it_showed(
    alice: Device, second: Device, server: KeyServer, clock: StillClock
) -> None:
    _keep_up(second)
    del server.identities[alice.me.user_id]
    clock.time_ms += HOUR_MS
    _keep_up(second)
    with pytest.raises(IdentityExists):
        asyncio.run(second.cross_signing.set_up(Person()))
    assert len(server.asked("device_signing/upload")) == 1


REQUESTS = ("keys/query", "device_signing/upload", "signatures/upload")


@pytest.mark.parametrize("part", REQUESTS)
@pytest.mark.parametrize("way", ["lose_request", "lose_answer"])
def test_a_death_at_any_request_goes_on_with_the_same_identity(
    make_device: Callable[..., Device], server: KeyServer, clock: StillClock, part: str, way: str
) -> None:
    alice = make_device("alice")
    getattr(server, way).append(part)
    with pytest.raises(Offline):
        _keep_up(alice)
    again = alice.restarted()
    clock.time_ms += 61_000
    _keep_up(again)
    assert (_own(again), _this(again)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)
    assert _held(again) == list(SECRETS)
    assert not again.rows("SELECT 1 FROM identity_new UNION SELECT 1 FROM signature_upload")
    assert not again.rows("SELECT 1 FROM secret WHERE name LIKE 'im.tandem.new%'")
    assert len(_uploaded(server)) == 1
    again.knows()
    assert _this(again) is DeviceTrust.VERIFIED
    again.close()


@pytest.mark.parametrize("at", range(5))
def test_a_death_after_any_commit_goes_on_with_the_same_identity(
    alice: Device, server: KeyServer, monkeypatch: pytest.MonkeyPatch, at: int, clock: StillClock
) -> None:
    class Death(BaseException):
        pass

    write, left = alice.db.write, [at]

    async def dies(work: Callable[..., object], *args: object, **more: object) -> object:
        done = await write(work, *args, **more)
        if left[0] == 0:
            raise Death
        left[0] -= 1
        return done

    monkeypatch.setattr(alice.db, "write", dies)
    with pytest.raises(Death):
        _keep_up(alice)
    again = alice.restarted()
    clock.time_ms += 61_000
    _keep_up(again)
    assert (_own(again), _this(again)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)
    assert len(_uploaded(server)) == 1
    assert len(server.signatures) >= 1
    again.close()


def test_a_device_that_was_quicker_wins(
    alice: Device, make_device: Callable[..., Device], server: KeyServer, clock: StillClock
) -> None:
    two = make_device("alice", "TWO")
    server.before.append(("device_signing/upload", lambda: _thread(lambda: _keep_up(two))))
    _keep_up(alice)
    alice.knows()
    assert not alice.read(own_identity.is_asked, alice.me)
    clock.time_ms += 61_000
    _keep_up(alice)
    assert (_own(alice), _own(two)) == (PersonTrust.SEEN, PersonTrust.VERIFIED)
    assert alice.read(identities.new) is None
    assert _held(alice) == []
    assert alice.rows("SELECT name FROM secret") == []


def test_where_the_server_wants_an_approval_the_person_is_left_to_give_it(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    wanted = NeedsApproval({"flows": [{"stages": ["m.login.password"]}], "session": "uia", "completed": []})
    server.refuse.append(("device_signing/upload", wanted))
    _keep_up(alice)
    assert alice.read(own_identity.is_asked, alice.me)
    clock.time_ms += HOUR_MS
    _keep_up(alice)
    assert len(server.asked("device_signing/upload")) == 1
    server.refuse.append(("device_signing/upload", wanted))
    person = Person("correct horse")
    asyncio.run(alice.cross_signing.set_up(person))
    assert person.asked == 1
    assert _own(alice) is PersonTrust.VERIFIED
    assert not alice.read(own_identity.is_asked, alice.me)
    bodies = [request.body["master_key"] for request in server.asked("device_signing/upload")]
    assert bodies[0] == bodies[-1]


def test_a_server_without_cross_signing_is_asked_hourly(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    for pause_ms, times in ((0, 1), (HOUR_MS - 1000, 1), (2_000, 2)):
        server.refuse[:] = [("device_signing/upload", ServerRefused(404, "M_UNRECOGNIZED", "?"))]
        clock.time_ms += pause_ms
        _keep_up(alice)
        assert len(server.asked("device_signing/upload")) == times


def test_nothing_else_waits_for_an_identity_that_the_server_cannot_take_now(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    alice.write(put_to_device, "m.dummy", {bob.me.user_id: {bob.me.device_id: {}}}, alice.clock.now_ms())
    server.lose_request.append("device_signing/upload")
    with pytest.raises(Offline):
        asyncio.run(alice.crypto.step())
    assert len(server.asked("sendToDevice")) == 1


def test_setting_up_again_changes_nothing(alice: Device, server: KeyServer) -> None:
    _keep_up(alice)
    before = _master(server, alice.me.user_id)
    asyncio.run(alice.cross_signing.set_up(Person()))
    assert _master(server, alice.me.user_id) == before


def test_a_reset_makes_another_identity_that_vouches_for_this_device_alone(
    alice: Device, bob: Device, second: Device, server: KeyServer
) -> None:
    bob.knows(alice)
    asyncio.run(second.cross_signing.adopt(_seeds(alice)))
    old = _master(server, alice.me.user_id)
    asyncio.run(alice.cross_signing.reset(Person("wrong", "correct horse")))
    assert _master(server, alice.me.user_id) != old
    assert (_own(alice), _this(alice)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)
    bob.knows(alice)
    assert bob.read(trust.person, bob.me, alice.me.user_id) is PersonTrust.CHANGED
    assert (_this(alice, bob), _this(second, bob)) == (DeviceTrust.SIGNED_BY_OWNER, DeviceTrust.UNSIGNED)
    second.knows()
    assert (_own(second), _this(second)) == (PersonTrust.VIOLATED, DeviceTrust.UNSIGNED)


def test_nothing_waits_for_a_person_who_thinks(alice: Device, server: KeyServer, clock: StillClock) -> None:
    _keep_up(alice)
    other = alice.other_program()

    class Thinks(Person):
        async def password(self, *, was_wrong: bool) -> str | None:
            clock.time_ms += 61_000
            _thread(lambda: _keep_up(other))
            return await super().password(was_wrong=was_wrong)

    asyncio.run(alice.cross_signing.reset(Thinks("correct horse")))
    assert (_own(alice), _own(other)) == (PersonTrust.VERIFIED, PersonTrust.VERIFIED)
    other.close()


def test_a_device_named_like_the_master_key_is_not_signed(
    alice: Device, second: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    named_so = make_device("alice", _master(server, alice.me.user_id))
    ed25519 = named_so.keys_of()[f"ed25519:{named_so.me.device_id}"]
    with pytest.raises(IdentityChanged):
        asyncio.run(alice.cross_signing.confirm_own_device(named_so.me.device_id, ed25519))


def test_a_reset_that_is_called_off_leaves_everything_as_it_was(alice: Device, server: KeyServer) -> None:
    _keep_up(alice)
    before, seeds = _master(server, alice.me.user_id), _seeds(alice)
    with pytest.raises(Cancelled):
        asyncio.run(alice.cross_signing.reset(Person(None)))
    assert (_master(server, alice.me.user_id), _seeds(alice)) == (before, seeds)
    assert alice.read(identities.new) is None
    assert _own(alice) is PersonTrust.VERIFIED


def test_a_reset_whose_answer_was_lost_is_finished_without_the_person(
    alice: Device, server: KeyServer
) -> None:
    _keep_up(alice)
    old = _seeds(alice)
    server.before.append(
        (
            "device_signing/upload",
            lambda: server.before.append(
                ("device_signing/upload", lambda: server.lose_answer.append("device_signing/upload"))
            ),
        )
    )
    with pytest.raises(Offline):
        asyncio.run(alice.cross_signing.reset(Person("correct horse")))
    assert _seeds(alice) == old
    again = alice.restarted()
    _keep_up(again)
    again.knows()
    assert (_own(again), _this(again)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)
    assert _seeds(again) != old


def test_a_reset_that_never_arrived_is_given_up_after_an_hour(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    _keep_up(alice)
    old = _master(server, alice.me.user_id)
    server.lose_request.append("device_signing/upload")
    with pytest.raises(Offline):
        asyncio.run(alice.cross_signing.reset(Person("correct horse")))
    for pause_ms, is_waiting in ((61_000, True), (HOUR_MS, False)):
        clock.time_ms += pause_ms
        _keep_up(alice)
        assert (alice.read(identities.new) is not None) is is_waiting
    assert (_master(server, alice.me.user_id), _own(alice)) == (old, PersonTrust.VERIFIED)


def test_secrets_of_the_published_identity_are_adopted_and_sign_this_device(
    alice: Device, second: Device, bob: Device
) -> None:
    assert asyncio.run(second.cross_signing.adopt(_seeds(alice))) == set(SECRETS)
    assert (_own(second), _this(second)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)
    bob.knows(alice)
    assert _this(second, bob) is DeviceTrust.SIGNED_BY_OWNER


@pytest.mark.parametrize(
    "wrong", ["", "no base64!", "AAAA", "é", Identity.make(UserId("@x:y"), 9).master.secret]
)
def test_secrets_that_belong_to_another_identity_are_not_kept(second: Device, wrong: str) -> None:
    assert asyncio.run(second.cross_signing.adopt(dict.fromkeys(SECRETS, wrong))) == set()
    assert (_own(second), _held(second)) == (PersonTrust.SEEN, [])


def test_without_the_master_key_nothing_is_confirmed(alice: Device, second: Device) -> None:
    some = {name: seed for name, seed in _seeds(alice).items() if name != secrets.MASTER}
    assert asyncio.run(second.cross_signing.adopt(some)) == {secrets.SELF_SIGNING, secrets.USER_SIGNING}
    assert (_own(second), _this(second)) == (PersonTrust.SEEN, DeviceTrust.UNSIGNED)
    asyncio.run(
        second.cross_signing.confirm_own_identity(alice.read(identities.identity, alice.me.user_id).master)
    )
    assert (_own(second), _this(second)) == (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)


def test_another_device_that_was_compared_is_signed(alice: Device, second: Device, bob: Device) -> None:
    ed25519 = second.keys_of()[f"ed25519:{second.me.device_id}"]
    asyncio.run(alice.cross_signing.confirm_own_device(second.me.device_id, ed25519))
    assert _this(second, alice) is DeviceTrust.VERIFIED
    bob.knows(alice)
    assert _this(second, bob) is DeviceTrust.SIGNED_BY_OWNER


def test_a_device_with_another_key_than_the_compared_one_is_not_signed(alice: Device, second: Device) -> None:
    with pytest.raises(IdentityChanged):
        asyncio.run(alice.cross_signing.confirm_own_device(second.me.device_id, "A" * 43))
    assert _this(second, alice) is DeviceTrust.UNSIGNED


def test_a_person_who_was_compared_is_verified_on_all_confirmed_devices(
    alice: Device, second: Device, bob: Device
) -> None:
    _keep_up(bob)
    asyncio.run(second.cross_signing.adopt(_seeds(alice)))
    for device in (alice, second):
        device.knows(bob)
    master = alice.read(identities.identity, bob.me.user_id).master
    asyncio.run(alice.cross_signing.confirm_person(bob.me.user_id, master))
    second.knows(bob)
    for device in (alice, second):
        assert device.read(trust.person, device.me, bob.me.user_id) is PersonTrust.VERIFIED
        assert _this(bob, device) is DeviceTrust.VERIFIED


def test_a_person_whose_key_changed_meanwhile_is_not_signed(alice: Device, bob: Device) -> None:
    _keep_up(alice, bob)
    alice.knows(bob)
    with pytest.raises(IdentityChanged):
        asyncio.run(alice.cross_signing.confirm_person(bob.me.user_id, "A" * 43))
    assert alice.read(trust.person, alice.me, bob.me.user_id) is PersonTrust.SEEN


def test_a_device_that_does_not_hold_the_identity_verifies_nobody(second: Device, bob: Device) -> None:
    _keep_up(bob)
    second.knows(bob)
    master = second.read(identities.identity, bob.me.user_id).master
    with pytest.raises(NotConfirmed):
        asyncio.run(second.cross_signing.confirm_person(bob.me.user_id, master))
    with pytest.raises(NotConfirmed):
        asyncio.run(
            second.cross_signing.confirm_own_device(
                second.me.device_id, second.keys_of()[f"ed25519:{second.me.device_id}"]
            )
        )


def test_signatures_that_the_server_refuses_are_not_sent_for_ever(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    _keep_up(alice, bob)
    alice.knows(bob)
    master = alice.read(identities.identity, bob.me.user_id).master
    server.refuse.append(("signatures/upload", ServerRefused(400, "M_UNKNOWN", "?")))
    asyncio.run(alice.cross_signing.confirm_person(bob.me.user_id, master))
    assert alice.read(identities.waiting_signatures) is None


def test_a_change_is_accepted_for_others_and_not_for_ourselves(
    alice: Device, bob: Device, server: KeyServer
) -> None:
    _keep_up(alice, bob)
    alice.knows(bob)
    Identity.make(bob.me.user_id, 9).publish(server)
    alice.knows(bob)
    asyncio.run(alice.cross_signing.accept_change(bob.me.user_id))
    assert alice.read(trust.person, alice.me, bob.me.user_id) is PersonTrust.SEEN
    for nobody in (alice.me.user_id, UserId("@nobody:example.org")):
        with pytest.raises(BadInput):
            asyncio.run(alice.cross_signing.accept_change(nobody))


def _thread(work: Callable[[], None]) -> None:
    """Run something that has its own event loop while one is running here."""
    import threading

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
