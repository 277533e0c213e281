"""Matrix addresses, both ways: ``matrix:`` URIs (MSC2312) and ``https://matrix.to`` links.

Addresses come from strangers: whatever is not plainly one is refused, and nothing is ever opened or fetched here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, quote, unquote

from tandem_core.errors import BadInput

MOST_BYTES = 2048
MOST_VIA = 10


class Kind(StrEnum):
    """What an address names."""

    USER = "user"
    ROOM = "room"
    ALIAS = "alias"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Address:
    """A user, a room (by id or alias), or an event in a room. ``action``: ``join``, ``chat`` or empty."""

    kind: Kind
    id: str
    event_id: str | None = None
    via: tuple[str, ...] = field(default=())
    action: str = ""


_SIGILS = {"u": "@", "r": "#", "roomid": "!", "user": "@", "room": "#"}
_WORDS = {"@": "u", "#": "r", "!": "roomid"}
_SERVER = re.compile(r"(?:[A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_MATRIX_TO = re.compile(r"https?://matrix\.to/#/", re.IGNORECASE)
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse(text: str) -> Address:
    """The address in ``text``; raises BadInput for everything else."""
    text = text.strip()
    if len(text.encode("utf-8", "replace")) > MOST_BYTES or not text.isprintable() or " " in text:
        raise _no(text)
    if text[:7].lower() == "matrix:":
        return _parse_uri(text)
    opening = _MATRIX_TO.match(text)
    if opening:
        return _parse_link(text, text[opening.end() :])
    raise _no(text)


def to_uri(address: Address) -> str:
    """The ``matrix:`` URI of an address; raises BadInput for one that is not sound."""
    _checked(address, address.id)
    path = f"{_WORDS[address.id[0]]}/{_quoted(address.id[1:])}"
    if address.event_id:
        path += f"/e/{_quoted(address.event_id[1:])}"
    query = [f"via={_quoted(server)}" for server in address.via]
    if address.action:
        query.append(f"action={_quoted(address.action)}")
    return f"matrix:{path}" + (f"?{'&'.join(query)}" if query else "")


def to_link(address: Address) -> str:
    """The ``https://matrix.to`` link of an address, which says no action; raises BadInput if it is not sound."""
    _checked(address, address.id)
    path = quote(address.id, safe="")
    if address.event_id:
        path += f"/{quote(address.event_id, safe='')}"
    query = "&".join(f"via={quote(server, safe='')}" for server in address.via)
    return f"https://matrix.to/#/{path}" + (f"?{query}" if query else "")


def _parse_uri(text: str) -> Address:
    path, _, query = text[7:].partition("#")[0].partition("?")
    if path.startswith("//"):
        # MSC2312 reserves the authority; an address that has one is not for us.
        raise _no(text)
    parts = path.split("/")
    if len(parts) not in (2, 4) or parts[0] not in _SIGILS:
        raise _no(text)
    ident = _SIGILS[parts[0]] + _unquoted(parts[1], text)
    event_id = None
    if len(parts) == 4:
        if parts[2] not in ("e", "event"):
            raise _no(text)
        event_id = "$" + _unquoted(parts[3], text)
    via, action = _read_query(query, text)
    return _address(ident, event_id, via, action, text)


def _parse_link(text: str, rest: str) -> Address:
    path, _, query = rest.partition("?")
    parts = path.split("/")
    # A trailing slash is common in the wild.
    if len(parts) > 1 and parts[-1] == "":
        parts.pop()
    if len(parts) not in (1, 2):
        raise _no(text)
    event_id = _unquoted(parts[1], text) if len(parts) == 2 else None
    via, action = _read_query(query, text)
    return _address(_unquoted(parts[0], text), event_id, via, action, text)


def _address(ident: str, event_id: str | None, via: tuple[str, ...], action: str, text: str) -> Address:
    if not ident or ident[0] not in _WORDS:
        raise _no(text)
    kind = {"@": Kind.USER, "#": Kind.ALIAS, "!": Kind.ROOM}[ident[0]]
    return _checked(Address(Kind.EVENT if event_id else kind, ident, event_id, via, action), text)


def _checked(address: Address, text: str) -> Address:
    sound = _is_sound_id(address.id) and all(_SERVER.match(server) for server in address.via)
    if address.event_id is not None:
        sound = sound and address.id[0] != "@" and _is_sound_word(address.event_id, "$")
    sound = sound and (address.kind is Kind.EVENT) == (address.event_id is not None)
    if not sound:
        raise _no(text)
    return address


def _is_sound_id(ident: str) -> bool:
    sigil = ident[:1]
    if sigil not in _WORDS or not _is_sound_word(ident, sigil):
        return False
    local, colon, server = ident[1:].partition(":")
    if sigil == "!" and not colon:
        # Room version 12: the id is a hash and names no server (MSC4291).
        return True
    return bool(local) and _SERVER.match(server) is not None


def _is_sound_word(word: str, sigil: str) -> bool:
    return (
        word.startswith(sigil)
        and len(word) > 1
        and len(word.encode("utf-8", "replace")) <= 255
        and word.isprintable()
        and " " not in word
    )


def _read_query(query: str, text: str) -> tuple[tuple[str, ...], str]:
    if _BROKEN_PERCENT.search(query):
        raise _no(text)
    via: list[str] = []
    action = ""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError as error:
        raise _no(text) from error
    for key, value in pairs:
        if key == "via" and value not in via and len(via) < MOST_VIA:
            via.append(value)
        elif key == "action" and value in ("join", "chat"):
            action = value
    return tuple(via), action


def _unquoted(part: str, text: str) -> str:
    if _BROKEN_PERCENT.search(part):
        raise _no(text)
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise _no(text) from error


def _quoted(part: str) -> str:
    # RFC 3986 pchar without "/", "?" and "#"; the colon before the server name stays readable.
    return quote(part, safe=":@!$'()*,;=~._-")


def _no(text: str) -> BadInput:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return BadInput(f"{shown!r} is no Matrix address", advice="It looks like matrix:r/room:example.org")
