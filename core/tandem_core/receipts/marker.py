"""The request for a confirmation, which travels inside an encrypted message.

Nobody confirms over the encrypted way unasked (XEP-0184's lesson): a client that does not know this is never
sent anything, and a message tells by itself where its confirmation goes and what proves it. In a large group
nobody confirms unasked at all, and the person asks for single messages::

    "im.tandem.confirm": {"v": 1, "want": ["delivered", "failed"], "to": ["DEVICE"], "tok": "<16 bytes, base64url>"}
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tandem_core import settings
from tandem_core.receipts import proof
from tandem_core.receipts.checks import is_id
from tandem_core.receipts.gate import MOST_PEOPLE
from tandem_core.store import receipts as store
from tandem_core.store import room_facts
from tandem_core.store import session as sessions
from tandem_core.store.database import Transaction
from tandem_core.store.room_facts import RoomKind
from tandem_core.types import DeviceId, Json, Me, RoomId

if TYPE_CHECKING:
    from tandem_core.store.outbox import Queued

KEY = "im.tandem.confirm"
TOKEN_BYTES = 16
MOST_DEVICES = 4
"""So many devices of the author are told of one message; we ask for one, which tells our others."""

_TYPES = frozenset({"m.room.message", "m.sticker", "m.poll.start"})
_NEVER_MESSAGES = frozenset({"m.notice", "m.key.verification.request"})


class Asks(StrEnum):
    """For which of the messages in a room their author asks for confirmations."""

    ALWAYS = "always"
    BY_CHOICE = "by_choice"
    """For those where the person says so: a group with more people than the setting says."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Marker:
    """What an author asks for: to which of their devices, and the token that goes into the proof."""

    token: bytes
    devices: tuple[DeviceId, ...]


def put_in(txn: Transaction, me: Me, queued: Queued) -> Json:
    """The content to be encrypted for a queued message: with a request, where the person asks for confirmations.

    It is kept with the message, since the token is needed when the answers come. One that is there stays.
    """
    if KEY in queued.content or not _is_confirmed(queued.type, queued.content):
        return queued.content
    if asks(txn.conn, queued.room_id) is not Asks.ALWAYS:
        return queued.content
    from tandem_core.store import outbox

    content = _with_request(queued.content, me.device_id)
    outbox.set_content(txn, queued.txn_id, content)
    return content


def asking(conn: sqlite3.Connection, room_id: RoomId, content: Json) -> Json:
    """The content of a message for which its author asks by choice, where that is possible (``Asks.BY_CHOICE``)."""
    session = sessions.session(conn)
    if (
        session is None
        or asks(conn, room_id) is not Asks.BY_CHOICE
        or not _is_confirmed("m.room.message", content)
    ):
        return content
    return _with_request(content, session.me.device_id)


def asks(conn: sqlite3.Connection, room_id: RoomId) -> Asks:
    """Whether the person asks for confirmations of what they write in this room; not where it may be public.

    Where the programs disagree for a moment, one that knows is enough: asking tells nobody anything.
    """
    counts = [count for _, count, _ in store.room_standing(conn, room_id) if count is not None]
    kinds = room_facts.kinds(conn, room_id)
    if not counts or max(counts) - 1 > MOST_PEOPLE or RoomKind.PUBLIC in kinds:
        return Asks.NEVER
    if RoomKind.DIRECT in kinds:
        return Asks.ALWAYS if settings.get(conn, "receipts.ask_direct") is True else Asks.NEVER
    if RoomKind.PRIVATE_GROUP not in kinds or settings.get(conn, "receipts.ask_groups") is not True:
        return Asks.NEVER
    largest = int(settings.get(conn, "receipts.ask_groups_max"))
    return Asks.ALWAYS if max(counts) - 1 <= largest else Asks.BY_CHOICE


def read(content: Any) -> Marker | None:
    """The request in a message's content; None if there is none that makes sense."""
    said = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(said, dict) or type(said.get("v")) is not int or said["v"] != 1:
        return None
    want, to, token = said.get("want"), said.get("to"), said.get("tok")
    if not isinstance(want, list) or "delivered" not in want:
        return None
    if not isinstance(to, list) or not 0 < len(to) <= MOST_DEVICES or not all(map(is_id, to)):
        return None
    if not isinstance(token, str) or len(token) > 2 * TOKEN_BYTES:
        return None
    try:
        raw = proof.decode(token)
    except ValueError:
        return None
    if len(raw) != TOKEN_BYTES:
        return None
    return Marker(raw, tuple(dict.fromkeys(to)))


def _with_request(content: Json, device_id: DeviceId) -> Json:
    import secrets  # with what it loads, no business of those who only read requests

    request = {
        "v": 1,
        "want": ["delivered", "failed"],
        "to": [device_id],
        "tok": proof.encode(secrets.token_bytes(TOKEN_BYTES)),
    }
    return {**content, KEY: request}


def _is_confirmed(kind: str, content: Json) -> bool:
    """Whether readers confirm such a message at all; edits and what adorns another message never are."""
    if kind not in _TYPES or "m.new_content" in content or content.get("msgtype") in _NEVER_MESSAGES:
        return False
    relation = content.get("m.relates_to", {})
    return isinstance(relation, dict) and relation.get("rel_type") in (None, "m.thread")
