"""The doorbell between the programs of one account: a Unix socket each, one JSON object a line (law 11).

It only says "look": facts are in the store, so a ring that is lost costs latency and never data.
Kinds: ``ring {changes: [[topic, room or null], ...]}``, ``focus {room, active}``, ``open {uri, token}``,
``bye {reason}``. Unknown kinds are ignored; another ``v`` is answered with ``bye`` and the connection closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem_core.errors import Expected
from tandem_core.types import Change, Json, RoomId, Topic

VERSION = 1
KINDS = frozenset({"ring", "focus", "open", "bye"})
MOST_LINE_BYTES = 65536
_MOST_CHANGES = 256
_MOST_GUESTS = 16
_CREDENTIALS = struct.Struct("3i")

log = logging.getLogger("tandem.doorbell")

OnMessage = Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class Focus:
    """What a window shows: the room it stands in (None: no room), and whether it has the keyboard."""

    room: RoomId | None
    active: bool


def changes_of(message: Json) -> frozenset[Change]:
    """What a ``ring`` says changed; topics that this version does not know are left out."""
    pairs = message.get("changes")
    found = set()
    for pair in pairs if isinstance(pairs, list) else ():
        match pair:
            case [str(topic), None] if topic in _TOPICS:
                found.add(Change(Topic(topic)))
            case [str(topic), str(room)] if topic in _TOPICS:
                found.add(Change(Topic(topic), RoomId(room)))
    return frozenset(found)


def ring_message(changes: Iterable[Change]) -> Json:
    """The ``ring`` that tells of these changes; very many rooms of a topic become "somewhere"."""
    pairs = {(str(change.topic), change.room_id) for change in changes}
    if len(pairs) > _MOST_CHANGES:
        pairs = {(topic, None) for topic, _ in pairs}
    ordered = sorted(pairs, key=lambda pair: (pair[0], pair[1] or ""))
    return {"v": VERSION, "kind": "ring", "changes": [list(pair) for pair in ordered]}


def ring_once(path: Path, message: Json | Iterable[Change], *, timeout_s: float = 1.0) -> bool:
    """Say one thing to the program that listens at ``path``; False if none does. Blocks at most ``timeout_s``.

    ``message`` is a whole message (``{"kind": "open", ...}``) or changes to ring with.
    """
    line = _line(message if isinstance(message, dict) else ring_message(message))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
            if not _same_user(sock):
                return False
            sock.sendall(line)
        except OSError:
            return False
    return True


class DoorbellServer:
    """Listens at ``path`` for this user's other programs and calls ``on_message`` on the event loop.

    The caller holds the role lock: only then may a socket that a dead program left behind be removed.
    ``focus`` messages are kept per connection and forgotten with it; ``on_message`` is told of that, too.
    """

    def __init__(self, path: Path, on_message: OnMessage) -> None:
        self.path = path
        self._on_message = on_message
        self._server: asyncio.Server | None = None
        self._place: tuple[int, int] | None = None
        self._guests: dict[asyncio.Task[Any], Focus | None] = {}

    @property
    def focus(self) -> Focus | None:
        """What the window that has the keyboard shows, or None while no living window has it."""
        return next((focus for focus in self._guests.values() if focus and focus.active), None)

    async def start(self) -> None:
        """Listen. Raises Expected when the folder is not private to this user."""
        _check_private(self.path.parent)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(self.path))
            # The folder is 0700, so nobody else could connect before this.
            self.path.chmod(0o600)
            self._place = _place(self.path)
            self._server = await asyncio.start_unix_server(self._greet, sock=sock, limit=MOST_LINE_BYTES)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Tell guests, stop listening, and take the socket away if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        if _place(self.path) == self._place:
            with contextlib.suppress(OSError):
                self.path.unlink()
        guests = list(self._guests)
        for guest in guests:
            guest.cancel()
        await asyncio.gather(*guests, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def run(self) -> None:
        """Listen until cancelled."""
        await self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guest = asyncio.current_task()
        assert guest is not None
        sock: socket.socket = writer.get_extra_info("socket")
        if len(self._guests) >= _MOST_GUESTS or not _same_user(sock):
            writer.close()
            return
        self._guests[guest] = None
        reason = ""
        try:
            reason = await self._listen(guest, reader)
        except asyncio.CancelledError:
            reason = "closing"
        except (OSError, ValueError):
            reason = "line too long"
        finally:
            focus = self._guests.pop(guest)
            if reason:
                with contextlib.suppress(OSError):
                    writer.write(_line({"kind": "bye", "reason": reason}))
            writer.close()
            if focus is not None and focus.active and reason != "closing":
                self._tell({"v": VERSION, "kind": "focus", "room": None, "active": False})

    async def _listen(self, guest: asyncio.Task[Any], reader: asyncio.StreamReader) -> str:
        """Read until the guest leaves; returns why we close, or nothing when the guest did."""
        while line := await reader.readline():
            if not line.endswith(b"\n"):
                return ""
            message = _parse(line)
            if message is None:
                return "not understood"
            if message.get("v") != VERSION:
                return f"this program speaks version {VERSION}"
            kind = message.get("kind")
            if not isinstance(kind, str) or kind not in KINDS:
                continue
            if kind == "bye":
                return ""
            if kind == "focus":
                self._guests[guest] = _focus(message)
            self._tell(message)
        return ""

    def _tell(self, message: Json) -> None:
        try:
            self._on_message(message)
        except Exception:
            log.exception("what came over the doorbell could not be handled")


class Bell:
    """Rings at another program's doorbell, from any thread, without ever blocking or raising.

    Connects when there is something to say, and again after the other program was away. What the window shows
    (``focus``) is said again on each new connection, since it belongs to the connection.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock: socket.socket | None = None
        self._focus: Json | None = None
        self._lock = threading.Lock()

    def ring(self, changes: Iterable[Change]) -> bool:
        """Say what changed; False if nobody hears it."""
        return self.send(ring_message(changes))

    def focus(self, room: RoomId | None, active: bool) -> bool:
        """Say what the window shows, now and whenever the other program comes back."""
        with self._lock:
            message = {"kind": "focus", "room": room, "active": active}
            is_new_connection = not self._is_connected()
            self._focus = message
            # A fresh connection says the focus itself.
            return self._connect() if is_new_connection else self._write(message)

    def send(self, message: Json) -> bool:
        """Send one message; False if nobody hears it."""
        with self._lock:
            return (self._is_connected() or self._connect()) and self._write(message)

    def check(self) -> bool:
        """Connect again if the other program came back; call it when there is reason to think so."""
        with self._lock:
            return self._is_connected() or self._connect()

    def close(self) -> None:
        """Leave; the other program forgets our focus."""
        with self._lock:
            self._focus = None
            self._drop()

    def _connect(self) -> bool:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # A Unix socket connects at once or fails: no program, or its queue is full.
            sock.connect(str(self.path))
            if not _same_user(sock):
                raise PermissionError
        except OSError:
            sock.close()
            return False
        self._sock = sock
        return self._focus is None or self._write(self._focus)

    def _is_connected(self) -> bool:
        """Whether the peer still lives; what it says (only ever ``bye``) is read and dropped."""
        if self._sock is None:
            return False
        try:
            while self._sock.recv(4096):
                pass
        except BlockingIOError:
            return True
        except OSError:
            pass
        self._drop()
        return False

    def _write(self, message: Json) -> bool:
        if self._sock is None:
            return False
        line = _line(message)
        try:
            if len(line) <= MOST_LINE_BYTES and self._sock.send(line, socket.MSG_NOSIGNAL) == len(line):
                return True
        except OSError:
            pass
        # Half a line, or a peer that does not read: begin anew at the next word.
        self._drop()
        return False

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


_TOPICS = frozenset(str(topic) for topic in Topic)


def _line(message: Json) -> bytes:
    # Escaped to ASCII, so half a surrogate pair cannot break it.
    return json.dumps({"v": VERSION, **message}, separators=(",", ":")).encode("ascii") + b"\n"


def _parse(line: bytes) -> Json | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _focus(message: Json) -> Focus:
    room = message.get("room")
    return Focus(RoomId(room) if isinstance(room, str) else None, message.get("active") is True)


def _same_user(sock: socket.socket) -> bool:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return bool(uid == os.getuid())


def _place(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Expected(
            str(folder),
            title="The folder for Tandem's sockets is not private",
            advice="Remove it, or give it to your user with mode 0700.",
        )
