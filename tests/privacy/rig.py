"""Who takes part: a real Synapse, a victim with real devices and stores, and authors who write to him encrypted."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from vodozemac import GroupSession

from tandem_demo.device import Device, wait_for
from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.conftest import new_user
from tests.privacy.clockwork import Rate
from tests.scenarios.peer import Address, Peer, look_up

MARKER = "im.tandem.confirm"
_THREADS = 4
_END_S = 15.0


def synapse(folder: Path, *, scale: float = 1.0, module: bool = True, hold: bool = True) -> SynapseServer:
    """A server whose module holds and paces as many times faster; without ``hold`` it shows receipts at once."""
    if not module:
        return SynapseServer.create(folder, with_module=False)
    held = [round(8 / scale, 4), round(10 / scale, 4)] if hold else [0, 0]
    pace = round(2 / scale, 4) if hold else 0
    limits: dict[str, Any] = {"per_second": 10_000, "burst_count": 10_000}
    chosen = modules(hold_seconds=held, coalesce_seconds=pace, **limits)
    return SynapseServer.create(folder, extra={"modules": chosen})


@dataclass
class Author:
    """An attacker: one account, one device with keys, and the rooms in which he writes to the victim."""

    peer: Peer
    rooms: list[str]
    sessions: dict[str, GroupSession] = field(default_factory=dict)

    @property
    def user_id(self) -> str:
        return self.peer.user_id

    @property
    def room(self) -> str:
        return self.rooms[0]

    def share(self, devices: Sequence[Address]) -> None:
        """Make a new key for each room and give it to these devices."""
        for room in self.rooms:
            self.sessions[room] = session = GroupSession()
            for device in devices:
                self.peer.share(device, room, session)

    def sealed(
        self,
        content: dict[str, Any],
        kind: str = "m.room.message",
        *,
        room: str | None = None,
        relates_to: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The wire content of an encrypted event, with the request marker that Tandem itself puts in."""
        room = room or self.room
        wire = self.peer.seal_in(room, self.sessions[room], kind, content)
        return wire | ({"m.relates_to": relates_to} if relates_to else {})

    def text(self, words: str = "") -> dict[str, Any]:
        """A visible message that asks to be confirmed."""
        return {"msgtype": "m.text", "body": words or f"hello {secrets.token_hex(4)}", MARKER: self.marker()}

    def marker(self) -> dict[str, Any]:
        """DESIGN section 5, wire format 4.0: which of our devices asks, and the proof's secret."""
        return {
            "v": 1,
            "want": ["delivered", "failed"],
            "to": [self.peer.client.device_id],
            "tok": secrets.token_urlsafe(16),
        }

    def say(self, words: str = "", *, room: str | None = None) -> str:
        """Write a visible message; returns its event id."""
        room = room or self.room
        return self.peer.client.send(room, self.sealed(self.text(words), room=room), "m.room.encrypted")


@dataclass
class Victim:
    """The person whose devices confirm; ``programs`` are those that run now."""

    server: SynapseServer
    localpart: str
    password: str
    folder: Path
    rate: Rate
    devices: list[Device] = field(default_factory=list)
    programs: dict[tuple[int, str], subprocess.Popen[str]] = field(default_factory=dict)
    said: list[dict[str, Any]] = field(default_factory=list)
    """What programs that ended told: how late they were."""

    @property
    def user_id(self) -> str:
        return f"@{self.localpart}:{self.server.server_name}"

    def add_device(self, base_url: str) -> Device:
        """Sign in on one more device, by this address; it confirms as recommended."""
        device = Device(f"d{len(self.devices)}", self.folder / f"d{len(self.devices)}", headless=True)
        device.home.mkdir(mode=0o700, parents=True)
        words = ("--homeserver", base_url, "--user", self.localpart, "--password-file", "-")
        device.ctl("login", *words, password=self.password)
        self.devices.append(device)
        device.confirm_as_recommended()
        return device

    def raw(self) -> RawClient:
        """The victim's own account by plain HTTP, with the first device's token."""
        token, user_id, device_id = self.devices[0].ask(
            "SELECT access_token, user_id, device_id FROM session"
        )[0]
        return RawClient(self.server.base_url, token, user_id, device_id)

    def addresses(self, asking: RawClient) -> list[Address]:
        """The keys of all devices, as the server tells them."""
        ids = [device.ask("SELECT device_id FROM session")[0][0] for device in self.devices]
        return [look_up(asking, self.user_id, device_id) for device_id in ids]

    def join(self, authors: Sequence[Author], *, direct: bool) -> None:
        """Accept all invitations, as a person would in any client."""
        me = self.raw()
        for author in authors:
            for room in author.rooms:
                me.join(room)
        if direct:
            where = f"{CLIENT}/user/{me.user_id}/account_data/m.direct"
            status, known = me.request("GET", where)
            listed = known if status == 200 else {}
            me.ok("PUT", where, listed | {author.user_id: author.rooms for author in authors})

    def start(self, number: int, role: str) -> None:
        """Start one program of a device with the harness's clock, if it does not run."""
        if (number, role) in self.programs:
            return
        device = self.devices[number]
        words = [sys.executable, "-m", "tests.privacy.victim", "--role", role, *self.rate.words()]
        with (device.home / f"{role}.out").open("a", encoding="utf-8") as log:
            self.programs[number, role] = subprocess.Popen(
                words,
                env=device.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        wait_for(f"{device.name}'s {role}", lambda: self._is_syncing(number, role), within_s=90)

    def _is_syncing(self, number: int, role: str) -> bool:
        child = self.programs[number, role]
        if child.poll() is not None:
            raise AssertionError(f"the victim's {role} has ended by itself, see {self.devices[number].home}")
        row = self.devices[number].ask("SELECT state, pid FROM program WHERE role = ?", (role,))
        return bool(row) and row[0] == ("syncing", child.pid)

    def stop(self, number: int, role: str, sig: signal.Signals = signal.SIGTERM) -> None:
        """End one program by its pid."""
        child = self.programs.pop((number, role), None)
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(sig)
        try:
            out, _ = child.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            out, _ = child.communicate()
        with contextlib.suppress(ValueError, IndexError):
            self.said.append(json.loads(out.splitlines()[-1]))

    def stop_all(self) -> None:
        for number, role in list(self.programs):
            self.stop(number, role)

    def taken(self) -> set[str] | None:
        """Events for which the module has taken a receipt of theirs, shown to anybody or not; None without it."""
        file = self.server.folder / "homeserver.db"
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as conn:
            if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'im_tandem_delivery'").fetchone():
                return None
            rows = conn.execute("SELECT event_id FROM im_tandem_delivery WHERE user_id = ?", (self.user_id,))
            return {row[0] for row in rows}


def make_victim(server: SynapseServer, folder: Path, rate: Rate) -> Victim:
    localpart, password = new_user(server, "victim")
    return Victim(server, localpart, password, folder, rate)


def make_authors(
    server: SynapseServer,
    count: int,
    victim: str,
    *,
    direct: bool = True,
    rooms: int = 1,
    name: str = "author",
) -> list[Author]:
    """Accounts with keys, each with encrypted rooms to which the victim is invited."""

    def make(_: int) -> Author:
        peer = Peer.sign_up(server, name)
        made = [peer.client.create_encrypted_room(victim, direct=direct) for _ in range(rooms)]
        return Author(peer, made)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(make, range(count)))


def introduce(authors: Sequence[Author], devices: Sequence[Address]) -> None:
    """Have every author's room keys with every device."""
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda author: author.share(devices), authors))


def make_friends(victim: Victim, count: int, *, direct: bool = True) -> list[Author]:
    """Authors whom the victim has accepted and whose keys all devices have."""
    authors = make_authors(victim.server, count, victim.user_id, direct=direct)
    victim.join(authors, direct=direct)
    introduce(authors, victim.addresses(authors[0].peer.client))
    return authors


def lateness(victims: Sequence[Victim]) -> list[float]:
    """How late the victims' loops were, once their programs have ended; milliseconds of the machine, sorted."""
    for victim in victims:
        victim.stop_all()
    return sorted(late for victim in victims for said in victim.said for late in said["late_ms"])


@contextmanager
def path_to(server: SynapseServer, scale: float, log: Path, *, seed: int = 0) -> Iterator[Way]:
    """The way from the victim to the server, in a process of its own."""
    command = [sys.executable, "-m", "tests.privacy.path", "--upstream", server.base_url]
    with log.open("a", encoding="utf-8") as errors:
        child = subprocess.Popen(
            [*command, "--scale", repr(scale), "--seed", str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        assert child.stdout is not None
        yield Way(json.loads(child.stdout.readline())["base_url"])
    finally:
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


@dataclass(frozen=True, slots=True)
class Way:
    """A running ``path``; ``base_url`` is the homeserver's address for the victim."""

    base_url: str

    def be(self, **way: float) -> None:
        """Change the way: ``one_way_ms``, ``idle_ms``."""
        request = Request(
            f"{self.base_url}/_path", json.dumps(way).encode(), {"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=10) as answer:
            answer.read()
