"""Builders for the appservice's tests: transactions in the wire's shape, and an account that takes them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tandem_appservice import queue as queues
from tandem_appservice.queue import Accepted, Queue
from tandem_appservice.sight import Sight
from tandem_appservice.take import Taken, place, take
from tandem_appservice.transaction import read
from tandem_core.types import Json, RoomId
from tests.core.sync_world import BOB, ME, ROOM, Account, member, state

ENCRYPTED = {"algorithm": "m.megolm.v1.aes-sha2"}


def of_room(event: Json, room_id: str = ROOM) -> Json:
    """An event as a transaction has it."""
    return {**event, "room_id": room_id}


def for_device(event: Json, user_id: str = ME.user_id, device_id: str = ME.device_id) -> Json:
    """A to-device event as a transaction has it (MSC4203)."""
    return {**event, "to_user_id": user_id, "to_device_id": device_id}


def sight(*more: Json, room_id: str = ROOM, direct: bool = True) -> Sight:
    """The state of an encrypted room of Alice and Bob."""
    people = (member(ME.user_id, "Alice"), member(BOB, "Bob"))
    rules = (
        state("m.room.join_rules", {"join_rule": "invite"}),
        state("m.room.history_visibility", {"history_visibility": "shared"}),
        state("m.room.encryption", ENCRYPTED),
    )
    return Sight(RoomId(room_id), (*rules, *people, *more))


@dataclass
class Service:
    """The queue, and Alice who takes from it as her feed does."""

    alice: Account
    queue: Queue
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def host(self) -> None:
        self.queue.add(queues.Account(ME.user_id, ME.device_id, "alice"), self.alice.now)
        self.queue.settle_homes(ME.user_id, [])

    def send(self, *events: Json, txn_id: str | None = None, **body: Any) -> Accepted:
        """Hand over a transaction, as the homeserver does."""
        self.alice.now += 1
        body = {"events": list(events), **body}
        return self.queue.accept(read(txn_id or str(next(self._numbers)), body), self.alice.now)

    def take(self, *sights: Sight, done: bool = True, anew: bool = False) -> Taken:
        """Alice takes all that waits. Without ``done`` she dies before she can say so; ``anew`` offers all again."""
        self.alice.now += 1
        after = 0 if anew else self.alice.read(place, self.queue.epoch)
        pieces = self.queue.pieces(ME.user_id, after)
        taken: Taken = self.alice.write(
            take,
            ME,
            self.queue.epoch,
            pieces,
            {seen.room_id: seen for seen in sights},
            now_ms=self.alice.now,
            chance=self.alice.chance,
        )
        if pieces and done:
            self.queue.done(ME.user_id, pieces[-1].id)
        return taken

    def join(self, *more: Json, direct: bool = False) -> None:
        """Alice joins the room, which she sees as it is then."""
        if direct:
            self.account_data("m.direct", {BOB: [ROOM]})
        self.send(of_room(member(ME.user_id, "Alice")))
        self.take(sight(*more))

    def account_data(self, kind: str, content: Mapping[str, Any]) -> None:
        said = {ME.user_id: {"events": [{"type": kind, "content": content}]}}
        self.send(**{"org.matrix.msc3682.account_data": said})
        self.take()
