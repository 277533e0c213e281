"""Window and notifier in each other's footsteps: what the field tests of an app and its notification extension."""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial

import pytest
from vodozemac import GroupSession

from tandem_demo.device import wait_for
from tests.e2e.scene import event_of, heard, in_view, times_shown
from tests.scenarios.peer import Peer
from tests.scenarios.stage import Ear, Stage, await_words, olm_types
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS
from tests.support.proxy.wire import Answer, Asked, Forward

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_WAITS = (
    "SELECT 1 FROM timeline JOIN event USING (event_id)"
    " WHERE conn = 'app' AND event_id = ? AND shown AND seal = 'sealed'"
)
_TARPIT_S = 4.0


def test_reading_sending_and_reading_in_turns_breaks_no_session(stage: Stage) -> None:
    """The three steps that wedged sessions elsewhere: one program reads, the other sends, the first reads again."""
    room = stage.room_with()
    with_bob = "SELECT session_id FROM olm_session ORDER BY session_id"
    sessions = stage.alice.ask(with_bob)
    said = []
    for turn in range(6):
        said.append(stage.bob_sends(room, new_key=True))
        stage.read_by(stage.alice, said[-1], *LINKS)
        said.append(stage.send(room, by=LINKS[turn % 2], new_key=True))
        stage.read_by(stage.bob, said[-1], "notifier")
    assert len({stage.session_of(stage.bob, body) for body in said}) == len(said)
    assert stage.unusable() == []
    assert stage.alice.ask("SELECT 1 FROM unwedge") == stage.bob.ask("SELECT 1 FROM unwedge") == []
    # Both may have begun a session when they met; after that none is made.
    assert stage.alice.ask(with_bob) == sessions


def test_slow_uploads_that_both_programs_want_give_no_key_twice(stage: Stage) -> None:
    uploads: list[tuple[set[str], int]] = []

    async def tarpit(asked: Asked, forward: Forward) -> Answer:
        await asyncio.sleep(_TARPIT_S / 2)
        answer = await forward(asked)
        await asyncio.sleep(_TARPIT_S / 2)
        uploads.append((set(asked.body.get("one_time_keys", {})), answer.status))
        return answer

    stage.proxy.add("tarpit", tarpit, path="/keys/upload", times=None)
    peer = Peer.sign_up(stage.server, "gobbler")
    for _ in range(30):
        peer.claim(stage.address)
    room = stage.room_with(peer)
    # Both programs hear the low count with what comes next.
    stage.read_by(stage.alice, stage.bob_sends(room), *LINKS)
    wait_for("an upload", lambda: uploads)
    wait_for("no upload under way", lambda: not stage.alice.ask("SELECT 1 FROM key_upload WHERE done = 0"))
    time.sleep(0.5)
    assert {status for _, status in uploads} == {200}
    ids = [key_id for keys, _ in uploads for key_id in keys]
    assert len(ids) == len(set(ids)) >= 30
    counts = stage.alice_raw.upload_keys({})["one_time_key_counts"]
    assert counts["signed_curve25519"] == 50
    stage.read_by(stage.alice, peer.say(stage.address, room), *LINKS)


def test_a_device_that_appeared_while_only_the_notifier_ran_gets_the_windows_next_message(
    stage: Stage,
) -> None:
    room = stage.room_with()
    stage.read_by(stage.bob, stage.send(room), "notifier")
    stage.only("notifier")
    with stage.tablet() as tablet:
        stage.only("app")
        body = stage.send(room, by="app")
        await_words(tablet, body)


def test_the_next_key_of_a_session_that_both_know_reaches_the_notifier_alone(stage: Stage) -> None:
    """Not the first message of an Olm session, which would bring all that is needed with it."""
    stage.only("notifier")
    ear = Ear()
    stage.proxy.add("ear", ear, times=None)
    # The poll that is under way is not heard; the one that its answer leads to is.
    stage.read_by(stage.alice, stage.write("bob"), "notifier")
    body = stage.write("bob")
    event_id = stage.read_by(stage.alice, body, "notifier")
    wait_for("the popup", lambda: times_shown(stage.alice, event_id))
    kinds = [kind for _, answer in ear.heard for kind in olm_types(answer, stage.address)]
    assert 1 in kinds
    assert not in_view(stage.alice, "app", event_id)


def test_a_message_below_thirty_others_is_there_after_both_programs_slept(stage: Stage) -> None:
    room = stage.room_with()
    stage.read_by(stage.alice, stage.bob_sends(room), *LINKS)
    for program in ("window", "notifier"):
        stage.alice.stop(program)
    said = [stage.bob_sends(room, new_key=number in (0, 15)) for number in range(31)]
    event_of(stage.bob, said[-1])
    stage.alice.start_notifier()
    first = stage.read_by(stage.alice, said[0], "notifier")
    for body in said[1:]:
        stage.read_by(stage.alice, body, "notifier")
    judged = "SELECT state FROM notification WHERE event_id = ?"
    wait_for("a decision", lambda: stage.alice.ask(judged, (first,)) not in ([], [("due",)]))
    stage.window.open()
    for body in said:
        stage.read_by(stage.alice, body, "app")


def test_a_message_above_thirty_unread_ones_pops_up(stage: Stage) -> None:
    room = stage.room_with()
    stage.only("notifier")
    for number in range(30):
        stage.bob_sends(room, new_key=number == 0)
    stage.read_by(stage.alice, stage.bob_sends(room), "notifier")
    last = stage.read_by(stage.alice, stage.bob_sends(room, new_key=True), "notifier")
    wait_for("the popup", lambda: times_shown(stage.alice, last))
    assert times_shown(stage.alice, last) == 1


def test_a_key_that_the_notifier_fetched_opens_the_row_that_waits_in_the_window(stage: Stage) -> None:
    peer = Peer.sign_up(stage.server, "late")
    room = stage.room_with(peer)
    stage.window.open_room(room)
    fetched_by: set[str] = set()
    end = time.monotonic() + 60
    while "notifier" not in fetched_by:
        assert time.monotonic() < end, "the notifier never fetched a key"
        session, body = GroupSession(), f"late {secrets.token_hex(4)}"
        key = peer.room_key(room, session)
        event_id = peer.post(room, session, body)
        wait_for("the row that waits", partial(stage.alice.ask, _WAITS, (event_id,)))
        if not peer.knows(stage.address):
            peer.begin(stage.address)
        before = stage.alice.ask("SELECT coalesce(max(seq), 0) FROM inbox")[0][0]
        peer.deliver(stage.address, peer.seal(stage.address, "m.room_key", key))
        wait_for("the words in the window", partial(heard, stage.window, body), every_s=0.02)
        rows = stage.alice.ask(
            "SELECT conn FROM inbox WHERE seq > ? AND sender = ? AND type = 'm.room.encrypted'",
            (before, peer.user_id),
        )
        fetched_by |= {str(conn) for (conn,) in rows}


def test_what_is_sent_from_the_window_is_not_notified_by_the_notifier(stage: Stage) -> None:
    room = stage.room_with()
    stage.window.open_room(room)
    wait_for("the composer", lambda: stage.window.do("has_focus", name="composer"))
    body = f"Typed {secrets.token_hex(4)}"
    stage.window.do("type", text=body)
    stage.window.do("key", name="Return")
    event_id = stage.read_by(stage.alice, body, *LINKS)
    stage.read_by(stage.bob, body, "notifier")
    # Somebody's answer, in a room that nobody looks at, is notified afterwards; so the notifier had its chance.
    other = stage.room_with()
    answer = stage.read_by(stage.alice, stage.bob_sends(other), *LINKS)
    wait_for("the popup of the answer", lambda: times_shown(stage.alice, answer))
    assert times_shown(stage.alice, event_id) == 0
    assert stage.alice.ask("SELECT 1 FROM notification WHERE event_id = ?", (event_id,)) == []


def test_a_list_of_devices_that_cannot_be_had_is_asked_for_again(stage: Stage) -> None:
    """Keys are not lost meanwhile: a new device's message is read though its owner's list is refused."""
    room = stage.room_with()
    rule = stage.proxy.add("gateway", actions.page(504), path="/keys/query", times=3)
    with stage.tablet(known=False) as tablet:
        wait_for("the room", lambda: tablet.ask("SELECT 1 FROM room WHERE room_id = ?", (room,)))
        body = f"tablet {secrets.token_hex(4)}"
        tablet.ctl("send", room, body)
        stage.read_by(stage.alice, body, *LINKS)
        await_words(tablet, stage.send(room))
    assert rule.met >= 1
