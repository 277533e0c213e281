"""What a row with an attachment says of it, for QML and for screen readers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tandem_core.attachments import PICTURES
from tandem_core.attachments.names import size_words

if TYPE_CHECKING:
    from tandem_core.attachments.content import Attachment
    from tandem_core.store.view import Row

_NAMES = {"image": "Picture", "sticker": "Sticker", "audio": "Audio", "video": "Video", "file": "File"}
_FLATTEST, _TALLEST = 0.05, 4.0


def facts(row: Row) -> dict[str, Any]:
    """The attachment for QML; without a name, there is none.

    ``ratio`` is height by width as the sender says, kept within reason; 0 if nothing was said. ``progress`` runs
    from 0 to 1 while our own file goes up, else it is -1; ``local`` is our own file while it waits in clear.
    """
    found = row.attachment
    if found is None or row.redacted:
        return {}
    part = found.file
    width, height = _sides(found)
    ratio = min(max(height / width, _FLATTEST), _TALLEST) if width and height else 0.0
    upload = row.upload
    is_going_up = upload is not None and row.send_state in ("queued", "sending")
    return {
        "name": found.name,
        "size": _size(found),
        "isPicture": found.kind in PICTURES,
        "isThere": part is not None and (part.source is not None or upload is not None),
        "canSave": part is not None and part.source is not None,
        "ratio": ratio,
        "width": width or 0,
        "progress": upload.sent / max(1, upload.size) if upload is not None and is_going_up else -1.0,
        "local": (upload.in_clear or "") if upload is not None else "",
    }


def spoken(found: Attachment) -> str:
    """For a screen reader: what it is, its name and size, and the caption."""
    parts = [f"{_NAMES.get(found.kind, 'File')} {found.name}", _size(found), found.caption]
    return ", ".join(part for part in parts if part)


def _size(found: Attachment) -> str:
    return "" if found.size is None else size_words(found.size)


def _sides(found: Attachment) -> tuple[int | None, int | None]:
    for part in (found.file, found.thumbnail):
        if part is not None and part.width and part.height:
            return part.width, part.height
    return None, None
