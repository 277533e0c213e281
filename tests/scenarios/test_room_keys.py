"""When a room's key is replaced, when it is not, and who is believed to have written."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tandem_demo.device import PROCESSES, wait_for
from tests.e2e.scene import times_shown
from tests.scenarios.peer import Peer, display_name
from tests.scenarios.stage import Stage, await_words
from tests.support.proxy.scene import LINKS
from tests.support.proxy.wire import Answer, Asked, Forward

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_WEEK_MS = 604_800_000


def test_the_key_is_replaced_when_a_device_that_has_it_signs_out(stage: Stage) -> None:
    room = stage.room_with()
    with stage.tablet() as tablet:
        device_id = tablet.ask("SELECT device_id FROM session")[0][0]
        first = stage.send(room, by="app")
        await_words(tablet, first)
        tablet.ctl("logout")
        tablet.stop("notifier")
    there = "SELECT 1 FROM device WHERE device_id = ? AND NOT deleted"
    wait_for("the tablet gone from the list", lambda: not stage.alice.ask(there, (device_id,)))
    second = stage.send(room, by="notifier")
    stage.read_by(stage.bob, second, "notifier")
    old, new = (stage.session_of(stage.bob, body) for body in (first, second))
    shared = "SELECT 1 FROM key_share WHERE session_id = ? AND device_id = ?"
    assert old != new
    assert stage.alice.ask(shared, (old, device_id))
    assert not stage.alice.ask(shared, (new, device_id))


def test_the_key_is_replaced_after_as_many_messages_as_the_room_says_whoever_sends(stage: Stage) -> None:
    room = stage.room_with(rotation_period_msgs=2)
    sessions = []
    for number in range(6):
        body = stage.send(room, by=LINKS[number % 2])
        stage.read_by(stage.bob, body, "notifier")
        sessions.append(stage.session_of(stage.bob, body))
    assert sessions[0::2] == sessions[1::2]
    assert len(set(sessions)) == 3


def test_the_key_is_replaced_after_a_week(stage: Stage) -> None:
    room = stage.room_with()
    first = stage.send(room, by="app")
    stage.read_by(stage.bob, first, "notifier")
    stage.change(
        stage.alice, lambda txn: txn.execute("UPDATE megolm_outbound SET made_at = made_at - ?", (_WEEK_MS,))
    )
    second = stage.send(room, by="notifier")
    stage.read_by(stage.bob, second, "notifier")
    assert stage.session_of(stage.bob, first) != stage.session_of(stage.bob, second)


def test_the_key_is_replaced_when_somebody_leaves_and_they_do_not_get_the_new_one(stage: Stage) -> None:
    charlie = Peer.sign_up(stage.server, "charlie")
    room = stage.room_with(charlie)
    first = stage.send(room, by="app")
    stage.read_by(stage.bob, first, "notifier")
    had = len(charlie.mail())
    assert had == 1
    charlie.client.leave(room)
    gone = "SELECT count(*) FROM member WHERE room_id = ? AND user_id = ? AND membership = 'leave'"
    wait_for("their leaving", lambda: stage.alice.ask(gone, (room, charlie.user_id))[0][0] == len(LINKS))
    second = stage.send(room, by="notifier")
    stage.read_by(stage.bob, second, "notifier")
    assert stage.session_of(stage.bob, first) != stage.session_of(stage.bob, second)
    assert len(charlie.mail()) == had


def test_the_key_stays_over_new_names_new_devices_restarts_and_whichever_program_sends(stage: Stage) -> None:
    room = stage.room_with()
    said = [stage.send(room, by="app")]
    stage.read_by(stage.bob, said[0], "notifier")

    name = f"Bob {secrets.token_hex(2)}"
    display_name(stage.bob_raw, name)
    known = "SELECT count(*) FROM member WHERE room_id = ? AND display_name = ?"
    wait_for("the new name", lambda: stage.alice.ask(known, (room, name))[0][0] == len(LINKS))
    said.append(stage.send(room, by="notifier"))
    stage.read_by(stage.bob, said[-1], "notifier")

    with stage.tablet() as tablet:
        said.append(stage.send(room, by="app"))
        await_words(tablet, said[-1])

        for link in LINKS:
            for program in PROCESSES.values():
                stage.alice.stop(program)
            stage.only(link)
            said.append(stage.send(room, by=link))
            stage.read_by(stage.bob, said[-1], "notifier")
        assert len({stage.session_of(stage.bob, body) for body in said}) == 1


def test_a_message_under_another_persons_name_is_shown_to_nobody(stage: Stage) -> None:
    charlie = Peer.sign_up(stage.server, "charlie")
    room = stage.room_with(charlie)

    async def spoof(asked: Asked, forward: Forward) -> Answer:
        def change(body: dict[str, Any]) -> None:
            for event in body.get("rooms", {}).get(room, {}).get("timeline", []):
                if event["type"] == "m.room.encrypted" and event["sender"] == stage.bob_raw.user_id:
                    event["sender"] = charlie.user_id

        answer = await forward(asked)
        return answer.edited(change) if answer.status == 200 else answer

    stage.proxy.add("spoof", spoof, times=None)
    stage.exchange()  # the polls under way are honest still
    body = stage.bob_sends(room, new_key=True)
    event_id = stage.read_by(stage.bob, body, "notifier")
    refused = "SELECT seal, seal_reason, sender FROM event WHERE event_id = ?"
    wait_for(
        "its refusal",
        lambda: stage.alice.ask(refused, (event_id,)) == [("refused", "forged", charlie.user_id)],
    )
    assert stage.alice.ask("SELECT 1 FROM event WHERE body = ?", (body,)) == []
    stage.proxy.heal()
    stage.exchange()
    honest = stage.bob_sends(room)
    stage.read_by(stage.alice, honest, *LINKS)
    assert times_shown(stage.alice, event_id) == 0


def test_the_key_goes_to_nobody_new_when_history_becomes_stricter(stage: Stage) -> None:
    """Somebody invited reads while history is theirs to read; once it begins with joining, they do not."""
    charlie = Peer.sign_up(stage.server, "charlie")
    room = stage.room_with()
    stage.alice_raw.invite(room, charlie.user_id)
    invited = "SELECT count(*) FROM member WHERE room_id = ? AND user_id = ? AND membership = 'invite'"
    wait_for("the invitation", lambda: stage.alice.ask(invited, (room, charlie.user_id))[0][0] == len(LINKS))
    first = stage.send(room, by="app")
    stage.read_by(stage.bob, first, "notifier")
    assert len(charlie.mail()) == 1
    stage.alice_raw.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    strict = "SELECT count(*) FROM room WHERE room_id = ? AND history_visibility = 'joined'"
    wait_for("the stricter history", lambda: stage.alice.ask(strict, (room,))[0][0] == len(LINKS))
    second = stage.send(room, by="notifier")
    stage.read_by(stage.bob, second, "notifier")
    assert stage.session_of(stage.bob, first) != stage.session_of(stage.bob, second)
    assert len(charlie.mail()) == 1
