"""Who may read: the invited, those who join a public room, who came back, who has a new device."""

from __future__ import annotations

import pytest

from tandem_demo.device import wait_for
from tests.e2e.scene import event_of
from tests.scenarios.peer import Peer
from tests.scenarios.stage import Stage, await_words
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_MEGOLM = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


def test_what_was_written_between_invitation_and_joining_can_be_read(stage: Stage) -> None:
    room = stage.room_with(bob=False)
    stage.alice_raw.invite(room, stage.bob_raw.user_id)
    invited = "SELECT count(*) FROM member WHERE room_id = ? AND user_id = ? AND membership = 'invite'"
    wait_for(
        "the invitation", lambda: stage.alice.ask(invited, (room, stage.bob_raw.user_id))[0][0] == len(LINKS)
    )
    said = [stage.send(room, by=link, new_key=True) for link in LINKS]
    for body in said:
        stage.read_by(stage.alice, body, *LINKS)
    stage.bob.ctl("accept", room)
    for body in said:
        await_words(stage.bob, body)


def test_history_of_a_public_room_is_seen_sealed_also_by_who_comes_back(stage: Stage) -> None:
    room = _public_room(stage)
    before = stage.bob_sends(room)
    first = event_of(stage.bob, before)
    stage.alice.ctl("join", room)
    for link in LINKS:
        stage.wait_members(stage.alice, link, room, 2)
    _await_in_bobs_list(stage, room, "join")
    since = stage.bob_sends(room)
    stage.read_by(stage.alice, since, *LINKS)
    _await_sealed(stage, room, first)

    stage.alice.ctl("leave", room)
    _await_in_bobs_list(stage, room, "leave")
    absent = event_of(stage.bob, stage.bob_sends(room))
    stage.alice.ctl("join", room)
    for link in LINKS:
        stage.wait_members(stage.alice, link, room, 2)
    _await_in_bobs_list(stage, room, "join")
    again = stage.bob_sends(room)
    stage.read_by(stage.alice, again, *LINKS)
    _await_sealed(stage, room, absent)
    assert stage.session_of(stage.bob, again) != stage.session_of(stage.bob, since)


def test_a_new_device_sees_what_was_before_it_sealed_and_reads_on(stage: Stage) -> None:
    room = stage.room_with()
    body = stage.send(room, by="app")
    before = stage.read_by(stage.bob, body, "notifier")
    with stage.tablet() as tablet:
        await_words(tablet, stage.send(room, by="notifier"))
        assert tablet.ask("SELECT seal FROM event WHERE event_id = ?", (before,)) in ([], [("sealed",)])
        assert tablet.ask("SELECT 1 FROM event WHERE body = ?", (body,)) == []


@pytest.mark.parametrize("link", LINKS)
def test_somebody_invited_a_moment_ago_gets_the_key_though_sync_has_not_said_so(
    stage: Stage, link: str
) -> None:
    charlie = Peer.sign_up(stage.server, "charlie")
    room = stage.room_with()
    stage.read_by(stage.bob, stage.send(room, by=link), "notifier")
    holds = [actions.Hold() for _ in LINKS]
    for hold, conn_id in zip(holds, LINKS, strict=True):
        stage.proxy.add("held", hold, conn_id=conn_id, times=None)
    stage.bob_sends(room)  # ends the polls under way; the next ones are held
    for hold in holds:
        assert hold.reached.wait(60)
    stage.alice.ctl("invite", room, charlie.user_id)
    body = stage.send(room, by=link)
    stage.read_by(stage.bob, body, "notifier")
    letters = len(charlie.mail())
    for hold in holds:
        hold.release()
    assert letters == 1


def _public_room(stage: Stage) -> str:
    """A public, encrypted room of Bob's."""
    room = stage.bob_raw.create_room(preset="public_chat", initial_state=[_MEGOLM])
    stage.wait_members(stage.bob, "notifier", room, 1)
    return room


def _await_in_bobs_list(stage: Stage, room: str, membership: str) -> None:
    """Wait until Bob's device knows whether Alice is in the room."""
    known = "SELECT membership FROM member WHERE conn = 'notifier' AND room_id = ? AND user_id = ?"
    wait_for(
        f"Alice's {membership}",
        lambda: stage.bob.ask(known, (room, stage.alice_raw.user_id)) == [(membership,)],
    )


def _await_sealed(stage: Stage, room: str, event_id: str) -> None:
    """Wait until the window, once it shows the room, has something at this place, which nobody can read."""
    stage.window.open_room(room)
    seen = (
        "SELECT seal, seal_reason FROM timeline JOIN event USING (event_id)"
        " WHERE conn = 'app' AND event_id = ? AND shown"
    )
    rows = wait_for("the place in the window", lambda: stage.alice.ask(seen, (event_id,)))
    assert [seal for seal, _ in rows] == ["sealed"]
    wait_for("a reason", lambda: stage.alice.ask(seen, (event_id,))[0][1] in ("no_key", "too_early"))
