"""D11 and D12: who else sees a confirmation, and whether sending one changes the victim's presence.

A third person in the room looks everywhere that a client can look, on the same server and, as a member from
elsewhere, on a stock server that federates with it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tandem_core.types import Role
from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.homeserver.readings import messages, readings
from tests.homeserver.two_servers import TwoServers, soon
from tests.privacy.clockwork import Rate
from tests.privacy.rig import Author, Victim, introduce, make_victim
from tests.privacy.stepped import LeapingClock, Stepped, run_until, stepped
from tests.scenarios.peer import Peer

_HOLD_MS = 5 * 60 * 1000
_STEP_MS = 1000


@dataclass
class Sight:
    """Where was looked, what was seen, and what became of the victim's presence."""

    looked: int = 0
    seen: list[str] = field(default_factory=list)
    confirmed: int = 0
    presence: list[str] = field(default_factory=list)
    """Changes of presence that came with a confirmation."""
    presence_looked: int = 0


async def look(folder: Path, messages: int = 6, *, tell: Callable[[str], None] = lambda words: None) -> Sight:
    """The author and the victim on a server with our module, one onlooker there and one on a stock server."""
    with TwoServers(folder, there_module=False) as two:
        sight = Sight()
        victim = make_victim(two.here, folder / "victim", Rate.starting_now(1.0))
        victim.add_device(two.here.base_url)
        author, near, far = (Peer.sign_up(server, name) for server, name in (
            (two.here, "author"), (two.here, "near"), (two.there, "far")
        ))  # fmt: skip
        room = author.client.create_encrypted_room(victim.user_id, near.user_id)
        author.client.invite(room, far.user_id)
        victim.raw().join(room)
        near.client.join(room)
        soon(lambda: far.client.request("POST", f"{CLIENT}/join/{quote(room)}", {})[0] == 200)
        writer = Author(author, [room])
        introduce([writer], victim.addresses(author.client))
        before = {who.user_id: who.client.sync_v2()["next_batch"] for who in (near, far)}
        clock = LeapingClock()
        numbers = itertools.count(
            1
        )  # Synapse answers the same first sync of the same device as it did before
        async with stepped(victim.devices[0].paths, Role.NOTIFIER, clock) as program:
            for _ in range(3):
                await program.sync()
            for _ in range(messages):
                since = author.client.sync_v2(timeout_ms=next(numbers))["next_batch"]
                event_id = writer.say("a word to be found")
                await program.sync()
                await _watch_presence(sight, author.client, victim, program, clock)
                sight.confirmed += await _is_told(author.client, room, event_id, since)
            tell(f"{sight.confirmed} of {messages} confirmed to their author")
        await asyncio.sleep(2.0)  # what federation would carry, it carries in this time
        for who in (near, far):
            _look_around(sight, who.client, room, event_id, before[who.user_id], victim.user_id)
        _look_into(sight, two.there, victim.user_id)
        return sight


async def _watch_presence(
    sight: Sight, onlooker: RawClient, victim: Victim, program: Stepped, clock: LeapingClock
) -> None:
    """Let time pass until the receipt has gone out; the victim's presence must not notice."""

    def presence() -> Json:
        return onlooker.ok("GET", f"{CLIENT}/presence/{quote(victim.user_id)}/status")

    def sent() -> int:
        return int(victim.devices[0].ask("SELECT count(*) FROM receipt_owed WHERE state = 'sent'")[0][0])

    end_ms, had = clock.now_ms() + _HOLD_MS, sent()
    before, at = presence(), time.monotonic()
    while clock.now_ms() < end_ms and sent() == had:
        await run_until([program], clock, clock.now_ms() + _STEP_MS)
        if (clock.now_ms() // _STEP_MS) % 60 == 0:
            await program.sync()
    await asyncio.sleep(0.3)
    after, elapsed_ms = presence(), (time.monotonic() - at) * 1000
    sight.presence_looked += 1
    changes = [
        key for key in ("presence", "currently_active", "status_msg") if before.get(key) != after.get(key)
    ]
    was_ago, is_ago = before.get("last_active_ago"), after.get("last_active_ago")
    if was_ago is not None and is_ago is not None and is_ago < was_ago + elapsed_ms / 2:
        changes.append("last_active_ago")
    sight.presence += changes


async def _is_told(author: RawClient, room: str, event_id: str, since: str) -> bool:
    """Whether the author's own sync brings the confirmation; the server tells of several at a time."""
    for _ in range(20):
        said = author.sync_v2(since)
        events = said.get("rooms", {}).get("join", {}).get(room, {}).get("ephemeral", {}).get("events", ())
        if any(event_id in event["content"] for event in events if event["type"] == "m.receipt"):
            return True
        await asyncio.sleep(0.25)
    return False


def _look_around(sight: Sight, who: RawClient, room: str, event_id: str, since: str, victim: str) -> None:
    """Everything that a member's client can ask for."""
    views: list[tuple[str, str, Json | None]] = [
        ("GET", f"{CLIENT}/sync?since={quote(since)}&timeout=0", None),
        ("GET", f"{CLIENT}/sync?timeout=0&full_state=true", None),
        *readings(room, event_id),
    ]
    answers = {path: who.request(method, path, body) for method, path, body in views}
    sliding = {
        "conn_id": "onlooker",
        "lists": {"all": {"ranges": [[0, 9]], "required_state": [["*", "*"]], "timeline_limit": 50}},
        "room_subscriptions": {room: {"required_state": [["*", "*"]], "timeline_limit": 50}},
        "extensions": {key: {"enabled": True} for key in ("receipts", "to_device", "account_data", "typing")},
    }
    answers["sliding sync"] = who.sliding_sync(sliding)
    for path, (status, answer) in answers.items():
        sight.looked += status == 200
        text = json.dumps(answer)
        if "delivery" in text or "im.tandem.receipt" in text or _has_letter_from(answer, victim):
            sight.seen.append(f"{who.user_id}: {path.partition('?')[0]}")
    assert event_id in json.dumps(answers[messages(room)][1]), "the onlooker sees the message itself"


def _has_letter_from(answer: Json, victim: str) -> bool:
    blocks = [answer.get("to_device", {}), answer.get("extensions", {}).get("to_device", {})]
    return any(event.get("sender") == victim for block in blocks for event in block.get("events", ()))


def _look_into(sight: Sight, stock: SynapseServer, victim: str) -> None:
    """The other server's own tables of receipts, whether it shows them or not."""
    with closing(sqlite3.connect(f"{(stock.folder / 'homeserver.db').as_uri()}?mode=ro", uri=True)) as conn:
        for table in ("receipts_linearized", "receipts_graph"):
            sight.looked += 1
            rows = conn.execute(
                f"SELECT receipt_type FROM {table} WHERE user_id = ? AND receipt_type LIKE '%delivery%'",
                (victim,),
            ).fetchall()
            if rows:
                sight.seen.append(f"{table} of the stock server")
