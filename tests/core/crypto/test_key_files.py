"""Message keys to and from files: ours, nio's, and what is no key file."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from nio.crypto import key_export
from vodozemac import GroupSession, InboundGroupSession

from tandem_core.errors import BadInput
from tandem_core.key_files import export_keys, import_keys
from tandem_core.types import Json
from tests.core.crypto.test_megolm import BOTH
from tests.core.crypto.world import ROOM, Device

WORDS = "correct horse"
ROUNDS = 100  # the format names its rounds; a test need not wait for a hundred thousand


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    original = key_export.encrypt
    monkeypatch.setattr(
        key_export, "encrypt", lambda data, words, count=ROUNDS: original(data, words, ROUNDS)
    )


def _write(file: Path, sessions: Any, words: str = WORDS) -> Path:
    key_export.encrypt_and_save(json.dumps(sessions).encode(), str(file), words, ROUNDS)
    return file


def _entry(session: InboundGroupSession, sender_key: str = "key", **change: Any) -> Json:
    exported = session.export_at(session.first_known_index)
    assert exported is not None
    return {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": ROOM,
        "session_id": session.session_id,
        "session_key": exported.to_base64(),
        "sender_key": sender_key,
        "sender_claimed_keys": {"ed25519": "fingerprint"},
        "forwarding_curve25519_key_chain": [],
    } | change


def _import(device: Device, file: Path, words: str = WORDS) -> int:
    return asyncio.run(import_keys(device.paths, device.db, file, words))


def test_what_one_device_exports_another_reads_and_its_events_open(
    friends: tuple[Device, Device], tmp_path: Path
) -> None:
    alice, bob = friends
    wires = [alice.seal(f"line {number}", BOTH) for number in range(3)]
    waiting = [bob.sees(wire, alice) for wire in wires]
    file = tmp_path / "keys.txt"
    assert asyncio.run(export_keys(alice.paths, alice.db, file, WORDS)) == 1
    assert file.read_text().startswith("-----BEGIN MEGOLM SESSION DATA-----")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _import(bob, file) == 1
    bob.drain()
    assert [bob.body(event_id) for event_id in waiting] == ["line 0", "line 1", "line 2"]
    assert bob.rows("SELECT sender, source FROM megolm_inbound") == [(alice.me.user_id, "import")]


def test_nio_reads_our_file(friends: tuple[Device, Device], tmp_path: Path) -> None:
    alice, _ = friends
    wire = alice.seal("hello", BOTH)
    file = tmp_path / "keys.txt"
    asyncio.run(export_keys(alice.paths, alice.db, file, WORDS))
    (entry,) = json.loads(key_export.decrypt_and_read(str(file), WORDS))
    assert (entry["session_id"], entry["room_id"]) == (wire["session_id"], ROOM)


def test_what_a_file_brings_is_due_for_the_backup(alice: Device, tmp_path: Path) -> None:
    session = InboundGroupSession(GroupSession().session_key)
    _import(alice, _write(tmp_path / "keys.txt", [_entry(session)]))
    assert alice.rows("SELECT session_id FROM backup_waiting") == [(session.session_id,)]


def test_importing_twice_changes_nothing(alice: Device, tmp_path: Path) -> None:
    session = InboundGroupSession(GroupSession().session_key)
    file = _write(tmp_path / "keys.txt", [_entry(session)])
    assert (_import(alice, file), _import(alice, file)) == (1, 0)


def test_a_key_that_reaches_further_back_opens_what_was_before_and_keeps_its_sender(
    friends: tuple[Device, Device], tmp_path: Path
) -> None:
    alice, bob = friends
    first = alice.seal("early", BOTH)
    file = tmp_path / "keys.txt"
    asyncio.run(export_keys(alice.paths, alice.db, file, WORDS))
    alice.write(lambda txn: txn.execute("DELETE FROM key_share"))
    alice.write(lambda txn: txn.execute("DELETE FROM to_device_out"))
    late = alice.seal("late", BOTH)
    asyncio.run(alice.flush())
    bob.receive()
    early, later = bob.sees(first, alice), bob.sees(late, alice)
    assert (bob.body(early), bob.body(later)) == (None, "late")
    assert _import(bob, file) == 1
    bob.drain()
    assert bob.body(early) == "early"
    assert bob.rows("SELECT sender, first_index, source FROM megolm_inbound") == [
        (alice.me.user_id, 0, "olm")
    ]


def test_a_foreign_ratchet_under_a_known_id_is_left_out(
    friends: tuple[Device, Device], tmp_path: Path
) -> None:
    """Only the holder of the signing key makes messages; but a wrong ratchet would make them unreadable."""
    alice, bob = friends
    wire = alice.seal("hello", BOTH)
    asyncio.run(alice.flush())
    bob.receive()
    file = _write(
        tmp_path / "keys.txt",
        [_entry(InboundGroupSession(GroupSession().session_key), session_id=wire["session_id"])],
    )
    assert _import(bob, file) == 0
    assert bob.body(bob.sees(wire, alice)) == "hello"


def test_malformed_entries_are_left_out_and_the_others_are_read(alice: Device, tmp_path: Path) -> None:
    good = _entry(InboundGroupSession(GroupSession().session_key))
    bad: list[Any] = [
        None,
        7,
        "x",
        [],
        {},
        good | {"room_id": 7},
        good | {"session_key": "AQ"},
        good | {"session_key": None},
        good | {"session_id": "another"},
        good | {"algorithm": "m.other"},
        good | {"sender_claimed_keys": []},
        {key: value for key, value in good.items() if key != "sender_key"},
    ]
    assert _import(alice, _write(tmp_path / "keys.txt", [*bad, good])) == 1
    assert len(alice.rows("SELECT * FROM megolm_inbound")) == 1


@pytest.mark.parametrize("text", ["", "no key file", "-----BEGIN MEGOLM SESSION DATA-----\nAAAA\n"])
def test_what_is_no_key_file_is_said_in_words(alice: Device, tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(text)
    with pytest.raises(BadInput, match="no key file"):
        _import(alice, file)


@pytest.mark.parametrize("sessions", [{}, "x", 7, None])
def test_a_file_without_a_list_is_no_key_file(alice: Device, tmp_path: Path, sessions: Any) -> None:
    with pytest.raises(BadInput, match="no key file"):
        _import(alice, _write(tmp_path / "keys.txt", sessions))


def test_a_wrong_passphrase_and_a_missing_file_are_said_in_words(alice: Device, tmp_path: Path) -> None:
    file = _write(tmp_path / "keys.txt", [])
    with pytest.raises(BadInput, match="passphrase"):
        _import(alice, file, "wrong")
    with pytest.raises(BadInput, match="No such file"):
        _import(alice, tmp_path / "nothing")


def test_an_export_never_replaces_a_file(alice: Device, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        asyncio.run(export_keys(alice.paths, alice.db, file, WORDS))
    assert file.read_text() == "mine"
    assert list(tmp_path.glob(".keys*")) == []
