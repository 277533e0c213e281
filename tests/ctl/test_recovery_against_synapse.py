"""Recovery with the real tandemctl against a real Synapse: one device stores, the next one gets it all back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tandem_core.crypto import recovery_key, secret_storage
from tandem_core.crypto.recovery_state import DEFAULT_KEY, KEY_PREFIX, NAMES
from tandem_core.crypto.signing import SigningKey
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.ctl.test_against_synapse import Person

pytestmark = pytest.mark.synapse


def test_two_devices_of_one_account_share_all_secrets_by_recovery(
    synapse: SynapseServer, tmp_path: Path
) -> None:
    name, password = new_user(synapse, "recovering")
    laptop = Person(synapse, tmp_path / "laptop", name, password)
    phone = Person(synapse, tmp_path / "phone", name, password)
    for person in (laptop, phone):
        person.home.mkdir(mode=0o700)

    laptop.login()
    key = laptop.value("recovery", "set-up")["recovery_key"]

    phone.login()
    told = phone.value("recovery")
    assert (told["state"], told["question"]) == ("locked", "verify_or_recover")
    found = phone.value("recovery", "unlock", "--key-file", "-", say=key + "\n")
    assert found["found"] == list(NAMES)
    told = phone.value("recovery")
    assert (told["state"], told["question"]) == ("complete", "nothing")
    devices = phone.value("identity")["devices"]
    assert [device["trust"] for device in devices] == ["verified", "verified"]

    new = laptop.value("recovery", "change")["recovery_key"]
    assert phone.run("recovery", "unlock", "--key-file", "-", say=key + "\n")[0] == 1
    _is_as_the_specification_says(synapse, name, password, new)


def _is_as_the_specification_says(server: SynapseServer, name: str, password: str, text: str) -> None:
    """What lies on the server opens with the key, and its public half is what the server shows of the account."""
    raw = RawClient(server.base_url).login(name, password)
    where = f"/_matrix/client/v3/user/{raw.user_id}/account_data/"
    key_id = raw.ok("GET", where + DEFAULT_KEY)["key"]
    key = recovery_key.decode(text)
    description = secret_storage.read_description(key_id, raw.ok("GET", where + KEY_PREFIX + key_id))
    assert secret_storage.is_key(description, key)
    shown = raw.ok("POST", "/_matrix/client/v3/keys/query", {"device_keys": {raw.user_id: []}})
    for usage in ("master", "self_signing", "user_signing"):
        kind = f"m.cross_signing.{usage}"
        seed = secret_storage.decrypt(
            key, kind, secret_storage.sealed_for(raw.ok("GET", where + kind), key_id)
        )
        published = shown[f"{usage}_keys"][raw.user_id]
        assert json.dumps(published["keys"]).count(SigningKey.from_secret(seed).public) == 2
