"""One window a profile: a kernel lock says who it is; who comes second hands over what it was asked to open."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tandem_core.netlock import open_lock, try_lock

if TYPE_CHECKING:
    from tandem_core.paths import ProfilePaths

_TRIES = 40
_PAUSE_S = 0.1


class Instance:
    """The lock of the one window; it is given back by ``close`` or when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def claim(paths: ProfilePaths) -> Instance | None:
    """Become the window of this profile; None if another process is.

    This is the role lock of ``engine.take_role``, taken without that module's imports.
    """
    paths.make()
    descriptor = open_lock(paths.lock("role-app"))
    if try_lock(descriptor):
        return Instance(descriptor)
    os.close(descriptor)
    return None


def hand_over(paths: ProfilePaths, uri: str) -> bool:
    """Ask the window that runs to come to the front and open ``uri`` (may be empty).

    A window that is just starting does not listen yet, so this tries for some seconds. The token lets the
    desktop move the focus (xdg-activation); it is only good for that.
    """
    from tandem_core.doorbell import ring_once

    token = os.environ.get("XDG_ACTIVATION_TOKEN") or os.environ.get("DESKTOP_STARTUP_ID") or ""
    message = {"kind": "open", "uri": uri, "token": token}
    for _ in range(_TRIES):
        if ring_once(paths.socket("app"), message):
            return True
        time.sleep(_PAUSE_S)
    return False
