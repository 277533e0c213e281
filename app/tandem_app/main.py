"""``tandem [URI]``: the window, or word to the one that runs.

The first frame needs only PySide6, sqlite3 and our own light modules; asyncio, aiohttp and the engine are
imported by the engine's thread while the window is already there.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tandem_core.errors import AlreadyRuns, Expected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtQuick import QQuickWindow

USAGE = """usage: tandem [--profile NAME] [URI]
       tandem demo [options]

Opens Tandem's window, or brings the one that runs to the front.

  URI             a matrix: or https://matrix.to address to open
  demo            a whole world in one command; see tandem demo --help
  --profile NAME  which account of this machine to use (default: default)
  --version       print the version and end
  --help          print this and end

TANDEM_HOME moves all files under one folder.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    profile: str
    uri: str


def main(
    arguments: Sequence[str] | None = None, *, on_window: Callable[[QQuickWindow], object] | None = None
) -> int:
    """Run the window. Exit status 0 done, 1 failed (reason on stderr in one line), 2 wrong usage.

    ``on_window`` is called with the window before it is first painted (the demo and tests look through it).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["demo"]:
        return _demo(words[1:])
    if "--help" in words or "-h" in words:
        sys.stdout.write(USAGE)
        return 0
    if "--version" in words:
        from importlib.metadata import version

        sys.stdout.write(f"tandem {version('tandem-app')}\n")
        return 0
    options = _options(words)
    if options is None:
        sys.stderr.write(USAGE)
        return 2
    try:
        return _run(options, on_window)
    except Expected as error:
        sys.stderr.write(f"tandem: {error.sentence}\n")
        return 1


def _options(words: list[str]) -> Options | None:
    """Three things to read are not worth argparse's time at start."""
    profile, uri, rest = os.environ.get("TANDEM_PROFILE") or "default", "", list(words)
    while rest:
        word = rest.pop(0)
        if word == "--profile" and rest:
            profile = rest.pop(0)
        elif word.startswith("--profile="):
            profile = word.partition("=")[2]
        elif word.startswith("-") or uri:
            return None
        else:
            uri = word
    return Options(profile, uri)


def _run(options: Options, on_window: Callable[[QQuickWindow], object] | None) -> int:
    from tandem_app import first_look
    from tandem_core.paths import profile_paths
    from tandem_core.role import is_stood_in, take_role
    from tandem_core.types import Role

    paths = profile_paths(options.profile)
    try:
        role = take_role(paths, Role.APP)
    except AlreadyRuns:
        if is_stood_in(paths, Role.APP):
            raise Expected(
                title="A command is at work in the window's place",
                advice="Open Tandem again when tandemctl has ended.",
            ) from None
        from tandem_app.instance import hand_over

        if hand_over(paths, options.uri):
            return 0
        raise Expected(
            title="Tandem already runs for this account, but does not answer",
            advice="Close its window, or end the process, and try again.",
        ) from None
    with role:
        look = None
        try:
            look = first_look.begin(paths)
            from tandem_app.run import run  # loads Qt, beside the first look if there is one

            return run(paths, options, on_window, look)
        finally:
            if look is not None:
                look.give_up()


def _demo(words: list[str]) -> int:
    try:
        from tandem_demo.main import main as demo
    except ModuleNotFoundError:
        sys.stderr.write(
            "tandem: The demo is not installed here. Use make demo in a clone of Tandem's source.\n"
        )
        return 1
    status: int = demo(words)
    return status


if __name__ == "__main__":
    sys.exit(main())
