"""Delivery receipts between two real homeservers: to the author's server only, once, whatever is down and when."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer, modules
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, receipts_in_v2, sliding
from tests.homeserver.two_servers import TwoServers, soon

pytestmark = pytest.mark.synapse

QUICK = {"modules": modules(coalesce_seconds=0.2, hold_seconds=[1, 2], federate_retry_seconds=[1, 2])}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoServers]:
    with TwoServers(tmp_path_factory.mktemp("two"), here_extra=QUICK, there_extra=QUICK) as servers:
        yield servers


@dataclass
class Talk:
    """Alice writes on her server, Bob reads on his; Carol, on Alice's, and Dan, on Bob's, are in the room, too."""

    alice: RawClient
    bob: RawClient
    carol: RawClient
    dan: RawClient
    room: str


def talk(two: TwoServers, home: SynapseServer, away: SynapseServer) -> Talk:
    alice, carol = two.person(home, "alice"), two.person(home, "carol")
    bob, dan = two.person(away, "bob"), two.person(away, "dan")
    return Talk(alice, bob, carol, dan, two.room(alice, carol, bob, dan))


@pytest.fixture(scope="module")
def room(two: TwoServers) -> Talk:
    return talk(two, two.here, two.there)


def database(server: SynapseServer, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(server.folder / "homeserver.db", timeout=20)) as conn:
        rows = conn.execute(sql, values).fetchall()
        conn.commit()
        return rows


def seen_by(person: RawClient, room: str) -> dict[str, Any]:
    """Event id to {user: receipt}, of delivery receipts that a fresh device is shown in either kind of sync."""
    shown = receipts_in(sliding(person, conn=f"fresh-{threading.get_ident()}"), room)
    return shown | receipts_in_v2(person.sync_v2(), room)


@pytest.mark.parametrize("direction", ["there confirms what was written here", "here confirms there's"])
def test_the_author_s_devices_are_told_and_nobody_else(two: TwoServers, direction: str) -> None:
    ways = (two.here, two.there) if direction.startswith("there") else (two.there, two.here)
    room = talk(two, *ways)
    event = two.say(room.alice, room.room, "hello", room.bob, room.dan)
    pos, since = sliding(room.alice)["pos"], room.alice.sync_v2()["next_batch"]
    assert room.bob.receipt(room.room, UNSTABLE, event) == (200, {})
    seen = receipts_in(sliding(room.alice, pos, timeout_ms=30_000), room.room)
    receipt = seen[event][room.bob.user_id]
    assert set(receipt) == {"ts"}
    assert receipt["ts"] % 60_000 == 0
    assert receipts_in_v2(room.alice.sync_v2(since), room.room) == seen
    for other in (room.bob, room.carol, room.dan):
        assert seen_by(other, room.room) == {}
    # Kept as a receipt where the author is, on its way where the reader is, and never as one of Synapse's own.
    for server, at_home, on_the_way in ((ways[0], 1, 0), (ways[1], 0, 1)):
        for table, expected in (("im_tandem_delivery", at_home), ("im_tandem_delivery_out", on_the_way)):
            found = database(server, f"SELECT count(*) FROM {table} WHERE event_id = ?", event)
            assert found == [(expected,)]
        stock = database(server, "SELECT receipt_type FROM receipts_linearized WHERE event_id = ?", event)
        assert not [kind for (kind,) in stock if "delivery" in kind]


def test_devices_that_are_shared_and_a_second_one_are_told(two: TwoServers, room: Talk) -> None:
    laptop = RawClient(two.there.base_url)
    localpart, password = f"eve-{id(room)}", "a long password"
    two.there.register(localpart, password)
    phone = laptop.login(localpart, password, "PHONE")
    laptop = laptop.login(localpart, password, "LAPTOP")
    shared = two.room(room.alice, phone)
    event = two.say(room.alice, shared, "to both devices", phone)
    pos = sliding(room.alice)["pos"]
    for device in (phone, laptop):
        assert device.receipt(shared, UNSTABLE, event, {"im.tandem.share": "device"})[0] == 200
        answer = sliding(room.alice, pos, timeout_ms=30_000)
        pos = answer["pos"]
        devices = receipts_in(answer, shared)[event][phone.user_id]["im.tandem.devices"]
        assert device.device_id in devices
    assert set(devices) == {"PHONE", "LAPTOP"}


def test_a_person_with_several_devices_is_held_before_anything_leaves_their_server(
    two: TwoServers, room: Talk
) -> None:
    two.there.register("fred", "a long password")
    phone, laptop = (RawClient(two.there.base_url).login("fred", "a long password") for _ in range(2))
    shared = two.room(room.alice, phone)
    event = two.say(room.alice, shared, "to one of two devices", phone)
    pos = sliding(room.alice)["pos"]
    for device in (phone, laptop):
        assert device.receipt(shared, UNSTABLE, event)[0] == 200
    assert _until_all(room.alice, pos, shared, {event}) == {event: 1}
    ((due, sent),) = soon(
        lambda: database(
            two.there,
            "SELECT due_ms, sent_ms FROM im_tandem_delivery_out WHERE event_id = ? AND sent_ms IS NOT NULL",
            event,
        )
    )
    ((arrived,),) = database(two.there, "SELECT received_ts FROM events WHERE event_id = ?", event)
    assert due >= arrived + 1_000
    assert sent >= due


def test_a_duplicate_is_accepted_and_not_sent_again(two: TwoServers, room: Talk) -> None:
    event = two.say(room.alice, room.room, "once", room.bob)
    pos = sliding(room.alice)["pos"]
    assert room.bob.receipt(room.room, UNSTABLE, event)[0] == 200
    answer = sliding(room.alice, pos, timeout_ms=30_000)
    assert event in receipts_in(answer, room.room)
    (sent,) = soon(lambda: _sent(two.there, event))
    assert room.bob.receipt(room.room, UNSTABLE, event)[0] == 200
    # Another one after it: when that has come, the duplicate would have come.
    later = two.say(room.alice, room.room, "after it", room.bob)
    assert room.bob.receipt(room.room, UNSTABLE, later)[0] == 200
    seen = _until_all(room.alice, answer["pos"], room.room, {later})
    assert seen == {later: 1}
    assert _sent(two.there, event) == [sent]


def test_the_rules_hold_for_authors_elsewhere_and_outsiders_make_nobody_ask(
    two: TwoServers, room: Talk
) -> None:
    event = two.say(room.alice, room.room, "before Late came", room.bob)
    outsider, late = two.person(two.there, "outsider"), two.person(two.there, "late")
    answers = [outsider.receipt(room.room, UNSTABLE, each) for each in (event, "$unknown")]
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][1]["errcode"]) == (403, "M_FORBIDDEN")
    room.alice.invite(room.room, late.user_id)
    soon(lambda: late.request("POST", f"/_matrix/client/v3/join/{room.room}", {})[0] == 200)
    status, refusal = late.receipt(room.room, UNSTABLE, event)
    assert (status, refusal["errcode"]) == (403, "M_FORBIDDEN")


def test_a_receipt_that_the_author_s_database_cannot_keep_is_repeated_until_it_can(
    two: TwoServers, room: Talk
) -> None:
    event = two.say(room.alice, room.room, "in hard times", room.bob)
    pos = sliding(room.alice)["pos"]
    database(two.here, "ALTER TABLE im_tandem_delivery_in RENAME TO im_tandem_gone")
    try:
        assert room.bob.receipt(room.room, UNSTABLE, event)[0] == 200
        soon(lambda: "Error handling EDU of type im.tandem.delivery" in two.here.log_file.read_text("utf-8"))
        assert not _sent(two.there, event)
        assert receipts_in(sliding(room.alice, pos), room.room) == {}
    finally:
        database(two.here, "ALTER TABLE im_tandem_gone RENAME TO im_tandem_delivery_in")
    assert _until_all(room.alice, pos, room.room, {event}) == {event: 1}
    assert soon(lambda: _sent(two.there, event))


def test_a_server_that_was_down_is_told_everything_once_also_by_a_sender_that_was_killed_meanwhile(
    two: TwoServers, room: Talk
) -> None:
    warm = two.say(room.alice, room.room, "so that Bob's server knows that Alice's takes receipts", room.bob)
    assert room.bob.receipt(room.room, UNSTABLE, warm)[0] == 200
    soon(lambda: _sent(two.there, warm))
    events = [two.say(room.alice, room.room, text, room.bob) for text in ("one", "two", "three", "four")]
    pos = _drained(room.alice)
    two.here.kill()
    for event in events[:2]:
        assert room.bob.receipt(room.room, UNSTABLE, event)[0] == 200
    two.there.kill()
    two.there.start()
    two.there.wait_ready()
    for event in events[1:]:
        assert room.bob.receipt(room.room, UNSTABLE, event)[0] == 200
    assert not any(_sent(two.there, event) for event in events)
    two.here.start()
    two.here.wait_ready()
    assert _until_all(room.alice, pos, room.room, set(events)) == dict.fromkeys(events, 1)
    soon(lambda: all(_sent(two.there, event) for event in events))


def _sent(server: SynapseServer, event: str) -> list[int]:
    """When this server had an answer of 200 to a transaction with the event's receipt."""
    rows = database(
        server,
        "SELECT sent_ms FROM im_tandem_delivery_out WHERE event_id = ? AND sent_ms IS NOT NULL",
        event,
    )
    return [sent_ms for (sent_ms,) in rows]


def _drained(person: RawClient) -> str:
    """A position behind everything that there is."""
    return str(sliding(person)["pos"])


def _until_all(person: RawClient, pos: str, room: str, wanted: set[str]) -> Counter[str]:
    """Follow the person's sync until these events' receipts have come; how often each event's came."""
    seen: Counter[str] = Counter()

    def look() -> bool:
        nonlocal pos
        answer = sliding(person, pos, timeout_ms=1_000)
        pos = answer["pos"]
        seen.update(receipts_in(answer, room).keys())
        return wanted <= set(seen)

    soon(look)
    return seen


# One of them stock


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoServers]:
    """``there`` is a stock Synapse."""
    folder = tmp_path_factory.mktemp("mixed")
    with TwoServers(folder, here_extra=QUICK, there_module=False) as servers:
        yield servers


@pytest.fixture(scope="module")
def beside(mixed: TwoServers) -> Talk:
    return talk(mixed, mixed.there, mixed.here)


def test_an_author_on_a_stock_server_is_unroutable_and_that_server_is_told_nothing(
    mixed: TwoServers, beside: Talk
) -> None:
    event = mixed.say(beside.alice, beside.room, "written on a stock server", beside.bob, beside.dan)
    for kind in ("m.delivery", UNSTABLE):
        for body in ({}, {"im.tandem.share": "device"}):
            status, refusal = beside.bob.receipt(beside.room, kind, event, body)
            assert (status, refusal["errcode"]) == (400, "IM_TANDEM_UNROUTABLE")
    # A read receipt after it: when that has come, what was to be sent before it has been sent.
    assert beside.bob.receipt(beside.room, "m.read", event)[0] == 200
    types = "SELECT DISTINCT receipt_type FROM receipts_linearized WHERE event_id = ?"
    assert soon(lambda: database(mixed.there, types, event)) == [("m.read",)]
    assert "im.tandem" not in mixed.there.log_file.read_text("utf-8").replace(
        # The question whether it takes receipts, which its log names.
        "No handler registered for query type im.tandem.delivery",
        "",
    )
    assert database(mixed.here, "SELECT count(*) FROM im_tandem_delivery_out") == [(0,)]
    for person in (beside.alice, beside.bob, beside.carol, beside.dan):
        assert event not in seen_by(person, beside.room)


def test_a_reader_on_a_stock_server_is_refused_there_and_local_authors_are_told_as_before(
    mixed: TwoServers, beside: Talk
) -> None:
    event = mixed.say(beside.bob, beside.room, "written on ours", beside.alice, beside.dan)
    status, refusal = beside.alice.receipt(beside.room, UNSTABLE, event)
    assert (status, refusal["errcode"]) == (400, "M_UNKNOWN")
    pos = sliding(beside.bob)["pos"]
    assert beside.dan.receipt(beside.room, UNSTABLE, event)[0] == 200
    assert set(receipts_in(sliding(beside.bob, pos, timeout_ms=30_000), beside.room)[event]) == {
        beside.dan.user_id
    }
    assert beside.dan.receipt(beside.room, "m.read", event)[0] == 200
    types = "SELECT DISTINCT receipt_type FROM receipts_linearized WHERE event_id = ?"
    assert soon(lambda: database(mixed.there, types, event)) == [("m.read",)]
