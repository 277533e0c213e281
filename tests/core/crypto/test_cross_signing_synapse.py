"""Cross-signing against a real Synapse: it takes what we upload, and a second account and a second device see it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tandem_core import session as sessions
from tandem_core.clock import SystemClock
from tandem_core.crypto import secrets, trust
from tandem_core.crypto.cross_signing import CrossSigning
from tandem_core.crypto.keys import Keys
from tandem_core.crypto.state import CryptoState
from tandem_core.crypto.trust import DeviceTrust, PersonTrust
from tandem_core.errors import Cancelled, Offline
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store import crypto as rows
from tandem_core.store import devices, identities
from tandem_core.store.database import Database
from tandem_core.types import Json
from tandem_core.vault import pickle_key
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.core.crypto.test_cross_signing import REQUESTS, SECRETS, Person

pytestmark = pytest.mark.synapse


class Account:
    """One device of an account on the server, with its store."""

    def __init__(self, server: SynapseServer, folder: Path, localpart: str, password: str) -> None:
        self.paths = ProfilePaths("test", folder / "data", folder / "run", folder / "log")
        self.paths.make()
        self._server, self._password = server, password
        self._localpart = localpart
        self.lose: list[tuple[str, str]] = []
        """(before | after, part of a path): such a request dies before it is sent, or its answer after it came."""

    async def sign_in(self) -> Account:
        self.me = await sessions.login(
            self._server.base_url,
            self._localpart,
            self._password,
            device_name="Test",
            paths=self.paths,
            clock=SystemClock(),
        )
        self.start()
        await self.keys.upload()
        return self

    def start(self) -> None:
        """Begin as after a death: nothing of what was in memory is left."""
        self.db = Database.open(self.paths.database)
        session = sessions.current(self.db)
        self.http = Http(self._server.base_url, token=session.access_token)
        ask = self.http.request

        async def request(method: str, path: str, *args: Any, **more: Any) -> Json:
            for phase in ("before", "after"):
                found = next((lost for lost in self.lose if lost[0] == phase and lost[1] in path), None)
                if found is not None:
                    self.lose.remove(found)
                    if phase == "after":
                        await ask(method, path, *args, **more)
                    raise Offline("lost")
            return await ask(method, path, *args, **more)

        self.http.request = request  # type: ignore[method-assign]
        state = CryptoState(self.db, self.me, pickle_key(self.paths)[0])
        self.state = state
        self.keys = Keys(self.paths, self.db, self.http, state, clock=SystemClock())
        self.own = CrossSigning(self.paths, self.db, self.http, state, clock=SystemClock())

    async def restart(self) -> None:
        await self.close()
        self.start()

    async def close(self) -> None:
        await self.http.close()
        self.db.close()

    async def sees(self, other: Account) -> tuple[PersonTrust, DeviceTrust]:
        """What the server's answer of now makes of another person and their device."""
        await self.db.write(devices.track, [self.me.user_id, other.me.user_id])
        await self.db.write(devices.mark_all_outdated)
        await self.keys.query()
        return self.knows(other)

    def knows(self, other: Account) -> tuple[PersonTrust, DeviceTrust]:
        user_id, device_id = other.me.user_id, other.me.device_id
        return (
            self.db.read_now(trust.person, self.me, user_id),
            self.db.read_now(trust.device, self.me, user_id, device_id),
        )

    def master(self, other: Account | None = None) -> str:
        found = self.db.read_now(identities.identity, (other or self).me.user_id)
        assert found is not None
        return found.master

    def seeds(self) -> dict[str, str]:
        found = {name: self.db.read_now(secrets.read, self.state, name) for name in SECRETS}
        return {name: seed for name, seed in found.items() if seed is not None}


class Stage:
    """Makes accounts, and further devices of them; they sign in inside the test's loop."""

    def __init__(self, server: SynapseServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._known: dict[str, tuple[str, str]] = {}
        self._made: list[Account] = []

    async def __call__(self, name: str, device: str = "one") -> Account:
        if name not in self._known:
            self._known[name] = new_user(self._server, name)
        account = Account(self._server, self._folder / f"{name}-{device}", *self._known[name])
        self._made.append(await account.sign_in())
        return account

    def password(self, name: str) -> str:
        return self._known[name][1]

    async def close(self) -> None:
        for account in self._made:
            await account.close()


CONFIRMED = (PersonTrust.VERIFIED, DeviceTrust.VERIFIED)


@pytest.fixture
def make(synapse: SynapseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("TANDEM_VAULT", "file")
    return Stage(synapse, tmp_path)


def played(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine test a plain one that closes its accounts in its own loop."""

    @functools.wraps(test)
    def run(make: Stage, **kwargs: Any) -> None:
        async def go() -> None:
            try:
                await test(make=make, **kwargs)
            finally:
                await make.close()

        asyncio.run(go())

    return run


@played
async def test_the_first_device_gives_the_account_an_identity_that_others_see(make: Stage) -> None:
    alice, bob = await make("alice"), await make("bob")
    await alice.own.keep_up()
    assert await alice.sees(alice) == CONFIRMED
    assert await bob.sees(alice) == (PersonTrust.SEEN, DeviceTrust.SIGNED_BY_OWNER)
    found = alice.db.read_now(identities.identity, alice.me.user_id)
    assert found is not None
    signed = found.published["master"]["signatures"][alice.me.user_id]
    assert f"ed25519:{alice.me.device_id}" in signed


@played
async def test_a_second_device_stays_unsigned_until_it_gets_the_secrets(make: Stage) -> None:
    alice, bob = await make("alice"), await make("bob")
    await alice.own.keep_up()
    second = await make("alice", "two")
    await second.own.keep_up()
    assert second.knows(second) == (PersonTrust.SEEN, DeviceTrust.UNSIGNED)
    assert (await bob.sees(second))[1] is DeviceTrust.UNSIGNED
    assert await second.own.adopt(alice.seeds()) == set(SECRETS)
    assert await second.sees(second) == CONFIRMED
    assert (await bob.sees(second))[1] is DeviceTrust.SIGNED_BY_OWNER
    assert await alice.sees(second) == CONFIRMED


@played
async def test_another_device_is_signed_after_it_was_compared(make: Stage) -> None:
    alice = await make("alice")
    await alice.own.keep_up()
    second = await make("alice", "two")
    await second.own.keep_up()
    keys = second.db.read_now(rows.identity)
    assert keys is not None
    await alice.own.confirm_own_device(second.me.device_id, keys["ed25519"])
    await second.own.confirm_own_identity(alice.master())
    assert await second.sees(second) == CONFIRMED
    assert await alice.sees(second) == CONFIRMED


@played
async def test_a_person_who_was_compared_is_verified_on_both_devices(make: Stage) -> None:
    alice, bob = await make("alice"), await make("bob")
    for account in (alice, bob):
        await account.own.keep_up()
    second = await make("alice", "two")
    await second.own.adopt(alice.seeds())
    await alice.sees(bob)
    await alice.own.confirm_person(bob.me.user_id, alice.master(bob))
    assert alice.knows(bob) == await alice.sees(bob) == await second.sees(bob) == CONFIRMED
    assert (await bob.sees(alice))[0] is PersonTrust.SEEN


@played
async def test_a_reset_takes_the_password_and_others_see_the_change(make: Stage) -> None:
    alice, bob = await make("alice"), await make("bob")
    for account in (alice, bob):
        await account.own.keep_up()
    await bob.sees(alice)
    await bob.own.confirm_person(alice.me.user_id, bob.master(alice))
    before = alice.master()
    with pytest.raises(Cancelled):
        await alice.own.reset(Person("wrong", None))
    assert (await alice.sees(alice), alice.master()) == (CONFIRMED, before)
    await alice.own.reset(Person(make.password("alice")))
    assert await alice.sees(alice) == CONFIRMED
    assert alice.master() != before
    assert await bob.sees(alice) == (PersonTrust.VIOLATED, DeviceTrust.SIGNED_BY_OWNER)
    await bob.own.confirm_person(alice.me.user_id, bob.master(alice))
    assert await bob.sees(alice) == CONFIRMED


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("part", REQUESTS)
@played
async def test_a_death_at_any_request_goes_on_with_the_same_identity(
    make: Stage, part: str, phase: str
) -> None:
    alice = await make("alice")
    alice.lose.append((phase, part))
    with pytest.raises(Offline):
        await alice.own.keep_up()
    waiting = alice.db.read_now(identities.new)
    await alice.restart()
    await alice.own.keep_up()
    assert await alice.sees(alice) == CONFIRMED
    assert set(alice.seeds()) == set(SECRETS)
    if waiting is not None:
        assert alice.master() in str(waiting.body)


@played
async def test_two_devices_at_once_make_one_identity(make: Stage) -> None:
    both = [await make("alice", name) for name in ("one", "two")]
    await asyncio.gather(*(account.own.keep_up() for account in both))
    for account in both:
        await account.own.keep_up()
        await account.sees(account)
    assert both[0].master() == both[1].master()
    # Both may find none and publish at the same moment: the server keeps the last, and the other device says so.
    others = {account.knows(account)[0].value for account in both} - {"verified"}
    assert others in ({"seen"}, {"violated"})
