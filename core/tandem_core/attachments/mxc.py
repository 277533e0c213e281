"""Addresses of content (spec, "Matrix Content (mxc://) URIs"), read strictly: they become parts of a request's path."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

_MOST_LENGTH = 510
_SCHEME = "mxc://"
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
# Spec appendices, "Server Name".
_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True)
class Mxc:
    """Where content lies: the server it was uploaded to, and its id there."""

    server: str
    media_id: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.server}/{self.media_id}"


def parse(value: Any) -> Mxc | None:
    """The address that a piece of JSON gives, or None if it is no well-formed one."""
    if not isinstance(value, str) or len(value) > _MOST_LENGTH or not value.startswith(_SCHEME):
        return None
    server, slash, media_id = value[len(_SCHEME) :].partition("/")
    if not slash or not _MEDIA_ID.match(media_id) or not _is_server_name(server):
        return None
    return Mxc(server, media_id)


def _is_server_name(text: str) -> bool:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        return bool(bracket) and _is_ipv6(address) and (not rest or _is_port(rest.removeprefix(":"), rest))
    host, colon, port = text.partition(":")
    return bool(_HOST.match(host)) and ".." not in host and (not colon or bool(_PORT.match(port)))


def _is_port(digits: str, rest: str) -> bool:
    return rest.startswith(":") and bool(_PORT.match(digits))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text
