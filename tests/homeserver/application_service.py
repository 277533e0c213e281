"""A small application service that writes down what Synapse sends it, and can fail in every way a service can.

In a test it runs in a thread (``ApplicationService``). The storm runs it as a process of its own that may be killed:
``python -m tests.homeserver.application_service FILE PORT TOKEN SEED``; there FILE is what it remembers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import secrets
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from tandem_demo.raw import RawClient
from tandem_demo.synapse import free_port

Json = dict[str, Any]
ACCOUNT_DATA = "org.matrix.msc3682.account_data"
TO_DEVICE = "to_device"
UNSTABLE_TO_DEVICE = "de.sorunome.msc2409.to_device"


class Mood(Enum):
    """What the service does with a transaction."""

    TAKE = "take it and answer 200"
    REFUSE = "answer 500 without having taken it"
    LIE = "take it and answer 500"
    VANISH = "take it and close the connection without an answer"
    IGNORE = "close the connection without having taken it"
    HANG = "take it and answer only after Synapse has lost patience"


class ApplicationService:
    """Use as a context manager; ``taken`` holds the transactions in the order of their first arrival."""

    def __init__(self, folder: Path, *, name: str = "svc", **registration: Any) -> None:
        self.as_token, self.hs_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.name = name
        self.port = free_port()
        self.mood: Callable[[Json], Mood] = lambda _body: Mood.TAKE
        self.taken: dict[str, Json] = {}
        self.arrivals: list[tuple[str, Json]] = []
        self._news = threading.Condition()
        self._http: ThreadingHTTPServer | None = None
        self.file = folder / f"{name}.yaml"
        self.registration: Json = {
            "id": name,
            "url": f"http://127.0.0.1:{self.port}",
            "as_token": self.as_token,
            "hs_token": self.hs_token,
            "sender_localpart": f"{name}bot",
            "rate_limited": False,
            "namespaces": {"users": [{"exclusive": True, "regex": f"@_{name}_.*"}]},
        } | registration
        folder.mkdir(parents=True, exist_ok=True)
        self.register()

    def register(self, **changes: Any) -> None:
        """Write the registration file; Synapse reads it when it starts."""
        self.registration |= changes
        self.file.write_text(json.dumps(self.registration), "utf-8")  # JSON is YAML

    def __enter__(self) -> ApplicationService:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}).start()

    def stop(self) -> None:
        """Nobody listens on the port any more; what was taken stays."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def client(self, base_url: str) -> RawClient:
        """The service's own access, as its sender."""
        return RawClient(base_url, self.as_token)

    def user(self, base_url: str, localpart: str) -> ServiceUser:
        """One of its users, registered if need be."""
        client = self.client(base_url)
        body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
        status, answer = client.request("POST", "/_matrix/client/v3/register", body)
        assert status == 200 or answer.get("errcode") == "M_USER_IN_USE", answer
        return ServiceUser(client, f"@{localpart}:localhost")

    def once(self, mood: Mood, user_id: str) -> Callable[[], bool]:
        """Meet the next transaction that carries something of this person in this mood; returns whether it was."""
        left = [mood]

        def look(body: Json) -> Mood:
            is_theirs = user_id in body.get(ACCOUNT_DATA, {}) or any(
                event["to_user_id"] == user_id for event in body.get(TO_DEVICE, [])
            )
            return left.pop() if left and is_theirs else Mood.TAKE

        self.mood = look
        return lambda: not left

    def wait(self, enough: Callable[[], Any], *, within_s: float = 60.0) -> Any:
        """Wait until this is true of what was taken; returns its value."""
        with self._news:
            found = self._news.wait_for(enough, within_s)
        assert found, f"taken so far: {list(self.taken)}"
        return found

    def to_device(self, user_id: str | None = None) -> list[Json]:
        """The to-device events taken, each transaction once, in order."""
        return [
            event
            for body in list(self.taken.values())
            for event in body.get(TO_DEVICE, [])
            if user_id in (None, event["to_user_id"])
        ]

    def account_data(self, user_id: str) -> list[Json]:
        return [
            event
            for body in list(self.taken.values())
            for event in body.get(ACCOUNT_DATA, {}).get(user_id, {}).get("events", [])
        ]

    def room_account_data(self, user_id: str, room_id: str) -> list[Json]:
        return [
            event
            for body in list(self.taken.values())
            for event in body.get("im.tandem.room_account_data", {})
            .get(user_id, {})
            .get(room_id, {})
            .get("events", [])
        ]

    def _take(self, txn_id: str, body: Json) -> Mood:
        with self._news:
            mood = self.mood(body)
            self.arrivals.append((txn_id, body))
            if mood not in (Mood.REFUSE, Mood.IGNORE):
                self.taken.setdefault(txn_id, body)
            self._news.notify_all()
        return mood

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return _handler(self.hs_token, self._take)


class ServiceUser:
    """What a service does in the name of one of its users."""

    def __init__(self, client: RawClient, user_id: str) -> None:
        self._client = client
        self.user_id = user_id

    def ok(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        words = urlencode({"user_id": self.user_id, **query})
        status, answer = self._client.request(method, f"{path}?{words}", body)
        assert status in (200, 201), answer
        return answer

    def create_device(self, device_id: str) -> None:
        """MSC4190."""
        self.ok("PUT", f"/_matrix/client/v3/devices/{quote(device_id)}", {"display_name": device_id})

    def set_account_data(self, type_: str, content: Json) -> None:
        self.ok("PUT", f"/_matrix/client/v3/user/{quote(self.user_id)}/account_data/{quote(type_)}", content)


def _handler(token: str, take: Callable[[str, Json], Mood]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # HTTP/1.0, a connection for each: whoever stops listening is away at once.

        def do_PUT(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Authorization"] == f"Bearer {token}"
            mood = take(unquote(urlsplit(self.path).path.rsplit("/", 1)[1]), json.loads(raw))
            if mood in (Mood.VANISH, Mood.IGNORE, Mood.HANG):
                if mood is Mood.HANG:
                    threading.Event().wait(70)
                self.close_connection = True
                return
            self._answer(500 if mood in (Mood.REFUSE, Mood.LIE) else 200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(404)

        def do_GET(self) -> None:
            self._answer(404)

        def _answer(self, status: int) -> None:
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


class Ledger:
    """What the storm's service remembers: transactions by id, and their events in the order of taking."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._conn = sqlite3.connect(file, check_same_thread=False, timeout=30)
        self._conn.execute("PRAGMA journal_mode=WAL")
        self._conn.executescript(
            "CREATE TABLE IF NOT EXISTS txns (id TEXT PRIMARY KEY, digest TEXT, tries INTEGER, changed INTEGER);"
            "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, txn TEXT, event_id TEXT, user TEXT,"
            " device TEXT, sender TEXT, n INTEGER);"
        )

    def take(self, txn_id: str, body: Json) -> None:
        """Remember a transaction; committed on return. Of a repeat only that it came, and whether it is the same."""
        events = body[TO_DEVICE]
        assert events == body[UNSTABLE_TO_DEVICE]
        digest = hashlib.sha256(json.dumps(events, sort_keys=True).encode()).hexdigest()
        with self._lock, self._conn:
            known = self._conn.execute("SELECT digest FROM txns WHERE id = ?", (txn_id,)).fetchone()
            if known is not None:
                # After our 200 got lost in a crash of Synapse, the repeat may come without events: it is over there.
                changed = int(known[0] != digest and bool(events))
                self._conn.execute(
                    "UPDATE txns SET tries = tries + 1, changed = changed + ? WHERE id = ?", (changed, txn_id)
                )
                return
            self._conn.execute("INSERT INTO txns VALUES (?, ?, 1, 0)", (txn_id, digest))
            self._conn.executemany(
                "INSERT INTO events (txn, event_id, user, device, sender, n) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        txn_id,
                        event["im.tandem.id"],
                        event["to_user_id"],
                        event["to_device_id"],
                        event["sender"],
                        event["content"]["n"],
                    )
                    for event in events
                ],
            )

    def rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with self._lock:
            yield from self._conn.execute(sql).fetchall()

    def close(self) -> None:
        self._conn.close()


def main(file: str, port: str, token: str, seed: str, trouble: str) -> None:
    """The storm's service. ``trouble`` is the share of transactions that go wrong; some of them end the process."""
    ledger = Ledger(Path(file))
    chance = random.Random(int(seed))

    def take(txn_id: str, body: Json) -> Mood:
        mood = Mood.TAKE
        if chance.random() < float(trouble):
            mood = chance.choice([Mood.REFUSE, Mood.LIE, Mood.VANISH, Mood.IGNORE])
        if mood not in (Mood.REFUSE, Mood.IGNORE):
            ledger.take(txn_id, body)
        if mood in (Mood.VANISH, Mood.IGNORE) and chance.random() < 0.5:
            os._exit(9)  # as if killed at this very point; somebody starts it again
        return mood

    threading.Thread(target=_end_with_parent, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(port)), _handler(token, take)).serve_forever()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # closes when whoever started us is gone
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
