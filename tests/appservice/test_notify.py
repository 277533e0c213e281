"""Notifications go to the command once each, without the text unless it is asked for."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem_appservice import notify
from tandem_appservice.notify import MOST_TRIES, Command, CommandFailed, NotificationWorker
from tandem_core.clock import SystemClock
from tandem_core.paths import paths_below
from tandem_core.store import notifications
from tandem_core.types import Json
from tests.support.account import ME, Account

WRITES = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


@pytest.fixture
def account(tmp_path: Path) -> Any:
    made = Account(paths_below(tmp_path))
    yield made
    made.close()


def _step(account: Account, to: notify.Notify, *, with_text: bool = False) -> None:
    asyncio.run(_worker(account, to, with_text).step())


def _worker(account: Account, to: notify.Notify, with_text: bool = False) -> NotificationWorker:
    clock, chance = SystemClock(), random.Random(1)
    return NotificationWorker(account.db, ME.user_id, to, with_text=with_text, clock=clock, chance=chance)


def test_a_command_gets_each_notification_once_as_json(account: Account, tmp_path: Path) -> None:
    room = account.room("Plans")
    event = account.message(room, "the words")
    file = tmp_path / "told"
    command = Command([sys.executable, "-c", WRITES, str(file)])
    _step(account, command)
    _step(account, command)
    (line,) = file.read_text("utf-8").splitlines()
    told = json.loads(line)
    assert (told["event_id"], told["room_name"], told["sender_name"]) == (event, "Plans", "Bob")
    assert told["user_id"] == ME.user_id
    assert "the words" not in line
    assert account.outcome(event) == ("shown", None)


def test_the_text_is_told_where_it_is_asked_for_and_not_hidden(account: Account) -> None:
    told: list[Json] = []

    async def hear(note: Json) -> None:
        told.append(note)

    room = account.room("Plans")
    account.message(room, "open")
    _step(account, hear, with_text=True)
    account.choose("notifications.hide_content", True)
    account.message(room, "hidden")
    _step(account, hear, with_text=True)
    assert [note.get("body") for note in told] == ["open", None]


def test_the_log_says_that_there_is_a_message_and_not_what_it_says(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    event = account.message(account.room("Plans"), "the words")
    _step(account, notify.to_log, with_text=True)
    assert event in caplog.text
    assert "the words" not in caplog.text


def test_what_is_read_gone_or_switched_off_is_not_told(account: Account) -> None:
    async def nobody(note: Json) -> None:
        raise AssertionError(note)

    room = account.room("Plans")
    redacted, read = account.message(room, "a"), account.message(room, "b")
    account.redact(room, redacted)
    account.read(room, read)
    _step(account, nobody)
    account.choose("notifications.enabled", False)
    off = account.message(room, "c")
    _step(account, nobody)
    outcomes = [account.outcome(event) for event in (redacted, read, off)]
    assert outcomes == [("skipped", "redacted"), ("skipped", "read"), ("skipped", "disabled")]


@pytest.mark.parametrize("words", [[sys.executable, "-c", "raise SystemExit(3)"], ["/nowhere/at/all"]])
def test_a_command_that_fails_is_tried_again_and_given_up_in_the_end(
    account: Account, words: list[str]
) -> None:
    event = account.message(account.room("Plans"), "a")
    worker = _worker(account, Command(words))

    async def go() -> None:
        for _ in range(MOST_TRIES - 1):
            with pytest.raises(CommandFailed):
                await worker.step()
            assert account.outcome(event) == ("due", None)
        await worker.step()

    asyncio.run(go())
    assert account.outcome(event) == ("skipped", "command_failed")
    assert account.db.read_now(notifications.due, ME.user_id) == []


def test_a_command_that_hangs_is_ended(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "COMMAND_S", 0.2)
    event = account.message(account.room("Plans"), "a")
    with pytest.raises(CommandFailed):
        _step(account, Command([sys.executable, "-c", "import time; time.sleep(600)"]))
    assert account.outcome(event) == ("due", None)
