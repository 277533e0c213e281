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
    from tandem_core.paths import ProfilePaths

_LOOKS, _LOOK_AGAIN_S = 5, 0.01


class RoleLock:
    """The kernel lock of one program, held for life; ``close`` or the end of the process gives it back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_role(paths: ProfilePaths, role: Role) -> RoleLock:
    """Be this program of the profile; raises AlreadyRuns if another process is."""
    paths.make()
    descriptor = open_lock(paths.lock(f"role-{role}"))
    for _ in range(_LOOKS):
        if try_lock(descriptor):
            return RoleLock(descriptor)
        # Somebody who only looks (``is_running``) holds it for an instant.
        time.sleep(_LOOK_AGAIN_S)
    os.close(descriptor)
    raise AlreadyRuns(f"{role}")


def is_running(paths: ProfilePaths, role: Role) -> bool:
    """Whether this program of the profile runs now, in whatever process."""
    file = paths.lock(f"role-{role}")
    if not file.exists():
        return False
    descriptor = open_lock(file)
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)
