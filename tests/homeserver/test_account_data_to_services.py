"""MSC3682 on a real Synapse: account data in the transactions of application services that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.application_service import ACCOUNT_DATA as FIELD
from tests.homeserver.application_service import ApplicationService, Mood, ServiceUser

pytestmark = pytest.mark.synapse

ROOM_FIELD = "im.tandem.room_account_data"
KIND = "org.example.settings"


@dataclass
class World:
    """One Synapse; services that get all account data, the global, and none; and one that is going to ask for all.

    People whose names begin with ``shared`` are in the inclusive namespaces of all of them.
    """

    server: SynapseServer
    full: ApplicationService
    plain: ApplicationService
    none: ApplicationService
    late: ApplicationService

    def person(self, name: str = "shared") -> RawClient:
        return RawClient(self.server.base_url).login(*new_user(self.server, name))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("account_data")

    def service(name: str, **flags: bool) -> ApplicationService:
        users = [
            {"exclusive": True, "regex": f"@_{name}_.*"},
            {"exclusive": False, "regex": "@shared.*"},
        ]
        return ApplicationService(folder, name=name, namespaces={"users": users}, **flags)

    full = service("full", **{"im.tandem.account_data": True, "im.tandem.room_account_data": True})
    plain = service("plain", **{"im.tandem.account_data": True})
    none, late = service("none"), service("late")
    server = SynapseServer.create(
        folder / "synapse",
        extra={"app_service_config_files": [str(each.file) for each in (full, plain, none, late)]},
    )
    with server.running(), full, plain, none, late:
        yield World(server, full, plain, none, late)


@pytest.fixture
def ghost(world: World, request: pytest.FixtureRequest) -> Iterator[ServiceUser]:
    """A fresh user of the service that gets everything; afterwards the service is well again."""
    yield world.full.user(world.server.base_url, f"_full_{abs(hash(request.node.name))}")
    world.full.mood = lambda _body: Mood.TAKE


def set_global(client: RawClient, kind: str, content: Json) -> None:
    client.ok("PUT", f"{CLIENT}/user/{quote(client.user_id)}/account_data/{quote(kind)}", content)


def set_in_room(client: RawClient, room: str, kind: str, content: Json) -> None:
    path = f"{CLIENT}/user/{quote(client.user_id)}/rooms/{quote(room)}/account_data/{quote(kind)}"
    client.ok("PUT", path, content)


def values(service: ApplicationService, user_id: str, kind: str = KIND) -> list[Any]:
    """What the service was told of this one piece, in order, each transaction once."""
    return [event["content"] for event in service.account_data(user_id) if event["type"] == kind]


def with_field(service: ApplicationService, user_id: str) -> list[tuple[str, Json]]:
    """The attempts, also failed ones, that carried account data of this person: id and body."""
    return [(txn_id, body) for txn_id, body in service.arrivals if user_id in body.get(FIELD, {})]


def test_a_change_of_an_exclusive_user_comes_in_a_transaction_of_its_own(
    world: World, ghost: ServiceUser
) -> None:
    ghost.set_account_data(KIND, {"n": 1})
    world.full.wait(lambda: values(world.full, ghost.user_id))
    _, body = with_field(world.full, ghost.user_id)[-1]
    assert body[FIELD] == {ghost.user_id: {"events": [{"type": KIND, "content": {"n": 1}}]}}
    assert body["events"] == []
    assert "im.tandem.lossless_to_device" not in body


def test_people_of_an_inclusive_namespace_and_the_service_s_own_sender_are_told_of_too(world: World) -> None:
    person = world.person()
    set_global(person, KIND, {"mine": True})
    for service in (world.full, world.plain):
        service.wait(lambda service=service: values(service, person.user_id) == [{"mine": True}])
    sender = ServiceUser(world.full.client(world.server.base_url), "@fullbot:localhost")
    sender.set_account_data(KIND, {"bot": True})
    world.full.wait(lambda: values(world.full, sender.user_id) == [{"bot": True}])
    assert values(world.plain, sender.user_id) == []


def test_who_is_in_no_namespace_is_nobody_s_business_and_who_did_not_ask_gets_nothing(world: World) -> None:
    stranger, person = world.person("stranger"), world.person()
    set_global(stranger, KIND, {"secret": True})
    set_global(person, KIND, {"mine": True})
    world.full.wait(lambda: values(world.full, person.user_id))
    world.plain.wait(lambda: values(world.plain, person.user_id))
    for service in (world.full, world.plain):
        assert values(service, stranger.user_id) == []
    assert all(FIELD not in body and ROOM_FIELD not in body for _, body in world.none.arrivals)


def test_room_account_data_and_tags_have_a_field_and_a_flag_of_their_own(world: World) -> None:
    person = world.person()
    room = person.create_room()
    set_in_room(person, room, KIND, {"muted": True})
    tag = f"{CLIENT}/user/{quote(person.user_id)}/rooms/{quote(room)}/tags/m.favourite"
    person.ok("PUT", tag, {"order": 0.5})

    def told() -> bool:
        events = world.full.room_account_data(person.user_id, room)
        return {"type": KIND, "content": {"muted": True}} in events and {
            "type": "m.tag",
            "content": {"tags": {"m.favourite": {"order": 0.5}}},
        } in events

    world.full.wait(told)
    person.ok("DELETE", tag)
    gone = {"type": "m.tag", "content": {"tags": {}}}
    world.full.wait(lambda: gone in world.full.room_account_data(person.user_id, room))
    # The other service asked for global data only: the next that it hears of this person is the next of that kind.
    before = len(world.plain.arrivals)
    set_global(person, KIND, {"n": 1})
    world.plain.wait(lambda: values(world.plain, person.user_id))
    new = [body for _, body in world.plain.arrivals[before:]]
    assert all(ROOM_FIELD not in body for body in new)
    assert [body for body in new if body["events"] == []] == [
        body for body in new if person.user_id in body.get(FIELD, {})
    ]


def test_push_rules_are_account_data(world: World) -> None:
    person = world.person()
    rule = f"{CLIENT}/pushrules/global/content/cheese"
    person.ok("PUT", rule, {"pattern": "cheese", "actions": ["notify"]})

    def rules() -> list[str]:
        told = values(world.full, person.user_id, "m.push_rules")
        return [each["pattern"] for each in told[-1]["global"]["content"]] if told else []

    world.full.wait(lambda: "cheese" in rules())
    person.ok("PUT", f"{rule}/enabled", {"enabled": False})
    world.full.wait(
        lambda: any(
            each["pattern"] == "cheese" and not each["enabled"]
            for each in values(world.full, person.user_id, "m.push_rules")[-1]["global"]["content"]
        )
    )
    person.ok("DELETE", rule)
    world.full.wait(lambda: "cheese" not in rules())
    synced = {event["type"]: event["content"] for event in person.sync_v2()["account_data"]["events"]}
    assert values(world.full, person.user_id, "m.push_rules")[-1] == synced["m.push_rules"]


def test_a_deletion_is_passed_on_as_empty_content(world: World, ghost: ServiceUser) -> None:
    ghost.set_account_data(KIND, {"n": 1})
    world.full.wait(lambda: values(world.full, ghost.user_id) == [{"n": 1}])
    ghost.set_account_data(KIND, {})
    world.full.wait(lambda: values(world.full, ghost.user_id) == [{"n": 1}, {}])


def test_a_retry_carries_the_same_and_what_came_meanwhile_comes_next_at_its_newest(
    world: World, ghost: ServiceUser
) -> None:
    was_refused = world.full.once(Mood.REFUSE, ghost.user_id)
    ghost.set_account_data(KIND, {"n": 0})
    world.full.wait(was_refused)
    for number in (1, 2, 3):
        ghost.set_account_data(KIND, {"n": number})
    world.full.wait(lambda: values(world.full, ghost.user_id)[-1:] == [{"n": 3}])
    assert values(world.full, ghost.user_id) == [{"n": 0}, {"n": 3}]
    first, second, third = with_field(world.full, ghost.user_id)
    assert first == second
    assert third[0] != second[0]


def test_a_transaction_whose_200_was_lost_is_recognised_and_hides_nothing(
    world: World, ghost: ServiceUser
) -> None:
    has_vanished = world.full.once(Mood.VANISH, ghost.user_id)
    ghost.set_account_data(KIND, {"n": 0})
    world.full.wait(has_vanished)
    ghost.set_account_data(KIND, {"n": 1})
    world.full.wait(lambda: values(world.full, ghost.user_id) == [{"n": 0}, {"n": 1}])
    first, again, _ = with_field(world.full, ghost.user_id)
    assert first == again


def test_a_crash_of_synapse_loses_nothing_and_sends_the_same_again(world: World, ghost: ServiceUser) -> None:
    world.full.mood = lambda body: Mood.REFUSE if FIELD in body else Mood.TAKE
    ghost.set_account_data(KIND, {"n": 0})
    world.full.wait(lambda: with_field(world.full, ghost.user_id))
    ghost.set_account_data(KIND, {"n": 1})
    known = {txn_id for txn_id, _ in world.full.arrivals}
    world.server.kill()
    world.full.mood = lambda _body: Mood.TAKE
    world.server.start()
    world.server.wait_ready()
    world.full.wait(lambda: values(world.full, ghost.user_id) == [{"n": 0}, {"n": 1}])
    attempts = with_field(world.full, ghost.user_id)
    assert all(each == attempts[0] for each in attempts[:-1])
    assert attempts[-1][0] not in known


def test_the_first_transaction_after_opting_in_carries_the_values_of_then(world: World) -> None:
    person = world.person()
    room = person.create_room()
    set_global(person, KIND, {"old": True})
    set_in_room(person, room, KIND, {"old": True})
    world.full.wait(lambda: values(world.full, person.user_id))
    assert values(world.late, person.user_id) == []
    known = set(world.late.taken)
    world.late.register(**{"im.tandem.account_data": True, "im.tandem.room_account_data": True})
    world.server.restart()
    world.late.wait(lambda: any(FIELD in body for _, body in world.late.arrivals))
    first_id, first = next((txn_id, body) for txn_id, body in world.late.arrivals if FIELD in body)
    assert (
        first_id not in known
    )  # SQLite: also where what the service was given before is written down nowhere
    assert {"type": KIND, "content": {"old": True}} in first[FIELD][person.user_id]["events"]
    assert {"type": KIND, "content": {"old": True}} in first[ROOM_FIELD][person.user_id][room]["events"]
    # Whoever was asking before is told nothing twice by a restart.
    set_global(person, KIND, {"new": True})
    world.full.wait(lambda: values(world.full, person.user_id)[-1:] == [{"new": True}])
    assert values(world.full, person.user_id) == [{"old": True}, {"new": True}]
