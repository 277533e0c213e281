"""A disk that is full, or read-only, under both programs: nothing unsaved is acknowledged, and it is told.

The disk is a small tmpfs. Where mounting is not permitted, a full one is a limit on the size of the programs' files
(RLIMIT_FSIZE), and a read-only one is files without the right to write, for programs that root's right to ignore
that (CAP_DAC_OVERRIDE) was taken from.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tandem_demo.device import wait_for
from tandem_demo.synapse import SynapseServer
from tests.faults.duo import Duo
from tests.support.proxy.scene import LINKS

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_LETTERS = 3
_UNSENT = (
    "SELECT 1 FROM send_queue WHERE state IN ('queued', 'sending')"
    " UNION ALL SELECT 1 FROM to_device_out WHERE done = 0"
)
_FULL = "The disk is full"
_FAILED = "The disk reported an error"
_READ_ONLY = "The message store cannot be written"


@pytest.fixture(scope="module")
def duo(synapse: SynapseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duo]:
    """Alice's store on a small disk of its own, where this machine permits that."""
    with Duo.playing(synapse, tmp_path_factory.mktemp("disk")) as made:
        data = made.alice.paths.data
        aside = data.with_name("aside")
        made.stop(signal.SIGTERM)
        made.release()
        shutil.copytree(data, aside)
        mount = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", str(data)]
        made.is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        shutil.copytree(aside, data, dirs_exist_ok=True)
        made.take_hold()
        try:
            made.start()
            yield made
        finally:
            made.stop(signal.SIGTERM)
            made.release()
            if made.is_mounted:
                subprocess.run(["umount", data], check=True)


@pytest.fixture(autouse=True)
def whole(duo: Duo) -> Iterator[None]:
    yield
    duo.start()
    duo.exchange()
    duo.assert_whole()


def test_a_full_disk_acknowledges_nothing_unsaved_is_told_and_heals_without_a_restart(duo: Duo) -> None:
    duo.window.open_room(duo.room)
    duo.exchange()
    wait_for("the composer", lambda: duo.window.do("has_focus", name="composer"))
    before = duo.pids()
    kept = _saved(duo)
    with (_filled if duo.is_mounted else _limited)(duo):
        for _ in range(_LETTERS):
            duo.write("bob")
        duo.await_words(_FULL if duo.is_mounted else _FAILED)
        wait_for("word of the notifier", lambda: _popups(duo) & {_FULL, _FAILED}, every_s=0.2)
        wait_for("all that Bob writes", lambda: not duo.bob.ask(_UNSENT))
        assert duo.waiting_at_server() > 0
        assert _saved(duo) == kept
        duo.assert_tokens_never_led()
        typed = "typed while the disk was full"
        duo.window.do("type", text=typed)
        duo.window.do("key", name="Return")
        duo.said["alice"].append(typed)
    duo.settle()
    for program in LINKS:
        duo.await_syncing(program)
    assert duo.pids() == before


def test_a_read_only_disk_is_told_and_the_window_goes_on_when_it_can_be_written(duo: Duo) -> None:
    duo.stop(signal.SIGTERM)
    with read_only(duo) as prefix:
        before = duo.alice.paths.database.read_bytes()
        duo.launch("notifier", prefix=prefix)
        assert duo.ends("notifier") == 1
        assert duo.last_words("notifier").startswith(f"tandem-notifier: {_READ_ONLY}")
        duo.launch("app", prefix=prefix)
        duo.window.do("wait_painted")
        duo.await_words(_READ_ONLY)
        duo.write("bob")
        assert duo.alice.paths.database.read_bytes() == before
    if not duo.is_mounted:
        # Files that were given their rights back: SQLite keeps a shared memory that it could only read.
        duo.launch("app")
    duo.await_syncing("app")
    wait_for("an end of the word", lambda: not duo.window_says(_READ_ONLY))


def _saved(duo: Duo) -> int:
    """How many to-device events Alice's store has ever had."""
    return int(duo.alice.ask("SELECT max(seq) FROM inbox")[0][0] or 0)


def _popups(duo: Duo) -> set[str]:
    return {str(popup["title"]) for popup in duo.alice.popups()}


@contextmanager
def _filled(duo: Duo) -> Iterator[None]:
    """Not a byte is free, and the log is not long enough for much."""
    ballast = duo.alice.paths.data / "ballast"
    with sqlite3.connect(duo.alice.paths.database, timeout=30) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    place = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(place, b"x" * size)
        assert os.statvfs(ballast).f_bfree == 0
    finally:
        os.close(place)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def _limited(duo: Duo) -> Iterator[None]:
    """No file of the two programs may grow beyond its first page."""
    _limit(duo, 4096)
    try:
        yield
    finally:
        _limit(duo, resource.RLIM_INFINITY)


def _limit(duo: Duo, size: int) -> None:
    for pid in duo.pids():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def read_only(duo: Duo) -> Iterator[tuple[str, ...]]:
    """The store cannot be written by programs that are started with these words in front."""
    data = duo.alice.paths.data
    duo.release()
    files = [] if duo.is_mounted else [file for file in data.iterdir() if file.is_file()]
    try:
        if duo.is_mounted:
            subprocess.run(["mount", "-o", "remount,ro", data], check=True)
        for file in files:
            file.chmod(0o400)
        without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        yield without if files and os.geteuid() == 0 else ()
    finally:
        if duo.is_mounted:
            subprocess.run(["mount", "-o", "remount,rw", data], check=True)
        if files:
            for file in data.iterdir():
                file.chmod(0o600)
        duo.take_hold()
