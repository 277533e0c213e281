"""The real program, killed again and again while a server sends: all that was answered with 200 is there, once."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from typing import Any

import aiohttp
import pytest

from tandem_appservice import registration
from tandem_appservice.queue import Queue
from tandem_core.paths import profile_paths
from tests.appservice.test_host import ONE, TWO, Homeserver, Town
from tests.appservice.world import for_device, of_room
from tests.core.sync.test_http import serving
from tests.core.sync_world import BOB, message, olm
from tests.support.aio import in_loop

pytestmark = [pytest.mark.usefixtures("tandem_home"), pytest.mark.slow]

TRANSACTIONS, KILLS = 60, 4


class Program:
    """``tandem-appservice run``."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.killed = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "tandem_appservice", "run"]
        self.child = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            child.wait()
            self.killed += 1


def _body(number: int) -> dict[str, Any]:
    return {
        "events": [of_room(message(f"{number}.{part}", BOB)) for part in range(3)],
        "to_device": [for_device(olm(f"key {number} of {user}"), user, "D") for user in (ONE, TWO)],
    }


@in_loop
async def test_a_program_that_is_killed_at_any_moment_loses_and_doubles_nothing() -> None:
    chance, program = random.Random(1), Program()
    paths = registration.service_paths()
    paths.make()
    async with serving(Homeserver()) as url:
        queue = Queue.open(paths.data / "service.db")
        town = Town(Homeserver(), url, queue)
        registration.write(town.registration, registration.file_of(paths))
        for user in (ONE, TWO):
            town.host(user)
        queue.close()
        program.start()
        try:
            killing = asyncio.create_task(_kill_now_and_then(program, chance))
            await _send_all(town)
            await killing
            async with asyncio.timeout(60):
                while not all(_counts(user) == (3 * TRANSACTIONS, TRANSACTIONS) for user in (ONE, TWO)):
                    await asyncio.sleep(0.1)
        finally:
            program.kill()
    assert program.killed == KILLS + 1
    for user in (ONE, TWO):
        assert _order(user) == [f"${number}.{part}" for number in range(TRANSACTIONS) for part in range(3)]


async def _kill_now_and_then(program: Program, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.9, 2.5))
        await asyncio.to_thread(program.kill)
        program.start()


async def _send_all(town: Town) -> None:
    """One transaction after the other, each again until it is answered with 200, as homeservers do."""
    token = {"Authorization": f"Bearer {town.registration.hs_token}"}
    async with aiohttp.ClientSession(headers=token) as client:
        for number in range(TRANSACTIONS):
            url = f"{town.registration.url}/_matrix/app/v1/transactions/{number + 1}"
            while True:
                with suppress(aiohttp.ClientError):
                    async with client.put(url, json=_body(number)) as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.05)


def _read(user: str, sql: str) -> list[Any]:
    with closing(sqlite3.connect(profile_paths(user[2:5]).database, timeout=30)) as conn:
        return conn.execute(sql).fetchall()


def _counts(user: str) -> tuple[int, int]:
    """Messages in the timeline and different keys in the inbox."""
    ((messages, keys),) = _read(
        user,
        "SELECT (SELECT count(*) FROM timeline WHERE conn = 'notifier'), (SELECT count(*) FROM inbox)",
    )
    return int(messages), int(keys)


def _order(user: str) -> list[str]:
    return [
        row[0] for row in _read(user, "SELECT event_id FROM timeline WHERE conn = 'notifier' ORDER BY ord")
    ]
