"""MSC4203 on a real Synapse, without losses: to-device events in transactions that fail, repeat and are cut off."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.application_service import (
    TO_DEVICE,
    UNSTABLE_TO_DEVICE,
    ApplicationService,
    Mood,
    ServiceUser,
)
from tests.homeserver.storm import Storm
from tests.homeserver.tables import rows

pytestmark = pytest.mark.synapse

KIND = "org.example.ping"
_names = itertools.count(1)


@dataclass
class World:
    """One Synapse; a service with lossless to-device events, and one that is served as Synapse always did.

    People whose names begin with ``shared`` are in the lossless service's inclusive namespace.
    """

    server: SynapseServer
    lossless: ApplicationService
    stock: ApplicationService
    sender: RawClient

    def person(self, name: str = "shared", device_id: str | None = None) -> RawClient:
        return RawClient(self.server.base_url).login(*new_user(self.server, name), device_id)

    def ghost(self, service: ApplicationService | None = None, *devices: str) -> ServiceUser:
        service = service or self.lossless
        user = service.user(self.server.base_url, f"_{service.name}_{next(_names)}")
        for device in devices or ("PHONE",):
            user.create_device(device)
        return user

    def send(self, user_id: str, device_id: str, *numbers: int) -> None:
        for number in numbers:
            self.sender.send_to_device(KIND, {user_id: {device_id: {"n": number}}})

    def numbers(self, user_id: str, device_id: str = "PHONE") -> list[int]:
        """What the lossless service took for this device, in order, each transaction once."""
        return [
            event["content"]["n"]
            for event in self.lossless.to_device(user_id)
            if event["to_device_id"] == device_id
        ]

    def inbox(self, user_id: str, device_id: str = "PHONE") -> int:
        sql = "SELECT count(*) FROM device_inbox WHERE user_id = ? AND device_id = ?"
        return int(rows(self.server.folder, sql, user_id, device_id)[0][0])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("lossless")
    users = [{"exclusive": True, "regex": "@_lossless_.*"}, {"exclusive": False, "regex": "@shared.*"}]
    stock_flags = {"de.sorunome.msc2409.push_ephemeral": True, "org.matrix.msc3202": True}
    flags = stock_flags | {"im.tandem.lossless_to_device": True}
    lossless = ApplicationService(folder, name="lossless", namespaces={"users": users}, **flags)
    stock = ApplicationService(folder, name="stock", **stock_flags)
    server = SynapseServer.create(
        folder / "synapse",
        extra={
            "app_service_config_files": [str(lossless.file), str(stock.file)],
            # The second service's way, which is not to be taken for the first one, too.
            "experimental_features": {
                "msc2409_to_device_messages_enabled": True,
                "msc3202_transaction_extensions": True,
            },
        },
    )
    with server.running():
        sender = RawClient(server.base_url).login(*new_user(server, "sender"))
        with lossless, stock:
            yield World(server, lossless, stock, sender)


@pytest.fixture
def world(running: World) -> Iterator[World]:
    yield running
    running.lossless.mood = lambda _body: Mood.TAKE


def test_an_event_comes_under_both_names_with_its_device_and_an_id(world: World) -> None:
    ghost = world.ghost()
    world.send(ghost.user_id, "PHONE", 1)
    world.lossless.wait(lambda: world.numbers(ghost.user_id))
    body = next(body for _, body in world.lossless.arrivals if body[TO_DEVICE])
    assert body["im.tandem.lossless_to_device"] is True
    assert body[TO_DEVICE] == body[UNSTABLE_TO_DEVICE]
    [event] = world.lossless.to_device(ghost.user_id)
    assert event.pop("im.tandem.id")
    assert event == {
        "type": KIND,
        "sender": world.sender.user_id,
        "content": {"n": 1},
        "to_user_id": ghost.user_id,
        "to_device_id": "PHONE",
    }


def test_the_key_counts_of_the_recipients_come_along_and_again_with_a_retry(world: World) -> None:
    ghost = world.ghost()
    world.lossless.once(Mood.REFUSE, ghost.user_id)
    world.send(ghost.user_id, "PHONE", 1)
    world.lossless.wait(lambda: world.numbers(ghost.user_id))
    counts = [
        body["org.matrix.msc3202.device_one_time_key_counts"].get(ghost.user_id)
        for _, body in world.lossless.arrivals
        if any(event["to_user_id"] == ghost.user_id for event in body[TO_DEVICE])
    ]
    assert counts == [{"PHONE": {}}] * 2


def test_a_change_of_devices_that_happened_while_the_service_was_away_is_told(world: World) -> None:
    ghost = world.ghost()
    world.lossless.stop()
    try:
        other = world.ghost()
        key = {"user_id": other.user_id, "device_id": "PHONE", "algorithms": [], "keys": {}, "signatures": {}}
        other.ok("POST", f"{CLIENT}/keys/upload", {"device_keys": key}, device_id="PHONE")
        world.send(ghost.user_id, "PHONE", 1)
    finally:
        world.lossless.start()

    def told() -> bool:
        lists = [body.get("org.matrix.msc3202.device_lists", {}) for body in world.lossless.taken.values()]
        return any(other.user_id in each.get("changed", []) for each in lists)

    world.lossless.wait(told)
    world.lossless.wait(lambda: world.numbers(ghost.user_id))


def test_of_many_sent_at_once_all_arrive_in_order_for_each_device_and_once(world: World) -> None:
    ghosts = [world.ghost() for _ in range(2)]

    def talk(number: int) -> None:
        client = RawClient(world.server.base_url, world.sender.token)
        for step in range(5):
            messages = {ghosts[number % 2].user_id: {"PHONE": {"n": number * 100 + step}}}
            client.send_to_device(KIND, messages)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.lossless.wait(lambda: sum(len(world.numbers(ghost.user_id)) for ghost in ghosts) >= 40)
    for which, ghost in enumerate(ghosts):
        found: dict[int, list[int]] = defaultdict(list)
        for number in world.numbers(ghost.user_id):
            found[number // 100].append(number % 100)
        assert dict(found) == {number: [0, 1, 2, 3, 4] for number in range(which, 8, 2)}


def test_a_retry_carries_the_same_events_and_later_ones_wait_their_turn(world: World) -> None:
    ghost = world.ghost()
    was_met = world.lossless.once(Mood.REFUSE, ghost.user_id)
    world.send(ghost.user_id, "PHONE", 1)
    world.lossless.wait(was_met)
    world.send(ghost.user_id, "PHONE", 2, 3)
    world.lossless.wait(lambda: len(world.numbers(ghost.user_id)) >= 3)
    assert world.numbers(ghost.user_id) == [1, 2, 3]
    attempts = about(world, ghost.user_id)
    assert attempts[0] == attempts[1]
    assert len({txn_id for txn_id, _ in attempts}) == len(attempts) - 1


@pytest.mark.parametrize("mood", [Mood.LIE, Mood.VANISH, Mood.IGNORE])
def test_whatever_becomes_of_the_answer_each_event_counts_once(world: World, mood: Mood) -> None:
    ghost = world.ghost()
    world.lossless.once(mood, ghost.user_id)
    world.send(ghost.user_id, "PHONE", 1, 2)
    world.lossless.wait(lambda: len(world.numbers(ghost.user_id)) >= 2)
    assert world.numbers(ghost.user_id) == [1, 2]


def test_a_crash_of_synapse_repeats_the_transaction_under_its_id_and_gives_no_id_twice(world: World) -> None:
    ghost = world.ghost()
    # Only these events: a refused transaction with the ghost's device list alone would hold them back.
    world.lossless.mood = lambda body: Mood.REFUSE if body[TO_DEVICE] else Mood.TAKE
    world.send(ghost.user_id, "PHONE", 1, 2)
    world.lossless.wait(lambda: about(world, ghost.user_id))
    known = {txn_id for txn_id, _ in world.lossless.arrivals}
    world.server.kill()
    world.lossless.mood = lambda _body: Mood.TAKE
    world.server.start()
    world.server.wait_ready()
    world.lossless.wait(lambda: len(world.numbers(ghost.user_id)) >= 2)
    assert world.numbers(ghost.user_id) == [1, 2]
    first, *others = about(world, ghost.user_id)
    assert first in others
    # SQLite: stock Synapse would begin again at 1 when every transaction has got its 200.
    world.server.restart()
    world.send(ghost.user_id, "PHONE", 3)
    world.lossless.wait(lambda: len(world.numbers(ghost.user_id)) >= 3)
    assert about(world, ghost.user_id)[-1][0] not in known


def test_the_events_of_exclusive_users_leave_the_inbox_with_the_200(world: World) -> None:
    ghost = world.ghost()
    was_met = world.lossless.once(Mood.REFUSE, ghost.user_id)
    world.send(ghost.user_id, "PHONE", 1)
    world.lossless.wait(was_met)
    assert world.inbox(ghost.user_id) == 1
    world.lossless.wait(lambda: world.numbers(ghost.user_id))
    # Another transaction: the one before it is over.
    world.send(ghost.user_id, "PHONE", 2)
    world.lossless.wait(lambda: len(world.numbers(ghost.user_id)) >= 2)
    assert world.inbox(ghost.user_id) <= 1


def test_inclusive_people_keep_theirs_until_their_own_sync_and_the_service_gets_each_once(
    world: World,
) -> None:
    person = world.person(device_id="PHONE")
    world.send(person.user_id, "PHONE", 1)
    world.lossless.wait(lambda: world.numbers(person.user_id))
    world.send(person.user_id, "PHONE", 2)
    world.lossless.wait(lambda: len(world.numbers(person.user_id)) >= 2)
    assert world.inbox(person.user_id) == 2
    answer = person.sync_v2()
    assert [event["content"]["n"] for event in answer["to_device"]["events"]] == [1, 2]
    person.sync_v2(answer["next_batch"])
    assert world.inbox(person.user_id) == 0
    world.send(person.user_id, "PHONE", 3)
    world.lossless.wait(lambda: len(world.numbers(person.user_id)) >= 3)
    assert world.numbers(person.user_id) == [1, 2, 3]


def test_what_a_person_acknowledges_while_the_service_is_away_still_reaches_it(world: World) -> None:
    person = world.person(device_id="PHONE")
    world.lossless.stop()
    try:
        world.send(person.user_id, "PHONE", 1, 2)
        person.sync_v2(person.sync_v2()["next_batch"])
        assert world.inbox(person.user_id) == 0
    finally:
        world.lossless.start()
    world.lossless.wait(lambda: len(world.numbers(person.user_id)) >= 2)
    assert world.numbers(person.user_id) == [1, 2]


def test_a_device_that_the_service_created_is_its_own_also_of_an_inclusive_person(world: World) -> None:
    person = world.person(device_id="PHONE")
    access = world.lossless.client(world.server.base_url)
    ServiceUser(access, person.user_id).create_device("BRIDGE")
    body = {
        "type": "m.login.application_service",
        "identifier": {"type": "m.id.user", "user": person.user_id},
        "device_id": "LOGIN",
    }
    access.ok("POST", f"{CLIENT}/login", body)
    access.ok("POST", f"{CLIENT}/login", body | {"device_id": "PHONE"})  # it was there before
    for device in ("PHONE", "BRIDGE", "LOGIN"):
        world.send(person.user_id, device, 1)
        world.lossless.wait(lambda device=device: world.numbers(person.user_id, device))
    world.send(person.user_id, "PHONE", 2)
    world.lossless.wait(lambda: len(world.numbers(person.user_id, "PHONE")) >= 2)
    assert [world.inbox(person.user_id, device) for device in ("PHONE", "BRIDGE", "LOGIN")] == [2, 0, 0]


def test_a_backlog_comes_in_bounded_transactions_and_all_devices_get_their_copies(world: World) -> None:
    ghost = world.ghost(None, "PHONE", "LAPTOP")
    world.lossless.stop()
    try:
        for number in range(120):
            world.send(ghost.user_id, "*", number)
    finally:
        world.lossless.start()
    for device in ("PHONE", "LAPTOP"):
        world.lossless.wait(lambda device=device: len(world.numbers(ghost.user_id, device)) >= 120)
        assert world.numbers(ghost.user_id, device) == list(range(120))
    sizes = [len(body[TO_DEVICE]) for _, body in about(world, ghost.user_id)]
    assert max(sizes) == 100


def test_a_service_that_is_away_keeps_nobody_else_waiting(world: World) -> None:
    mine, theirs = world.ghost(), world.ghost(world.stock)
    world.lossless.stop()
    try:
        world.send(mine.user_id, "PHONE", 1)
        world.send(theirs.user_id, "PHONE", 7)
        [event] = world.stock.wait(
            lambda: [
                event
                for _, body in world.stock.arrivals
                for event in body[UNSTABLE_TO_DEVICE]
                if event["to_user_id"] == theirs.user_id
            ]
        )
    finally:
        world.lossless.start()
    assert event["content"] == {"n": 7}
    assert "im.tandem.id" not in event
    assert all("im.tandem.lossless_to_device" not in body for _, body in world.stock.arrivals)
    world.lossless.wait(lambda: world.numbers(mine.user_id))


def test_nothing_is_lost_or_out_of_order_in_a_small_storm(tmp_path: object) -> None:
    result = Storm(messages=200, seed=7, crashes=1, trouble=0.3).run(tmp_path)  # type: ignore[arg-type]
    assert (result.lost, result.out_of_order, result.changed_repeats, result.same_event_twice) == (0, 0, 0, 0)
    assert result.received >= result.sent == 200
    assert result.left_in_inbox == 0


def about(world: World, user_id: str) -> list[tuple[str, Json]]:
    """The attempts, also failed ones, with events for this person: id and body."""
    return [
        (txn_id, body)
        for txn_id, body in world.lossless.arrivals
        if any(event["to_user_id"] == user_id for event in body[TO_DEVICE])
    ]
