"""Approval in a terminal: the password from a file or standard input, a web page by its address."""

from __future__ import annotations

import asyncio
import sys

from tandem_core.ctl.account import read_secret
from tandem_core.ctl.output import note
from tandem_core.errors import BadInput, WrongPassword


class TerminalApprover:
    """Asks for nothing twice: a wrong password ends the command."""

    def __init__(self, password_file: str | None) -> None:
        self._password_file = password_file

    async def password(self, *, was_wrong: bool) -> str | None:
        if was_wrong:
            raise WrongPassword(title="The password is wrong", advice="Nothing was changed.")
        if self._password_file is None:
            raise BadInput(
                "password",
                title="Your homeserver wants to see that it is you",
                advice="Give your password with --password-file FILE, or - for standard input.",
            )
        return await asyncio.to_thread(read_secret, self._password_file, "password")

    async def in_browser(self, url: str) -> bool:
        note(f"Approve on this page, then press Enter here: {url}")
        return bool(await asyncio.to_thread(sys.stdin.readline))
