"""``tandem demo``: a whole world in one command."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tandem_core.errors import Expected
from tandem_demo.device import DemoFailed
from tandem_demo.tell import Teller


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit status 0 told to its end, 1 something did not happen, 2 wrong usage."""
    options = _parser().parse_args(argv)
    headless = options.headless or options.json or not _has_display()
    tell = Teller()
    if headless and not options.headless and not options.json:
        tell.line("There is no display, so the story is told in lines and pictures")
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="tandem-demo-") as temporary:
        folder = options.keep.absolute() if options.keep else Path(temporary)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return _run(folder, tell, options, headless=headless)
        except KeyboardInterrupt:
            tell.line("Stopped")
            return 0 if not headless else 1
        except (DemoFailed, Expected) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1


def _run(folder: Path, tell: Teller, options: argparse.Namespace, *, headless: bool) -> int:
    from tandem_demo.world import running_world

    with running_world(folder, tell, headless=headless) as world:
        if not headless:
            from tandem_demo.live import live

            live(world, tell)
            return 0
        from tandem_demo.story import tell_headless

        shots = options.shots.absolute()
        line = tell_headless(world, tell, shots, messages=options.messages, seed=options.seed)
        tell.line(f"Pictures: {shots}")
    if options.json:
        print(json.dumps(line), flush=True)
    else:
        tell.line(json.dumps(line))
    return 0 if _is_as_promised(line) else 1


def _is_as_promised(line: dict[str, object]) -> bool:
    return (
        line["encrypted"] is True
        and line["notified_while_closed"] is True
        and line["lost"] == 0
        and line["doubled"] == 0
        and line["devices"] == 2
    )


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tandem demo",
        description="A real homeserver, two people, three devices, encryption, a delivered tick: in one command.",
    )
    parser.add_argument(
        "--headless", action="store_true", help="tell the story in lines and pictures, then end"
    )
    parser.add_argument(
        "--json", action="store_true", help="end with one JSON line on stdout (implies --headless)"
    )
    parser.add_argument("--messages", type=int, default=200, metavar="N", help="how many are written (200)")
    parser.add_argument("--seed", type=int, default=1, help="replays the same closings and kills")
    parser.add_argument(
        "--shots", type=Path, default=Path("demo-shots"), metavar="DIR", help="where pictures go"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every file of the run in DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
