"""The points about services and servers hold on a small server that keeps the clauses, and fail on ones that do not."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tandem_demo.synapse import free_port
from tests.conformance.bench import Bench
from tests.conformance.matrix import Homeserver
from tests.conformance.points import Outcome, Result
from tests.conformance.service import Service, registration
from tests.conformance.suite import chosen, run
from tests.conformance.toy_server import ECHO, NAME, Device, Json, ToyServer

ALL = ("msc3682", "msc4203", "msc4246")


def tried(kind: type[ToyServer], *ids: str, patience_s: float = 1.5) -> dict[str, Outcome]:
    registered = registration(f"http://127.0.0.1:{free_port()}")

    async def go() -> dict[str, Outcome]:
        async with (
            Service(registered) as service,
            kind(registered) as server,
            aiohttp.ClientSession() as session,
        ):
            here = Homeserver(server.base_url, session, shared_secret="s")
            bench = Bench(here, service=service, patience_s=patience_s, echo_type=ECHO)
            return {one.point.id: one for one in await run(bench, chosen(ids))}

    return asyncio.run(go())


def test_every_point_that_one_server_can_show_holds_on_a_server_that_keeps_the_clauses() -> None:
    outcomes = tried(ToyServer, *ALL, patience_s=10)
    needs_more = {"msc4246.federated", "msc4246.federated-wildcard", "msc4246.federated-in"}
    needs_more.add("msc4246.sender-in-sliding-sync")
    told = {
        id_: f"{one.result.value}: {one.detail}"
        for id_, one in outcomes.items()
        if one.result is not Result.HOLDS
    }
    assert set(told) == needs_more, told


class Forgets(ToyServer):
    """A transaction that failed is repeated empty, as stock Synapse repeats one with to-device messages."""

    def repeated(self, body: Json) -> Json:
        return {}


class Overtakes(ToyServer):
    """What failed comes in a later transaction only."""

    def repeated(self, body: Json) -> Json:
        if body:
            self.enqueue(body)
        return {}


class LosesOneInThree(ToyServer):
    def transactions(self, queue: list[Json]) -> list[Json]:
        self.count = getattr(self, "count", 0) + len(queue)
        return [] if self.count % 3 == 0 else queue


class LosesCrowds(ToyServer):
    def transactions(self, queue: list[Json]) -> list[Json]:
        return queue[:2]


class TellsStrangers(ToyServer):
    def is_for_service(self, user_id: str) -> bool:
        return True


class ExclusiveOnly(ToyServer):
    def is_for_service(self, user_id: str) -> bool:
        return self.namespace(user_id) is True


class OmitsTheDevice(ToyServer):
    def to_service(self, event: Json) -> Json:
        return {key: value for key, value in event.items() if key != "to_device_id"}


class StableNames(ToyServer):
    def transactions(self, queue: list[Json]) -> list[Json]:
        return [{key.rpartition(".")[2]: value for key, value in body.items()} for body in queue]


class DeletesNothing(ToyServer):
    def is_deleted(self, device: Device) -> bool:
        return False

    def acknowledge(self, device: Device, since: int) -> None:
        """Nothing goes."""


class DeletesEverything(ToyServer):
    def is_deleted(self, device: Device) -> bool:
        return True


class OldAfterNew(ToyServer):
    def transactions(self, queue: list[Json]) -> list[Json]:
        return [body for body in queue for _ in range(2)][::-1] + queue[:1]

    def enqueue(self, body: Json) -> None:
        self.queue.append(body)
        if len(self.queue) > 5:
            self._bell.set()


class OtherFormat(ToyServer):
    def transactions(self, queue: list[Json]) -> list[Json]:
        for body in queue:
            for value in body.get("org.matrix.msc3682.account_data", {}).values():
                value["events"] = [{**event, "user_id": "x"} for event in value["events"]]
        return queue


class MixesRooms(ToyServer):
    def set_room_account_data(self, user_id: str, type_: str, content: Json) -> None:
        self.set_account_data(user_id, type_, content)


class SilentPushRules(ToyServer):
    def set_push_rule(self, user_id: str, rule: str) -> None:
        """The service is not told."""


class Impersonates(ToyServer):
    def echoes(self, sender: str, device: str, content: Json) -> list[tuple[str, Json]]:
        return [(f"@server:{NAME}", content)]


class AnswersTwice(ToyServer):
    def echoes(self, sender: str, device: str, content: Json) -> list[tuple[str, Json]]:
        return super().echoes(sender, device, content) * (2 if device == "*" else 1)


class KnowsNoWildcard(ToyServer):
    def echoes(self, sender: str, device: str, content: Json) -> list[tuple[str, Json]]:
        return super().echoes(sender, device, content) if device == "" else []


class Complains(ToyServer):
    def unknown_to_server(self, sender: str) -> None:
        self.deliver(f"@:{NAME}", "org.example.error", sender, "*", {})


class RegistersTheServer(ToyServer):
    def may_register(self, localpart: str) -> bool:
        return True


class EatsTheRest(ToyServer):
    def deliver(self, sender: str, type_: str, user_id: str, device_id: str, content: Json) -> None:
        if type_ != ECHO or sender.startswith("@:"):
            super().deliver(sender, type_, user_id, device_id, content)


BROKEN: list[tuple[Any, str]] = [
    (Forgets, "msc3682.retry"),
    (Forgets, "msc4203.retry"),
    (Forgets, "msc4203.while-down"),
    (Overtakes, "msc3682.retry"),
    (Overtakes, "msc4203.retry"),
    (LosesOneInThree, "msc4203.every-message"),
    (LosesCrowds, "msc4203.parallel"),
    (TellsStrangers, "msc3682.own-users-only"),
    (TellsStrangers, "msc4203.own-users-only"),
    (ExclusiveOnly, "msc3682.inclusive"),
    (ExclusiveOnly, "msc4203.inclusive-both"),
    (OmitsTheDevice, "msc4203.format"),
    (StableNames, "msc3682.field"),
    (StableNames, "msc4203.key"),
    (DeletesNothing, "msc4203.exclusive-deleted"),
    (DeletesNothing, "msc4203.service-device-deleted"),
    (DeletesNothing, "msc4203.inclusive-deleted-by-sync"),
    (DeletesEverything, "msc4203.inclusive-both"),
    (OtherFormat, "msc3682.same-as-sync"),
    (MixesRooms, "msc3682.global-only"),
    (SilentPushRules, "msc3682.push-rules"),
    (Impersonates, "msc4246.sender-in-sync"),
    (AnswersTwice, "msc4246.wildcard"),
    (KnowsNoWildcard, "msc4246.wildcard"),
    (Complains, "msc4246.unknown-dropped"),
    (EatsTheRest, "msc4246.beside-users"),
    (RegistersTheServer, "msc4246.reserved"),
]


@pytest.mark.parametrize(
    ("kind", "id_"), BROKEN, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_a_server_that_breaks_a_clause_is_noticed(kind: type[ToyServer], id_: str) -> None:
    outcome = tried(kind, id_)[id_]
    assert outcome.result is Result.DOES_NOT, outcome


class Silent(ToyServer):
    def enqueue(self, body: Json) -> None:
        """Nothing is ever sent to the service."""

    def echoes(self, sender: str, device: str, content: Json) -> list[tuple[str, Json]]:
        return []


def test_a_server_without_the_features_is_not_called_broken() -> None:
    outcomes = tried(Silent, "msc3682.sent", "msc4203.sent", "msc4246.delivered", "msc4246.accepted")
    assert [one.result for one in outcomes.values()] == [Result.NOT_SUPPORTED] * 2 + [
        Result.HOLDS,
        Result.NOT_SUPPORTED,
    ]
