"""One owner at a time for each kind of network work, across processes (law 14).

asyncio is imported where it is used: the window takes its own lock here before anything else is loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tandem_core.paths import ProfilePaths

_NAME = re.compile(r"[a-z_]{1,32}\Z")
_FIRST_WAIT_S, _MOST_WAIT_S = 0.01, 0.2


@contextlib.asynccontextmanager
async def netlock(paths: ProfilePaths, name: str) -> AsyncIterator[None]:
    """Hold the kernel lock for this kind of work; waits without blocking the event loop.

    It dies with its process, so work that was cut off is taken up by whoever asks next.
    """
    import asyncio

    if not _NAME.match(name):
        raise ValueError(name)
    lock = open_lock(paths.lock(f"net-{name}"))
    try:
        wait_s = _FIRST_WAIT_S
        while not try_lock(lock):
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _MOST_WAIT_S)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def netlock_if_free(paths: ProfilePaths, name: str) -> Iterator[bool]:
    """The same without waiting: False if somebody else holds it, maybe for as long as a person thinks."""
    lock = open_lock(paths.lock(f"net-{name}"))
    try:
        yield try_lock(lock)
    finally:
        os.close(lock)


def open_lock(file: Path) -> int:
    """A descriptor for a lock file, which nobody inherits. On a read-only disk one that exists will do."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if not file.exists():
            raise
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)


def try_lock(descriptor: int) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
