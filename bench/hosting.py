"""What a hosted account costs the appservice, and how fast transactions are taken: ``python -m bench.hosting``.

The service is the real program in a process of its own; the homeserver is only its answers, so that nothing of
Synapse's is measured. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tandem_appservice import registration
from tandem_appservice.queue import Account, Queue
from tandem_core.paths import profile_paths
from tandem_core.store import session
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Me, UserId
from tandem_demo.synapse import free_port

_ROOM = "!room:example.org"
_WRITER = "@writer:example.org"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.hosting", description=__doc__)
    parser.add_argument("--accounts", type=int, default=100, help="hosted accounts, all in one room (100)")
    parser.add_argument("--transactions", type=int, default=200, help="with one message each (200)")
    options = parser.parse_args()
    os.environ["TANDEM_VAULT"] = "file"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TANDEM_HOME"] = folder
        print(json.dumps(asyncio.run(_measure(options.accounts, options.transactions))))
    return 0


async def _measure(accounts: int, transactions: int) -> dict[str, Any]:
    users = [f"@_u{number}:example.org" for number in range(accounts)]
    async with _homeserver(users) as base_url:
        made = registration.make(
            homeserver=base_url,
            server_name="example.org",
            url=f"http://127.0.0.1:{free_port()}",
            namespaces=registration.Namespaces(users=("@_u.*",)),
        )
        registration.write(made, registration.file_of(registration.service_paths()))
        empty = await _footprint()
        queue = Queue.open(registration.service_paths().data / "service.db")
        for number, user in enumerate(users):
            _sign_in(user, f"u{number}", base_url)
            queue.add(Account(user, "D", f"u{number}"), 1)
        child = _start()
        try:
            started = time.monotonic()
            await _until(lambda: all(account.is_prepared for account in queue.accounts()))
            prepared_s = time.monotonic() - started
            await asyncio.sleep(5)
            idle = _of_process(child.pid)
            took = await _send(made, transactions)
            await _until(lambda: not queue.depth(users[-1]) and not queue.depth(users[0]))
            await _until(lambda: all(_has(f"u{number}", transactions) for number in range(accounts)))
            taken_s = time.monotonic() - took.pop()
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)
        queue.close()
    return {
        "accounts": accounts,
        "prepared_s": round(prepared_s, 2),
        "rss_mib_empty": empty["rss_mib"],
        "rss_mib": idle["rss_mib"],
        "rss_kib_per_account": round((idle["rss_mib"] - empty["rss_mib"]) * 1024 / accounts),
        "threads_per_account": round((idle["threads"] - empty["threads"]) / accounts, 1),
        "files_per_account": round((idle["files"] - empty["files"]) / accounts, 1),
        "put_ms_median": round(statistics.median(took) * 1000, 1),
        "put_ms_p99": round(sorted(took)[int(len(took) * 0.99)] * 1000, 1),
        "taken_per_s": round(accounts * transactions / taken_s),
    }


@asynccontextmanager
async def _homeserver(users: list[str]) -> AsyncIterator[str]:
    def state(kind: str, content: dict[str, Any], key: str = "") -> dict[str, Any]:
        return {
            "event_id": f"${kind}{key}",
            "type": kind,
            "state_key": key,
            "sender": _WRITER,
            "origin_server_ts": 1,
            "content": content,
        }

    room = [
        state("m.room.join_rules", {"join_rule": "invite"}),
        state("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}),
        *(state("m.room.member", {"membership": "join"}, user) for user in [_WRITER, *users]),
    ]

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path.split("/")[4:]:
            case ["joined_rooms"]:
                return web.json_response({"joined_rooms": [_ROOM]})
            case ["keys", "upload"]:
                return web.json_response({"one_time_key_counts": {"signed_curve25519": 50}})
            case ["keys", "query"]:
                return web.json_response({"device_keys": {}})
            case ["rooms", _, "state"]:
                return web.json_response(room)
            case ["rooms", _, "messages"]:
                return web.json_response({"chunk": []})
            case ["pushrules", ""]:
                return web.json_response({"global": {}})
            case [*_, "ping"]:
                return web.json_response({"duration_ms": 1})
        if request.path.endswith("/versions"):
            return web.json_response({"versions": ["v1.11"]})
        return web.json_response({"errcode": "M_NOT_FOUND", "error": ""}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _footprint() -> dict[str, float]:
    """What the service takes with nobody hosted."""
    child = _start()
    try:
        await asyncio.sleep(4)
        return _of_process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tandem_appservice", "run"], env=dict(os.environ))


def _sign_in(user: str, profile: str, base_url: str) -> None:
    paths = profile_paths(profile)
    paths.make()
    db = Database.open(paths.database)
    db.write_now(session.set_session, Me(UserId(user), DeviceId("D")), base_url, "token", 1)
    db.close()


async def _send(made: registration.Registration, transactions: int) -> list[float]:
    """Seconds of each PUT, one after the other; the last value is when it began."""
    took: list[float] = []
    began = time.monotonic()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {made.hs_token}"}) as client:
        for number in range(transactions):
            event = {
                "event_id": f"$m{number}",
                "room_id": _ROOM,
                "type": "m.room.message",
                "sender": _WRITER,
                "origin_server_ts": time.time_ns() // 1_000_000,
                "content": {"msgtype": "m.notice", "body": f"number {number}"},
            }
            started = time.monotonic()
            url = f"{made.url}/_matrix/app/v1/transactions/{number}"
            async with client.put(url, json={"events": [event]}) as answer:
                answer.raise_for_status()
            took.append(time.monotonic() - started)
    return [*took, began]


def _has(profile: str, count: int) -> bool:
    with closing(sqlite3.connect(profile_paths(profile).database, timeout=30)) as conn:
        found = conn.execute("SELECT count(*) FROM timeline").fetchone()[0]
    return bool(found == count)


def _of_process(pid: int) -> dict[str, float]:
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        if ":" in line
    )
    return {
        "rss_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(status["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


async def _until(look: Any) -> None:
    async with asyncio.timeout(600):
        while not look():
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
