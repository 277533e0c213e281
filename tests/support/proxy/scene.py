"""Alice's two programs behind the fault proxy, Bob in direct touch with the server, and what must hold of both."""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tandem_core.store.database import Database
from tandem_demo.device import Device, wait_for
from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tests.conftest import new_user
from tests.support.keys import retire_keys
from tests.support.proxy.dialects import OtherServer
from tests.support.proxy.proxy import FaultProxy
from tests.support.proxy.wire import SYNC

LINKS = ("app", "notifier")


class Scene:
    """Both people write in one encrypted room; ``said`` is the ledger, by author, in the order of writing."""

    def __init__(self, server: SynapseServer, proxy: FaultProxy, folder: Path, stack: ExitStack) -> None:
        self.server = server
        self.proxy = proxy
        self._folder = folder
        self._stack = stack
        self._logins: dict[str, tuple[str, str]] = {}
        self.said: dict[str, list[str]] = {"alice": [], "bob": []}
        self.alice = self._signed_in("alice", "alice", proxy.base_url)
        self.bob = self._signed_in("bob", "bob", server.base_url)
        assert self.alice.ask("SELECT homeserver FROM session") == [(proxy.base_url,)]
        self.window = WindowDriver(self.alice)
        self.start()
        bob_id = self.bob.ask("SELECT user_id FROM session")[0][0]
        self.room = str(self.alice.ctl("create", "--direct", "--invite", bob_id)["room_id"])
        invited = partial(self.bob.ask, "SELECT 1 FROM room WHERE room_id = ?", (self.room,))
        wait_for("Bob's invitation", invited)
        self.bob.ctl("accept", self.room)
        self._pens = {"alice": Pen(self.alice, stack), "bob": Pen(self.bob, stack)}
        self._stores = {
            name: stack.enter_context(_opened(device))
            for name, device in (("alice", self.alice), ("bob", self.bob))
        }
        self.exchange()

    @classmethod
    @contextmanager
    def playing(
        cls, server: SynapseServer, folder: Path, *, seed: int = 0, other: OtherServer | None = None
    ) -> Iterator[Self]:
        """A scene on this server, or as if it were the other one; ends all that it started when left.

        ``seed`` draws which requests meet the faults of a share.
        """
        with FaultProxy(server.base_url, seed=seed) as proxy, ExitStack() as stack:
            if other is not None:
                proxy.add(other.rule, other, times=None)
            yield cls(server, proxy, folder, stack)

    def start(self) -> None:
        """Have every program running."""
        for device in (self.alice, self.bob):
            if not device.runs("notifier"):
                device.stop("notifier")
                device.start_notifier()
        if not self.alice.runs("window"):
            self.alice.stop("window")
            self.window.open()

    def write(self, author: str, *, new_key: bool = True) -> str:
        """Have somebody write; by default the key travels first. Returns the words."""
        if new_key:
            self._stores[author].write_now(retire_keys)
        body = f"{author} {len(self.said[author])} {secrets.token_hex(4)}"
        self.said[author].append(body)
        self._pens[author].write(self.room, body)
        return body

    def write_until(self, done: Callable[[], bool], chance: random.Random, *, within_s: float = 60.0) -> None:
        """Both write, in a drawn order, until something is so."""
        end = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < end, "the faults were not met in time"
            self.write(chance.choice(["alice", "bob", "bob"]), new_key=chance.random() < 0.5)
            time.sleep(chance.uniform(0.1, 0.4))

    def exchange(self) -> None:
        """One word each way, arrived everywhere; so that every earlier long poll has ended, too."""
        self.write("alice")
        self.write("bob")
        self.settle()

    def settle(self, within_s: float = 90.0) -> None:
        """Wait until all that was written is readable everywhere, then hold it against the server."""
        for link in LINKS:
            wait_for(
                f"all words in Alice's {link} view",
                partial(self._has_all, self.alice, link),
                within_s=within_s,
            )
        wait_for("all words in Bob's view", partial(self._has_all, self.bob, "notifier"), within_s=within_s)
        wait_for("empty queues", self._is_at_rest, within_s=within_s)
        wanted = Counter(self.said["alice"] + self.said["bob"])
        for device, link in ((self.alice, "app"), (self.alice, "notifier"), (self.bob, "notifier")):
            assert Counter(self.bodies(device, link)) == wanted, f"{device.name}'s {link} view"
        for author, device in (("alice", self.alice), ("bob", self.bob)):
            assert self._on_server(device) == self.said[author], f"{author}'s words on the server"
        assert self.alice.ask("SELECT type, error FROM inbox WHERE state = 2") == []

    def assert_tokens_tell_the_truth(self) -> None:
        """``tandemctl status`` shows for each program the last token that the server saw from it.

        All that came has been acknowledged by then, by one of the two; else the server would keep it for ever.
        """
        self.exchange()
        came = [line for line in self.proxy.seen(SYNC) if line.brought]
        newest = int(max(came, key=lambda line: line.answered_at or 0.0).next_batch or 0)
        end = time.monotonic() + 60
        while True:
            sent = {link: self._last_since(link) for link in LINKS}
            programs = self.alice.ctl("status")["programs"]
            shown = {link: programs[link]["since"] for link in LINKS}
            told = max(int(token or 0) for token in shown.values())
            # The server may see another token while the status is made; so not only at the first look.
            if (shown == sent and told >= newest) or time.monotonic() > end:
                break
        assert shown == sent
        assert told >= newest

    def assert_tokens_never_led(self, *, since_number: int = 0) -> None:
        """In the log from this line on, nobody acknowledged what nobody was given, nor went back without a reason.

        What one program was given the other may acknowledge: they share an inbox. Reasons to go back are a
        request without a token, which takes what the server says now, and an old answer that came once more.
        """
        log = self.proxy.seen(SYNC, since_number=since_number)
        given_at: dict[str, float] = {}
        may_go_back_at: list[float] = []
        for line in log:
            if line.next_batch is not None and line.answered_at is not None:
                before = given_at.get(line.next_batch, line.answered_at)
                given_at[line.next_batch] = min(before, line.answered_at)
            if line.fault == "stale" or (line.reads and line.since is None):
                # Also when it is answered: the other program may ask in between.
                may_go_back_at += [line.at, line.answered_at or line.at]
        for link in LINKS:
            last, said_at = 0, 0.0
            for line in (line for line in log if line.conn_id == link):
                if line.reads:
                    assert line.limit in range(1, 101)
                if line.since is None:
                    continue
                assert given_at.get(line.since, line.at) < line.at, "acknowledged before it was given"
                may_go_back = any(said_at <= moment <= line.at for moment in may_go_back_at)
                assert may_go_back or int(line.since) >= last, "a token went back"
                last, said_at = int(line.since), line.at

    def assert_signed_in_and_running(self) -> None:
        """Both of Alice's programs live, and the account is theirs."""
        assert self.alice.ask("SELECT state FROM session") == [("signed_in",)]
        assert self.alice.runs("window")
        assert self.alice.runs("notifier")

    def sign_in_again(self) -> None:
        """Alice's password once more, in the profile that she has, and every program running."""
        self._login(self.alice, "alice", self.proxy.base_url)
        wait_for("the window's own sync connection", lambda: self.alice.is_syncing("app"))
        self.start()

    def another_of_bobs(self) -> Device:
        """One more device of Bob's, running."""
        device = self._signed_in("bob", "bob-tablet", self.server.base_url)
        device.start_notifier()
        return device

    def as_bob(self) -> RawClient:
        """Raw requests in Bob's name."""
        token, user_id, device_id = self.bob.ask("SELECT access_token, user_id, device_id FROM session")[0]
        return RawClient(self.server.base_url, token, user_id, device_id)

    def _last_since(self, link: str) -> str | None:
        said = [line.since for line in self.proxy.seen(SYNC, conn_id=link) if line.since is not None]
        return str(said[-1]) if said else None

    def _has_all(self, device: Device, link: str) -> bool:
        return set(self.bodies(device, link)) >= {*self.said["alice"], *self.said["bob"]}

    def _is_at_rest(self) -> bool:
        return not any(
            device.ask(
                "SELECT 1 FROM send_queue WHERE state IN ('queued', 'sending')"
                " UNION ALL SELECT 1 FROM inbox WHERE state = 0"
                " UNION ALL SELECT 1 FROM to_device_out WHERE done = 0 LIMIT 1"
            )
            for device in (self.alice, self.bob)
        )

    def bodies(self, device: Device, link: str) -> list[str]:
        """The messages that can be read in this connection's view, in its order."""
        rows = device.ask(
            "SELECT e.body FROM timeline t JOIN event e USING (event_id)"
            " WHERE t.conn = ? AND t.room_id = ? AND e.seal = 'opened' AND e.kind = 'text' ORDER BY t.ord",
            (link, self.room),
        )
        return [str(row[0]) for row in rows]

    def _on_server(self, author: Device) -> list[str]:
        """What the server has of this author, in its order, put into words by the author's store."""
        found: list[str] = []
        token, client = "", self.as_bob()
        user_id = author.ask("SELECT user_id FROM session")[0][0]
        while True:
            start = f"&from={quote(token)}" if token else ""
            page = client.ok("GET", f"{CLIENT}/rooms/{quote(self.room)}/messages?dir=b&limit=500{start}")
            found += [
                event["event_id"]
                for event in page["chunk"]
                if event["sender"] == user_id and event["type"] == "m.room.encrypted"
            ]
            token = page.get("end", "")
            if not token:
                break
        words = dict(author.ask("SELECT event_id, body FROM event"))
        return [words[event_id] for event_id in reversed(found)]

    def _signed_in(self, person: str, name: str, url: str) -> Device:
        device = Device(name, self._folder / name, headless=True)
        device.home.mkdir(mode=0o700, parents=True)
        self._stack.callback(device.stop_all)
        self._login(device, person, url)
        device.trust_unconfirmed()
        return device

    def _login(self, device: Device, person: str, url: str) -> None:
        if person not in self._logins:
            self._logins[person] = new_user(self.server, person)
        user, password = self._logins[person]
        words = ("login", "--homeserver", url, "--user", user, "--password-file", "-")
        device.ctl(*words, password=password)
        device.confirm_as_recommended()


@contextmanager
def _opened(device: Device) -> Iterator[Database]:
    db = Database.open(device.paths.database)
    try:
        yield db
    finally:
        db.close()
