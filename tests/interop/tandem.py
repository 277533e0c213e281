"""A person with Tandem as it is used: real programs, driven by ``tandemctl`` and looked at from outside."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tandem_core import trust
from tandem_core.doorbell import ring_once
from tandem_core.sending import enqueue
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Change, DeviceId, Me, RoomId, Topic, UserId
from tandem_demo.device import PROCESSES, Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tandem_demo.window import WindowDriver
from tests.conftest import new_user
from tests.interop.killer import killed

LINKS = tuple(PROCESSES)


@dataclass(frozen=True, slots=True)
class Tandem:
    """One signed-in device; ``login`` is (localpart, password)."""

    device: Device
    login: tuple[str, str]
    user_id: str
    device_id: str
    raw: RawClient
    guard: threading.RLock = field(default_factory=threading.RLock, compare=False)
    """Held while programs are started and ended."""

    def only(self, *links: str) -> None:
        """Have just these programs running, whatever ran before."""
        with self.guard:
            for link in LINKS:
                if link not in links:
                    self.device.stop(PROCESSES[link])
            for link in links:
                self.start(link)

    def start(self, link: str) -> None:
        """Start a program, if it does not run, and wait until it syncs."""
        with self.guard:
            if self.device.runs(PROCESSES[link]):
                return
            self.device.stop(PROCESSES[link])
            if link == "app":
                WindowDriver(self.device).open()
            else:
                self.device.start_notifier()

    def kill(self, link: str) -> None:
        """As a crash does it."""
        with self.guard:
            self.device.stop(PROCESSES[link], signal.SIGKILL)

    def running(self) -> list[str]:
        """The programs that run; one that is killed and started again meanwhile runs."""
        with self.guard:
            return [link for link in LINKS if self.device.runs(PROCESSES[link])]

    def ctl(self, *words: str, within_s: float = 90.0, secret: str | None = None) -> Any:
        """``tandemctl --json``, with a secret on its standard input."""
        return self.device.ctl(*words, within_s=within_s, password=secret)

    def create(self, *people: str) -> str:
        """An encrypted room with these people invited."""
        invited = [word for person in people for word in ("--invite", person)]
        return str(self.ctl("create", *invited)["room_id"])

    def accept(self, room_id: str) -> None:
        """Accept an invitation, and wait until the programs that run know that they are in."""
        self.knows(room_id, "invite")
        self.ctl("accept", room_id)
        self.knows(room_id, "join")

    def knows(self, room_id: str, membership: str) -> None:
        """Wait until the programs that run, or any if none does, have the room so."""
        sql = "SELECT conn FROM room WHERE room_id = ? AND membership = ?"

        def look() -> bool:
            known = {conn for (conn,) in self.device.ask(sql, (room_id, membership))}
            return bool(known) and known >= set(self.running())

        if not self.running():
            self.ctl("rooms")
        wait_for(f"{membership} in {room_id} at {self.device.name}", look)

    def say(self, room_id: str, text: str) -> str:
        """Write, and wait until the server has it; returns the event's id."""
        return str(self.ctl("send", room_id, text)["event_id"])

    def queue(self, room_id: str, text: str) -> None:
        """Write as the window does, and do not wait."""
        content = {"msgtype": "m.text", "body": text}
        now_ms = time.time_ns() // 1_000_000
        self.change(
            lambda txn: enqueue(txn, RoomId(room_id), "m.room.message", content, body=text, now_ms=now_ms)
        )
        for link in LINKS:
            ring_once(self.device.paths.socket(link), [Change(Topic.OUTBOX, RoomId(room_id))])

    def change(self, work: Callable[[Transaction], Any]) -> None:
        """Change the store in a transaction, as one of its programs would."""
        with closing(Database.open(self.device.paths.database)) as db:
            db.write_now(work)

    def new_key(self, room_id: str) -> None:
        """Have the next message in the room begin a new Megolm session."""
        self.change(
            lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1 WHERE room_id = ?", (room_id,))
        )

    def bodies(self, room_id: str, link: str) -> list[str]:
        """What can be read in the room, in the view of one program, oldest first."""
        rows = self.device.ask(
            "SELECT e.body FROM timeline t JOIN event e USING (event_id) WHERE t.conn = ? AND e.room_id = ?"
            " AND e.kind = 'text' AND e.seal = 'opened' ORDER BY t.ord",
            (link, room_id),
        )
        return [str(body) for (body,) in rows]

    def sealed(self, room_id: str) -> list[tuple[str, str | None]]:
        """Event and reason of everything in the room that cannot be read."""
        return [
            (str(event_id), reason)
            for event_id, reason in self.device.ask(
                "SELECT event_id, seal_reason FROM event WHERE room_id = ? AND type = 'm.room.encrypted'"
                " AND seal != 'opened'",
                (room_id,),
            )
        ]

    def reads(self, room_id: str, *bodies: str, within_s: float = 60) -> None:
        """Wait until every program that runs has these words."""
        for link in self.running():
            wait_for(
                f"{len(bodies)} messages in the {link} view of {self.device.name}",
                partial(self._reads, room_id, link, set(bodies)),
                within_s=within_s,
            )

    def _reads(self, room_id: str, link: str, bodies: set[str]) -> bool:
        return bodies <= set(self.bodies(room_id, link))

    def has(self, event_id: str) -> None:
        """Wait until an event can be read."""
        sql = "SELECT 1 FROM event WHERE event_id = ? AND seal = 'opened'"
        wait_for(f"{event_id} at {self.device.name}", lambda: self.device.ask(sql, (event_id,)))

    def session_of(self, body: str) -> str:
        """The Megolm session that words were sent with."""
        sql = "SELECT session_id FROM event WHERE body = ? AND session_id IS NOT NULL"
        rows = wait_for(f"the session of {body!r}", lambda: self.device.ask(sql, (body,)))
        return str(rows[0][0])

    def trusts(self, user_id: str) -> str:
        """What this device knows of a person's identity, as both programs compute it."""
        with closing(Database.open(self.device.paths.database)) as db:
            return db.read_now(trust.person, self._me, UserId(user_id)).value

    def trusts_device(self, user_id: str, device_id: str) -> str:
        """What it knows of a device."""
        with closing(Database.open(self.device.paths.database)) as db:
            return db.read_now(trust.device, self._me, UserId(user_id), DeviceId(device_id)).value

    @property
    def _me(self) -> Me:
        return Me(UserId(self.user_id), DeviceId(self.device_id))

    def has_device(self, user_id: str, device_id: str) -> bool:
        """Whether it is on this device's list."""
        sql = "SELECT 1 FROM device WHERE user_id = ? AND device_id = ? AND NOT deleted"
        return bool(self.device.ask(sql, (user_id, device_id)))

    def sees_device(self, user_id: str, device_id: str) -> None:
        wait_for("the device on the list", lambda: self.has_device(user_id, device_id))

    def misses_device(self, user_id: str, device_id: str) -> None:
        wait_for("the device gone from the list", lambda: not self.has_device(user_id, device_id))


@contextmanager
def tandem(
    server: SynapseServer, folder: Path, name: str = "alice", login: tuple[str, str] | None = None
) -> Iterator[Tandem]:
    """A new device of a fresh (or this) account; what runs of it is ended when left."""
    login = login or new_user(server, name)
    device = Device(name, folder, headless=True)
    device.home.mkdir(mode=0o700, parents=True)
    words = (
        "--homeserver",
        server.base_url,
        "--user",
        login[0],
        "--password-file",
        "-",
        "--device-name",
        name,
    )
    try:
        device.ctl("login", *words, password=login[1], within_s=90)
        device.trust_unconfirmed()  # the other side need not have an identity in scenes about other things
        token, user_id, device_id = device.ask("SELECT access_token, user_id, device_id FROM session")[0]
        raw = RawClient(server.base_url, token, user_id, device_id)
        made = Tandem(device, login, user_id, device_id, raw)
        with killed(made):
            yield made
    finally:
        device.stop_all()
