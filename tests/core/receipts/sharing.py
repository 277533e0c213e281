"""Several devices of one account, each with a store of its own, and the account data between them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tandem_core import setting_list, settings
from tandem_core.clock import SystemClock
from tandem_core.errors import Offline, ServerRefused
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.receipts.shared_settings import SharedSettings, keep_account_data
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, DELIVERY_SETTINGS
from tandem_core.types import DeviceId, Json, Me, RoomId, UserId

ALICE = UserId("@alice:example.org")
BOB = UserId("@bob:example.org")
ROOM = RoomId("!room:example.org")
NOW = 1_800_000_000_000

Make = Callable[..., "Device"]
"""Makes another device of the account, by its name; all clocks agree."""


class Cut(Exception):
    """The program dies here."""


class Server(Http):
    """Keeps one account's data as a homeserver does; ``before`` and ``after`` see each request and may raise."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", token="token")
        self.data: dict[str, Json] = {}
        self.seen: list[str] = []
        self.before: Callable[[str], None] = lambda what: None
        self.after: Callable[[str], None] = lambda what: None

    async def request(self, method: str, path: str, body: Json | None = None, **_: Any) -> Json:
        kind = unquote(path.rsplit("/", 1)[1])
        what = f"{method} {kind}"
        assert path.startswith("/_matrix/client/v3/user/%40alice%3Aexample.org/account_data/")
        self.before(what)
        self.seen.append(what)
        answer: Json = {}
        if method == "PUT":
            assert body is not None
            self.data[kind] = json.loads(json.dumps(body))
        elif kind in self.data:
            answer = json.loads(json.dumps(self.data[kind]))
        else:
            raise ServerRefused(404, "M_NOT_FOUND", "")
        self.after(what)
        return answer


class Lock:
    """A box that opens with the same word only; what a verified device's own would do."""

    def __init__(self, word: str | None) -> None:
        self.word = word

    async def has_key(self) -> bool:
        return self.word is not None

    async def seal(self, text: str) -> Json | None:
        return None if self.word is None else {"word": self.word, "text": text}

    async def open(self, content: Json) -> str | None:
        return content.get("text") if self.word is not None and content.get("word") == self.word else None


class Clock(SystemClock):
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        self.now += 1
        return self.now


class Device:
    """One device: its store, and either of its programs' worker."""

    def __init__(self, folder: Path, server: Server, clock: Clock, *, word: str | None = "secret") -> None:
        folder.mkdir()
        self.server = server
        self.clock = clock
        self.lock = Lock(word)
        self.me = Me(ALICE, DeviceId(folder.name.upper()))
        self.paths = ProfilePaths("default", folder, folder / "run", folder / "log")
        self.db = Database.open(folder / "tandem.db")
        self.db.write_now(sessions.set_session, self.me, "http://127.0.0.1:1", "token", NOW)

    def choose(self, key: str, value: setting_list.Value, **target: Any) -> None:
        self.db.write_now(settings.set_value, key, value, now_ms=self.clock.now_ms(), **target)

    def get(self, key: str, room: RoomId | None = None, person: UserId | None = None) -> setting_list.Value:
        return self.db.read_now(settings.get, key, room, person)

    def effective(self, key: str) -> settings.Effective:
        return self.db.read_now(settings.effective, key)

    def confirms(self) -> bool | None:
        return self.db.read_now(settings.confirms)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.db.read_now(lambda conn: [tuple(row) for row in conn.execute(sql, values)])

    def worker(self, *, writes: bool = True) -> SharedSettings:
        return SharedSettings(
            self.paths,
            self.db,
            self.server,
            self.me,
            self.lock,
            writes=writes,
            clock=self.clock,
            chance=random.Random(1),
        )

    def step(self, *, writes: bool = True) -> float | None:
        return asyncio.run(self.worker(writes=writes).step())

    def sync(self) -> None:
        """What sync brings: the account data as the server has it."""

        def take(txn: Transaction) -> None:
            for kind in (DELIVERY_SETTINGS, DELIVERY_EXCEPTIONS):
                if kind in self.server.data:
                    keep_account_data(txn, kind, self.server.data[kind])

        self.db.write_now(take)

    def settle(self) -> None:
        """Hear what the others wrote, and write what was chosen here."""
        self.sync()
        self.step()

    def close(self) -> None:
        self.db.close()


def offline(what: str) -> None:
    raise Offline
