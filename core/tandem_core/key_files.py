"""Message keys to and from files that other Matrix clients read and write, too (spec, "Key exports")."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from vodozemac import ExportedSessionKey, InboundGroupSession

from tandem_core.crypto import key_file_format, megolm
from tandem_core.crypto.state import MEGOLM
from tandem_core.errors import BadInput
from tandem_core.paths import ProfilePaths
from tandem_core.store import crypto as rows
from tandem_core.store.codec import parse
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Json, RoomId
from tandem_core.vault import pickle_key

log = logging.getLogger("tandem.key_files")

_MOST_BYTES = 200_000_000


async def export_keys(paths: ProfilePaths, db: Database, file: Path, passphrase: str) -> int:
    """Write all message keys, encrypted with ``passphrase``, to a new 0600 file; returns how many.

    Raises BadInput when the file exists already.
    """
    key, _ = await asyncio.to_thread(pickle_key, paths)
    sessions = [
        exported
        for room_id, session_id, row in await db.read(rows.all_inbound)
        if (exported := _exported(room_id, session_id, row, key)) is not None
    ]
    await asyncio.to_thread(_write, file, sessions, passphrase)
    return len(sessions)


async def import_keys(paths: ProfilePaths, db: Database, file: Path, passphrase: str) -> int:
    """Read message keys from a file; returns how many were new or reached further back.

    Raises BadInput for a wrong passphrase and for a file that is none.
    """
    key, _ = await asyncio.to_thread(pickle_key, paths)
    sessions = await asyncio.to_thread(_read, file, passphrase)
    new = 0
    for start in range(0, len(sessions), 100):
        new += await db.write(_import, sessions[start : start + 100], key, _now_ms())
    return new


def _exported(room_id: RoomId, session_id: str, row: rows.InboundRow, key: bytes) -> Json | None:
    session = InboundGroupSession.from_pickle(row.pickle, key)
    exported = session.export_at(session.first_known_index)
    if exported is None:
        return None
    return {
        "algorithm": MEGOLM,
        "forwarding_curve25519_key_chain": [],
        "room_id": room_id,
        "sender_key": row.sender_key,
        "sender_claimed_keys": {"ed25519": row.claimed_ed25519} if row.claimed_ed25519 else {},
        "session_id": session_id,
        "session_key": exported.to_base64(),
    }


def _import(txn: Transaction, sessions: list[Any], key: bytes, now_ms: int) -> int:
    new = 0
    for entry in sessions:
        try:
            room, session_id = entry["room_id"], entry["session_id"]
            session = InboundGroupSession.import_session(ExportedSessionKey(entry["session_key"]))
            claimed = entry.get("sender_claimed_keys", {}).get("ed25519")
            sender_key = entry["sender_key"]
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("a key in the file is malformed and was left out")
            continue
        if not isinstance(room, str) or session.session_id != session_id or entry.get("algorithm") != MEGOLM:
            continue
        ed25519 = claimed if isinstance(claimed, str) else None
        new += megolm.keep_copy(txn, key, RoomId(room), session, str(sender_key), ed25519, "import", now_ms)
    return new


def _write(file: Path, sessions: list[Json], passphrase: str) -> None:
    if file.exists():
        raise BadInput(f"{file} exists already")
    text = key_file_format.seal(json.dumps(sessions).encode(), passphrase)
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as written:
            written.write(text)
            written.flush()
            os.fsync(descriptor)
        temporary.rename(file)
    finally:
        temporary.unlink(missing_ok=True)


def _read(file: Path, passphrase: str) -> list[Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise BadInput(f"{file} is too large to be a key file")
        text = file.read_text("ascii")
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{file} is no key file") from error
    try:
        sessions = parse(key_file_format.open_sealed(text, passphrase))
    except key_file_format.BadKeyFile as error:
        raise BadInput(f"{file} is no key file, or the passphrase is wrong") from error
    except ValueError as error:
        raise BadInput(f"{file} is no key file") from error
    if not isinstance(sessions, list):
        raise BadInput(f"{file} is no key file")
    return sessions


def _now_ms() -> int:
    from tandem_core.clock import SystemClock

    return SystemClock().now_ms()
