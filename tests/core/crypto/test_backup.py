"""A key backup's formats, which versions are trusted, and what a person does with it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vodozemac import GroupSession, InboundGroupSession

from tandem_core.crypto import backup, secrets
from tandem_core.crypto import backup_format as form
from tandem_core.crypto import backup_words as words
from tandem_core.crypto.adoption import adopt
from tandem_core.crypto.signing import SigningKey
from tandem_core.errors import Offline, ServerRefused
from tandem_core.store import backup as rows
from tandem_core.store import devices, identities
from tandem_core.store.backup import Standing
from tandem_core.store.crypto import InboundRow
from tandem_core.store.session import become_new_device
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.room_keys import Version
from tests.core.crypto.world import NOW, ROOM, Device, StillClock, user

SECRET = form.new_secret()
OPENER, SEALER = form.opener(SECRET), form.sealer(form.public_key(SECRET))
ALICE = user("alice")


def session(at: int = 0) -> InboundGroupSession:
    made = GroupSession()
    for _ in range(at):
        made.encrypt(b"x")
    return InboundGroupSession(made.session_key)


def entry(made: InboundGroupSession, public: str, *, sender_key: str = "key", source: str = "olm") -> Json:
    """A session as any client uploads it."""
    row = InboundRow("", user("bob"), sender_key, "fingerprint", made.first_known_index, source)
    found = form.entry(form.sealer(public), row, made)
    assert found is not None
    return found


def identity_of(device: Device) -> SigningKey:
    """A confirmed identity of the device's owner, whose master key is here."""
    master = SigningKey.generate()
    published = identities.Published(master.public, None, None, {})
    device.write(identities.put, device.me.user_id, published, NOW)
    device.write(identities.confirm_own, device.me.user_id, master.public)
    device.write(secrets.keep, device.state, secrets.MASTER, master.secret, NOW)
    return master


# ── Formats ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sealed_opens_with_the_private_key_and_names_its_session() -> None:
    made = session(at=2)
    found = form.read_entry(form.opener(SECRET), made.session_id, entry(made, form.public_key(SECRET)))
    assert found.session.export_at(2).to_base64() == made.export_at(2).to_base64()  # type: ignore[union-attr]
    assert (found.sender_key, found.claimed_ed25519) == ("key", "fingerprint")


def test_an_entry_looks_as_the_specification_says() -> None:
    made = session(at=3)
    found = entry(made, form.public_key(SECRET), source="forward")
    data = found.pop("session_data")
    assert found == {"first_message_index": 3, "forwarded_count": 1, "is_verified": False}
    assert set(data) == {"ephemeral", "ciphertext", "mac"}
    assert not any("=" in text for text in data.values())
    assert len(form.decoded(data["ephemeral"])) == 32
    assert len(form.decoded(data["mac"])) == 8


def test_padded_base64_is_read_as_well() -> None:
    made = session()
    found = entry(made, form.public_key(SECRET))
    data = {
        name: base64.b64encode(form.decoded(text)).decode() for name, text in found["session_data"].items()
    }
    assert form.read_entry(form.opener(SECRET), made.session_id, found | {"session_data": data})


@pytest.mark.parametrize("name", ["ephemeral", "ciphertext", "mac"])
@pytest.mark.parametrize("value", [None, 7, "", "é", "AAAA", "A" * 70_000, [], {}])
def test_a_damaged_entry_is_told_from_a_good_one(name: str, value: Any) -> None:
    made = session()
    found = entry(made, form.public_key(SECRET))
    found["session_data"][name] = value
    with pytest.raises(form.BadEntry):
        form.read_entry(form.opener(SECRET), made.session_id, found)


def test_a_changed_mac_does_not_open() -> None:
    made = session()
    found = entry(made, form.public_key(SECRET))
    mac = bytearray(form.decoded(found["session_data"]["mac"]))
    mac[0] ^= 1
    found["session_data"]["mac"] = form.encoded(bytes(mac))
    with pytest.raises(form.BadEntry, match="does not open"):
        form.read_entry(form.opener(SECRET), made.session_id, found)


def test_a_session_under_another_id_and_with_another_key_is_refused() -> None:
    made, other = session(), session()
    found = entry(made, form.public_key(SECRET))
    with pytest.raises(form.BadEntry, match="wrong id"):
        form.read_entry(form.opener(SECRET), other.session_id, found)
    with pytest.raises(form.BadEntry, match="does not open"):
        form.read_entry(form.opener(form.new_secret()), made.session_id, found)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=9), lambda more: st.dictionaries(
    st.sampled_from(["session_data", "ephemeral", "ciphertext", "mac", "x"]), more, max_size=4
) | st.lists(more, max_size=3), max_leaves=9))  # fmt: skip
def test_no_entry_whatever_breaks_the_reader(value: Any) -> None:
    with pytest.raises(form.BadEntry):
        form.read_entry(OPENER, "id", value)


_PLAIN = st.dictionaries(
    st.sampled_from(["algorithm", "sender_key", "sender_claimed_keys", "session_key"]),
    st.none() | st.just("m.megolm.v1.aes-sha2") | st.text(max_size=5) | st.dictionaries(st.text(), st.text()),
)


@given(_PLAIN)
def test_no_content_that_somebody_sealed_breaks_the_reader(plain: Json) -> None:
    """Whoever knows the public key can seal anything."""
    data = form.seal(SEALER, plain)
    with pytest.raises(form.BadEntry):
        form.read_entry(OPENER, "id", {"session_data": data})


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53) | st.text(max_size=20)))
def test_whatever_is_sealed_comes_back(plain: Json) -> None:
    assert form.unseal(OPENER, form.seal(SEALER, plain)) == plain


@given(st.binary(min_size=32, max_size=32))
def test_a_private_key_survives_its_written_form(raw: bytes) -> None:
    text = form.encoded(raw)
    assert form.public_key(text) == form.public_key(text + "=")


@pytest.mark.parametrize("text", ["", "x", "é", "AAAA", form.encoded(bytes(31)), form.encoded(bytes(33))])
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        form.public_key(text)


@pytest.mark.parametrize("text", ["", "x", "é", form.encoded(bytes(31)), form.encoded(bytes(32))])
def test_nothing_is_sealed_to_what_is_no_public_key(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        form.sealer(text)


# ── Making a backup ────────────────────────────────────────────────────────────────────────────


def test_a_backup_is_made_signed_by_the_device_and_by_the_identity_that_it_holds(
    alice: Device, server: KeyServer
) -> None:
    master = identity_of(alice)
    assert asyncio.run(alice.backup.create()) == "1"
    version = server.backups.current(ALICE)
    assert version is not None
    assert version.algorithm == "m.megolm_backup.v1.curve25519-aes-sha2"
    device = alice.keys_of()[f"ed25519:{alice.me.device_id}"]
    for signer in (form.Signer(alice.me.device_id, device), form.Signer(master.public, master.public)):
        assert form.is_signed(version.auth_data, ALICE, [signer])
    secret = alice.read(secrets.read, alice.state, secrets.BACKUP)
    assert form.public_key(secret) == version.auth_data["public_key"]
    state = alice.read(backup.status)
    assert (state.version, state.standing, state.has_key) == ("1", Standing.TRUSTED, True)


def test_creating_twice_makes_one_backup_and_replacing_makes_another_with_another_key(
    alice: Device, server: KeyServer
) -> None:
    first = asyncio.run(alice.backup.create())
    assert asyncio.run(alice.backup.create()) == first
    secret = alice.read(secrets.read, alice.state, secrets.BACKUP)
    assert asyncio.run(alice.backup.create(replace=True)) == "2"
    assert alice.read(secrets.read, alice.state, secrets.BACKUP) != secret
    made = [
        request for request in server.requests if request.method == "POST" and "room_keys" in request.path
    ]
    assert len(made) == 2


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_crash_at_any_request_leaves_no_backup_whose_key_nobody_has(
    alice: Device, server: KeyServer, lost: str, at: int
) -> None:
    """The first look, the making, and the look at what was made; the program dies and comes back."""
    steps: list[Callable[[], None]] = []

    def arm() -> None:
        steps.append(arm)
        if len(steps) <= at:
            server.before.append(("room_keys/version", arm))
        else:
            getattr(server, lost).append("room_keys/version")

    server.before.append(("room_keys/version", arm))
    with pytest.raises(Offline):
        asyncio.run(alice.backup.create())
    again = alice.restarted()
    try:
        asyncio.run(again.backups.step())
        version = server.backups.current(ALICE)
        if version is not None:
            secret = again.read(secrets.read, again.state, secrets.BACKUP)
            assert form.public_key(secret) == version.auth_data["public_key"]
        assert asyncio.run(again.backup.create()) == "1"
        assert len(server.backups.versions[ALICE]) == 1
    finally:
        again.close()


def test_a_backup_that_this_device_cannot_use_is_not_replaced_unasked(
    alice: Device, server: KeyServer
) -> None:
    server.backups.versions[ALICE] = [_foreign()]
    with pytest.raises(backup.BackupExists):
        asyncio.run(alice.backup.create())
    assert asyncio.run(alice.backup.create(replace=True)) == "2"


def test_a_deleted_backup_is_gone_here_and_there(alice: Device, server: KeyServer) -> None:
    asyncio.run(alice.backup.create())
    asyncio.run(alice.backup.delete())
    assert server.backups.current(ALICE) is None
    assert alice.rows("SELECT name FROM secret") == []
    assert alice.read(backup.status).standing is Standing.NONE
    with pytest.raises(backup.NoBackup):
        asyncio.run(alice.backup.delete())
    with pytest.raises(backup.NoBackup):
        asyncio.run(alice.backup.restore())


def test_deleting_whose_answer_was_lost_may_be_repeated(alice: Device, server: KeyServer) -> None:
    asyncio.run(alice.backup.create())
    server.lose_answer.append("room_keys/version/1")
    with pytest.raises(Offline):
        asyncio.run(alice.backup.delete())
    with pytest.raises(backup.NoBackup):
        asyncio.run(alice.backup.delete())
    assert alice.rows("SELECT name FROM secret WHERE name = 'm.megolm_backup.v1'") == []


def test_a_server_without_backups_has_none(alice: Device, server: KeyServer) -> None:
    server.refuse.append(("room_keys", ServerRefused(404, "M_UNRECOGNIZED", "Unrecognized request")))
    assert asyncio.run(alice.backup.look()).standing is Standing.NONE


# ── Trust ──────────────────────────────────────────────────────────────────────────────────────


def _foreign(public: str | None = None, **more: Any) -> Version:
    """A version that somebody else has made."""
    description = {"public_key": public or form.public_key(form.new_secret()), **more}
    return Version("1", form.ALGORITHM, description)


def _standing(device: Device, server: KeyServer, version: Version) -> Standing | None:
    server.backups.versions[device.me.user_id] = [version]
    return asyncio.run(device.backup.look()).standing


def test_a_version_that_nobody_of_ours_has_signed_is_not_used(alice: Device, server: KeyServer) -> None:
    assert _standing(alice, server, _foreign()) is Standing.UNTRUSTED


def test_a_version_that_our_identity_has_signed_is_used(alice: Device, server: KeyServer) -> None:
    master = identity_of(alice)
    signed = master.sign({"public_key": form.public_key(SECRET)}, ALICE)
    assert _standing(alice, server, Version("1", form.ALGORITHM, signed)) is Standing.TRUSTED


def test_a_version_that_a_verified_device_of_ours_has_signed_is_used(
    alice: Device, make_device: Callable[..., Device], server: KeyServer
) -> None:
    laptop = make_device("alice", "LAPTOP")
    signed = laptop.write(laptop.state.sign, {"public_key": form.public_key(SECRET)})
    version = Version("1", form.ALGORITHM, signed)
    alice.knows()
    assert _standing(alice, server, version) is Standing.UNTRUSTED
    master = SigningKey.generate()
    own = identities.Published(master.public, "self-signing", None, {})
    alice.write(identities.put, ALICE, own, NOW)
    (seen,) = (device for device in alice.devices(laptop) if device.device_id == laptop.me.device_id)
    keys = {seen.device_id: (seen.curve25519, seen.ed25519)}
    alice.write(identities.note_signed, ALICE, "self-signing", keys)
    assert _standing(alice, server, version) is Standing.UNTRUSTED
    alice.write(identities.confirm_own, ALICE, master.public)
    assert _standing(alice, server, version) is Standing.TRUSTED
    alice.write(devices.put_list, ALICE, [], 9, NOW)
    assert _standing(alice, server, version) is Standing.UNTRUSTED


@pytest.mark.parametrize("who", ["another device", "another master key", "another person", "other content"])
def test_a_forged_signature_makes_no_version_trusted(alice: Device, server: KeyServer, who: str) -> None:
    master, mallory = identity_of(alice), SigningKey.generate()
    good = master.sign({"public_key": form.public_key(SECRET)}, ALICE)
    made = mallory.sign({"public_key": form.public_key(SECRET)}, ALICE)
    (forged,) = made["signatures"][ALICE].values()
    match who:
        case "another device":
            made["signatures"][ALICE] = {f"ed25519:{alice.me.device_id}": forged}
        case "another master key":
            made["signatures"][ALICE] = {f"ed25519:{master.public}": forged}
        case "another person":
            made["signatures"] = {user("mallory"): good["signatures"][ALICE]}
        case _:
            made = good | {"public_key": form.public_key(form.new_secret())}
    assert _standing(alice, server, Version("1", form.ALGORITHM, made)) is Standing.UNTRUSTED


@pytest.mark.parametrize(
    "version",
    [
        Version("1", "m.new", {"public_key": form.public_key(SECRET)}),
        Version("1", form.ALGORITHM, {}),
        Version("1", form.ALGORITHM, {"public_key": 7}),
        Version("1", form.ALGORITHM, {"public_key": form.encoded(bytes(32))}),
        Version("1", form.ALGORITHM, []),  # type: ignore[arg-type]
        Version("1", form.ALGORITHM, {"public_key": form.public_key(SECRET), "x": "y" * 70_000}),
    ],
)
def test_a_version_that_is_not_understood_is_not_used(
    alice: Device, server: KeyServer, version: Version
) -> None:
    assert _standing(alice, server, version) is Standing.UNTRUSTED
    assert not alice.write(backup.adopt_key, alice.state, SECRET, NOW)
    assert asyncio.run(alice.backup.look()).standing is Standing.UNTRUSTED


@pytest.mark.parametrize("name", [None, 7, "", "v" * 300])
def test_a_version_without_a_usable_name_is_none(alice: Device, server: KeyServer, name: Any) -> None:
    assert _standing(alice, server, Version(name, form.ALGORITHM, {})) is Standing.NONE


# ── The key comes from elsewhere ───────────────────────────────────────────────────────────────


def test_the_key_of_the_current_version_is_adopted_and_makes_it_trusted(
    alice: Device, server: KeyServer
) -> None:
    _standing(alice, server, _foreign(form.public_key(SECRET)))
    assert not alice.write(backup.adopt_key, alice.state, form.new_secret(), NOW)
    assert not alice.write(backup.adopt_key, alice.state, "nonsense", NOW)
    assert not alice.read(backup.status).has_key
    assert alice.write(backup.adopt_key, alice.state, SECRET, NOW)
    state = alice.read(backup.status)
    assert (state.standing, state.has_key) == (Standing.TRUSTED, True)
    assert state.restore is not None
    assert state.restore.state == "running"


def test_a_key_that_comes_before_the_first_look_is_taken_then(
    alice: Device, server: KeyServer, clock: StillClock
) -> None:
    assert not alice.write(backup.adopt_key, alice.state, SECRET, NOW)
    server.backups.versions[ALICE] = [_foreign(form.public_key(SECRET))]
    asyncio.run(alice.backups.step())
    assert alice.read(backup.status).has_key
    assert alice.rows("SELECT name FROM secret") == [(secrets.BACKUP,)]


def test_a_key_of_a_version_that_was_not_seen_yet_makes_the_next_look_due(
    alice: Device, server: KeyServer
) -> None:
    asyncio.run(alice.backups.step())
    server.backups.versions[ALICE] = [_foreign(form.public_key(SECRET))]
    assert not alice.write(backup.adopt_key, alice.state, SECRET, NOW)
    asyncio.run(alice.backups.step())
    assert alice.read(backup.status).has_key


def test_a_key_is_looked_at_at_once_where_somebody_waits_for_the_answer(
    alice: Device, server: KeyServer
) -> None:
    server.backups.versions[ALICE] = [_foreign(form.public_key(SECRET))]
    assert not asyncio.run(alice.backup.adopt(form.new_secret()))
    assert alice.rows("SELECT name FROM secret") == []
    assert asyncio.run(adopt(alice.cross_signing, alice.backup, {secrets.BACKUP: SECRET})) == {secrets.BACKUP}
    assert alice.read(backup.status).has_key
    assert asyncio.run(alice.backup.adopt(SECRET + "="))
    assert not asyncio.run(alice.backup.adopt("nonsense"))


def test_a_version_that_the_server_hid_for_a_while_is_used_again(alice: Device, server: KeyServer) -> None:
    asyncio.run(alice.backup.create())
    (hidden,) = server.backups.versions.pop(ALICE)
    assert asyncio.run(alice.backup.look()).has_key is False
    assert _standing(alice, server, hidden) is Standing.TRUSTED
    assert alice.read(backup.status).has_key


def test_a_version_that_we_have_replaced_is_not_taken_for_ours_again(
    alice: Device, server: KeyServer
) -> None:
    asyncio.run(alice.backup.create())
    old = server.backups.versions[ALICE][0]
    asyncio.run(alice.backup.create(replace=True))
    server.backups.versions[ALICE] = [
        Version("1", form.ALGORITHM, {"public_key": old.auth_data["public_key"]})
    ]
    assert asyncio.run(alice.backup.look()).standing is Standing.UNTRUSTED


def test_a_new_device_forgets_the_backup_and_its_keys_are_due_again(alice: Device) -> None:
    asyncio.run(alice.backup.create())
    alice.seal("x", {ALICE})
    asyncio.run(alice.backups.step())
    assert alice.read(rows.waiting_count) == 0
    alice.write(become_new_device)
    assert alice.read(rows.current) is None
    assert alice.rows("SELECT room_id FROM megolm_inbound") == [(ROOM,)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (backup.Status(None, None, False, 0, 0, None), ["Nobody has asked"]),
        (backup.Status(None, Standing.NONE, False, 0, 0, None), ["There is no key backup"]),
        (backup.Status("1", Standing.UNTRUSTED, False, 0, 9, None), ["No keys are sent to it"]),
        (backup.Status("1", Standing.TRUSTED, True, 0, 1, None), ["with 1 key. Every key"]),
        (backup.Status("1", Standing.TRUSTED, False, 2, 9, None), ["2 keys not there", "cannot restore"]),
    ],
)
def test_the_state_of_the_backup_is_said_in_words(status: backup.Status, expected: list[str]) -> None:
    lines = words.status_lines(status)
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


@pytest.mark.parametrize(
    ("restore", "expected"),
    [
        (rows.Restore("1", "running", 9, 12, 3, 0, None), "Restoring: 9 of 9 keys, 3 new."),
        (rows.Restore("1", "done", 9, 9, 7, 2, None), "Restored: 9 keys, 7 new, 2 not usable."),
        (rows.Restore("1", "cancelled", 9, 1, 1, 0, None), "The restore was stopped after 1 key, 1 new."),
        (rows.Restore("1", "failed", 9, 0, 0, 0, "M_X"), "The restore failed (M_X) after 0 keys, 0 new."),
    ],
)
def test_a_restore_is_said_in_words(restore: rows.Restore, expected: str) -> None:
    assert words.restore_line(restore) == expected
