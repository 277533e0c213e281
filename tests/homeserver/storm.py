"""To-device events to an application service while everything fails: nothing may be lost, or come out of order.

Many senders write at once to the devices of exclusive users, of people of an inclusive namespace and of one person who
syncs as well; the service refuses, lies, vanishes, hangs and dies; the service and Synapse are killed at random.

    python -m tests.homeserver.storm --messages 10000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tandem_demo.raw import Json, RawClient, RawError
from tandem_demo.services import Postgres
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.application_service import ApplicationService, Ledger
from tests.homeserver.tables import rows

KIND = "org.example.storm"
SENDERS = 8
DEVICES = ("ONE", "TWO")
_PATIENCE_S = 180.0
"""How long nothing may arrive before the rest counts as lost. Synapse's pauses between tries grow to minutes."""


@dataclass
class Result:
    """``repeats``: transactions that came again under their id. ``resent``: events that a sender put twice because a
    crash took the answer to its request; the inbox rightly has both."""

    sent: int = 0
    received: int = 0
    lost: int = 0
    repeats: int = 0
    changed_repeats: int = 0
    same_event_twice: int = 0
    resent: int = 0
    out_of_order: int = 0
    out_of_order_by_device: dict[str, int] = field(default_factory=dict)
    left_in_inbox: int = 0
    transactions: int = 0
    synapse_killed: int = 0
    service_ended: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        bad = (self.lost, self.out_of_order, self.changed_repeats, self.same_event_twice, self.left_in_inbox)
        return not any(bad)

    def table(self) -> str:
        rows = [(key.replace("_", " "), value) for key, value in asdict(self).items() if value != {}]
        return "\n".join(f"{name:<24}{value:>10}" for name, value in rows)


class Storm:
    """One run. ``crashes``: how often Synapse is killed; ``trouble``: the share of transactions that go wrong."""

    def __init__(
        self,
        *,
        messages: int,
        seed: int,
        crashes: int,
        trouble: float,
        hangs: int = 0,
        database: Json | None = None,
    ) -> None:
        self._messages = messages
        self._crashes = crashes
        self._trouble = trouble
        self._hangs = hangs
        self._seed = seed
        self._database = database
        self._chance = random.Random(seed)
        self._done = threading.Event()
        self._resent: Counter[tuple[str, int]] = Counter()
        self._sent = 0
        self._counting = threading.Lock()

    def run(self, folder: Path) -> Result:
        started = time.monotonic()
        result = Result()
        users = [{"exclusive": True, "regex": "@_storm_.*"}, {"exclusive": False, "regex": "@shared.*"}]
        self._service = ApplicationService(
            folder,
            name="storm",
            namespaces={"users": users},
            receive_ephemeral=True,
            **{"im.tandem.lossless_to_device": True},
        )
        extra: Json = {"app_service_config_files": [str(self._service.file)]}
        if self._database is not None:
            extra["database"] = self._database
        self._server = SynapseServer.create(folder / "synapse", extra=extra)
        self._server.start()
        self._ledger = Ledger(folder / "ledger.db")
        self._process = self._start_service(folder)
        try:
            self._server.wait_ready()
            targets, syncer = self._people()
            senders = [
                RawClient(self._server.base_url).login(*new_user(self._server, "sender"))
                for _ in range(SENDERS)
            ]
            threads = [
                threading.Thread(target=self._talk, args=(number, client, targets))
                for number, client in enumerate(senders)
            ]
            threads.append(threading.Thread(target=self._sync, args=(syncer,)))
            threads.append(threading.Thread(target=self._keep_service, args=(folder, result)))
            for thread in threads:
                thread.start()
            for part in range(1, self._crashes + 1):
                due = self._messages * part // (self._crashes + 1)
                self._until(lambda due=due: self._sent >= due)
                time.sleep(self._chance.random())
                self._server.kill()
                result.synapse_killed += 1
                self._server.start()
                self._server.wait_ready()
            for thread in threads[:SENDERS]:
                thread.join()
            self._wait_for_the_rest()
            self._done.set()
            for thread in threads[SENDERS:]:
                thread.join()
            self._judge(result)
            result.left_in_inbox = self._left_in_inbox()
        finally:
            self._done.set()
            self._end_service()
            self._ledger.close()
            self._server.stop()
        result.seconds = round(time.monotonic() - started, 1)
        return result

    def _people(self) -> tuple[list[str], RawClient]:
        """Whom to write to; and the one of them who syncs, so that the inbox is emptied from two sides."""
        base_url = self._server.base_url
        users = []
        for number in range(4):
            ghost = self._service.user(base_url, f"_storm_{number}")
            for device in DEVICES:
                ghost.create_device(device)
            users.append(ghost.user_id)
        for _ in range(2):
            name, password = new_user(self._server, "shared")
            clients = [RawClient(base_url).login(name, password, device) for device in DEVICES]
            users.append(clients[0].user_id)
        return users, clients[0]

    def _talk(self, number: int, client: RawClient, users: list[str]) -> None:
        """Send this sender's share; each to one device, numbered for that device, and again until it was answered."""
        chance = random.Random(f"{self._seed} {number}")
        counts: defaultdict[tuple[str, str], itertools.count[int]] = defaultdict(itertools.count)
        share = range(number, self._messages, SENDERS)
        for _ in share:
            target = (chance.choice(users), chance.choice(DEVICES))
            content = {"n": next(counts[target])}
            txn_id = secrets.token_hex(8)
            tries = 0
            while True:
                tries += 1
                try:
                    client.send_to_device(KIND, {target[0]: {target[1]: content}}, txn_id)
                    break
                except (OSError, RawError, HTTPException) as error:
                    if isinstance(error, RawError) and error.status < 500:
                        raise
                    if self._done.wait(0.2):
                        return
            with self._counting:
                self._sent += 1
                if tries > 1:
                    self._resent[client.user_id, content["n"]] += 1

    def _sync(self, client: RawClient) -> None:
        """One person reads her own events, too, and so deletes them."""
        since: str | None = None
        while not self._done.is_set():
            try:
                since = client.sync_v2(since, timeout_ms=500)["next_batch"]
            except (OSError, RawError, HTTPException):
                time.sleep(0.3)

    def _start_service(self, folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.homeserver.application_service"]
        words = [
            folder / "ledger.db",
            self._service.port,
            self._service.hs_token,
            self._chance.getrandbits(32),
            self._trouble,
        ]
        return subprocess.Popen(
            command + [str(word) for word in words], stdin=subprocess.PIPE, env=os.environ.copy()
        )

    def _keep_service(self, folder: Path, result: Result) -> None:
        """Start the service anew when it has died, and kill it now and then; make it hang a few times."""
        chance = random.Random(f"{self._seed} service")
        hangs, next_kill = self._hangs, time.monotonic() + chance.uniform(3, 10)
        while not self._done.is_set():
            if self._process.poll() is not None:
                result.service_ended += 1
                time.sleep(chance.random())
                self._close(self._process)
                self._process = self._start_service(folder)
            elif time.monotonic() > next_kill and self._trouble and not self._is_all_sent():
                self._process.kill()
                next_kill = time.monotonic() + chance.uniform(3, 10)
                if hangs:
                    # A stopped process has its port open and answers nobody: Synapse waits until it gives up.
                    hangs -= 1
                    self._process.wait()
                    self._close(self._process)
                    self._process = self._start_service(folder)
                    time.sleep(1)
                    self._process.send_signal(signal.SIGSTOP)
                    self._done.wait(65)
                    self._process.send_signal(signal.SIGCONT)
            self._done.wait(0.1)

    def _is_all_sent(self) -> bool:
        return self._sent >= self._messages

    def _end_service(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close(self._process)

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()

    def _until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            time.sleep(0.02)

    def _received(self) -> int:
        sql = "SELECT count(*) FROM (SELECT DISTINCT user, device, sender, n FROM events)"
        return int(next(self._ledger.rows(sql))[0])

    def _wait_for_the_rest(self) -> None:
        last, since = -1, time.monotonic()
        while (found := self._received()) < self._messages and time.monotonic() - since < _PATIENCE_S:
            if found != last:
                last, since = found, time.monotonic()
            time.sleep(0.2)

    def _judge(self, result: Result) -> None:
        taken = list(
            self._ledger.rows("SELECT user, device, sender, n, event_id, txn FROM events ORDER BY seq")
        )
        result.sent, result.received = self._sent, self._received()
        result.lost = result.sent - result.received
        ids = Counter(row[4] for row in taken)
        result.same_event_twice = sum(count - 1 for count in ids.values())
        result.resent = len(taken) - result.received - result.same_event_twice
        assert result.resent <= sum(self._resent.values()), "more copies than senders can have made"
        highest: dict[tuple[Any, ...], int] = {}
        wrong: Counter[str] = Counter()
        for user, device, sender, n, _event_id, _txn in taken:
            line = (user, device, sender)
            if n < highest.get(line, -1):
                wrong[f"{user} {device}"] += 1
            highest[line] = max(n, highest.get(line, -1))
        result.out_of_order = wrong.total()
        result.out_of_order_by_device = dict(wrong)
        [(transactions, tries, changed)] = self._ledger.rows(
            "SELECT count(*), sum(tries), sum(changed) FROM txns"
        )
        result.transactions, result.repeats, result.changed_repeats = (
            transactions,
            tries - transactions,
            changed,
        )

    def _left_in_inbox(self) -> int:
        """Rows of exclusive users, whose 200 is the only one that deletes; the last transaction may be under way."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            left = self._count(
                "SELECT count(*) FROM device_inbox WHERE user_id LIKE '@!_storm!_%' ESCAPE '!'"
            )
            if left == 0 or time.monotonic() > end:
                return left
            time.sleep(0.2)

    def _count(self, sql: str) -> int:
        database = json.loads(self._server.configs[0].read_text("utf-8"))["database"]
        if database["name"] == "sqlite3":
            return int(rows(self._server.folder, sql)[0][0])
        import psycopg2

        known = {key: value for key, value in database["args"].items() if not key.startswith("cp_")}
        with contextlib.closing(psycopg2.connect(**known)) as conn, conn.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetchone()[0])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.homeserver.storm", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crashes", type=int, default=5, help="how often Synapse is killed")
    parser.add_argument("--trouble", type=float, default=0.2, help="share of transactions that go wrong")
    parser.add_argument("--hangs", type=int, default=2, help="how often the service hangs, for a minute each")
    parser.add_argument("--postgres", action="store_true", help="with PostgreSQL instead of SQLite")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    words = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="storm-"))
        postgres = stack.enter_context(Postgres()) if words.postgres else None
        storm = Storm(
            messages=words.messages,
            seed=words.seed,
            crashes=words.crashes,
            trouble=words.trouble,
            hangs=words.hangs,
            database=None if postgres is None else postgres.database(),
        )
        result = storm.run(Path(folder))
    print(result.table())
    if words.json is not None:
        words.json.write_text(json.dumps(asdict(result), indent=1), "utf-8")
    return 0 if result.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
