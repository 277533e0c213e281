"""Signing in: what the form says and what came of it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread


class LoginModel(QObject):
    """One attempt at a time; errors are told in words, the password is kept nowhere."""

    changed = Signal()

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._busy = False
        self._title = ""
        self._advice = ""
        self._note = ""
        self._old = ("", "", "")
        thread.session.connect(self._look)
        self._look("")

    @Slot(str, str, str, str)
    def signIn(self, homeserver: str, user: str, password: str, device_name: str) -> None:
        """Try to sign in; the form stays as it is if that fails."""
        if self._busy:
            return
        for value, title, advice in (
            (homeserver.strip(), "Which homeserver?", "Write its address, for example matrix.example.org."),
            (user.strip(), "Who are you?", "Write your user name, for example alice."),
            (password, "The password is missing", "Write your account's password."),
        ):
            if not value:
                self._say(title, advice, busy=False)
                return
        self._say("", "", busy=True)
        self._thread.call(
            self._sign_in(homeserver.strip(), user.strip(), password, device_name.strip() or "Tandem"),
            self._done,
            self._failed,
        )

    async def _sign_in(self, homeserver: str, user: str, password: str, device_name: str) -> str:
        """In the engine's loop; returns where the key that protects the encryption keys is kept."""
        import asyncio

        from tandem_core import session, vault

        await session.login(homeserver, user, password, device_name=device_name, paths=self._thread.paths)
        _, where = await asyncio.to_thread(vault.pickle_key, self._thread.paths)
        return where

    def _done(self, where: str) -> None:
        self._note = (
            "Your encryption keys are protected by your desktop's keyring."
            if where == "keyring"
            else "No keyring was found: the key that protects your encryption keys is kept in a file of yours."
        )
        self._say("", "", busy=False)
        self._thread.restart()

    def _failed(self, error: Exception) -> None:
        from tandem_core.errors import Expected

        if isinstance(error, Expected):
            self._say(error.title, error.advice, busy=False)
        else:
            self._say("Something went wrong", "Try again; the log knows more.", busy=False)

    def _say(self, title: str, advice: str, *, busy: bool) -> None:
        self._title, self._advice, self._busy = title, advice, busy
        self.changed.emit()

    @Slot(str)
    def _look(self, _state: str) -> None:
        """After a soft sign-out the account is known, and only its password is asked."""
        conn = self._reader()
        row = None
        if conn is not None:
            row = conn.execute("SELECT homeserver, user_id, state FROM session").fetchone()
        self._old = (row[0], row[1], row[2]) if row is not None else ("", "", "")
        self.changed.emit()

    isBusy = Property(bool, lambda self: self._busy, notify=changed)
    errorTitle = Property(str, lambda self: self._title, notify=changed)
    errorAdvice = Property(str, lambda self: self._advice, notify=changed)
    keyNote = Property(str, lambda self: self._note, notify=changed)
    homeserver = Property(str, lambda self: self._old[0], notify=changed)
    user = Property(str, lambda self: self._old[1], notify=changed)
    isAgain = Property(bool, lambda self: self._old[2] == "soft_logged_out", notify=changed)
    """The session expired: messages and keys are kept, and only the password is needed."""
    deviceName = Property(str, lambda self: f"Tandem on {socket.gethostname()}", constant=True)
