"""Old and new version on one store: the new one brings it up to date, the old one writes no more and says why."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_demo.device import PROCESSES, DemoFailed, wait_for
from tests.faults.duo import Duo

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_WORDS = "The message store was written by a newer Tandem"
_AGAIN = "Close this window and open it again."


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    file = tmp_path / "002_moods.sql"
    file.write_text("CREATE TABLE mood (id INTEGER PRIMARY KEY); INSERT INTO mood VALUES (1);", "utf-8")
    return file


@pytest.fixture(autouse=True)
def back_to_the_old(duo: Duo) -> Iterator[None]:
    """What no program of ours does: take the step back, so that the other tests find the store as it was."""
    yield
    duo.stop(signal.SIGTERM)
    with sqlite3.connect(duo.alice.paths.database) as conn:
        conn.execute("DROP TABLE IF EXISTS mood")
        conn.execute("PRAGMA user_version=1")
    conn.close()
    duo.start()
    duo.exchange()
    duo.assert_whole()


def test_a_newer_window_takes_over_from_an_old_notifier(duo: Duo, schema: Path) -> None:
    duo.alice.stop("window")
    duo.launch("app", "--schema", str(schema))
    duo.await_syncing("app")
    assert duo.ends("notifier") == 1
    assert duo.last_words("notifier").startswith(
        f"tandem-notifier: {_WORDS} (schema 2, this program knows 1)."
    )
    assert duo.notifier_said("starting anew")
    seen_at = duo.alice.ask("SELECT state, seen_at FROM program WHERE role = 'notifier'")
    body = duo.write_from_bob()
    wait_for("Bob's words", lambda: body in duo.bodies(duo.alice, "app"))
    # A second try of the old one writes nothing either, and the new one is not disturbed.
    duo.launch("notifier")
    assert duo.ends("notifier") == 1
    assert duo.alice.ask("SELECT state, seen_at FROM program WHERE role = 'notifier'") == seen_at
    duo.launch("notifier", "--schema", str(schema))
    duo.await_syncing("notifier")
    assert duo.alice.ask("SELECT id FROM mood") == [(1,)]


def test_a_newer_notifier_takes_over_from_an_old_window_which_says_what_to_do(duo: Duo, schema: Path) -> None:
    duo.alice.stop("notifier")
    duo.launch("notifier", "--schema", str(schema))
    duo.await_syncing("notifier")
    duo.write_from_bob()  # its next transaction need not wait for the end of a long poll
    duo.await_words(_WORDS)
    duo.await_words(_AGAIN)
    written = duo.alice.ask("SELECT synced_at FROM connection WHERE conn = 'app'")
    body = duo.write_from_bob()
    wait_for("Bob's words", lambda: body in duo.bodies(duo.alice, "notifier"))
    assert duo.alice.ask("SELECT synced_at FROM connection WHERE conn = 'app'") == written
    with pytest.raises(DemoFailed, match=_WORDS):
        duo.alice.ctl("rooms")
    assert duo.alice.runs(PROCESSES["app"])
