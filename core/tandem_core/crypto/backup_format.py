"""What lies in a key backup: its key, its description, and each session (spec, "Server-side key backups").

``m.megolm_backup.v1.curve25519-aes-sha2``. Whoever knows the public key can write sessions that open, and the MAC
says nothing of their contents (a known flaw of the algorithm, which all clients keep): what comes from a
backup has no sender that is proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vodozemac import (
    Curve25519PublicKey,
    Curve25519SecretKey,
    ExportedSessionKey,
    InboundGroupSession,
    Message,
    PkDecryption,
    PkEncryption,
)

from tandem_core import unpadded
from tandem_core.codec import canonical, parse
from tandem_core.crypto.signed import is_signed_by
from tandem_core.crypto.state import MEGOLM
from tandem_core.store.crypto import InboundRow
from tandem_core.types import Json

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
_KEY_BYTES = 32
_MAC_BYTES = 8
_MOST_TEXT = 65_536
"""Far more than any session has, in characters of base64."""


class BadEntry(ValueError):
    """A session of a backup that cannot be used; the words hold no content."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session as a backup has it. Whose it is, is what the backup says, and no more."""

    session: InboundGroupSession
    sender_key: str
    claimed_ed25519: str | None


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody whose signature of a backup counts: one of our devices, or our master key."""

    key_name: str
    ed25519: str


def new_secret() -> str:
    """A private key in unpadded base64, the form in which secret storage and gossip carry it."""
    return encoded(Curve25519SecretKey().to_bytes())


def opener(secret: str) -> PkDecryption:
    """What opens sessions with this private key; raises ValueError."""
    raw = decoded(secret)
    if len(raw) != _KEY_BYTES:
        raise ValueError("a backup's key has 32 bytes")
    return PkDecryption.from_key(Curve25519SecretKey.from_bytes(raw))


def public_key(secret: str) -> str:
    """The public half in unpadded base64; raises ValueError."""
    return opener(secret).public_key.to_base64()


def sealer(public: str) -> PkEncryption:
    """What seals sessions to this public key; raises ValueError."""
    raw = decoded(public)
    if len(raw) != _KEY_BYTES or not any(raw):
        raise ValueError("a public key has 32 bytes")
    return PkEncryption.from_key(Curve25519PublicKey.from_bytes(raw))


def auth_data(public: str, *sign: Callable[[Json], Json]) -> Json:
    """The description of a version, signed by each of these in turn."""
    made: Json = {"public_key": public}
    for signed in sign:
        made = signed(made)
    return made


def is_signed(value: Json, user_id: str, signers: Iterable[Signer]) -> bool:
    """Whether one of these has signed the description."""
    return any(is_signed_by(value, user_id, signer.key_name, signer.ed25519) for signer in signers)


def seal(to: PkEncryption, plain: Json) -> Json:
    """``session_data``: unpadded base64, as other clients write it."""
    message = to.encrypt(canonical(plain))
    # Not to_base64(): it gives (ephemeral, mac, ciphertext), where from_base64() takes (ciphertext, mac, ephemeral).
    return {
        "ephemeral": encoded(message.ephemeral_key),
        "ciphertext": encoded(message.ciphertext),
        "mac": encoded(message.mac),
    }


def unseal(key: PkDecryption, session_data: Any) -> Json:
    """What ``seal`` sealed; raises BadEntry for anything else."""
    try:
        ephemeral, ciphertext, mac = (
            _field(session_data, name) for name in ("ephemeral", "ciphertext", "mac")
        )
        if len(ephemeral) != _KEY_BYTES or len(mac) != _MAC_BYTES:
            raise BadEntry("malformed")
        plain = parse(key.decrypt(Message(ciphertext, mac, ephemeral)))
    except BadEntry:
        raise
    except ValueError as error:
        raise BadEntry("it does not open with this key") from error
    if not isinstance(plain, dict):
        raise BadEntry("malformed")
    return plain


def entry(to: PkEncryption, row: InboundRow, session: InboundGroupSession) -> Json | None:
    """A session as it is uploaded (``KeyBackupData``); None for one that cannot be exported."""
    exported = session.export_at(session.first_known_index)
    if exported is None:
        return None
    return {
        "first_message_index": session.first_known_index,
        # Of two copies the server keeps the one with less forwarding: what its sender gave us goes first.
        "forwarded_count": 0 if row.source in ("olm", "own") else 1,
        "is_verified": False,
        "session_data": seal(
            to,
            {
                "algorithm": MEGOLM,
                "forwarding_curve25519_key_chain": [],
                "sender_claimed_keys": {"ed25519": row.claimed_ed25519} if row.claimed_ed25519 else {},
                "sender_key": row.sender_key,
                "session_key": exported.to_base64(),
            },
        ),
    }


def read_entry(key: PkDecryption, session_id: str, value: Any) -> Found:
    """A session of the backup; raises BadEntry for what does not open, is malformed, or lies under another's id."""
    plain = unseal(key, value.get("session_data") if isinstance(value, dict) else None)
    sender_key, claimed = plain.get("sender_key"), plain.get("sender_claimed_keys")
    if plain.get("algorithm") != MEGOLM or not isinstance(sender_key, str):
        raise BadEntry("malformed")
    try:
        session = InboundGroupSession.import_session(ExportedSessionKey(plain["session_key"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadEntry("malformed") from error
    if session.session_id != session_id:
        raise BadEntry("under a wrong id")
    ed25519 = claimed.get("ed25519") if isinstance(claimed, dict) else None
    return Found(session, sender_key, ed25519 if isinstance(ed25519, str) else None)


def encoded(raw: bytes) -> str:
    return unpadded.encode(raw)


def decoded(text: str) -> bytes:
    """Base64 with or without padding; raises ValueError."""
    if len(text) > _MOST_TEXT:
        raise ValueError("too long")
    return unpadded.decode(text.rstrip("="))


def _field(value: Any, name: str) -> bytes:
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise BadEntry("malformed")
    return decoded(text)
