"""What Tandem's programs have in common on a command line (DESIGN section 6)."""

from __future__ import annotations

import argparse
from typing import NoReturn

DONE, FAILED, WRONG_USAGE, OUR_FAULT = 0, 1, 2, 70
"""Exit statuses; the last one is EX_SOFTWARE of sysexits.h."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {message}. See {self.prog} --help.\n")
