"""Transactions, repetitions, late ones, sync beside them, and deaths at the worst moment: all of it, once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_appservice.queue import Queue
from tandem_core.store import members
from tests.appservice.world import Service, for_device, of_room, sight
from tests.core.sync_world import BOB, ME, NOTIFIER, ROOM, member, message, olm, open_account

_STEPS = st.lists(
    st.sampled_from(
        ["send", "send", "repeat", "repeat without keys", "late", "sync", "take", "take and die", "take anew"]
    ),
    max_size=24,
)


class World:
    """Numbers stand for a message and its key; each is told by transactions, by sync, or both, at any time."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.told = 0
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.next_id = 100

    def _body(self, number: int) -> dict[str, Any]:
        return {
            "events": [of_room(message(f"m{number}"))],
            "to_device": [for_device(olm(f"k{number}"))],
        }

    def _post(self, txn_id: str, body: dict[str, Any]) -> None:
        events = body["events"]
        self.service.send(*events, txn_id=txn_id, **{k: v for k, v in body.items() if k != "events"})

    def do(self, step: str) -> None:
        match step:
            case "send" | "late":
                # A late one has a lower id than those before.
                self.next_id += 1
                txn_id = str(self.next_id if step == "send" else 100 - self.next_id % 97)
                body = self._body(self.told)
                self.told += 1
                self.sent.append((txn_id, body))
                self._post(txn_id, body)
            case "repeat" if self.sent:
                self._post(*self.sent[-1])
            case "repeat without keys" if self.sent:
                txn_id, body = self.sent[-1]
                self._post(txn_id, body | {"to_device": []})
            case "sync":
                known = range(max(0, self.told - 3), self.told)
                keys = [olm(f"k{number}") for number in known]
                self.service.alice.apply(
                    {
                        "rooms": {ROOM: {"timeline": [message(f"m{number}") for number in known]}},
                        "extensions": {"to_device": {"events": keys, "next_batch": str(self.told)}},
                    },
                    NOTIFIER,
                )
            case "take":
                self.service.take(sight())
            case "take and die":
                self.service.take(sight(), done=False)
            case "take anew":
                self.service.take(sight(), anew=True)


@settings(max_examples=25)
@given(_STEPS)
def test_everything_is_there_once_whatever_comes_in_whatever_way(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for alice in open_account(Path(folder)):
            queue = Queue.open(Path(folder) / "service.db")
            try:
                service = Service(alice, queue)
                service.host()
                service.join()
                _check(service, steps)
            finally:
                queue.close()


def _check(service: Service, steps: list[str]) -> None:
    world = World(service)
    for step in [*steps, "take"]:
        world.do(step)
    alice = service.alice
    wanted = {f"$m{number}" for number in range(world.told)}
    placed = [row[0] for row in alice.rows("SELECT event_id FROM timeline WHERE event_id LIKE '$m%'")]
    assert sorted(placed) == sorted(wanted)
    assert alice.one("SELECT count(*) FROM inbox") == world.told
    assert alice.one("SELECT count(DISTINCT digest) FROM inbox") == world.told
    assert alice.read(members.agreed_members, ROOM) == {ME.user_id, BOB}
    assert alice.rows("SELECT * FROM gap") == []
    # What was taken by one who died before saying so is let go with the next piece.
    service.send(of_room(member(BOB, "Bob")), txn_id="9999")
    service.take()
    assert service.queue.depth(ME.user_id) == 0
