"""Icons and desktop data of Tandem, as files that any program of it may open by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

APP_ICON = "icons/im.tandem.Tandem.svg"
SYMBOLIC_ICON = "icons/im.tandem.Tandem-symbolic.svg"
"""One colour, for panels that choose it themselves."""


def path(name: str) -> Path:
    """The file of a resource, ``icons/im.tandem.Tandem.svg`` for one; raises FileNotFoundError if there is none.

    Wheels are unpacked when they are installed, so a resource always is a file of its own.
    """
    root = Path(str(files(__name__)))
    found = (root / name).resolve()
    if not found.is_relative_to(root.resolve()) or not found.is_file():
        raise FileNotFoundError(f"Tandem has no resource {name!r}")
    return found


def names() -> list[str]:
    """All resources, in order."""
    root = Path(str(files(__name__)))
    return sorted(str(file.relative_to(root)) for file in root.rglob("*.svg"))
