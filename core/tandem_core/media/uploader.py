"""The files of a queued message, brought to the server before the message itself: each once, over crashes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from tandem_core.attachments.content import Part
from tandem_core.attachments.mxc import Mxc
from tandem_core.attachments.names import size_words
from tandem_core.errors import Cancelled, Expected, ServerRefused
from tandem_core.http import Http
from tandem_core.http_stream import CHUNK
from tandem_core.media import api, limits
from tandem_core.media.cache import Cache
from tandem_core.media.files import sweep
from tandem_core.paths import ProfilePaths
from tandem_core.store import uploads
from tandem_core.store.database import Database, Transaction
from tandem_core.store.outbox import Queued
from tandem_core.store.uploads import Upload

log = logging.getLogger("tandem.media")

_LOOK_S = 0.5
"""How often progress is written down, and cancelling noticed."""


class CannotUpload(Expected):
    """This file will never get there as it is; ``title`` is for the row."""

    advice = "Delete the message and send the file again."

    def __init__(self, title: str) -> None:
        super().__init__(title=title)


class Uploader:
    """Used by the sender, in both programs, under its lock: one of them at a time."""

    def __init__(self, paths: ProfilePaths, db: Database, http: Http) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._has_swept = False

    async def bring(self, message: Queued, *, is_sealed_room: bool) -> None:
        """Upload what of this message is not there yet, and say in the message where it is.

        Raises CannotUpload, Cancelled (the message was deleted meanwhile), or as ``Http.request`` what passes.
        """
        for upload in await self._db.read(uploads.waiting, message.txn_id):
            if is_sealed_room and not upload.is_sealed:
                raise CannotUpload("Encryption was turned on in this room; send the file again")
            try:
                source = await self._watched(upload, message)
            except ServerRefused as refused:
                raise CannotUpload(_words(refused)) from refused
            if not await self._db.write(uploads.note_uploaded, upload, message.room_id, source):
                raise Cancelled
            if not upload.is_sealed:
                part = Part(source, None, upload.mimetype, upload.size)
                await asyncio.to_thread(Cache(self._paths.media).adopt, part, self._file(upload))

    async def tidy(self) -> None:
        """Remove the files of messages that were sent or deleted; at first also what a crash has left."""
        is_due = not self._has_swept and self._paths.outgoing.exists()
        self._has_swept = True
        if is_due or await self._db.read(uploads.has_settled):
            await self._db.write(_tidy, self._paths.outgoing)

    async def _watched(self, upload: Upload, message: Queued) -> Mxc:
        """The upload, given up when its message is deleted."""
        progress = _Progress()
        task = asyncio.ensure_future(self._upload(upload, progress))
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=_LOOK_S)
                if done:
                    return task.result()
                noted = await self._db.write(
                    uploads.note_progress, upload, message.room_id, min(progress.sent, upload.size)
                )
                if not noted:
                    raise Cancelled
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _upload(self, upload: Upload, progress: _Progress) -> Mxc:
        most = await self._limit()
        if most is not None and upload.size > most:
            raise CannotUpload(f"The file is too big; your homeserver takes {size_words(most)} at most")
        file = self._file(upload)
        try:
            if await asyncio.to_thread(lambda: file.stat().st_size) != upload.size:
                raise CannotUpload("The copy of the file that was to be sent is damaged")
        except OSError as error:
            raise CannotUpload("The copy of the file that was to be sent is gone") from error
        return await api.upload(
            self._http, lambda: _chunks(file, upload, progress), upload.size, upload.mimetype
        )

    async def _limit(self) -> int | None:
        try:
            return await limits.refresh(self._db, self._http)
        except ServerRefused:
            return await self._db.read(limits.kept)

    def _file(self, upload: Upload) -> Path:
        return self._paths.outgoing / upload.file


class _Progress:
    """Bytes that went out so far."""

    def __init__(self) -> None:
        self.sent = 0


async def _chunks(file: Path, upload: Upload, progress: _Progress) -> AsyncIterator[bytes]:
    rest, progress.sent = upload.size, 0
    try:
        with file.open("rb", buffering=0) as source:
            while rest:
                chunk = await asyncio.to_thread(source.read, min(CHUNK, rest))
                if not chunk:
                    raise CannotUpload("The copy of the file that was to be sent is damaged")
                rest -= len(chunk)
                yield chunk
                progress.sent += len(chunk)
    except OSError as error:
        raise CannotUpload("The copy of the file that was to be sent is gone") from error


def _tidy(txn: Transaction, folder: Path) -> None:
    """In one transaction: nobody can make a file known between the question and the deed."""
    uploads.forget_settled(txn)
    sweep(folder, lambda name: uploads.is_known(txn.conn, name))


def _words(refused: ServerRefused) -> str:
    match refused.errcode:
        case "M_TOO_LARGE":
            return "The file is too big for your homeserver"
        case "M_FORBIDDEN":
            return "Your homeserver does not let you send files"
    return refused.message or refused.title
