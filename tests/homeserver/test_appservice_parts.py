"""The parts behind transactions to application services, on a database in memory: no Synapse."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from synapse.module_api.errors import ConfigError

from tandem_synapse import appservice_store, registrations, schema
from tandem_synapse.appservice_account_data import MOST_EVENTS, AccountDataSource
from tandem_synapse.appservice_store import ACCOUNT, PUSH_RULES, TO_DEVICE, TRANSACTION
from tandem_synapse.appservice_to_device import ToDevice, ToDeviceSource
from tandem_synapse.registrations import Wishes

SYNAPSE = """
CREATE TABLE device_inbox (user_id TEXT, device_id TEXT, stream_id BIGINT, message_json TEXT);
CREATE TABLE application_services_txns (as_id TEXT, txn_id INTEGER, event_ids TEXT);
CREATE TABLE account_data (user_id TEXT, account_data_type TEXT, stream_id BIGINT, content TEXT);
CREATE TABLE room_account_data (user_id TEXT, room_id TEXT, account_data_type TEXT, stream_id BIGINT, content TEXT);
CREATE TABLE room_tags (user_id TEXT, room_id TEXT, tag TEXT, content TEXT);
CREATE TABLE room_tags_revisions (user_id TEXT, room_id TEXT, stream_id BIGINT);
CREATE TABLE push_rules_stream (stream_id BIGINT, user_id TEXT);
"""


class Service:
    """Users of the service begin with ``@own`` (exclusive) or ``@shared``."""

    def __init__(self, name: str = "svc") -> None:
        self.id = name

    def is_interested_in_user(self, user_id: str) -> bool:
        return user_id.startswith(("@own", "@shared"))

    def is_exclusive_user(self, user_id: str) -> bool:
        return user_id.startswith("@own")


class Server:
    """As much of a homeserver as the sources use: a database, positions, services."""

    def __init__(self) -> None:
        self.conn = sqlite3.connect(":memory:")
        self.conn.executescript(SYNAPSE)
        schema.migrate(self.conn)
        self.services = [Service()]
        self.position = 0
        self.remembers = False
        self.touched: list[str] = []

    async def run(self, _name: str, work: Callable[[sqlite3.Cursor], Any]) -> Any:
        with self.conn:
            return work(self.conn.cursor())

    def all(self) -> list[Service]:
        return self.services

    def to_device_position(self) -> int:
        return self.position

    account_data_position = push_rules_position = to_device_position

    def account_data_changed_since(self, _position: int) -> list[str] | None:
        return self.touched if self.remembers else None

    async def push_rules(self, user_id: str) -> dict[str, Any]:
        return {"of": user_id}

    def send(self, user_id: str, device_id: str = "D", *, number: int | None = None) -> int:
        """Put a to-device event into the inbox."""
        self.position += 1
        text = json.dumps({"type": "t", "sender": "@s", "content": {"n": number or self.position}})
        self.conn.execute(
            "INSERT INTO device_inbox VALUES (?, ?, ?, ?)", (user_id, device_id, self.position, text)
        )
        return self.position

    def inbox(self) -> list[int]:
        return [row[0] for row in self.conn.execute("SELECT stream_id FROM device_inbox ORDER BY stream_id")]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.conn.close()


def source(server: Server, *lossless: str) -> ToDeviceSource:
    wishes = {name: Wishes(lossless_to_device=True, users="u") for name in lossless or ("svc",)}
    return ToDeviceSource(server, server, wishes)  # type: ignore[arg-type]


def take(server: Server, of: ToDeviceSource, service: Any = None) -> tuple[list[int], bool]:
    """The next events, bound to a transaction and so out of the way."""
    service = service or server.services[0]
    events, is_all = asyncio.run(of.next(service))
    cursor = server.conn.cursor()
    number = cursor.execute("SELECT count(*) FROM im_tandem_as_transactions").fetchone()[0]
    rows = [(each.user_id, each.device_id, each.stream_id) for each in events]
    appservice_store.bind(cursor, service.id, number + 1, {}, rows)
    server.conn.commit()
    return [each.stream_id for each in events], is_all


def test_events_are_handed_out_in_order_once_and_only_those_of_the_service_s_users(server: Server) -> None:
    sent = [server.send(user) for user in ("@own1", "@else", "@shared", "@own1")]
    of = source(server)
    assert take(server, of) == ([sent[0], sent[2], sent[3]], True)
    assert take(server, of) == ([], True)
    later = server.send("@own2")
    assert take(server, source(server)) == ([later], True)  # another process: the position was written


def test_no_more_than_a_hundred_go_into_one_transaction(server: Server) -> None:
    sent = [server.send("@own1") for _ in range(230)]
    of = source(server)
    assert take(server, of) == (sent[:100], False)
    assert take(server, of) == (sent[100:200], False)
    assert take(server, of) == (sent[200:], True)


def test_large_events_make_smaller_transactions(server: Server) -> None:
    for _ in range(3):
        server.send("@own1")
    server.conn.execute("UPDATE device_inbox SET message_json = ?", (json.dumps({"content": "x" * 700_000}),))
    assert [len(take(server, source(server))[0]) for _ in range(3)] == [1, 1, 1]


def test_a_long_stretch_of_other_people_s_events_is_passed(server: Server) -> None:
    for _ in range(4100):
        server.send("@else")
    mine = server.send("@own1")
    assert take(server, source(server)) == ([mine], True)


def test_what_a_sync_is_about_to_delete_is_kept_for_the_service(server: Server) -> None:
    sent = server.send("@shared")
    of = source(server)
    asyncio.run(of.keep("@shared", sent))
    server.conn.execute("DELETE FROM device_inbox")
    assert take(server, of) == ([sent], True)


def test_after_its_200_only_what_nobody_else_reads_is_deleted(server: Server) -> None:
    own, shared, made = server.send("@own1"), server.send("@shared"), server.send("@shared", "MADE")
    of = source(server)
    asyncio.run(of.made("svc", "@shared", "MADE"))
    take(server, of)
    rows = [["@own1", "D", own], ["@shared", "D", shared], ["@shared", "MADE", made]]
    asyncio.run(of.arrived(server.services[0], rows))  # type: ignore[arg-type]
    assert server.inbox() == [shared]


def test_another_lossless_service_gets_its_copy_before_the_inbox_is_emptied(server: Server) -> None:
    server.services.append(Service("other"))
    of = source(server, "svc", "other")
    sent = server.send("@own1")
    take(server, of)
    asyncio.run(of.arrived(server.services[0], [["@own1", "D", sent]]))  # type: ignore[arg-type]
    assert server.inbox() == []
    assert take(server, of, server.services[1]) == ([sent], True)


def test_an_event_s_id_stays_and_tells_it_from_any_other() -> None:
    event = ToDevice(7, "@u", "D", '{"type":"t","sender":"@s","content":{}}')
    sent = event.event()
    assert sent == event.event()
    assert sent is not None
    assert (sent["to_user_id"], sent["to_device_id"]) == ("@u", "D")
    others = [
        ToDevice(8, "@u", "D", event.text),
        ToDevice(7, "@v", "D", event.text),
        ToDevice(7, "@u", "E", event.text),
    ]
    assert len({(each.event() or {})["im.tandem.id"] for each in [event, *others]}) == 4


def test_what_cannot_be_sent_stops_nothing(server: Server) -> None:
    deep = '{"content":' + "[" * 5000 + "]" * 5000 + "}"
    assert ToDevice(1, "@u", "D", deep).event() is None
    shallow = ToDevice(1, "@u", "D", '{"content":{"text":"\\ud83d","much":' + json.dumps([[]] * 500) + "}}")
    event = shallow.event()
    assert event is not None
    appservice_store.bind(server.conn.cursor(), "svc", 1, {"to_device": [event]}, [])
    found = appservice_store.bound(server.conn.cursor(), "svc", 1)
    assert found is not None
    assert found[0]["to_device"][0]["content"]["text"] == "?"
    server.position = 2
    server.conn.execute(
        "INSERT INTO account_data VALUES ('@own1', 'deep', 1, ?), ('@own1', 'fine', 2, '{}')", (deep,)
    )
    news = account_news(server, Wishes(account_data=True))
    assert news.of_users == {"@own1": [{"type": "fine", "content": {}}]}


def account_news(server: Server, wishes: Wishes, low: int = 0, rules: int = 0) -> Any:
    of = AccountDataSource(server, server)  # type: ignore[arg-type]
    return asyncio.run(of.news(server.services[0], wishes, low, rules))  # type: ignore[arg-type]


@pytest.mark.parametrize("remembers", [True, False])
def test_account_data_is_found_with_and_without_synapse_s_memory_of_changes(
    server: Server, remembers: bool
) -> None:
    server.remembers, server.touched, server.position = remembers, ["@own1", "@else"], 9
    execute = server.conn.execute
    execute("INSERT INTO account_data VALUES ('@own1', 'old', 1, '{}'), ('@own1', 'new', 4, '{\"n\":4}')")
    execute("INSERT INTO account_data VALUES ('@else', 'new', 5, '{}'), ('@own1', 'coming', 10, '{}')")
    execute("INSERT INTO room_account_data VALUES ('@own1', '!r', 'x', 6, '{\"n\":6}')")
    execute("INSERT INTO room_tags VALUES ('@own1', '!r', 'm.favourite', '{\"order\":1}')")
    execute("INSERT INTO room_tags_revisions VALUES ('@own1', '!r', 7)")
    news = account_news(server, Wishes(account_data=True, room_account_data=True), 3, 9)
    assert news.of_users == {"@own1": [{"type": "new", "content": {"n": 4}}]}
    tags = {"type": "m.tag", "content": {"tags": {"m.favourite": {"order": 1}}}}
    assert news.of_rooms == {"@own1": {"!r": [{"type": "x", "content": {"n": 6}}, tags]}}
    assert (news.account_data, news.push_rules, news.is_complete) == (9, 9, True)
    assert account_news(server, Wishes(account_data=True), 3, 9).of_rooms == {}
    assert account_news(server, Wishes(room_account_data=True), 3, 9).of_users == {}


def test_push_rules_come_with_the_account_data(server: Server) -> None:
    server.position = 5
    server.conn.execute("INSERT INTO push_rules_stream VALUES (2, '@own1'), (3, '@else'), (4, '@own1')")
    news = account_news(server, Wishes(account_data=True))
    assert news.of_users == {"@own1": [{"type": "m.push_rules", "content": {"of": "@own1"}}]}
    assert account_news(server, Wishes(account_data=True), rules=5).of_users == {}


def test_a_great_deal_of_account_data_goes_in_several_transactions_and_none_is_left_out(
    server: Server,
) -> None:
    number = 2 * MOST_EVENTS + 7
    server.position = number
    server.conn.executemany(
        "INSERT INTO account_data VALUES ('@own1', ?, ?, '{}')", [(str(i), i) for i in range(1, number + 1)]
    )
    found, low, rounds = [], 0, 0
    while low < number:
        news = account_news(server, Wishes(account_data=True), low)
        found += [event["type"] for event in news.of_users["@own1"]]
        low, rounds = news.account_data, rounds + 1
    assert found == [str(i) for i in range(1, number + 1)]
    assert rounds == 3


def test_positions_are_forgotten_when_a_service_asks_for_something_else_or_for_nothing(
    server: Server,
) -> None:
    cursor = server.conn.cursor()
    appservice_store.move(cursor, "svc", "before", {ACCOUNT: 5, TO_DEVICE: 6, TRANSACTION: 7})
    assert appservice_store.positions(cursor, "svc", "before") == {ACCOUNT: 5, TO_DEVICE: 6, TRANSACTION: 7}
    assert appservice_store.positions(cursor, "svc", "after") == {TRANSACTION: 7}
    appservice_store.forget_others(cursor, {"svc": (ACCOUNT, PUSH_RULES)})
    assert appservice_store.positions(cursor, "svc", "before") == {ACCOUNT: 5, TRANSACTION: 7}
    appservice_store.forget_others(cursor, {})
    assert appservice_store.positions(cursor, "svc", "before") == {TRANSACTION: 7}
    assert appservice_store.last_transaction(cursor) == 7


def test_what_is_bound_stays_until_the_200(server: Server) -> None:
    cursor = server.conn.cursor()
    appservice_store.bind(cursor, "svc", 3, {"a": 1}, [("@u", "D", 9)])
    assert appservice_store.bound(cursor, "svc", 3) == ({"a": 1}, [["@u", "D", 9]])
    assert appservice_store.bound(cursor, "svc", 4) is None
    assert appservice_store.with_bound(cursor) == {"svc"}
    appservice_store.unbind(cursor, "svc", 3)
    assert appservice_store.with_bound(cursor) == set()


def test_changed_devices_wait_until_they_are_bound(server: Server) -> None:
    cursor = server.conn.cursor()
    appservice_store.note_devices(cursor, "svc", ["@b", "@a"])
    appservice_store.note_devices(cursor, "svc", ["@a"])
    assert appservice_store.noted_devices(cursor, "svc", 9) == ["@a", "@b"]
    appservice_store.bind(cursor, "svc", 3, {}, [], ["@a"])
    assert appservice_store.noted_devices(cursor, "svc", 9) == ["@b"]


def registration(folder: Path, **more: Any) -> str:
    file = folder / "svc.yaml"
    users = [{"exclusive": True, "regex": "@own.*"}]
    file.write_text(
        json.dumps({"id": "svc", "sender_localpart": "bot", "namespaces": {"users": users}} | more), "utf-8"
    )
    return str(file)


def test_the_registration_says_what_a_service_wants(tmp_path: Path) -> None:
    assert registrations.read([registration(tmp_path)]) == {}
    wishes = registrations.read([registration(tmp_path, **{"im.tandem.lossless_to_device": True})])["svc"]
    assert (wishes.account_data, wishes.room_account_data, wishes.lossless_to_device) == (False, False, True)
    other = registrations.read([registration(tmp_path, **{"im.tandem.account_data": True})])["svc"]
    assert other.users == wishes.users
    assert other.data != wishes.data
    with pytest.raises(ConfigError, match=r"im\.tandem\.account_data .* true or false"):
        registrations.read([registration(tmp_path, **{"im.tandem.account_data": "yes"})])
