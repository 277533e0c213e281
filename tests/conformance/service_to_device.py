"""To-device messages for application services: MSC4203 (formerly a part of MSC2409)."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from .bench import Bench
from .matrix import Device, Json
from .points import Broken, Level, NotTried, Table, Unsupported, check
from .service import SHARED_PREFIX, TO_DEVICE_KEYS, Service, Transaction

SERVICE_TO_DEVICE = Table("To-device messages for application services (MSC4203)", alone=True)
point = SERVICE_TO_DEVICE.point
_PROPOSAL = "MSC4203, Proposal"
_DELETING = "MSC4203, Implementation detail: when to delete a to-device message"
_PARALLEL = 40


def _kind() -> str:
    return f"org.example.conformance.{secrets.token_hex(4)}"


async def _ready(bench: Bench) -> tuple[Service, Device, Device]:
    """The service, a sender, and a user of the service with a device."""
    service = await bench.linked_service()
    await bench.once("msc4203", _probe)
    return service, (await bench.people(1))[0], await service.user(bench.server)


async def _probe(bench: Bench) -> None:
    service = await bench.linked_service()
    sender, ghost = (await bench.people(1))[0], await service.user(bench.server)
    kind = _kind()
    await sender.tell(ghost, kind, {"number": 0})
    if not await service.until(lambda: bool(service.to_device_for(ghost.user_id, kind)), bench.patience_s):
        raise Unsupported(f"no transaction brought a to-device message within {bench.patience_s:g} s")


async def _wait(bench: Bench, service: Service, device: Device, kind: str, number: int = 1) -> list[Json]:
    """The messages that the service took, once there are so many different ones."""

    def come() -> list[Json]:
        return service.to_device_for(device.user_id, kind, answered=True)

    def is_all() -> bool:
        return len({event["content"]["number"] for event in come()}) >= number

    if not await service.until(is_all, bench.patience_s):
        raise Broken(f"{len({event['content']['number'] for event in come()})} of {number} messages came")
    return come()


@point(
    "msc4203.sent",
    "A to-device message to a user of the service is sent to it in a transaction.",
    _PROPOSAL,
)
async def _sent(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    await sender.tell(ghost, kind, {"number": 0})
    await _wait(bench, service, ghost, kind)
    return ""


@point(
    "msc4203.key",
    "The key is de.sorunome.msc2409.to_device.",
    "MSC4203, Unstable prefix",
)
async def _key(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    await sender.tell(ghost, kind, {"number": 0})
    await _wait(bench, service, ghost, kind)
    found = {key for one in service.transactions for key in TO_DEVICE_KEYS if one.body.get(key)}
    check("de.sorunome.msc2409.to_device" in found, f"it is {', '.join(sorted(found))}")
    return ", ".join(sorted(found))


@point(
    "msc4203.format",
    "A message has the fields of /v3/sync, and to_user_id and to_device_id beside them.",
    _PROPOSAL,
)
async def _format(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    await sender.tell(ghost, kind, {"number": 0})
    event = (await _wait(bench, service, ghost, kind))[0]
    right = {
        "to_user_id": ghost.user_id,
        "to_device_id": ghost.device_id,
        "type": kind,
        "sender": sender.user_id,
        "content": {"number": 0},
    }
    wrong = [key for key, value in right.items() if event.get(key) != value]
    check(not wrong, f"wrong or missing: {', '.join(wrong)}")
    return ""


@point(
    "msc4203.every-message",
    "Every message to a user of the service is in the list, one after another.",
    _PROPOSAL,
)
async def _every(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    for number in range(20):
        await sender.tell(ghost, kind, {"number": number})
    await _wait(bench, service, ghost, kind, 20)
    return "20 messages"


@point(
    "msc4203.parallel",
    "Every message to the users of the service is in the list when many are sent at once.",
    _PROPOSAL,
)
async def _parallel(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    ghosts = [ghost, await service.user(bench.server)]
    kind = _kind()
    await asyncio.gather(
        *(sender.tell(ghosts[number % 2], kind, {"number": number}) for number in range(_PARALLEL))
    )
    numbers: set[int] = set()

    def is_all() -> bool:
        for one in ghosts:
            numbers.update(
                e["content"]["number"] for e in service.to_device_for(one.user_id, kind, answered=True)
            )
        return len(numbers) == _PARALLEL

    came = await service.until(is_all, bench.patience_s)
    check(came, f"{len(numbers)} of {_PARALLEL} messages to two users came")
    return f"{_PARALLEL} messages to two users"


@point(
    "msc4203.own-users-only",
    "Messages to users outside the service's namespaces are not sent to it.",
    _PROPOSAL,
)
async def _own_users(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    await sender.tell(sender, kind, {"number": 0})
    await sender.tell(ghost, kind, {"number": 1})
    await _wait(bench, service, ghost, kind)
    if sender.user_id.startswith(f"@{SHARED_PREFIX}"):
        raise NotTried("the only account that is given is one of the service's namespace")
    check(not service.to_device_for(sender.user_id, kind), "a stranger's message was sent")
    return ""


@point(
    "msc4203.retry",
    "A retried transaction still has its to-device messages.",
    _DELETING,
    Level.SUGGESTED,
)
async def _retry(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    refused: list[str] = []

    def once(transaction: Transaction) -> bool:
        if not refused and any(event.get("type") == kind for event in transaction.to_device()):
            refused.append(transaction.id)
            return True
        return False

    def repeated() -> list[Transaction]:
        return [one for one in service.transactions if one.id in refused and one.status == 200]

    service.refuse(once)
    try:
        await sender.tell(ghost, kind, {"number": 0})
        came = await service.until(lambda: bool(repeated()), bench.patience_s)
    finally:
        service.heal()
    check(came, "the transaction was not repeated")
    check(
        any(event.get("type") == kind for one in repeated() for event in one.to_device()),
        "the repeated transaction came without the message",
    )
    return ""


@point(
    "msc4203.while-down",
    "Messages that are sent while the service fails come when it is back.",
    _DELETING,
    Level.SUGGESTED,
)
async def _while_down(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    refused: list[str] = []

    def always(transaction: Transaction) -> bool:
        refused.append(transaction.id)
        return True

    service.refuse(always)
    try:
        await sender.tell(ghost, kind, {"number": 0})
        is_down = await service.until(lambda: bool(refused), bench.patience_s)
        for number in (1, 2):
            await sender.tell(ghost, kind, {"number": number})
    finally:
        await service.return_to(bench.server)
    if not is_down:
        raise NotTried("no transaction came that could have failed")
    await _wait(bench, service, ghost, kind, 3)
    return "3 messages"


@point(
    "msc4203.exclusive-deleted",
    "What the service took for a user of an exclusive namespace is deleted: the user's own /sync does not bring it.",
    _DELETING,
    Level.SUGGESTED,
)
async def _exclusive(bench: Bench) -> str:
    service, sender, ghost = await _ready(bench)
    kind = _kind()
    await sender.tell(ghost, kind, {"number": 0})
    await _wait(bench, service, ghost, kind)
    await _goes(bench, ghost, kind)
    return ""


@point(
    "msc4203.inclusive-both",
    "For a user of an inclusive namespace the service is sent a copy, and the user's own /sync brings it, too.",
    _DELETING,
    Level.SUGGESTED,
)
async def _inclusive(bench: Bench) -> str:
    service, sender, _ = await _ready(bench)
    person = (await bench.server.people(1, prefix=SHARED_PREFIX))[0]
    kind = _kind()
    await sender.tell(person, kind, {"number": 0})
    await _wait(bench, service, person, kind)
    # Another message that the service took: the server is through with the answer to the first.
    await sender.tell(person, kind, {"number": 1})
    await _wait(bench, service, person, kind, 2)
    numbers = [event["content"]["number"] for event in _of(await person.queued(), kind)]
    check(numbers == [0, 1], f"of both messages /sync brought {numbers}")
    return ""


@point(
    "msc4203.inclusive-deleted-by-sync",
    "For a user of an inclusive namespace a message is deleted when a /sync that brought it is acknowledged.",
    _DELETING,
    Level.SUGGESTED,
)
async def _inclusive_deleted(bench: Bench) -> str:
    service, sender, _ = await _ready(bench)
    person = (await bench.server.people(1, prefix=SHARED_PREFIX))[0]
    kind = _kind()
    await sender.tell(person, kind, {"number": 0})
    await _wait(bench, service, person, kind)
    answer = await person.sync()
    check(len(_of(answer["to_device"]["events"], kind)) == 1, "/sync did not bring it")
    await person.sync(answer["next_batch"])
    check(not _of(await person.queued(), kind), "it is there still")
    return ""


@point(
    "msc4203.service-device-deleted",
    "For a device that the service created, of a user of an inclusive namespace, nothing waits for a /sync.",
    _DELETING,
    Level.SUGGESTED,
)
async def _service_device(bench: Bench) -> str:
    service, sender, _ = await _ready(bench)
    localpart = f"{SHARED_PREFIX}-{secrets.token_hex(4)}"
    person = await bench.server.sign_in_for_service(localpart, service.registered["as_token"])
    kind = _kind()
    await sender.tell(person, kind, {"number": 0})
    await _wait(bench, service, person, kind)
    await _goes(bench, person, kind)
    return ""


async def _goes(bench: Bench, device: Device, kind: str) -> None:
    """The server may be a moment behind the answer that it got."""
    end = asyncio.get_running_loop().time() + bench.patience_s
    while _of(await device.queued(), kind):
        if asyncio.get_running_loop().time() > end:
            raise Broken(f"it waits in /sync still after {bench.patience_s:g} s")
        await asyncio.sleep(0.2)


def _of(events: list[Json], kind: str) -> list[Any]:
    return [event for event in events if event.get("type") == kind]
