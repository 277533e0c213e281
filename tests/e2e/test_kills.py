"""kill -9 at any moment: nothing lost, nothing doubled, no token ahead of what was committed."""

from __future__ import annotations

import random
import secrets
import signal
import time
from contextlib import closing
from io import StringIO

import pytest

from tandem_core.store.database import Database, Transaction
from tandem_demo import observer, traffic
from tandem_demo.device import Device, wait_for
from tandem_demo.tell import Teller
from tandem_demo.traffic import Pen, Written
from tandem_demo.window import WindowDriver
from tandem_demo.world import World
from tests.e2e.scene import event_of, kept_by_server, position_of_server, tokens, wait_in_view

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_COUNT = 30
_MOST_TRIES = 15
_WANTED = 2
"""Kills that are seen, in the server's own database, to have come before the acknowledgement."""


def _rotate(device: Device, room_id: str) -> None:
    """Have the device's next message begin a new Megolm session, so that keys travel again."""

    def retire(txn: Transaction) -> None:
        txn.execute("UPDATE megolm_outbound SET retired = 1 WHERE room_id = ?", (room_id,))

    with closing(Database.open(device.paths.database)) as db:
        db.write_now(retire)


def _sessions_from(device: Device, sender: str) -> int:
    """How many of this person's Megolm sessions the device can open."""
    rows = device.ask("SELECT count(*) FROM megolm_inbound WHERE sender = ?", (sender,))
    return int(rows[0][0])


def _assert_sound(world: World) -> None:
    """No inbox row waits or was unusable, none is there twice, and neither token leads the server."""
    wait_for("a drained inbox", lambda: not world.alice.ask("SELECT 1 FROM inbox WHERE state = 0"))
    assert world.alice.ask("SELECT type, error FROM inbox WHERE state != 1") == []
    digests = world.alice.ask("SELECT count(*), count(DISTINCT digest) FROM inbox WHERE digest IS NOT NULL")
    assert digests[0][0] == digests[0][1] > 0
    held = tokens(world.alice)
    newest = position_of_server(world)
    assert all(int(since) <= newest for since in held.values())


def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    window: WindowDriver, world: World, pens: dict[str, Pen]
) -> None:
    rng = random.Random(3885)
    bob = f"@bob:{world.server.server_name}"
    before = _sessions_from(world.alice, bob)
    ledger: list[Written] = []
    killed: list[str] = []
    for number in range(_COUNT):
        if number % 10 == 0:
            # Of every ten lines each program misses the last few; which one dies first is drawn.
            victims = dict(zip(rng.sample(range(1, 9), 2), ("window", "notifier"), strict=True))
        device = rng.choice([world.phone, world.laptop])
        room = rng.choice([world.direct, world.group])
        body = f"{device.name} line {number} {rng.getrandbits(32):08x}"
        if number % 5 == 4:
            _rotate(device, room)
        pens[device.name].write(room, body)
        ledger.append(Written(device.name, room, body))
        time.sleep(rng.uniform(0.0, 0.25))
        if number % 10 in victims:
            program = victims[number % 10]
            world.alice.stop(program, signal.SIGKILL)
            killed.append(program)
        if number % 10 == 9:
            if not world.alice.runs("notifier"):
                world.alice.start_notifier()
            if not world.alice.runs("window"):
                window.open()
    assert sorted(killed) == ["notifier"] * 3 + ["window"] * 3

    # It starts whatever is down; nobody but the observer says whether all came.
    traffic.settle(world, ledger, window.open, Teller(StringIO()))
    assert world.alice.runs("window")
    assert world.alice.runs("notifier")
    for written in ledger:
        event_id = event_of(world.alice, written.body)
        for link in ("app", "notifier"):
            wait_in_view(world.alice, link, event_id)
    findings = observer.compare(world, ledger)
    assert findings.lost == []
    assert findings.doubled == []
    assert findings.in_clear == []
    assert _sessions_from(world.alice, bob) > before + 4, "the keys must have changed on the way"
    assert set(tokens(world.alice)) == {"app", "notifier"}
    _assert_sound(world)


def test_a_kill_between_receiving_a_key_and_acknowledging_it_keeps_the_message_readable(
    awake: World, pens: dict[str, Pen]
) -> None:
    """The key and the token are committed, the server has not heard of it: it may give the key again."""
    world = awake
    assert not world.alice.runs("window")
    between = 0
    for _ in range(_MOST_TRIES):
        body = f"Sealed with a new key {secrets.token_hex(4)}"
        _rotate(world.phone, world.direct)
        known = _received(world.alice)
        pens["bob-phone"].write(world.direct, body)
        wait_for("the key", lambda known=known: _received(world.alice) > known, every_s=0.001)
        world.alice.stop("notifier", signal.SIGKILL)
        since = int(tokens(world.alice)["notifier"])
        held = {row[0] for row in world.alice.ask("SELECT digest FROM inbox")}
        for mark, position in kept_by_server(world, world.alice).items():
            assert position > since or mark in held, "the token leads what was committed"
            between += position <= since
        world.alice.start_notifier()
        wait_in_view(world.alice, "notifier", event_of(world.alice, body))
        assert int(tokens(world.alice)["notifier"]) >= since
        if between >= _WANTED:
            break
    assert between, "no kill came before the acknowledgement"
    _assert_sound(world)


def test_a_kill_while_a_message_is_being_sent_sends_it_once(awake: World, pens: dict[str, Pen]) -> None:
    world = awake
    for _ in range(3):
        body = f"Half on its way {secrets.token_hex(4)}"
        pens["alice"].write(world.direct, body)
        wait_for("the sealing", lambda body=body: _is_sealed(world.alice, body), every_s=0.002)
        world.alice.stop("notifier", signal.SIGKILL)
        world.alice.start_notifier()
        event_id = event_of(world.phone, body)
        assert event_of(world.laptop, body) == event_id
        sent = wait_for(
            "the end of the sending",
            lambda body=body: world.alice.ask(
                "SELECT event_id FROM send_queue WHERE body = ? AND state = 'sent'", (body,)
            ),
        )
        assert sent == [(event_id,)]


def _received(device: Device) -> int:
    return int(device.ask("SELECT coalesce(max(seq), 0) FROM inbox")[0][0])


def _is_sealed(device: Device, body: str) -> bool:
    return bool(device.ask("SELECT 1 FROM send_queue WHERE body = ? AND wire_content IS NOT NULL", (body,)))


def test_no_log_names_what_was_said_nor_anything_secret(awake: World, pens: dict[str, Pen]) -> None:
    world, body = awake, f"Only for the two of us {secrets.token_hex(8)}"
    pens["bob-phone"].write(world.direct, body)
    wait_in_view(world.alice, "notifier", event_of(world.alice, body))
    # A restart, since programs say most at their start and end.
    world.alice.stop("notifier")
    world.alice.start_notifier()
    forbidden: set[str] = set()
    files = []
    for device in world.devices:
        forbidden |= {str(row[0]) for row in device.ask("SELECT body FROM event WHERE seal = 'opened'")}
        forbidden |= {
            str(token)
            for row in device.ask("SELECT access_token, refresh_token FROM session")
            for token in row
            if token is not None
        }
        for table in ("megolm_inbound", "megolm_outbound", "olm_session", "crypto_account"):
            forbidden |= {str(row[0]) for row in device.ask(f"SELECT pickle FROM {table}")}
        files += [file for file in device.paths.log.rglob("*") if file.is_file()]
        files += list(device.home.glob("*.out"))
    forbidden = {secret for secret in forbidden if len(secret) >= 8}
    assert body in forbidden
    assert any(file.stat().st_size for file in files), "the programs keep logs"
    for file in files:
        text = file.read_text("utf-8", "replace")
        told = sum(secret in text for secret in forbidden)
        assert told == 0, f"{file.name} of {file.parent.name} tells {told} secrets"
        assert "session_key" not in text, f"{file.name} tells a session key"
        assert not file.stat().st_mode & 0o077 or file.suffix == ".out", f"others may read {file.name}"
