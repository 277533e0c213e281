"""Where log lines go: a private file per program, and the terminal when asked. Ids yes; bodies, keys, tokens never."""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

from tandem_core.paths import ProfilePaths

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MOST_BYTES = 2 * 1024 * 1024


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read."""

    def _open(self):  # type: ignore[no-untyped-def]  # the signature is the standard library's
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        Path(self.baseFilename).chmod(0o600)
        return super()._open()


def start(paths: ProfilePaths, program: str, *, to_terminal: bool = False, debug: bool = False) -> Path:
    """Send this process's log to ``<program>.log`` in the profile's log folder; returns that file."""
    file = paths.log / f"{program}.log"
    handlers: list[logging.Handler] = [
        _PrivateFile(file, maxBytes=_MOST_BYTES, backupCount=2, encoding="utf-8", delay=True)
    ]
    if to_terminal:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
        logging.getLogger().addHandler(handler)
    logging.getLogger("tandem").setLevel(logging.DEBUG if debug else logging.INFO)
    return file
