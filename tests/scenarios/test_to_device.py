"""Letters between devices: retried, in batches, not lost with the program that reads them, in their order."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial

import pytest
from vodozemac import GroupSession

from tandem_demo.device import PROCESSES, wait_for
from tandem_demo.raw import RawClient
from tests.conftest import new_user
from tests.e2e.scene import event_of
from tests.scenarios.peer import Peer
from tests.scenarios.stage import Ear, Stage, killing, sealed_letters
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_FILLERS = 60
_DEVICES = 105


def test_letters_that_a_gateway_swallowed_are_sent_again(stage: Stage) -> None:
    room = stage.room_with()
    rule = stage.proxy.add("gateway", actions.page(504), path="/sendToDevice/", times=2)
    for link in LINKS:
        stage.read_by(stage.bob, stage.send(room, by=link, new_key=True), "notifier")
    assert rule.met == 2


@pytest.mark.parametrize("link", LINKS)
def test_a_program_killed_by_the_answer_that_holds_a_key_gets_it_again(stage: Stage, link: str) -> None:
    room = stage.room_with()
    for program in PROCESSES.values():
        stage.alice.stop(program)
    me = stage.alice_raw
    for number in range(_FILLERS):
        filler = {me.user_id: {me.device_id: {"number": number}}}
        stage.bob_raw.send_to_device("org.example.filler", filler)
    body = stage.bob_sends(room, new_key=True)
    event_of(stage.bob, body)

    blow = killing(lambda: stage.blow(link)(), after=lambda answer: bool(sealed_letters(answer)))
    stage.proxy.add("blow", blow, conn_id=link, times=None)
    stage.launch(link)
    assert blow.struck.wait(60)
    stage.bury(link)
    assert stage.alice.ask("SELECT 1 FROM event WHERE body = ?", (body,)) == []
    stage.only(link)
    stage.read_by(stage.alice, body, link)


def test_keys_for_many_devices_go_in_batches_and_a_kill_between_them_repeats_none(stage: Stage) -> None:
    name, password = new_user(stage.server, "crowd")
    door = RawClient(stage.server.base_url)
    crowd = [Peer(door.login(name, password), one_time_keys=1) for _ in range(_DEVICES)]
    room = stage.room_with(crowd[0], bob=False)
    stage.only("notifier")
    ear = Ear()
    blow = killing(stage.blow("notifier"))
    # What an earlier test has Alice confirm may go out meanwhile.
    to_crowd = {
        "path": "/sendToDevice/",
        "when": lambda asked: crowd[0].user_id in asked.body["messages"],
    }
    stage.proxy.add("first", ear, **to_crowd)
    stage.proxy.add("second", blow, **to_crowd)
    stage.proxy.add("rest", ear, times=None, **to_crowd)
    body = stage.send(room, by="notifier", new_key=True)
    assert blow.struck.wait(60)
    stage.bury("notifier")
    stage.start()
    stage.read_by(stage.alice, body, *LINKS)
    wait_for("all letters", lambda: not stage.alice.ask("SELECT 1 FROM to_device_out WHERE done = 0"))
    sizes = [sum(map(len, asked.body["messages"].values())) for asked, _ in ear.heard]
    assert sizes == [100, _DEVICES - 100]
    assert len({asked.path for asked, _ in ear.heard}) == 2
    file = stage.server.folder / "homeserver.db"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as conn:
        rows = conn.execute(
            "SELECT device_id, message_json FROM device_inbox WHERE user_id = ?", (crowd[0].user_id,)
        ).fetchall()
    kinds = Counter((device, json.loads(text)["type"]) for device, text in rows)
    assert kinds == {(peer.client.device_id, "m.room.encrypted"): 1 for peer in crowd}


def test_letters_of_many_people_that_come_at_once_are_opened_in_order(stage: Stage) -> None:
    people = [Peer.sign_up(stage.server, f"writer{number}") for number in range(4)]
    room = stage.room_with(*people, bob=False)
    stage.proxy.add("blocked", actions.refuse(503, "M_UNKNOWN"), times=None)
    said = []
    for _ in range(30):
        for peer in people:
            session, body = GroupSession(), f"{peer.user_id} {secrets.token_hex(4)}"
            peer.share(stage.address, room, session)
            peer.post(room, session, body)
            said.append(body)
    stage.proxy.heal()
    read = (
        "SELECT count(*) FROM timeline t JOIN event e USING (event_id)"
        " WHERE t.conn = ? AND t.room_id = ? AND e.seal = 'opened'"
    )
    for link in LINKS:
        wait_for(
            f"all words in the {link} view",
            partial(_has, stage, read, (link, room), len(said)),
        )
    assert stage.unusable() == []
    order = stage.alice.ask(
        "SELECT sender, count(*) FROM inbox WHERE sender LIKE '@writer%' AND state = 1 GROUP BY sender"
    )
    assert [count for _, count in order] == [30] * 4


def _has(stage: Stage, sql: str, values: tuple[str, str], count: int) -> bool:
    return bool(stage.alice.ask(sql, values)[0][0] == count)
