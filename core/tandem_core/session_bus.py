"""Where the session bus is, if there can be one: known without loading a D-Bus library, which costs memory."""

from __future__ import annotations

import os
from pathlib import Path


def bus_address() -> str | None:
    """What the environment says, otherwise the place that systemd gives it; None where there is neither."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address is not None:
        # "disabled:" is how one says that there shall be none.
        return None if address in ("", "disabled:") else address
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder and Path(folder, "bus").is_socket():
        return f"unix:path={folder}/bus"
    return None
