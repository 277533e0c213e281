"""Content of ``m.image``, ``m.file``, ``m.audio`` and ``m.video`` (spec, "m.room.message msgtypes"), both ways.

What comes in was written by somebody else: every field may be missing, of a wrong type, or a lie. What is not
well-formed is left out; the row then shows a name and nothing can be fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tandem_core.attachments import KINDS, mxc, names
from tandem_core.attachments.mxc import Mxc
from tandem_core.types import Json

_MOST_SIZE = 2**50
_MOST_SIDE = 100_000
_MOST_DURATION_MS = 7 * 24 * 3_600_000
_MIMETYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\Z")
_UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Cipher:
    """How an attachment is encrypted (spec, "Sending encrypted attachments"); all three in unpadded base64."""

    key: str
    iv: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """A file at a server: the attachment itself or its thumbnail. ``size`` in bytes is what the sender claims.

    ``source`` is None while our own file waits to be uploaded.
    """

    source: Mxc | None
    cipher: Cipher | None
    mimetype: str
    size: int | None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a row has attached. ``name`` is fit to be shown; ``caption`` is empty if there is none."""

    kind: str
    name: str
    caption: str
    file: Part | None
    thumbnail: Part | None
    duration_ms: int | None = None

    @property
    def size(self) -> int | None:
        """Bytes, as its sender says."""
        return None if self.file is None else self.file.size


def read(kind: str, content: Json) -> Attachment | None:
    """What an event of this kind of row has attached; None for other kinds. Never raises."""
    if kind not in KINDS:
        return None
    body, filename = _text(content.get("body")), _text(content.get("filename"))
    info = _object(content.get("info"))
    caption = body if filename and body != filename else ""
    return Attachment(
        kind=kind,
        name=names.shown(filename or body),
        caption=caption if kind != "sticker" else "",
        file=_part(content.get("file"), content.get("url"), info),
        thumbnail=_part(
            info.get("thumbnail_file"), info.get("thumbnail_url"), _object(info.get("thumbnail_info"))
        ),
        duration_ms=_number(info.get("duration"), _MOST_DURATION_MS),
    )


def file_name(content: Json) -> str:
    """The name that the sender gave the file, as it came; see ``names`` before it is used."""
    return _text(content.get("filename")) or _text(content.get("body"))


def write(
    msgtype: str,
    name: str,
    caption: str,
    file: Json,
    thumbnail: Json | None,
    *,
    duration_ms: int | None = None,
) -> Json:
    """The content of a message with an attachment; ``file`` and ``thumbnail`` are made by ``write_part``."""
    info = dict(file["info"])
    if duration_ms is not None:
        info["duration"] = duration_ms
    if thumbnail is not None:
        info["thumbnail_info"] = thumbnail["info"]
        info |= {f"thumbnail_{key}": value for key, value in thumbnail.items() if key != "info"}
    content: Json = {"msgtype": msgtype, "body": caption or name, "filename": name, "info": info}
    return content | {key: value for key, value in file.items() if key != "info"}


def write_part(cipher: Json | None, mimetype: str, size: int, width: int | None, height: int | None) -> Json:
    """One part of what will be sent, not yet at a server; ``cipher`` as the encryption gave it, None in clear."""
    info: Json = {"mimetype": mimetype, "size": size}
    if width is not None and height is not None:
        info |= {"w": width, "h": height}
    return {"info": info} if cipher is None else {"info": info, "file": cipher}


def with_source(content: Json, part: str, source: Mxc) -> Json:
    """The content once ``file`` or ``thumbnail`` is at a server."""
    if part == "file":
        return _with_url(content, "file", "url", source)
    return content | {
        "info": _with_url(_object(content.get("info")), "thumbnail_file", "thumbnail_url", source)
    }


def _with_url(holder: Json, sealed: str, plain: str, source: Mxc) -> Json:
    file = holder.get(sealed)
    if isinstance(file, dict):
        return holder | {sealed: file | {"url": str(source)}}
    return holder | {plain: str(source)}


def msgtype_for(mimetype: str, *, is_picture: bool) -> str:
    """Which message type carries such a file; only a picture that we could look at ourselves is one."""
    if is_picture:
        return "m.image"
    main = mimetype.partition("/")[0]
    return {"audio": "m.audio", "video": "m.video"}.get(main, "m.file")


def _part(file: Any, url: Any, info: Json) -> Part | None:
    """``file`` of an encrypted attachment goes first; a broken one is not replaced by ``url``."""
    cipher = None
    if isinstance(file, dict):
        cipher, source = _cipher(file), mxc.parse(file.get("url"))
        if cipher is None:
            return None
    else:
        source = mxc.parse(url)
        if source is None and not info:
            return None
    mimetype = _text(info.get("mimetype")).lower()
    return Part(
        source=source,
        cipher=cipher,
        mimetype=mimetype if _MIMETYPE.match(mimetype) else _UNKNOWN_TYPE,
        size=_number(info.get("size"), _MOST_SIZE),
        width=_number(info.get("w"), _MOST_SIDE) or None,
        height=_number(info.get("h"), _MOST_SIDE) or None,
    )


def _cipher(file: Json) -> Cipher | None:
    key, hashes = _object(file.get("key")), _object(file.get("hashes"))
    secret, iv, sha256 = key.get("k"), file.get("iv"), hashes.get("sha256")
    if file.get("v") != "v2" or key.get("kty") != "oct" or key.get("alg") != "A256CTR":
        return None
    if not (_is_base64(secret, 32) and _is_base64(iv, 16) and _is_base64(sha256, 32)):
        return None
    return Cipher(*(str(value).rstrip("=") for value in (secret, iv, sha256)))


def _is_base64(value: Any, size: int) -> bool:
    """Base64 of either alphabet, padded or not, of so many bytes."""
    letters = -(-size * 4 // 3)
    return isinstance(value, str) and len(value.rstrip("=")) == letters and bool(_BASE64.match(value))


def _number(value: Any, most: int) -> int | None:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.replace("\0", "") if isinstance(value, str) else ""
