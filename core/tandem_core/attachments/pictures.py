"""Which picture a file is, by its first bytes: the few kinds that are ever drawn, whatever a name or type says.

Never SVG or HTML: they are programs. The sides are the file's own claim; who decodes it checks again.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD = 256 * 1024
"""So many of the first bytes are enough to look at."""
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class Look:
    """``format`` is what decoders call it; the sides in pixels are None where a camera may have turned the picture."""

    format: str
    width: int | None = None
    height: int | None = None

    @property
    def mimetype(self) -> str:
        return f"image/{self.format}"


def look(head: bytes) -> Look | None:
    """What the first bytes say; None if they are of no picture that is drawn."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
        return _sized("png", _big(head[16:20]), _big(head[20:24]))
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _sized("gif", _little(head[6:8]), _little(head[8:10]))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(head)
    return None


def _webp(head: bytes) -> Look | None:
    match head[12:16]:
        case b"VP8X":
            is_turned = bool(head[20:21] and head[20] & 0x08)  # it has Exif data
            sides = (1 + _little(head[24:27]), 1 + _little(head[27:30]))
            return Look("webp") if is_turned else _sized("webp", *sides)
        case b"VP8L":
            bits = _little(head[21:25])
            return _sized("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        case b"VP8 ":
            return _sized("webp", _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF)
    return None


def _jpeg(head: bytes) -> Look:
    place, is_turned = 2, False
    while place + 9 < len(head) and head[place] == 0xFF:
        kind = head[place + 1]
        if kind == 0xFF:
            place += 1
            continue
        if kind in _BARE:
            place += 2
            continue
        if kind == 0xE1 and head[place + 4 : place + 8] == b"Exif":
            is_turned = True
        if kind in _START_OF_FRAME and not is_turned:
            return _sized("jpeg", _big(head[place + 7 : place + 9]), _big(head[place + 5 : place + 7]))
        length = _big(head[place + 2 : place + 4])
        if length < 2 or kind == 0xDA or is_turned:
            break
        place += 2 + length
    return Look("jpeg")


def _sized(kind: str, width: int, height: int) -> Look:
    return Look(kind, width, height) if width and height else Look(kind)


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
