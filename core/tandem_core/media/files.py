"""Files being made: in a folder of ours, readable by their owner only, and never half there under their own name.

A file that is being made is locked by its maker; one that nobody holds and nobody knows is a crash's, and is swept.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tandem_core.store.database import mapped_errors

_PART = ".part-"


class NewFile:
    """A new 0600 file; it is gone when the block ends, unless it was put under a name of its own.

    Raises the store's errors (DiskFull, StoreReadOnly), which is what the disk's troubles are called here.
    """

    def __init__(self, folder: Path) -> None:
        with mapped_errors():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path, self._descriptor = _made(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        """Append; all of it, or an error."""
        rest = memoryview(data)
        with mapped_errors():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> None:
        """Have it all on the disk."""
        with mapped_errors():
            os.fsync(self._descriptor)

    def become(self, name: Path) -> None:
        """Put it under its name, in place of what was there; the lock is kept until the block ends."""
        with mapped_errors():
            os.replace(self.path, name)

    def become_new(self, name: Path) -> None:
        """Put it under its name where nothing is yet; raises FileExistsError."""
        try:
            os.link(self.path, name)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links (FAT, some network shares).
            with mapped_errors():
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                os.replace(self.path, name)


def _made(folder: Path) -> tuple[Path, int]:
    """A new locked file; made anew if it was swept between its birth and its lock."""
    while True:
        path = folder / f"{_PART}{secrets.token_hex(16)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return path, descriptor
        os.close(descriptor)


def sweep(folder: Path, is_known: Callable[[str], bool]) -> None:
    """Remove what a crash has left: files that nobody is making and that ``is_known`` denies."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        file = folder / name
        if not name.startswith(_PART) and is_known(name):
            continue
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            # First the lock, then the question: its maker makes it known before letting go.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if name.startswith(_PART) or not is_known(name):
                file.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
