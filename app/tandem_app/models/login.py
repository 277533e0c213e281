"""Signing in: what the form shows, and what came of it, in words beside the line they concern."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import Property, QObject, Signal, Slot

from tandem_core import errors

if TYPE_CHECKING:
    import sqlite3

    from tandem_app.engine_thread import EngineThread
    from tandem_core.paths import ProfilePaths

log = logging.getLogger("tandem.app.login")

SERVER, USER, PASSWORD, FORM = "server", "user", "password", "form"


class LoginModel(QObject):
    """One attempt at a time. The password is handed on and kept nowhere."""

    changed = Signal()
    refused = Signal(str)
    """An attempt failed; the line to look at: server, user, password or form."""
    signedIn = Signal(str)
    """Somebody is signed in now; a sentence says where the key is kept that protects the encryption keys."""

    def __init__(
        self,
        thread: EngineThread,
        reader: Callable[[], sqlite3.Connection | None],
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._busy = ""
        self._problems: dict[str, str] = {}
        self._mode = "new"
        self._known = ("", "")
        thread.session.connect(self._look)
        self._look("")

    @Slot(str, str, str, str)
    def signIn(self, server: str, user: str, password: str, device_name: str) -> None:
        """Try to sign in; after an earlier session ended, server and user are those of the store."""
        if self._busy:
            return
        server, user = (text.strip() for text in (self._known if self._mode != "new" else (server, user)))
        missing = _missing(server, user, password)
        if missing:
            self._refuse(*missing)
            return
        self._busy, self._problems = "sign_in", {}
        self.changed.emit()
        work = self._sign_in(server or user, user, password, device_name.strip() or "Tandem")
        self._thread.call(work, lambda _: self._entered(), self._failed)

    @Slot()
    def forgetAccount(self) -> None:
        """Remove the ended session's messages and keys from this machine, so that somebody else may sign in."""
        if self._busy or self._mode == "new":
            return
        self._busy, self._problems = "forget", {}
        self.changed.emit()

        async def work() -> None:
            from tandem_core import session

            await session.logout(self._thread.paths, force=True)

        self._thread.call(work(), lambda _: self._forgotten(), self._failed)

    async def _sign_in(self, server: str, user: str, password: str, device_name: str) -> None:
        from tandem_core import session

        await session.login(server, user, password, device_name=device_name, paths=self._thread.paths)

    async def _find_key(self) -> str:
        import asyncio

        from tandem_core import vault

        _, where = await asyncio.to_thread(vault.pickle_key, self._thread.paths)
        return key_words(where, self._thread.paths)

    def _entered(self) -> None:
        self._busy = ""
        self.changed.emit()
        self._thread.restart()
        # The engine needs the key as well and tells when it cannot be had.
        self._thread.call(self._find_key(), self.signedIn.emit, lambda error: None)

    def _forgotten(self) -> None:
        self._busy = ""
        self.changed.emit()
        self._thread.restart()

    def _failed(self, error: Exception) -> None:
        self._refuse(*_words(error, self._mode))

    def _refuse(self, field: str, words: str) -> None:
        self._busy, self._problems = "", {field: words}
        self.changed.emit()
        self.refused.emit(field)

    @Slot(str)
    def _look(self, _state: str) -> None:
        """See whose session ended here, if any did."""
        from tandem_core.store import session as sessions

        conn = self._reader()
        old = sessions.session(conn) if conn is not None else None
        mode, known = "new", ("", "")
        if old is not None and old.state is not sessions.SessionState.SIGNED_IN:
            mode = "again" if old.state is sessions.SessionState.SOFT_LOGGED_OUT else "removed"
            known = (old.homeserver, old.me.user_id)
        if (mode, known) != (self._mode, self._known):
            self._mode, self._known, self._problems = mode, known, {}
            self.changed.emit()

    def _notice(self) -> str:
        match self._mode:
            case "again":
                ended = errors.SignedOut(soft=True)
            case "removed":
                ended = errors.SignedOut(soft=False)
            case _:
                return ""
        return f"{ended.title}. {ended.advice}"

    def _problem(self, field: str) -> str:
        return self._problems.get(field, "")

    mode = Property(str, lambda self: self._mode, notify=changed)
    """new; again (the session expired, its device is kept) or removed (the device is gone, the messages are kept)."""
    notice = Property(str, _notice, notify=changed)
    server = Property(str, lambda self: self._known[0], notify=changed)
    user = Property(str, lambda self: self._known[1], notify=changed)
    deviceName = Property(str, lambda self: f"Tandem on {socket.gethostname()}", constant=True)
    busy = Property(str, lambda self: self._busy, notify=changed)
    """sign_in or forget while that is going on; empty otherwise."""
    serverProblem = Property(str, lambda self: self._problem(SERVER), notify=changed)
    userProblem = Property(str, lambda self: self._problem(USER), notify=changed)
    passwordProblem = Property(str, lambda self: self._problem(PASSWORD), notify=changed)
    formProblem = Property(str, lambda self: self._problem(FORM), notify=changed)


def key_words(where: str, paths: ProfilePaths) -> str:
    """Where the key is kept that protects the encryption keys, said aloud."""
    if where == "keyring":
        return "The key that protects your encryption keys is in your desktop's keyring."
    return (
        "No keyring can be used here, so the key that protects your encryption keys is in a file that only you"
        f" can read: {paths.vault_file}"
    )


def _missing(server: str, user: str, password: str) -> tuple[str, str] | None:
    """The first line that still has to be filled in, and what to write there."""
    if not server and not (user.startswith("@") and ":" in user):
        return SERVER, "Write the address of your homeserver, for example example.org."
    if not user:
        return USER, "Write your user name, for example alice."
    if not password:
        return PASSWORD, "Write your password."
    return None


def _words(error: Exception, mode: str) -> tuple[str, str]:
    """The line an error belongs to, and what to say there."""
    match error:
        case errors.WrongPassword() if mode == "new":
            return PASSWORD, error.sentence
        case errors.WrongPassword():
            return PASSWORD, "This is not the password of this account. Try again."
        case errors.NotMatrix() | errors.NoSlidingSync():
            return SERVER, f"{error.title}. {error.advice}"
        case errors.Offline():
            return (
                SERVER,
                "This server cannot be reached. Check the address and your network, then try again.",
            )
        case errors.BadInput() if error.title == errors.BadInput.title:
            return SERVER, f"This is no server address. {error.advice}"
        case errors.ServerRefused(errcode="M_USER_DEACTIVATED"):
            return USER, "This account was closed by its owner or by the server's administrator."
        case errors.ServerRefused(errcode="M_INVALID_USERNAME"):
            return USER, "No account can have this name. Write it like alice, or @alice:example.org."
        case errors.ServerRefused():
            return FORM, f"The server refused: {error.message or error.errcode}"
        case errors.RateLimited():
            wait_s = max(1, round(error.retry_after_s))
            return (
                FORM,
                f"There were too many attempts. The server asks to wait {wait_s} s before the next one.",
            )
        case errors.Expected():
            return FORM, error.sentence
    log.error("signing in failed: %s", type(error).__name__, exc_info=error)
    return FORM, "Something unexpected happened. Try again; Tandem's log says more."
