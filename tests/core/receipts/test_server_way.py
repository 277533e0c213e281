"""The server's own way: one by one where the answer matters, many at once where it is known."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import pytest

from tandem_core.capabilities import Capabilities, parse
from tandem_core.errors import Offline, RateLimited, ServerRefused
from tandem_core.receipts.server_way import MOST_IN_BATCH, ROUTE_MS, ServerTransport
from tandem_core.receipts.transports import Answers, Due, Outcome, Refused
from tandem_core.store.receipts import OwedRow
from tandem_core.types import EventId, Role, RoomId, UserId
from tests.core.receipts.conftest import BOB, ME, ROOM, Account
from tests.core.receipts.outbox_kit import Clock, Server

STABLE, UNSTABLE = "m.delivery", "org.matrix.msc4089.delivery"
BATCHING = {
    "org.matrix.msc4089": True,
    "org.matrix.msc4246": True,
    "im.tandem.delivery.batch": True,
}
FAR = UserId("@dora:far.example")
UNROUTABLE = ServerRefused(400, "IM_TANDEM_UNROUTABLE", "no")
UNKNOWN = ServerRefused(400, "M_UNKNOWN", "no such receipt type")


def row(number: int, sender: UserId = BOB, room: RoomId = ROOM) -> OwedRow:
    return OwedRow(EventId(f"$e{number}"), room, sender, Role.APP, 0, 0, "user", "owed", None, None, 0, None)


class Rig:
    """Alice's outbox with a server that answers as told."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.server = Server()

    def send(
        self,
        count: int,
        sender: UserId = BOB,
        *,
        features: dict[str, bool] | None = None,
        share: str = "user",
    ) -> Answers:
        known = parse(
            {"versions": ["v1.11"], "unstable_features": BATCHING if features is None else features}
        )
        way = ServerTransport(self.account.db, self.server, ME, known, clock=Clock(self.account))
        due = [Due(row(number, sender), share) for number in range(count)]
        return asyncio.run(way.send(sender, due))

    @property
    def posted(self) -> list[str]:
        """What each request was about: the name of the receipt type, or the batch's."""
        return [
            unquote(path).split("/")[5 if "sendToDevice" in path else 7] for path, _ in self.server.posted
        ]

    @property
    def batches(self) -> list[Any]:
        return [body for path, body in self.server.posted if "sendToDevice" in path]


@pytest.fixture
def rig(account: Account) -> Rig:
    return Rig(account)


def test_many_for_an_author_of_our_own_server_are_one_request(rig: Rig) -> None:
    assert rig.send(3) == dict.fromkeys(("$e0", "$e1", "$e2"), Outcome.SENT)
    content = {"share": "user", "rooms": {ROOM: ["$e0", "$e1", "$e2"]}}
    assert rig.batches == [{"messages": {"@:example.org": {"": content}}}]
    assert len(rig.server.posted) == 1


def test_one_alone_is_posted(rig: Rig) -> None:
    rig.send(1)
    assert rig.posted == [UNSTABLE]


def test_a_batch_holds_as_many_as_the_server_takes(rig: Rig) -> None:
    answers = rig.send(MOST_IN_BATCH + 2)
    assert set(answers.values()) == {Outcome.SENT}
    sizes = [sum(map(len, batch["messages"]["@:example.org"][""]["rooms"].values())) for batch in rig.batches]
    assert sizes == [MOST_IN_BATCH, 2]


def test_a_server_that_does_not_announce_batches_gets_single_ones(rig: Rig) -> None:
    rig.send(3, features={"org.matrix.msc4089": True})
    rig.send(2, features={"org.matrix.msc4089": True, "im.tandem.delivery.batch": True})
    assert rig.posted == [UNSTABLE] * 5


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_batch_that_is_refused_is_sent_one_by_one(rig: Rig, status: int) -> None:
    rig.server.troubles = [ServerRefused(status, "M_UNRECOGNIZED", "no")]
    assert set(rig.send(3).values()) == {Outcome.SENT}
    assert rig.posted == [UNSTABLE] * 3


def test_another_server_is_tried_with_one_before_it_gets_a_batch(rig: Rig) -> None:
    assert set(rig.send(4, FAR).values()) == {Outcome.SENT}
    assert rig.posted == [UNSTABLE, "im.tandem.delivery.batch"]
    rig.send(4, FAR)
    assert rig.posted[2:] == ["im.tandem.delivery.batch"]


def test_a_server_that_cannot_be_reached_costs_one_request_a_day(rig: Rig) -> None:
    rig.server.troubles = [UNROUTABLE]
    assert set(rig.send(3, FAR).values()) == {Outcome.NO_WAY}
    assert set(rig.send(3, UserId("@else:far.example")).values()) == {Outcome.NO_WAY}
    assert rig.server.posted == []
    rig.account.now += ROUTE_MS + 1
    assert set(rig.send(3, FAR).values()) == {Outcome.SENT}


def test_a_good_route_is_asked_for_again_after_a_day(rig: Rig) -> None:
    rig.send(3, FAR)
    rig.account.now += ROUTE_MS + 1
    rig.send(3, FAR)
    assert rig.posted == [UNSTABLE, "im.tandem.delivery.batch"] * 2


def test_a_clock_that_went_back_makes_no_route_eternal(rig: Rig) -> None:
    rig.server.troubles = [UNROUTABLE]
    rig.send(1, FAR)
    rig.account.now -= ROUTE_MS
    assert set(rig.send(1, FAR).values()) == {Outcome.SENT}


def test_a_definite_no_to_one_receipt_says_nothing_of_the_route(rig: Rig) -> None:
    rig.server.troubles = [ServerRefused(403, "M_FORBIDDEN", "no"), None]
    answers = rig.send(2, FAR)
    assert answers == {"$e0": Refused("M_FORBIDDEN"), "$e1": Outcome.SENT}


def test_the_stable_name_is_used_after_the_stable_flag_only(rig: Rig) -> None:
    rig.send(1)
    rig.send(1, features={"org.matrix.msc4089.stable": True})
    rig.send(1, features={"org.matrix.msc4089": True, "org.matrix.msc4089.stable": True})
    assert rig.posted == [UNSTABLE, STABLE, STABLE]


@pytest.mark.parametrize(
    ("flag", "name"), [("org.matrix.msc4089.stable", UNSTABLE), ("org.matrix.msc4089", STABLE)]
)
def test_a_name_that_the_server_does_not_know_gives_way_to_the_other(rig: Rig, flag: str, name: str) -> None:
    rig.server.troubles = [UNKNOWN]
    assert set(rig.send(1, features={flag: True}).values()) == {Outcome.SENT}
    assert rig.posted == [name]


def test_a_server_that_knows_neither_name_leads_nowhere(rig: Rig) -> None:
    rig.server.troubles = [UNKNOWN, UNKNOWN]
    assert rig.send(1) == {"$e0": Outcome.NO_WAY}


@pytest.mark.parametrize("trouble", [Offline(), RateLimited(3.0)])
def test_a_line_that_breaks_keeps_what_is_not_told(rig: Rig, trouble: Exception) -> None:
    rig.server.troubles = [trouble]
    with pytest.raises(type(trouble)):
        rig.send(3)
    rig.server.troubles = [None, trouble]
    assert rig.send(3, features={"org.matrix.msc4089": True}) == {"$e0": Outcome.SENT}


def test_what_may_be_said_is_not_mixed_in_a_batch(rig: Rig) -> None:
    known = parse({"versions": [], "unstable_features": BATCHING})
    way = ServerTransport(rig.account.db, rig.server, ME, known, clock=Clock(rig.account))
    due = [Due(row(number), "device" if number % 2 else "user") for number in range(4)]
    asyncio.run(way.send(BOB, due))
    said = [batch["messages"]["@:example.org"][""] for batch in rig.batches]
    assert [(one["share"], one["rooms"][ROOM]) for one in said] == [
        ("user", ["$e0", "$e2"]),
        ("device", ["$e1", "$e3"]),
    ]


def test_what_was_kept_of_a_server_before_it_could_batch_is_still_understood(account: Account) -> None:
    from tandem_core import capabilities
    from tandem_core.store import session

    old = {"sliding_sync": True, "delivery": True, "delivery_devices": False, "receipt_type": UNSTABLE}
    account.write(session.set_fact, "capabilities", old)
    assert account.read(capabilities.kept) == Capabilities(True, True, False, UNSTABLE)
