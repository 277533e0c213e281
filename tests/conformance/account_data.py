"""Account data for application services: MSC3682."""

from __future__ import annotations

import secrets
from typing import Any

from .bench import Bench
from .matrix import CLIENT, Device, Json
from .points import Level, NotTried, Table, Unsupported, check
from .service import ACCOUNT_DATA_KEYS, SHARED_PREFIX, Service

ACCOUNT_DATA = Table("Account data for application services (MSC3682)", alone=True)
point = ACCOUNT_DATA.point
_PROPOSAL = "MSC3682, Proposal"


async def _ready(bench: Bench) -> tuple[Service, Device]:
    """The service, and a new user of it; raises Unsupported where account data never comes."""
    service = await bench.linked_service()
    await bench.once("msc3682", _probe)
    return service, await service.user(bench.server)


async def _probe(bench: Bench) -> None:
    service = await bench.linked_service()
    ghost = await service.user(bench.server)
    kind = await _set(ghost, {"value": 0})
    if not await service.until(lambda: bool(_come(service, ghost, kind)), bench.patience_s):
        raise Unsupported(f"no transaction brought account data within {bench.patience_s:g} s")


async def _set(device: Device, content: Json, kind: str = "") -> str:
    kind = kind or f"org.example.conformance.{secrets.token_hex(4)}"
    await device.set_account_data(kind, content)
    return kind


def _come(service: Service, device: Device, kind: str, *, answered: bool = True) -> list[Any]:
    """The contents of that type that came for that user, in order."""
    return [
        event.get("content")
        for transaction in service.transactions
        if transaction.status == 200 or not answered
        for event in transaction.account_data(device.user_id)
        if event.get("type") == kind
    ]


async def _wait(bench: Bench, service: Service, device: Device, kind: str, content: Any) -> None:
    came = await service.until(lambda: content in _come(service, device, kind), bench.patience_s)
    check(came, f"it did not come within {bench.patience_s:g} s")


@point(
    "msc3682.sent",
    "Account data that a user of the service sets is sent to it in a transaction, under the user's id.",
    _PROPOSAL,
)
async def _sent(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    kind = await _set(ghost, {"value": 1})
    await _wait(bench, service, ghost, kind, {"value": 1})
    return ""


@point(
    "msc3682.field",
    "The field is org.matrix.msc3682.account_data.",
    "MSC3682, Unstable prefix",
)
async def _field(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    kind = await _set(ghost, {"value": 1})
    await _wait(bench, service, ghost, kind, {"value": 1})
    found = {key for one in service.transactions for key in ACCOUNT_DATA_KEYS if key in one.body}
    check("org.matrix.msc3682.account_data" in found, f"it is {', '.join(sorted(found))}")
    return ", ".join(sorted(found))


@point(
    "msc3682.same-as-sync",
    "A user's value has the format of account_data in /v3/sync: events, with type and content.",
    _PROPOSAL,
)
async def _same(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    kind = await _set(ghost, {"value": [1, {"nested": "ü"}]})
    await _wait(bench, service, ghost, kind, {"value": [1, {"nested": "ü"}]})
    of_sync = [e for e in (await ghost.sync())["account_data"]["events"] if e["type"] == kind]
    sent = [e for one in service.transactions for e in one.account_data(ghost.user_id) if e["type"] == kind]
    check(sent[-1] == of_sync[-1], "the event differs from the one in /v3/sync")
    return ""


@point(
    "msc3682.newest",
    "After several changes the newest value comes, and it comes last.",
    _PROPOSAL,
)
async def _newest(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    kind = await _set(ghost, {"value": 0})
    for value in range(1, 6):
        await _set(ghost, {"value": value}, kind)
    await _wait(bench, service, ghost, kind, {"value": 5})
    came = [content["value"] for content in _come(service, ghost, kind)]
    check(came == sorted(came), f"the values came as {came}")
    return f"of 6 values came {came}"


@point(
    "msc3682.retry",
    "A transaction that failed is repeated with its account data.",
    "MSC3682, Proposal; Application Service API, pushing events",
)
async def _retry(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    kind = f"org.example.conformance.{secrets.token_hex(4)}"
    refused: list[str] = []

    def once(transaction: Any) -> bool:
        is_mine = any(event.get("type") == kind for event in transaction.account_data(ghost.user_id))
        if is_mine and not refused:
            refused.append(transaction.id)
            return True
        return False

    service.refuse(once)
    try:
        await _set(ghost, {"value": 1}, kind)
        await _wait(bench, service, ghost, kind, {"value": 1})
    finally:
        service.heal()
    repeated = [one for one in service.transactions if one.id == refused[0] and one.status == 200]
    check(
        any(event.get("type") == kind for one in repeated for event in one.account_data(ghost.user_id)),
        "the repeated transaction came without it, and another brought it",
    )
    return ""


@point(
    "msc3682.inclusive",
    "Users of an inclusive namespace are users of the service, too.",
    _PROPOSAL,
    Level.SUGGESTED,
)
async def _inclusive(bench: Bench) -> str:
    service, _ = await _ready(bench)
    person = (await bench.server.people(1, prefix=SHARED_PREFIX))[0]
    kind = await _set(person, {"value": 1})
    await _wait(bench, service, person, kind, {"value": 1})
    return ""


@point(
    "msc3682.own-users-only",
    "Account data of users outside the service's namespaces is not sent to it.",
    _PROPOSAL,
)
async def _own_users(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    stranger = (await bench.people(1))[0]
    if stranger.user_id.startswith(f"@{SHARED_PREFIX}"):
        raise NotTried("the only account that is given is one of the service's namespace")
    kind = await _set(stranger, {"value": 1})
    await _set(ghost, {"value": 2}, kind)
    await _wait(bench, service, ghost, kind, {"value": 2})
    check(not _come(service, stranger, kind, answered=False), "a stranger's account data was sent")
    return ""


@point(
    "msc3682.global-only",
    "The field holds what the top level of /v3/sync holds: no account data of rooms.",
    _PROPOSAL,
)
async def _global_only(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    room = await ghost.create_room()
    kind = f"org.example.conformance.{secrets.token_hex(4)}"
    await ghost.set_account_data(kind, {"value": "of the room"}, room)
    last = await _set(ghost, {"value": 1})
    await _wait(bench, service, ghost, last, {"value": 1})
    check(not _come(service, ghost, kind, answered=False), "account data of a room stands among the global")
    return ""


@point(
    "msc3682.push-rules",
    "m.push_rules, which /v3/sync has among the account data, is sent as well when a rule changes.",
    _PROPOSAL,
)
async def _push_rules(bench: Bench) -> str:
    service, ghost = await _ready(bench)
    rule = secrets.token_hex(4)
    body = {"actions": ["notify"], "pattern": "conformance"}
    await ghost.ok("PUT", f"{CLIENT}/pushrules/global/content/{rule}", body)
    came = await service.until(
        lambda: any(rule in str(content) for content in _come(service, ghost, "m.push_rules")),
        bench.patience_s,
    )
    check(came, f"it did not come within {bench.patience_s:g} s")
    return ""
