"""The rules of a homeserver for cross-signing that Tandem relies on, held by a real Synapse and by our fake alike."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tandem_core.crypto.signing import SigningKey
from tandem_core.types import UserId
from tandem_demo.raw import CLIENT, RawClient
from tests.core.crypto.identity_kit import Identity
from tests.support.fake_homeserver import FakeHomeserver

Json = dict[str, Any]
_numbers = itertools.count(1)


@dataclass
class Person:
    """Somebody who is signed in, with a device that has keys, and an identity that nobody knows yet."""

    client: RawClient
    password: str
    device: SigningKey
    identity: Identity

    @property
    def user_id(self) -> str:
        return self.client.user_id

    def device_keys(self) -> Json:
        bare = {
            "user_id": self.user_id,
            "device_id": self.client.device_id,
            "algorithms": [],
            "keys": {
                f"ed25519:{self.client.device_id}": self.device.public,
                f"curve25519:{self.client.device_id}": "B" * 43,
            },
        }
        return self.by_device(bare)

    def by_device(self, value: Json) -> Json:
        """The object with the device's signature."""
        key, made = f"ed25519:{self.device.public}", self.device.sign(value, self.user_id)
        mine = made["signatures"][self.user_id]
        mine[f"ed25519:{self.client.device_id}"] = mine.pop(key)
        return made

    def upload(self, identity: Identity | None = None, **auth: Any) -> tuple[int, Json]:
        keys = (identity or self.identity).objects()
        body: Json = {f"{usage}_key": key for usage, key in keys.items()}
        return self.client.request("POST", f"{CLIENT}/keys/device_signing/upload", body | auth)

    def sign(self, body: Json) -> Json:
        """What the server did not take."""
        return dict(self.client.ok("POST", f"{CLIENT}/keys/signatures/upload", body).get("failures", {}))

    def query(self, *people: Person) -> Json:
        wanted: dict[str, list[str]] = {person.user_id: [] for person in people}
        return self.client.ok("POST", f"{CLIENT}/keys/query", {"device_keys": wanted})


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as server:
        yield server


@pytest.fixture(params=["fake", pytest.param("synapse", marks=pytest.mark.synapse)])
def person(request: pytest.FixtureRequest) -> Callable[[], Person]:
    """Makes fresh people on the server under test."""
    server = request.getfixturevalue(request.param)

    def make() -> Person:
        number = next(_numbers)
        localpart, password = f"signer-{number}-{secrets.token_hex(3)}", secrets.token_urlsafe(9)
        server.register(localpart, password)
        client = RawClient(server.base_url).login(localpart, password)
        made = Person(client, password, SigningKey.generate(), Identity.make(UserId(client.user_id), number))
        client.upload_keys({"device_keys": made.device_keys()})
        return made

    return make


Make = Callable[[], Person]


def test_the_first_identity_and_the_same_again_are_taken_without_asking(person: Make) -> None:
    alice = person()
    assert [alice.upload()[0] for _ in range(2)] == [200, 200]


def test_another_identity_is_taken_with_the_password_only(person: Make) -> None:
    alice = person()
    alice.upload()
    other = Identity.make(UserId(alice.user_id), 200)
    status, answer = alice.upload(other)
    assert status == 401
    assert ["m.login.password"] in [flow["stages"] for flow in answer["flows"]]
    auth = {
        "type": "m.login.password",
        "session": answer["session"],
        "identifier": {"type": "m.id.user", "user": alice.user_id},
    }
    assert alice.upload(other, auth=auth | {"password": "wrong"})[0] == 401
    assert alice.query(alice)["master_keys"][alice.user_id]["keys"] == _keys(alice.identity.master)
    assert alice.upload(other, auth=auth | {"password": alice.password})[0] == 200
    assert alice.query(alice)["master_keys"][alice.user_id]["keys"] == _keys(other.master)


def test_keys_that_the_master_key_did_not_sign_are_refused(person: Make) -> None:
    alice = person()
    keys = alice.identity.objects()
    foreign = Identity.make(UserId(alice.user_id), 201).objects()["self_signing"]
    body = {"master_key": keys["master"], "self_signing_key": foreign}
    assert alice.client.request("POST", f"{CLIENT}/keys/device_signing/upload", body)[0] == 400


def test_everybody_sees_an_identity_but_its_user_signing_key(person: Make) -> None:
    alice, bob = person(), person()
    alice.upload()
    seen = bob.query(alice)
    assert seen["master_keys"][alice.user_id]["keys"] == _keys(alice.identity.master)
    assert seen["self_signing_keys"][alice.user_id]["keys"] == _keys(alice.identity.self_signing)
    assert alice.user_id not in seen["user_signing_keys"]
    assert alice.query(alice)["user_signing_keys"][alice.user_id]["keys"] == _keys(
        alice.identity.user_signing
    )


def test_a_device_and_the_master_key_are_signed_by_each_other(person: Make) -> None:
    alice, bob = person(), person()
    alice.upload()
    device_id, master = alice.client.device_id, alice.identity.master.public
    device = alice.identity.self_signing.sign(alice.device_keys(), alice.user_id)
    signed = alice.by_device(alice.identity.objects()["master"])
    assert alice.sign({alice.user_id: {device_id: device, master: signed}}) == {}
    for asker in (alice, bob):
        seen = asker.query(alice)
        of_device = seen["device_keys"][alice.user_id][device_id]["signatures"][alice.user_id]
        assert set(of_device) == {f"ed25519:{device_id}", f"ed25519:{alice.identity.self_signing.public}"}
        of_master = seen["master_keys"][alice.user_id].get("signatures", {}).get(alice.user_id, {})
        # What is uploaded later is shown to its owner alone; what came with the key, to everybody.
        assert (f"ed25519:{device_id}" in of_master) == (asker is alice)


def test_a_signature_of_the_wrong_key_or_on_something_else_is_a_failure(person: Make) -> None:
    alice = person()
    alice.upload()
    device_id = alice.client.device_id
    forged = alice.identity.user_signing.sign(alice.device_keys(), alice.user_id)
    changed = alice.identity.self_signing.sign(alice.device_keys() | {"extra": 1}, alice.user_id)
    for value in (forged, changed):
        assert device_id in alice.sign({alice.user_id: {device_id: value}})[alice.user_id]
    unknown = alice.identity.self_signing.sign(alice.device_keys(), alice.user_id)
    assert "NOBODY" in alice.sign({alice.user_id: {"NOBODY": unknown}})[alice.user_id]


def test_a_signature_on_another_person_is_shown_to_who_made_it(person: Make) -> None:
    alice, bob, carol = person(), person(), person()
    for someone in (alice, bob):
        someone.upload()
    master = bob.identity.master.public
    signed = alice.identity.user_signing.sign(bob.identity.objects()["master"], alice.user_id)
    assert alice.sign({bob.user_id: {master: signed}}) == {}

    def who_signed(asker: Person) -> set[str]:
        return set(asker.query(bob)["master_keys"][bob.user_id].get("signatures", {}))

    assert alice.user_id in who_signed(alice)
    for other in (bob, carol):
        assert alice.user_id not in who_signed(other)


def test_an_identity_and_a_signature_change_the_list_of_devices(person: Make) -> None:
    alice = person()
    body = {"conn_id": "a", "extensions": {"e2ee": {"enabled": True}}}

    def next_change(pos: str) -> str:
        status, answer = alice.client.sliding_sync(body, pos=pos, timeout_ms=10_000)
        assert status == 200, answer
        assert alice.user_id in answer["extensions"]["e2ee"]["device_lists"]["changed"]
        return str(answer["pos"])

    pos = str(alice.client.sliding_sync(body)[1]["pos"])
    alice.upload()
    pos = next_change(pos)
    device = alice.identity.self_signing.sign(alice.device_keys(), alice.user_id)
    alice.sign({alice.user_id: {alice.client.device_id: device}})
    next_change(pos)


def _keys(key: SigningKey) -> dict[str, str]:
    return {f"ed25519:{key.public}": key.public}
