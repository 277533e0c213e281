"""Delivery receipts next to Synapse's own ``m.read``: on one server, in one run, in turn."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any
from urllib.parse import quote, urlencode

from bench.intervals import interval, median, top
from bench.measure import Figure
from tandem_demo.raw import CLIENT, SLIDING_SYNC, Json, RawClient
from tandem_demo.synapse import SynapseServer

DELIVERY, READ = "org.matrix.msc4089.delivery", "m.read"
_KINDS = (DELIVERY, READ)
_PASSWORD = "bench"
_PARALLEL = 8
_REST_S = 2.5
"""Longer than the pause between two releases to one author."""
_SYNC: Json = {
    "conn_id": "bench",
    "lists": {"all": {"ranges": [[0, 19]], "required_state": [], "timeline_limit": 1}},
    "extensions": {"receipts": {"enabled": True}},
}


class Person:
    """An account with one connection that stays open, as a client's does."""

    def __init__(self, server: SynapseServer, name: str) -> None:
        server.register(name, _PASSWORD)
        self.raw = RawClient(server.base_url).login(name, _PASSWORD)
        self.user_id = self.raw.user_id
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._pos: str | None = None

    def ask(self, method: str, path: str, body: Json | None = None) -> bytes:
        """The body of a 200; raises RuntimeError for anything else."""
        headers = {"Authorization": f"Bearer {self.raw.token}", "Content-Type": "application/json"}
        self._http.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._http.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return data

    def confirm(self, room: str, kind: str, event: str) -> None:
        self.ask("POST", f"{CLIENT}/rooms/{quote(room)}/receipt/{quote(kind)}/{quote(event)}", {})

    def sync(self, timeout_ms: int) -> Json:
        """One sliding sync that goes on where the last one ended."""
        query = {"timeout": str(timeout_ms)} | ({} if self._pos is None else {"pos": self._pos})
        answer: Json = json.loads(self.ask("POST", f"{SLIDING_SYNC}?{urlencode(query)}", _SYNC))
        self._pos = str(answer["pos"])
        return answer

    def catch_up(self) -> None:
        """Sync until there is nothing new."""
        while (answer := self.sync(0))["rooms"] or _receipts(answer):
            pass

    def close(self) -> None:
        self._http.close()


def isolated(server: SynapseServer, runs: int) -> list[Figure]:
    """From the POST of one receipt to its author's long poll; every author has had a rest."""
    reader = Person(server, "lone-reader")
    authors = [Person(server, f"lone-author{number}") for number in range(40)]
    rooms = {}
    for author in authors:
        room = author.raw.create_room(invite=[reader.user_id], preset="trusted_private_chat")
        reader.raw.join(room)
        rooms[author.user_id] = room
    taken: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    told: dict[str, float] = {}
    queue = cycle(authors)
    for number in range(runs + 2):
        for kind in _KINDS if number % 2 else reversed(_KINDS):
            author = next(queue)
            _wait(told.get(author.user_id, 0.0) + _REST_S)
            spent = _one(author, reader, rooms[author.user_id], kind)
            told[author.user_id] = time.monotonic()
            if number > 1:  # the first warm caches up
                taken[kind].append(spent * 1000)
    for person in (reader, *authors):
        person.close()
    return _compared("POST to the author's long poll, isolated", taken)


def flood(server: SynapseServer, readers: int, events: int, rounds: int) -> list[Figure]:
    """Receipts per second: answered with 200, and seen by their author."""
    author = Person(server, "flood-author")
    people = [Person(server, f"flood-reader{number}") for number in range(readers)]
    room = author.raw.create_room(preset="public_chat")
    for person in people:
        person.raw.join(room)
    accepted: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    delivered: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for number in range(rounds + 1):
        for kind in _KINDS if number % 2 else reversed(_KINDS):
            names = [author.raw.say(room, f"{number} {each}") for each in range(events)]
            author.catch_up()
            time.sleep(_REST_S)
            # Of m.read Synapse keeps the newest only.
            wanted = names if kind == DELIVERY else names[-1:]
            start = time.monotonic()
            with Watch(author, room, kind, wanted, readers) as watch:
                _all_confirm(people, room, kind, names)
                answered = time.monotonic()
                watch.wait()
            if number:
                accepted[kind].append(readers * events / (answered - start))
                delivered[kind].append(readers * events / (watch.ended - start))
    for person in (author, *people):
        person.close()
    what = f"{readers} people, {events} events, {_PARALLEL} connections; median of {rounds} rounds in turn"
    return [
        _rate("receipts per second, answered with 200", accepted, what),
        _rate("receipts per second, seen by their author", delivered, what),
    ]


def crowd(server: SynapseServer, members: int) -> list[Figure]:
    """Everybody in a large room confirms one message: how often the author is told, and with how many bytes."""
    author = Person(server, "crowd-author")
    room = author.raw.create_room(preset="public_chat")
    with ThreadPoolExecutor(_PARALLEL) as pool:
        people = list(pool.map(lambda number: Person(server, f"crowd{number}"), range(members)))
    for person in people:
        person.raw.join(room)
    found: dict[str, Watch] = {}
    spent: dict[str, float] = {}
    for kind in _KINDS:
        event = author.raw.say(room, "all of you")
        author.catch_up()
        time.sleep(_REST_S)
        start = time.monotonic()
        with Watch(author, room, kind, [event], members) as watch:
            _all_confirm(people, room, kind, [event])
            spent[kind] = time.monotonic() - start
            watch.wait()
        found[kind] = watch
    for person in (author, *people):
        person.close()
    ours, stock = found[DELIVERY], found[READ]
    how = (
        f"{members} members, confirmed within {spent[DELIVERY]:.1f} s ({READ}: {spent[READ]:.1f} s); "
        f"floor: {READ} in the same room"
    )
    pairs = [
        ("answers to the author for one message in a crowd", "", ours.answers, stock.answers),
        ("bytes to the author for each receipt", "B", ours.size / members, stock.size / members),
    ]
    return [
        Figure(name, float(value), float(floor), unit, value / floor, 1.0, how)
        for name, unit, value, floor in pairs
    ]


class Watch:
    """The author's syncs in a thread, until all that is wanted was seen; a context manager."""

    def __init__(self, author: Person, room: str, kind: str, events: Sequence[str], readers: int) -> None:
        self.answers = 0
        self.size = 0
        self.ended = 0.0
        self._author, self._room, self._kind = author, room, kind
        self._events = frozenset(events)
        self._wanted = len(events) * readers
        self._seen: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(120)

    def wait(self) -> None:
        self._thread.join(120)
        if not self.ended:
            raise RuntimeError(f"the author never saw all receipts of {self._kind}")

    def _run(self) -> None:
        while len(self._seen) < self._wanted:
            answer = self._author.sync(30_000)
            content = _receipts(answer).get(self._room, {}).get("content", {})
            if content:
                self.answers += 1
                self.size += len(json.dumps(content))
            for event, kinds in content.items():
                if event in self._events:
                    self._seen |= {(event, user) for user in kinds.get(self._kind, {})}
        self.ended = time.monotonic()


def _one(author: Person, reader: Person, room: str, kind: str) -> float:
    """Seconds from before the POST until the author's long poll has it."""
    event = author.raw.say(room, "one")
    author.catch_up()
    with Watch(author, room, kind, [event], 1) as watch:
        time.sleep(0.1)  # the poll waits at the server
        start = time.monotonic()
        reader.confirm(room, kind, event)
        watch.wait()
    return watch.ended - start


def _all_confirm(people: Sequence[Person], room: str, kind: str, events: Sequence[str]) -> None:
    def confirm(person: Person) -> None:
        for event in events:
            person.confirm(room, kind, event)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(confirm, people))


def _compared(name: str, taken: dict[str, list[float]]) -> list[Figure]:
    """p50 and p99 of ours against those of m.read; met if the 95 % interval of their ratio reaches down to 1."""
    figures = []
    for label, measure in (("p50", median), ("p99", top)):
        ours, stock = measure(taken[DELIVERY]), measure(taken[READ])
        low, high = interval(taken[DELIVERY], taken[READ], measure)
        how = f"{len(taken[READ])} runs of each in turn; floor: {READ}; 95 % of the ratios: {low:.2f} to {high:.2f}"
        # Not slower, as far as these runs can tell.
        goal = max(1.0, ours / stock / low) if low > 0 else 1.0
        figures.append(Figure(f"{name}, {label}", ours, stock, "ms", ours / stock, goal, how))
    return figures


def _rate(name: str, taken: dict[str, list[float]], how: str) -> Figure:
    """The ratio is of times, so that more per second is less."""
    ours, stock = (median(taken[kind]) for kind in _KINDS)
    return Figure(name, ours, stock, "/s", stock / ours, 1.0, f"{how}; floor: {READ}")


def _receipts(answer: Json) -> dict[str, Any]:
    found: dict[str, Any] = answer["extensions"].get("receipts", {}).get("rooms", {})
    return found


def _wait(until: float) -> None:
    left = until - time.monotonic()
    if left > 0:
        time.sleep(left)
