"""``tandemctl keys``: message keys to and from the file format that other Matrix clients read."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.account import read_secret
from tandem_core.ctl.output import show, show_json
from tandem_core.errors import BadInput
from tandem_core.paths import ProfilePaths
from tandem_core.types import Change, Topic


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.key_files import export_keys, import_keys

    passphrase = read_secret(options.passphrase_file, "passphrase")
    file = Path(options.file)
    with world.opened(paths) as here:
        try:
            if options.verb == "export":
                count = asyncio.run(export_keys(here.paths, here.db, file, passphrase))
                words = f"{count} keys were written to {file}."
            else:
                count = asyncio.run(import_keys(here.paths, here.db, file, passphrase))
                world.ring(here, Change(Topic.KEYS))
                words = f"{count} keys were new."
        except OSError as error:
            raise BadInput(f"{file}: {error.strerror}", advice="Choose another file.") from error
    if options.json:
        show_json({"keys": count})
    else:
        show([words])
    return DONE
