"""The ways of a receipt: in order, each for what the ones before did not lead to, and nothing lost in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tandem_core.errors import Offline, RateLimited, ServerRefused
from tandem_core.receipts import schedule
from tandem_core.receipts.transports import Answers, Due, Outcome, Refused
from tandem_core.types import UserId
from tests.core.receipts.conftest import BOB
from tests.core.receipts.outbox_kit import LONGER_THAN_A_HOLD_MS, Rig, owe_one


@dataclass
class Way:
    """Answers as told, and remembers what it was asked for."""

    name: str
    answer: Outcome | Refused = Outcome.SENT
    asked: list[tuple[UserId, list[str]]] = field(default_factory=list)

    async def send(self, sender: UserId, due: Sequence[Due]) -> Answers:
        self.asked.append((sender, [each.row.event_id for each in due]))
        return {each.row.event_id: self.answer for each in due}


def flush(rig: Rig, *others: Way) -> None:
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step(others=others)


def test_what_the_server_cannot_route_goes_another_way_in_the_same_flush(rig: Rig) -> None:
    here, there = owe_one(rig), owe_one(rig)
    rig.server.troubles = [ServerRefused(400, "IM_TANDEM_UNROUTABLE", "no")]
    second, third = Way("second"), Way("third")
    flush(rig, second, third)
    assert second.asked == [(BOB, [here])]
    assert third.asked == []
    rows = rig.account.rows("SELECT event_id, state, transport FROM receipt_owed ORDER BY event_id")
    assert rows == [(here, "sent", "second"), (there, "sent", "server")]
    assert len(rig.account.rows("SELECT * FROM receipt_flush")) == 1


def test_on_a_server_without_support_the_other_ways_are_the_only_ones(rig: Rig) -> None:
    rig.server.features = {"org.matrix.simplified_msc3575": True}
    event_id = owe_one(rig)
    flush(rig, Way("second"))
    assert rig.server.posted == []
    assert rig.owed() == [(event_id, "sent", "user", None)]


def test_what_no_way_leads_to_is_dropped_with_that_reason(rig: Rig) -> None:
    event_id = owe_one(rig)
    rig.server.troubles = [ServerRefused(400, "IM_TANDEM_UNROUTABLE", "no")]
    flush(rig, Way("second", Outcome.NO_WAY))
    assert rig.owed() == [(event_id, "dropped", "user", "no_way")]
    assert rig.account.rows("SELECT * FROM receipt_flush") == []


def test_what_has_to_wait_for_something_stays_owed_without_haste_and_holds_up_nothing_new(rig: Rig) -> None:
    stuck = owe_one(rig)
    rig.server.features = {"org.matrix.simplified_msc3575": True}
    way = Way("second", Outcome.LATER)
    flush(rig, way)
    assert rig.owed() == [(stuck, "owed", "user", None)]
    assert rig.account.rows("SELECT * FROM receipt_flush") == []
    plan = rig.account.rows("SELECT flush_at - drawn_at, profile FROM receipt_plan")
    assert plan[0][0] >= 60_000
    assert plan[0][1] == schedule.Profile.SLOWER
    new = owe_one(rig)
    assert rig.account.rows("SELECT profile FROM receipt_plan") == [(schedule.Profile.CONTACT,)]
    way.answer = Outcome.SENT
    flush(rig, way)
    assert sorted(row[:2] for row in rig.owed()) == sorted([(stuck, "sent"), (new, "sent")])


def test_a_refusal_on_one_way_is_not_tried_on_another(rig: Rig) -> None:
    event_id = owe_one(rig)
    rig.server.troubles = [ServerRefused(403, "M_FORBIDDEN", "no")]
    second = Way("second")
    flush(rig, second)
    assert second.asked == []
    assert rig.owed() == [(event_id, "dropped", "user", "M_FORBIDDEN")]


@pytest.mark.parametrize("trouble", [Offline(), RateLimited(3.0)])
def test_when_the_line_breaks_half_way_the_first_half_counts_and_the_rest_stays(
    rig: Rig, trouble: Exception
) -> None:
    first, second = owe_one(rig), owe_one(rig)
    rig.server.troubles = [None, trouble]
    flush(rig)
    assert rig.owed() == [(first, "sent", "user", None), (second, "owed", "user", None)]
    assert len(rig.account.rows("SELECT * FROM receipt_flush")) == 1
    flush(rig)
    assert {row[1] for row in rig.owed()} == {"sent"}
