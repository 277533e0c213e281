"""Which program of a profile a process is: a kernel lock for each, which dies with its holder.

It loads nothing heavy: the window takes its lock before anything else.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self

from tandem_core.errors import AlreadyRuns
from tandem_core.netlock import open_lock, try_lock
from tandem_core.types import Role

if TYPE_CHECKING:
    from pathlib import Path

    from tandem_core.paths import ProfilePaths

_LOOKS, _LOOK_AGAIN_S = 5, 0.01
_STAND_IN_S = 0.1
"""How often a program that waits looks whether the command in its place has ended."""


class RoleLock:
    """The kernel lock of one program, held for life; ``close`` or the end of the process gives it back."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors

    def close(self) -> None:
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_role(paths: ProfilePaths, role: Role) -> RoleLock:
    """Be this program of the profile; raises AlreadyRuns if another process is."""
    paths.make()
    return RoleLock(_taken(_place(paths, role), role))


def stand_in(paths: ProfilePaths, role: Role) -> RoleLock:
    """Be this program for as long as a command lasts; raises AlreadyRuns if another process is.

    The program itself can tell (``is_stood_in``), and wait.
    """
    paths.make()
    # Taken first: who finds a stand-in in the place finds this one taken, too.
    mark = _taken(_mark(paths, role), role)
    try:
        return RoleLock(_taken(_place(paths, role), role), mark)
    except AlreadyRuns:
        os.close(mark)
        raise


def take_role_from_stand_in(paths: ProfilePaths, role: Role) -> RoleLock:
    """Be this program of the profile, as soon as no command stands in for it; raises AlreadyRuns as ``take_role``."""
    while True:
        try:
            return take_role(paths, role)
        except AlreadyRuns:
            if not is_stood_in(paths, role):
                raise
            time.sleep(_STAND_IN_S)


def is_stood_in(paths: ProfilePaths, role: Role) -> bool:
    """Whether a command is in this program's place now, or about to be."""
    return _is_taken(_mark(paths, role))


def is_running(paths: ProfilePaths, role: Role) -> bool:
    """Whether this program of the profile runs now, in whatever process, or a command in its place."""
    return _is_taken(_place(paths, role))


def _place(paths: ProfilePaths, role: Role) -> Path:
    return paths.lock(f"role-{role}")


def _mark(paths: ProfilePaths, role: Role) -> Path:
    return paths.lock(f"stand-in-{role}")


def _taken(file: Path, role: Role) -> int:
    descriptor = open_lock(file)
    for _ in range(_LOOKS):
        if try_lock(descriptor):
            return descriptor
        # Somebody who only looks (``_is_taken``) holds it for an instant.
        time.sleep(_LOOK_AGAIN_S)
    os.close(descriptor)
    raise AlreadyRuns(f"{role}")


def _is_taken(file: Path) -> bool:
    if not file.exists():
        return False
    descriptor = open_lock(file)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)
