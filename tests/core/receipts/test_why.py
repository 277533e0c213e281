"""Why a message was confirmed, or was not, or not yet: told in words, of every event that is known."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_core.errors import BadInput
from tandem_core.receipts import schedule, why
from tandem_core.receipts.gate import Reason
from tandem_core.receipts.schedule import Wait
from tandem_core.receipts.why import Why
from tests.core.receipts.conftest import BOB, HOUR, ME, MINUTE
from tests.core.receipts.outbox_kit import LONGER_THAN_A_HOLD_MS, Rig, owe_one


def ask(rig: Rig, event_id: str, **more: Any) -> Why:
    found = rig.account.read(why.why, ME, event_id, rig.account.now, **more)
    assert isinstance(found, Why)
    assert found.text.endswith(".")
    return found


def test_every_reason_and_every_wait_has_its_words() -> None:
    sentences = [why.sentence(reason) for reason in Reason] + [why._WAITS[wait] for wait in Wait]
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.endswith(".") for sentence in sentences)


def test_of_what_was_sent_it_tells_when_and_what(rig: Rig) -> None:
    event_id = owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.step()
    found = ask(rig, event_id)
    assert (found.state, found.at, found.transport, found.sender) == ("sent", rig.account.now, "server", BOB)
    assert "which device" not in found.text


def test_of_what_waits_it_tells_for_what_and_until_when(rig: Rig) -> None:
    event_id = owe_one(rig)
    found = ask(rig, event_id)
    assert (found.state, found.reason) == ("owed", "planned")
    assert found.at is not None
    assert MINUTE / 60 <= found.at - rig.account.now <= 18_000
    rig.choose("receipts.paused_until", rig.account.now + HOUR)
    assert ask(rig, event_id).reason == "paused"
    rig.choose("receipts.paused_until", 0)
    for number in range(schedule.MOST_UNANSWERED):
        rig.account.run("INSERT INTO receipt_flush VALUES (?, ?, 0)", BOB, rig.account.now - HOUR + number)
    found = ask(rig, event_id)
    assert (found.reason, found.at) == ("unanswered", None)
    assert "once you write" in found.text


def test_where_only_the_window_may_confirm_it_says_so(rig: Rig) -> None:
    event_id = owe_one(rig)
    rig.choose("receipts.notifier", False)
    assert "window is open" in ask(rig, event_id, app_runs=False).text
    assert "window is open" not in ask(rig, event_id, app_runs=True).text


def test_of_what_was_refused_or_dropped_it_tells_why(rig: Rig) -> None:
    rig.choose("receipts.direct", "off")
    refused = owe_one(rig)
    found = ask(rig, refused)
    assert (found.state, found.reason) == ("refused", "kind_off")
    assert found.text == "It is not confirmed. Confirmations are off for this kind of room."
    rig.choose("receipts.direct", "on")
    dropped = owe_one(rig)
    rig.account.now += LONGER_THAN_A_HOLD_MS
    rig.account.run("UPDATE event SET redacted_by = '$r', kind = 'redacted' WHERE event_id = ?", dropped)
    rig.step()
    assert (ask(rig, dropped).state, ask(rig, dropped).text) == (
        "dropped",
        "It is not confirmed. It was deleted.",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE event SET opened_type = 'm.reaction'", "not_a_message"),
        ("UPDATE event SET sender = '@alice:example.org'", "own_event"),
        ("UPDATE event SET redacted_by = '$r', kind = 'redacted'", "redacted"),
        (
            "UPDATE event SET seal = 'sealed', opened_type = NULL, opened_content = NULL, kind = 'sealed'",
            "sealed",
        ),
        ("UPDATE timeline SET origin = 'back'", "not_live"),
    ],
)
def test_of_what_nothing_is_kept_the_gate_is_asked_again(rig: Rig, change: str, reason: str) -> None:
    event = rig.account.message(BOB)
    rig.account.run(change)
    found = ask(rig, event.event_id)
    assert (found.state, found.reason) == ("undecided", reason)


def test_a_message_from_before_the_account_was_kept_is_not_called_refused(rig: Rig) -> None:
    event = rig.account.message(BOB)
    found = ask(rig, event.event_id)
    assert (found.state, found.reason) == ("undecided", None)


def test_the_servers_own_refusal_is_told_as_it_is(rig: Rig) -> None:
    event_id = owe_one(rig)
    rig.account.run("UPDATE receipt_owed SET state = 'dropped', reason = 'M_FORBIDDEN', done_at = 1")
    assert "M_FORBIDDEN" in ask(rig, event_id).text


def test_an_unknown_event_is_said_to_be_unknown(rig: Rig) -> None:
    with pytest.raises(BadInput):
        ask(rig, "$nobodys")
