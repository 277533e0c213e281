"""Receipts that wait for their release, on a real Synapse: who waits, who does not, and that none is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tandem_demo.raw import Json, RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.homeserver.tables import confirmed, edit, rows
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, sliding

pytestmark = pytest.mark.synapse

HOUR_S = 3600
"""As far as a test can tell: for ever."""
PASSWORD = "a long password"


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[SynapseServer]:
    limits = {"per_second": 10_000, "burst_count": 10_000}
    server = SynapseServer.create(folder, extra={"modules": modules(**limits, **settings)})
    with server.running():
        yield server


def come_back(server: SynapseServer) -> None:
    """A crash and a new start."""
    server.kill()
    server.start()
    server.wait_ready()


def devices(server: SynapseServer, name: str, count: int) -> list[RawClient]:
    server.register(name, PASSWORD)
    return [RawClient(server.base_url).login(name, PASSWORD, f"DEVICE{number}") for number in range(count)]


def seen(author: RawClient, room: str, event: str, pos: str | None = None, timeout_ms: int = 0) -> Json:
    found: Json = receipts_in(sliding(author, pos, timeout_ms=timeout_ms), room).get(event, {})
    return found


def test_the_receipt_of_a_reader_with_several_devices_is_held_over_a_crash_and_released_when_it_is_time(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, hold_seconds=[HOUR_S, HOUR_S], coalesce_seconds=0) as server:
        (alice,), (phone, laptop), (carol,) = (
            devices(server, name, count) for name, count in (("alice", 1), ("bob", 2), ("carol", 1))
        )
        room = alice.create_room(invite=[phone.user_id, carol.user_id], preset="private_chat")
        phone.join(room)
        carol.join(room)
        event = alice.say(room, "who is there?")
        for client in (phone, laptop, phone, carol):
            assert client.receipt(room, UNSTABLE, event) == (200, {})
        come_back(server)
        assert set(seen(alice, room, event)) == {carol.user_id}
        assert confirmed(tmp_path, event) == {phone.user_id, carol.user_id}
        # With a device that the author may know there is nothing to hide.
        shared = alice.say(room, "and this one?")
        assert laptop.receipt(room, UNSTABLE, shared, {"im.tandem.share": "device"})[0] == 200
        assert list(seen(alice, room, shared)[laptop.user_id]["im.tandem.devices"]) == [laptop.device_id]
        pos = sliding(alice)["pos"]
        edit(tmp_path, "UPDATE im_tandem_delivery SET release_at = 0 WHERE stream_id IS NULL")
        come_back(server)
        released = seen(alice, room, event, pos, timeout_ms=20_000)
        assert set(released[phone.user_id]) == {"ts"}


def test_an_author_who_was_just_told_is_told_the_rest_later_and_all_of_it(tmp_path: Path) -> None:
    with serving(tmp_path, coalesce_seconds=HOUR_S) as server:
        readers = [devices(server, f"reader{number}", 1)[0] for number in range(4)]
        (alice,), (dora,) = devices(server, "alice", 1), devices(server, "dora", 1)
        room = alice.create_room(preset="public_chat")
        for client in (dora, *readers):
            client.join(room)
        event, other = alice.say(room, "hello all"), dora.say(room, "hello from Dora")
        for reader in readers:
            assert reader.receipt(room, UNSTABLE, event)[0] == 200
        assert set(seen(alice, room, event)) == {readers[0].user_id}
        # One author's pause is not another's.
        assert readers[3].receipt(room, UNSTABLE, other)[0] == 200
        assert set(seen(dora, room, other)) == {readers[3].user_id}
        pos = sliding(alice)["pos"]
        come_back(server)
        rest = seen(alice, room, event, pos, timeout_ms=20_000)
        assert set(rest) == {reader.user_id for reader in readers[1:]}


def test_what_waits_comes_by_itself_and_in_few_portions(tmp_path: Path) -> None:
    pause_s = 2.0
    with serving(tmp_path, hold_seconds=[0.5, 1.0], coalesce_seconds=pause_s) as server:
        (alice,) = devices(server, "alice", 1)
        readers = [devices(server, f"reader{number}", 1 + number % 2)[0] for number in range(20)]
        room = alice.create_room(preset="public_chat")
        for reader in readers:
            reader.join(room)
        event = alice.say(room, "hello all")
        pos = sliding(alice)["pos"]
        start = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(lambda reader: reader.receipt(room, UNSTABLE, event), readers)
            assert [status for status, _ in answers] == [200] * len(readers)
        told: set[str] = set()
        while told != {reader.user_id for reader in readers}:
            answer = sliding(alice, pos, timeout_ms=20_000)
            told |= set(receipts_in(answer, room).get(event, {}))
            pos = answer["pos"]
        portions = rows(tmp_path, "SELECT DISTINCT stream_id FROM im_tandem_delivery")
        # The first, and one for each pause that has passed meanwhile.
        assert len(portions) <= 2 + (time.monotonic() - start) / pause_s


def test_what_was_answered_with_200_is_there_when_the_server_is_killed_that_moment(tmp_path: Path) -> None:
    with serving(tmp_path, coalesce_seconds=0.5) as server:
        (alice,) = devices(server, "alice", 1)
        readers = [devices(server, f"reader{number}", 1)[0] for number in range(4)]
        room = alice.create_room(preset="public_chat")
        for reader in readers:
            reader.join(room)
        events = [alice.say(room, str(number)) for number in range(100)]
        kept: set[tuple[str, str]] = set()
        enough = threading.Event()

        def confirm(reader: RawClient) -> None:
            for event in events:
                try:
                    status, _ = reader.receipt(room, UNSTABLE, event)
                except OSError:
                    return  # killed while it answered
                assert status == 200
                kept.add((event, reader.user_id))
                if len(kept) > 50:
                    enough.set()

        with ThreadPoolExecutor(len(readers)) as pool:
            running = [pool.submit(confirm, reader) for reader in readers]
            assert enough.wait(60)
            server.kill()
            for each in running:
                each.result()
        server.start()
        server.wait_ready()
        found: set[tuple[str, str]] = set()
        answer = sliding(alice)
        while True:
            found |= {(event, user) for event, users in receipts_in(answer, room).items() for user in users}
            if kept <= found:
                break
            answer = sliding(alice, answer["pos"], timeout_ms=20_000)
