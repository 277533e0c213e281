"""MSC3682 and MSC4203 in a Synapse of several processes, with PostgreSQL: whichever process pushes to services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tandem_demo.deployment import WORKER, Deployment
from tandem_demo.raw import CLIENT, RawClient
from tests.conftest import new_user
from tests.homeserver.application_service import ApplicationService, Mood
from tests.homeserver.two_servers import soon
from tests.homeserver.with_workers import at

pytestmark = pytest.mark.synapse

KIND = "org.example.ping"


@dataclass
class World:
    deployment: Deployment
    service: ApplicationService

    def person(self) -> RawClient:
        """Somebody of the service's inclusive namespace, with the device PHONE."""
        main = self.deployment.main
        return RawClient(main.base_url).login(*new_user(main, "shared"), "PHONE")

    def numbers(self, user_id: str) -> list[int]:
        return [event["content"]["n"] for event in self.service.to_device(user_id)]


@pytest.fixture(scope="module", params=["main", WORKER])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("services")
    users = [{"exclusive": True, "regex": "@_svc_.*"}, {"exclusive": False, "regex": "@shared.*"}]
    flags = ("im.tandem.lossless_to_device", "im.tandem.account_data", "im.tandem.room_account_data")
    service = ApplicationService(folder, namespaces={"users": users}, **dict.fromkeys(flags, True))
    settings = {"app_service_config_files": [str(service.file)]}
    if request.param == WORKER:
        settings["notify_appservices_from_worker"] = WORKER
    with service, Deployment(folder / "synapse", extra=settings) as deployment:
        yield World(deployment, service)


def test_a_service_is_told_of_account_data_tags_and_push_rules(world: World) -> None:
    person = world.person()
    mine = f"{CLIENT}/user/{quote(person.user_id)}"
    room = person.create_room()
    person.ok("PUT", f"{mine}/account_data/{KIND}", {"n": 1})
    person.ok("PUT", f"{mine}/rooms/{quote(room)}/tags/u.mine", {"order": 0.5})
    rule = {"pattern": "cheese", "actions": ["notify"]}
    person.ok("PUT", f"{CLIENT}/pushrules/global/content/cheese", rule)
    world.service.wait(
        lambda: {KIND, "m.push_rules"} <= {e["type"] for e in world.service.account_data(person.user_id)}
    )
    world.service.wait(lambda: world.service.room_account_data(person.user_id, room))
    assert {"type": KIND, "content": {"n": 1}} in world.service.account_data(person.user_id)


def test_to_device_events_survive_a_failure_a_restart_and_a_sync_at_the_worker(world: World) -> None:
    person = world.person()
    world.service.once(Mood.REFUSE, person.user_id)
    person.send_to_device(KIND, {person.user_id: {"PHONE": {"n": 1}}})
    world.service.wait(lambda: world.numbers(person.user_id) == [1])
    world.service.stop()
    try:
        person.send_to_device(KIND, {person.user_id: {"PHONE": {"n": 2}}})
        there = at(world.deployment.worker, person)
        syncs: list[dict[str, object]] = []

        def has_both() -> bool:
            # A filter of its own each time: Synapse gives the same answer to the same question for a while.
            limit = {"room": {"timeline": {"limit": len(syncs) + 1}}}
            syncs.append(there.sync_v2(filter=json.dumps(limit)))
            return len(syncs[-1].get("to_device", {}).get("events", [])) == 2  # type: ignore[attr-defined]

        soon(has_both)
        there.sync_v2(str(syncs[-1]["next_batch"]))  # acknowledged: they leave the inbox
        world.deployment.stop()
        world.deployment.start()
    finally:
        world.service.start()
    world.service.wait(lambda: len(world.numbers(person.user_id)) >= 2)
    assert world.numbers(person.user_id) == [1, 2]
