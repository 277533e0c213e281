"""One window a profile: whoever comes second hands over what it was asked to open."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tandem_core.paths import ProfilePaths

_TRIES = 40
_PAUSE_S = 0.1


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
