"""The doorbell on real sockets: it rings, and survives garbage, dead peers and strangers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import doorbell
from tandem_core.doorbell import Bell, DoorbellServer, Focus, changes_of, ring_message, ring_once
from tandem_core.errors import Expected
from tandem_core.types import Change, Json, RoomId, Topic
from tests.support.aio import in_loop

ROOM = RoomId("!room:example.org")
CHANGES = frozenset({Change(Topic.TIMELINE, ROOM), Change(Topic.STATUS)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


@asynccontextmanager
async def listening(path: Path, heard: list[Json]) -> AsyncIterator[DoorbellServer]:
    server = DoorbellServer(path, heard.append)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def until(holds: Callable[[], object], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.005)


def connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    sock.settimeout(10)
    return sock


def _talk_until_refused(sock: socket.socket) -> None:
    for _ in range(1000):
        sock.sendall(b'{"v":1,"kind":"ring","changes":[]}\n')
        time.sleep(0.01)


async def last_words(sock: socket.socket) -> list[Json]:
    """What the server said before it closed."""

    def read() -> bytes:
        found = b""
        while piece := sock.recv(4096):
            found += piece
        return found

    with sock:
        return [json.loads(line) for line in (await asyncio.to_thread(read)).splitlines()]


@in_loop
async def test_a_ring_tells_what_changed(folder: Path) -> None:
    heard: list[Json] = []
    async with listening(folder / "a.sock", heard):
        bell = Bell(folder / "a.sock")
        assert bell.ring(CHANGES)
        await until(lambda: heard)
        bell.close()
    assert changes_of(heard[0]) == CHANGES


@in_loop
async def test_socket_and_folder_are_for_their_owner_only(folder: Path) -> None:
    async with listening(folder / "a.sock", []):
        assert (folder / "a.sock").stat().st_mode & 0o777 == 0o600
    assert not (folder / "a.sock").exists()


@in_loop
async def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(Expected) as refused:
        await DoorbellServer(folder / "a.sock", lambda _: None).start()
    assert "not private" in refused.value.sentence


@in_loop
async def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(Expected):
        await DoorbellServer(tmp_path / "link" / "a.sock", lambda _: None).start()


@in_loop
async def test_a_socket_left_by_a_dead_program_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "a.sock"))
    heard: list[Json] = []
    assert not ring_once(folder / "a.sock", CHANGES)
    async with listening(folder / "a.sock", heard):
        assert await asyncio.to_thread(ring_once, folder / "a.sock", CHANGES)
        await until(lambda: heard)


@in_loop
async def test_closing_leaves_the_socket_of_a_successor_alone(folder: Path) -> None:
    first, second = DoorbellServer(folder / "a.sock", print), DoorbellServer(folder / "a.sock", print)
    await first.start()
    await second.start()
    await first.close()
    assert (folder / "a.sock").exists()
    await second.close()


def test_nobody_hears_a_ring_where_nobody_listens(folder: Path) -> None:
    bell = Bell(folder / "a.sock")
    assert not bell.ring(CHANGES)
    assert not bell.focus(ROOM, True)
    assert not bell.check()
    bell.close()
    assert not ring_once(folder / "a.sock", {"kind": "open", "uri": "matrix:r/a:b", "token": None})


def test_nobody_hears_a_ring_when_the_path_is_impossible(tmp_path: Path) -> None:
    too_long = tmp_path / ("x" * 200)
    assert not Bell(too_long).ring(CHANGES)
    assert not ring_once(too_long, CHANGES)


@in_loop
async def test_a_bell_finds_a_program_that_comes_back(folder: Path) -> None:
    bell, heard = Bell(folder / "a.sock"), []
    async with listening(folder / "a.sock", heard):
        assert bell.ring(CHANGES)
    assert not bell.ring(CHANGES)
    heard.clear()
    async with listening(folder / "a.sock", heard):
        assert bell.ring(CHANGES)
        await until(lambda: heard)
    bell.close()


@in_loop
async def test_a_program_that_does_not_read_never_makes_a_ring_wait(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(folder / "a.sock"))
        deaf.listen(1)
        bell = Bell(folder / "a.sock")
        heard = [bell.ring(CHANGES) for _ in range(20_000)]
    # Its buffer filled up long before, and each of these calls came back.
    assert False in heard
    bell.close()


@in_loop
async def test_focus_is_known_while_its_connection_lives(folder: Path) -> None:
    heard: list[Json] = []
    async with listening(folder / "a.sock", heard) as server:
        bell = Bell(folder / "a.sock")
        assert bell.focus(ROOM, True)
        await until(lambda: server.focus == Focus(ROOM, True))
        bell.focus(ROOM, False)
        await until(lambda: server.focus is None)
        bell.focus(None, True)
        await until(lambda: server.focus == Focus(None, True))
        bell.close()
        await until(lambda: server.focus is None)
        await until(lambda: heard[-1]["active"] is False)


@in_loop
async def test_focus_of_a_killed_window_is_forgotten(folder: Path) -> None:
    window = (
        "import sys, time; from pathlib import Path; from tandem_core.doorbell import Bell\n"
        "bell = Bell(Path(sys.argv[1])); assert bell.focus('!room:example.org', True); time.sleep(60)"
    )
    async with listening(folder / "a.sock", []) as server:
        child = await asyncio.to_thread(
            subprocess.Popen, [sys.executable, "-c", window, str(folder / "a.sock")]
        )
        try:
            await until(lambda: server.focus == Focus(ROOM, True), 30)
        finally:
            child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(child.wait)
        await until(lambda: server.focus is None)


@in_loop
async def test_focus_is_said_again_to_a_program_that_came_back(folder: Path) -> None:
    bell = Bell(folder / "a.sock")
    assert not bell.focus(ROOM, True)
    for _ in range(2):
        async with listening(folder / "a.sock", []) as server:
            assert bell.check()
            await until(lambda server=server: server.focus == Focus(ROOM, True))
    bell.close()


@pytest.mark.parametrize(
    "garbage",
    [b"\n", b"garbage\n", b"[1]\n", b"\xff\xfe\n", b'{"v":1', b"[" * 60_000 + b"\n"],
    ids=["empty", "words", "list", "bytes", "half", "deep"],
)
@in_loop
async def test_garbage_ends_its_connection_only(folder: Path, garbage: bytes) -> None:
    heard: list[Json] = []
    async with listening(folder / "a.sock", heard):
        sock = connected(folder / "a.sock")
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        said = await last_words(sock)
        assert [message["kind"] for message in said] in ([], ["bye"])
        assert await asyncio.to_thread(ring_once, folder / "a.sock", CHANGES)
        await until(lambda: heard)
    assert len(heard) == 1


@in_loop
async def test_a_line_without_end_ends_its_connection(folder: Path) -> None:
    async with listening(folder / "a.sock", []):
        sock = connected(folder / "a.sock")
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            await asyncio.to_thread(sock.sendall, b"x" * 4_000_000)
        sock.close()


@in_loop
async def test_another_version_is_told_why_it_is_left(folder: Path) -> None:
    heard: list[Json] = []
    async with listening(folder / "a.sock", heard):
        sock = connected(folder / "a.sock")
        sock.sendall(b'{"v":2,"kind":"ring"}\n')
        assert await last_words(sock) == [{"v": 1, "kind": "bye", "reason": "this program speaks version 1"}]
    assert heard == []


@in_loop
async def test_unknown_kinds_are_ignored(folder: Path) -> None:
    heard: list[Json] = []
    async with listening(folder / "a.sock", heard):
        with connected(folder / "a.sock") as sock:
            sock.sendall(
                b'{"v":1,"kind":"dance"}\n{"v":1,"kind":["ring"]}\n{"v":1,"kind":"open","uri":"u","token":null}\n'
            )
            await until(lambda: heard)
    assert heard == [{"v": 1, "kind": "open", "uri": "u", "token": None}]


@in_loop
async def test_a_handler_that_fails_does_not_end_the_doorbell(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Json] = []

    def fail(message: Json) -> None:
        calls.append(message)
        raise RuntimeError("no")

    server = DoorbellServer(folder / "a.sock", fail)
    await server.start()
    bell = Bell(folder / "a.sock")
    assert bell.ring(CHANGES)
    assert bell.ring(CHANGES)
    await until(lambda: len(calls) == 2)
    bell.close()
    await server.close()
    assert "could not be handled" in caplog.text


@in_loop
async def test_programs_of_other_users_are_turned_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Json] = []
    async with listening(folder / "a.sock", heard):
        other = os.getuid() + 1
        with monkeypatch.context() as as_other:
            as_other.setattr(doorbell.os, "getuid", lambda: other)
            assert not ring_once(folder / "a.sock", CHANGES)
            assert not Bell(folder / "a.sock").ring(CHANGES)
            sock = connected(folder / "a.sock")
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                await asyncio.to_thread(_talk_until_refused, sock)
            sock.close()
    assert heard == []


@in_loop
async def test_no_more_than_a_few_guests_are_let_in(folder: Path) -> None:
    async with listening(folder / "a.sock", []):
        guests = [connected(folder / "a.sock") for _ in range(40)]
        gone = 0
        for guest in guests:
            guest.setblocking(False)

        def count() -> int:
            nonlocal gone
            for guest in list(guests):
                try:
                    if guest.recv(1) == b"":
                        gone += 1
                        guests.remove(guest)
                        guest.close()
                except BlockingIOError:
                    pass
            return gone

        await until(lambda: count() == 24)
        for guest in guests:
            guest.close()


def test_very_many_changes_become_somewhere() -> None:
    many = [Change(Topic.TIMELINE, RoomId(f"!{number}:example.org")) for number in range(1000)]
    assert changes_of(ring_message(many)) == {Change(Topic.TIMELINE)}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(list(Topic)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(message=st.dictionaries(st.sampled_from(["changes", "kind", "v"]), values))
def test_whatever_a_ring_says_is_read_without_fail(message: Json) -> None:
    assert all(isinstance(change, Change) for change in changes_of(message))


@given(
    changes=st.frozensets(
        st.builds(Change, st.sampled_from(Topic), st.none() | st.text().map(RoomId)), max_size=50
    )
)
def test_what_is_rung_is_heard(changes: frozenset[Change]) -> None:
    assert changes_of(json.loads(json.dumps(ring_message(changes)))) == changes
