"""From a file of the user to a message in the queue: copied or encrypted once, then queued in one transaction.

What goes out are always the bytes made here, whatever becomes of the user's file and however often it is tried.
Dies this anywhere before the commit, nothing was queued and the copy is swept.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tandem_core.attachments import content, pictures
from tandem_core.attachments.content import Part
from tandem_core.attachments.names import shown
from tandem_core.attachments.pictures import Look
from tandem_core.errors import BadInput, Cancelled
from tandem_core.media import cipher, limits
from tandem_core.media.cache import Cache
from tandem_core.media.files import NewFile
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import marker
from tandem_core.store import outbox, room_facts, uploads
from tandem_core.store.database import Database, Transaction, mapped_errors
from tandem_core.store.uploads import Upload
from tandem_core.types import Json, RoomId

_PIECE = 256 * 1024
_MOST_FOR_THE_EYE = 8_000_000
_SEALED_TYPE = "application/octet-stream"
_UNKNOWN_TYPE = "application/octet-stream"
_TYPES = mimetypes.MimeTypes(filenames=())
"""Python's own table: the machine's may be anything."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The sides of a picture in pixels as they are shown, and a smaller one of it without metadata, if one was made."""

    width: int | None
    height: int | None
    mimetype: str
    thumbnail: bytes | None = None
    thumbnail_type: str = ""
    thumbnail_width: int = 0
    thumbnail_height: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person chose to send: a file, or bytes from the clipboard, under a name.

    ``picture`` is there if somebody has looked at it and it is one. ``asks``: see ``tandem_core.sending.enqueue``.
    """

    source: Path | bytes
    name: str
    caption: str = ""
    picture: Picture | None = None
    asks: bool = False

    def size(self) -> int:
        """Bytes now; raises BadInput for what is no plain file that can be read."""
        if isinstance(self.source, bytes):
            return len(self.source)
        try:
            about = self.source.stat()
        except OSError as error:
            raise _unreadable(self.name, error) from error
        if not stat.S_ISREG(about.st_mode):
            raise BadInput(shown(self.name), title="Only files can be sent", advice="Pack a folder first.")
        return about.st_size


async def enqueue(
    paths: ProfilePaths,
    db: Database,
    room_id: RoomId,
    draft: Draft,
    *,
    now_ms: Callable[[], int],
    on_progress: Callable[[int, int], None] | None = None,
) -> str:
    """Queue a message with a file; returns its transaction id. Cancelling leaves nothing behind.

    ``on_progress`` hears bytes done and bytes in all, from another thread. Raises BadInput (no file to read),
    TooBigForServer as far as the limit is known, DiskFull and the store's other errors.
    """
    size = await asyncio.to_thread(draft.size)
    limits.check(size, await db.read(limits.kept))
    is_sealed = await db.read(_is_sealed, room_id)
    stop = threading.Event()
    with ExitStack() as held:
        making = asyncio.ensure_future(
            asyncio.to_thread(_make, paths, draft, is_sealed, stop, held, on_progress or _nobody, size)
        )
        try:
            message, parts = await asyncio.shield(making)
        except asyncio.CancelledError:
            # The thread ends at its next piece; its files go with the stack.
            stop.set()
            await asyncio.wait({making})
            making.exception()
            raise
        return await db.write(_queue, room_id, message, parts, draft, now_ms())


def look_at(source: Path | bytes) -> Look | None:
    """Which picture a file is by its first bytes; None for any other file, and for one that cannot be read."""
    if isinstance(source, bytes):
        return pictures.look(source[: pictures.HEAD])
    try:
        with open(source, "rb", opener=_without_waiting) as file:
            return pictures.look(file.read(pictures.HEAD))
    except OSError:
        return None  # what is wrong with it is told when it is sent


def mimetype_of(name: str) -> str:
    """What a file is by the end of its name."""
    return _TYPES.guess_type(name.lower(), strict=False)[0] or _UNKNOWN_TYPE


def _make(
    paths: ProfilePaths,
    draft: Draft,
    is_sealed: bool,
    stop: threading.Event,
    held: ExitStack,
    on_progress: Callable[[int, int], None],
    size: int,
) -> tuple[Json, list[Upload]]:
    """Copy or encrypt, in a worker thread; the files stay locked until ``held`` is closed: after the commit."""
    picture = draft.picture
    mimetype = picture.mimetype if picture else mimetype_of(draft.name)
    file, sealed, done = _stow(
        paths, _pieces(draft, stop, lambda done: on_progress(done, size)), is_sealed, held
    )
    width, height = (picture.width, picture.height) if picture else (None, None)
    parts = [_upload(uploads.FILE, file, mimetype, is_sealed)]
    told = content.write_part(sealed, mimetype, done(), width, height)
    small: Json | None = None
    if picture is not None and picture.thumbnail is not None:
        data = picture.thumbnail
        where, small_sealed, _ = _stow(paths, iter([data]), is_sealed, held)
        parts.append(_upload(uploads.THUMBNAIL, where, picture.thumbnail_type, is_sealed))
        small = content.write_part(
            small_sealed,
            picture.thumbnail_type,
            len(data),
            picture.thumbnail_width,
            picture.thumbnail_height,
        )
    name = shown(draft.name)
    msgtype = content.msgtype_for(mimetype, is_picture=picture is not None)
    said = content.write(msgtype, name, draft.caption, told, small)
    if picture is not None and is_sealed:
        _keep_for_the_eye(paths, said, draft)
    return said, parts


def _stow(
    paths: ProfilePaths, pieces: Iterator[bytes], is_sealed: bool, held: ExitStack
) -> tuple[Path, Json | None, Callable[[], int]]:
    """Write what goes out into the folder; returns its file, its key if it was encrypted, and how much went in."""
    new = held.enter_context(NewFile(paths.outgoing))
    went_in = 0

    def counted() -> Iterator[bytes]:
        nonlocal went_in
        for piece in pieces:
            went_in += len(piece)
            yield piece

    sealed: Json | None = None
    for made in cipher.encrypted(counted()) if is_sealed else counted():
        if isinstance(made, bytes):
            new.write(made)
        else:
            sealed = made
    new.sync()
    file = new.path.with_name(new.path.name.removeprefix(".part-"))
    new.become(file)
    return file, sealed, lambda: went_in


def _pieces(draft: Draft, stop: threading.Event, on_progress: Callable[[int], None]) -> Iterator[bytes]:
    if isinstance(draft.source, bytes):
        yield draft.source
        return
    done = 0
    try:
        descriptor = _without_waiting(draft.source, os.O_RDONLY)
    except OSError as error:
        raise _unreadable(draft.name, error) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput(shown(draft.name), title="Only files can be sent", advice="Pack a folder first.")
        while True:
            if stop.is_set():
                raise Cancelled
            try:
                piece = file.read(_PIECE)
            except OSError as error:
                raise _unreadable(draft.name, error) from error
            if not piece:
                return
            done += len(piece)
            yield piece
            on_progress(done)


def _queue(
    txn: Transaction, room_id: RoomId, message: Json, parts: list[Upload], draft: Draft, now_ms: int
) -> str:
    room_facts.accept(txn, room_id, "sent")
    if draft.asks:
        message = marker.asking(txn.conn, room_id, message)
    body = draft.caption or message["filename"]
    txn_id = outbox.put_message(txn, room_id, "m.room.message", message, body, None, now_ms)
    for part in parts:
        uploads.put(txn, Upload(txn_id, part.part, part.file, part.size, part.mimetype, part.is_sealed))
    return txn_id


def _upload(part: str, file: Path, mimetype: str, is_sealed: bool) -> Upload:
    with mapped_errors():
        size = file.stat().st_size
    return Upload("", part, file.name, size, _SEALED_TYPE if is_sealed else mimetype, is_sealed)


def _keep_for_the_eye(paths: ProfilePaths, said: Json, draft: Draft) -> None:
    """The row shows our own picture at once, though only its encrypted form waits here."""
    made = content.read("image", said)
    if made is None or draft.picture is None:
        return
    part: Part | None = made.thumbnail
    data = draft.picture.thumbnail
    if data is None and draft.size() <= _MOST_FOR_THE_EYE:
        part = made.file
        data = draft.source if isinstance(draft.source, bytes) else draft.source.read_bytes()
    if part is not None and data is not None:
        Cache(paths.media).put(part, data)


def _is_sealed(conn: sqlite3.Connection, room_id: RoomId) -> bool:
    return room_facts.encryption(conn, room_id) is not None


def _without_waiting(path: str | Path, flags: int) -> int:
    """Opened, also where a pipe has taken the file's place."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _unreadable(name: str, error: OSError) -> BadInput:
    return BadInput(
        f"{shown(name)}: {error.strerror or 'unknown reason'}",
        title="The file cannot be read",
        advice="Choose another one.",
    )


def _nobody(done: int, size: int) -> None:
    """Nobody wants to know."""
