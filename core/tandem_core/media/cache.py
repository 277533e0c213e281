"""Attachments that were fetched: opened, checked, and kept within a bound in a folder of their own.

A file's name there is a digest of where it comes from (in clear) or of its key and hash (encrypted), so that our own
files are known before they are sent. Whatever the sender calls it, nothing here is opened by a name or a type.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tandem_core.attachments.content import Part
from tandem_core.errors import BadInput, Expected
from tandem_core.http import Http
from tandem_core.media import api
from tandem_core.media.cipher import Decryption
from tandem_core.media.files import NewFile, sweep

MOST_BYTES = 512 * 1024 * 1024
"""Of all that is kept; what was used longest ago goes first."""
MOST_FILE = 8 * 1024**3
_SLACK = 16 * 1024 * 1024
_PIECE = 1024 * 1024

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that have come, and how many there will be if that is known."""


class NothingThere(Expected):
    """The message does not say where its file is, or not how to open it."""

    title = "There is no file behind this message"
    advice = "Ask the sender to send it again."


class Exists(BadInput):
    """A file was to be saved where another one is."""

    title = "There is a file of this name already"
    advice = "Choose another name; tandemctl save --force replaces it."


class Cache:
    """The fetched attachments of one profile; both programs and ``tandemctl`` may use it at the same time."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def file(self, part: Part, suffix: str = "") -> Path:
        """Where this part is kept, or will be; with a ``suffix``, what was made from it. Raises NothingThere."""
        return self.folder / (_name(part) + suffix)

    def find(self, part: Part, suffix: str = "") -> Path | None:
        """The file if it is here; it counts as used now."""
        try:
            file = self.file(part, suffix)
            os.utime(file)
        except (OSError, NothingThere):
            return None
        return file

    async def fetch(self, http: Http, part: Part, most: int, on_progress: OnProgress | None = None) -> Path:
        """The file, from the server if it is not here.

        Raises NothingThere, TooBig, HashMismatch, or as ``Http.request``. Nothing is there before it was checked.
        """
        if (found := self.find(part)) is not None:
            return found
        file = self.file(part)
        with NewFile(self.folder) as new:
            await _receive(http, part, new, min(most, bound(part)), on_progress)
            new.become(file)
        await asyncio.to_thread(self.trim)
        return file

    def put(self, part: Part, data: bytes, suffix: str = "") -> Path:
        """Keep what we have made ourselves."""
        file = self.file(part, suffix)
        with NewFile(self.folder) as new:
            new.write(data)
            new.become(file)
        return file

    def put_apart(self, name: str, data: bytes) -> Path:
        """Keep something of ours that has no place at a server yet, under a name of ours."""
        with NewFile(self.folder) as new:
            new.write(data)
            new.become(self.folder / name)
        return self.folder / name

    def adopt(self, part: Part, file: Path) -> None:
        """Keep a file of ours that is at the server now; it is no loss if that cannot be done."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(file, self.file(part))

    async def save(
        self,
        http: Http,
        part: Part,
        to: Path,
        *,
        replace: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Put a checked copy at ``to``, in a folder that is there.

        Raises Exists unless ``replace``, BadInput without the folder, or as ``fetch``.
        """
        await asyncio.to_thread(_check_target, to, replace)
        with NewFile(to.parent) as new:
            found = self.find(part)
            if found is not None:
                await asyncio.to_thread(_copy, found, new)
            else:
                await _receive(http, part, new, min(MOST_FILE, bound(part)), on_progress)
            await asyncio.to_thread(new.sync)
            if replace:
                new.become(to)
                return
            try:
                new.become_new(to)
            except FileExistsError as error:
                raise Exists(to.name) from error

    def trim(self) -> None:
        """Bring the folder within its bound, and sweep what a crash has left."""
        sweep(self.folder, lambda name: True)
        kept: list[tuple[float, int, Path]] = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    kept.append((about.st_mtime, about.st_size, Path(entry.path)))
        kept.sort(reverse=True)
        total = 0
        for number, (_, size, file) in enumerate(kept):
            total += size
            # The newest stays, however big: somebody is waiting for it.
            if number and total > self._most_bytes:
                file.unlink(missing_ok=True)


def bound(part: Part) -> int:
    """The most bytes that are taken for a part: senders and bridges err in its size, but not without end."""
    return MOST_FILE if part.size is None else max(2 * part.size, part.size + _SLACK)


async def _receive(http: Http, part: Part, new: NewFile, most: int, on_progress: OnProgress | None) -> None:
    if part.source is None:
        raise NothingThere
    opening = None if part.cipher is None else Decryption(part.cipher)
    got, total = 0, part.size

    def keep(chunk: bytes) -> None:
        new.write(chunk if opening is None else opening.open(chunk))

    async def take(chunk: bytes) -> None:
        nonlocal got
        await asyncio.to_thread(keep, chunk)
        got += len(chunk)
        if on_progress is not None:
            on_progress(got, total)

    def on_size(size: int | None) -> None:
        nonlocal total
        total = size if size is not None else total

    await api.download(http, part.source, take, most, on_size)
    if opening is not None:
        opening.finish()


def _check_target(to: Path, replace: bool) -> None:
    if not replace and os.path.lexists(to):
        raise Exists(to.name)
    if not to.parent.is_dir():
        raise BadInput(str(to.parent), title="There is no such folder", advice="Choose another one.")
    if to.is_dir():
        raise BadInput(to.name, title="This is a folder", advice="Say the name of a file.")


def _copy(file: Path, new: NewFile) -> None:
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            new.write(piece)


def _name(part: Part) -> str:
    if part.cipher is not None:
        words = [part.cipher.key, part.cipher.iv, part.cipher.sha256]
    elif part.source is not None:
        words = [str(part.source)]
    else:
        raise NothingThere
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
