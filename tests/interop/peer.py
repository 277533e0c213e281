"""People with matrix-js-sdk: one Node.js process, driven by lines, in which each person is a signed-in device."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tandem_demo.device import wait_for
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent / "js"

Json = dict[str, Any]


class PeerRefused(Exception):
    """The SDK could not do it; the words are its own."""


class Peer:
    """The process. It ends with its standard input, so also with us."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self._answers: queue.Queue[Json | None] = queue.Queue()
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        threading.Thread(target=self._read, name="peer", daemon=True).start()
        self.node = str(self._answer_to(0, 60.0))

    def ask(self, who: str, verb: str, within_s: float = 60.0, **words: Any) -> Any:
        """Have a person do something; returns the answer, raises PeerRefused with the SDK's words."""
        number = next(self._numbers)
        order = {"number": number, "who": who, "do": verb, **words}
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(order) + "\n")
        self.child.stdin.flush()
        return self._answer_to(number, within_s)

    def sign_in(
        self, server: SynapseServer, login: tuple[str, str], *, kept: bool = False, name: str = "js"
    ) -> Person:
        """A new device of this account; with ``kept`` its keys are in a store that can be opened again."""
        who = f"{login[0]}/{next(self._names)}"
        user, password = login
        me = self.ask(
            who,
            "login",
            homeserver=server.base_url,
            user=user,
            password=password,
            device_name=name,
            kept=kept,
        )
        return Person(self, who, login, me["user_id"], me["device_id"])

    def sign_up(self, server: SynapseServer, name: str = "bob", *, kept: bool = False) -> Person:
        """A fresh account, whose only device has set up cross-signing, as every client of today does."""
        person = self.sign_in(server, new_user(server, name), kept=kept)
        person.do("cross_sign")
        return person

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def _answer_to(self, number: int, within_s: float) -> Any:
        while True:
            try:
                answer = self._answers.get(timeout=within_s)
            except queue.Empty:
                raise PeerRefused(f"no answer within {within_s:.0f} s") from None
            if answer is None:
                raise PeerRefused("the process has ended")
            if answer["number"] != number:
                continue  # of an order that we gave up waiting for
            if "error" in answer:
                raise PeerRefused(answer["error"])
            return answer["value"]


@dataclass(frozen=True, slots=True)
class Person:
    """One device with the SDK."""

    peer: Peer
    who: str
    login: tuple[str, str]
    user_id: str
    device_id: str

    def do(self, verb: str, within_s: float = 60.0, **words: Any) -> Any:
        """See ``js/*.mjs`` for the verbs."""
        return self.peer.ask(self.who, verb, within_s, **words)

    def create(self, *people: str, direct: bool = False) -> str:
        """An encrypted room with these people invited."""
        return str(self.do("create", invite=list(people), direct=direct))

    def join(self, room_id: str) -> None:
        self.do("join", room=room_id)

    def say(self, room_id: str, text: str) -> str:
        """Write; returns the event's id."""
        return str(self.do("send", room=room_id, text=text))

    def messages(self, room_id: str) -> list[Json]:
        """What the room shows, oldest first; ``why_not`` is the SDK's reason where it cannot be read."""
        rows: list[Json] = self.do("messages", room=room_id)
        return rows

    def bodies(self, room_id: str) -> list[str | None]:
        return [row["body"] for row in self.messages(room_id)]

    def message(self, room_id: str, body: str) -> Json:
        """Wait until this can be read; returns its row."""

        def look() -> Json | None:
            rows = self.messages(room_id)
            return next((row for row in rows if row["body"] == body), None)

        row: Json = wait_for(f"{body!r} at {self.who}", look, within_s=45)
        return row

    def knows_members(self, room_id: str, *people: str) -> None:
        """Wait until this client knows that they joined."""
        wait_for(
            f"the members at {self.who}",
            lambda: set(people) <= set(self.do("members", room=room_id)),
            within_s=30,
        )

    def verification(self, other: str, *phases: str, id: str | None = None) -> Json:
        """Wait until a verification with this person has come to one of these phases."""

        def look() -> Json | None:
            rows = [row for row in self.do("verifications") if row["user"] == other]
            rows = [row for row in rows if id is None or row["id"] == id]
            return rows[-1] if rows and rows[-1]["phase"] in phases else None

        row: Json = wait_for(f"verification at {' or '.join(phases)}", look, within_s=45)
        return row


@cache
def node() -> str:
    """The Node.js that runs the peer; it and the SDK are installed if they are missing."""
    made = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "js_peer.py")], check=True, stdout=subprocess.PIPE, text=True
    )
    return made.stdout.strip()


@contextmanager
def running_peer(folder: Path) -> Iterator[Peer]:
    """The process, with what the SDK says in a file of this folder; ended by its pid."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "peer.log").open("w", encoding="utf-8") as log:
        child = subprocess.Popen(
            [node(), str(FOLDER / "peer.mjs")],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        yield Peer(child)
    finally:
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()
