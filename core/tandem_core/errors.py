"""The error tree: what the user can do something about (Expected) and what is our fault (Bug).

Foreign exceptions are turned into these at the doors only: ``http.py``, ``vault.py``, ``store/database.py``.
"""

from __future__ import annotations


class TandemError(Exception):
    """Any error that Tandem names itself."""


class Bug(TandemError):
    """Something that must not happen; worth a report."""


class Expected(TandemError):
    """Something that does happen. ``title`` says what, ``advice`` what to do; both are for people."""

    title = "Something went wrong"
    advice = "Try again."

    def __init__(self, detail: str = "", *, title: str | None = None, advice: str | None = None) -> None:
        if title is not None:
            self.title = title
        if advice is not None:
            self.advice = advice
        self.detail = detail
        super().__init__(detail or self.title)

    @property
    def sentence(self) -> str:
        """One line for a terminal: title, detail and advice."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.title}{detail}. {self.advice}"


class Offline(Expected):
    """The server could not be reached, or answered with a passing failure (5xx, time-out)."""

    title = "No connection to your homeserver"
    advice = "Tandem keeps trying; nothing is lost."


class NotMatrix(Expected):
    title = "There is no Matrix homeserver at this address"
    advice = "Check the address for typing errors."


class NoSlidingSync(Expected):
    title = "This homeserver does not offer sliding sync"
    advice = "Ask its administrator to update; Synapse has it since 1.114."


class ServerRefused(Expected):
    """A definite Matrix error (4xx). ``errcode`` and ``status`` are the server's."""

    title = "Your homeserver refused this"
    advice = "Try again, or ask the administrator."

    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode
        self.message = message


class NeedsApproval(ServerRefused):
    """The server wants to see first that it is you (spec, "User-Interactive Authentication API").

    ``flows`` are lists of stages, each of which would do; ``completed`` are done already; ``params`` by stage.
    """

    title = "Your homeserver wants to see that it is you"
    advice = "Confirm with your password, or in the browser."

    def __init__(self, answer: dict[str, object]) -> None:
        errcode, message = answer.get("errcode"), answer.get("error")
        super().__init__(
            401,
            errcode if isinstance(errcode, str) else "M_UNAUTHORIZED",
            message if isinstance(message, str) else "",
        )
        session, params = answer.get("session"), answer.get("params")
        self.session = session if isinstance(session, str) else None
        self.params = params if isinstance(params, dict) else {}
        self.completed = _words(answer.get("completed"))
        flows = answer.get("flows")
        self.flows = [
            _words(flow.get("stages"))
            for flow in (flows if isinstance(flows, list) else [])
            if isinstance(flow, dict)
        ]


class Cancelled(Expected):
    title = "Cancelled"
    advice = "Nothing was changed."


class RateLimited(Expected):
    """HTTP 429; ``retry_after_s`` is the server's wish in seconds."""

    title = "Your homeserver asks to slow down"
    advice = "Tandem waits and tries again by itself."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"for {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class WrongPassword(Expected):
    title = "User name or password is wrong"
    advice = "Check both and try again."


class SignedOut(Expected):
    """The access token is no longer valid. ``soft``: sign in again and keep keys and messages."""

    title = "You were signed out"
    advice = "Sign in again."

    def __init__(self, *, soft: bool) -> None:
        self.soft = soft
        super().__init__(
            "",
            title="Your session has expired" if soft else "You were signed out",
            advice="Sign in again; your messages and keys are kept."
            if soft
            else "This device was removed from your account. Sign in again as a new device.",
        )


class NotSignedIn(Expected):
    title = "Nobody is signed in"
    advice = "Sign in first: tandem, or tandemctl login."


class AlreadyRuns(Expected):
    title = "Tandem already runs for this account"
    advice = "Use the program that runs, or choose another --profile."


class StoreError(Expected):
    """The account's database cannot be used as it is."""

    title = "The message store cannot be used"
    advice = "Run tandemctl doctor."


class StoreTooNew(StoreError):
    title = "The message store was written by a newer Tandem"
    advice = "Update this program; the store was left untouched."


class StoreCorrupt(StoreError):
    title = "The message store is damaged"
    advice = "It was left untouched. Restore a backup, or move it away and sign in again."


class StoreBusy(StoreError):
    title = "Another program holds the message store"
    advice = "Close the other program; Tandem goes on as soon as the store is free."


class StoreReadOnly(StoreError):
    title = "The message store cannot be written"
    advice = "Check the permissions of its folder and the disk."


class DiskFull(StoreError):
    title = "The disk is full"
    advice = "Free some space; Tandem goes on by itself and nothing is lost."


class VaultError(Expected):
    title = "The key that protects this account's encryption keys cannot be read"
    advice = "Unlock the desktop's keyring and try again."


class UnknownRoom(Expected):
    title = "There is no such room"
    advice = "Run tandemctl rooms to see the rooms of this account."


class BadInput(Expected):
    title = "This cannot be understood"
    advice = "See --help."


def _words(value: object) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
