"""Delivery receipts and application services: MSC4089."""

from __future__ import annotations

from collections.abc import Iterable

from .bench import Bench
from .delivery_receipts import BOTH, confirm, scene, shown
from .matrix import Json
from .points import Level, NotTried, Table, check
from .service import Transaction
from .views import look

SERVICE_RECEIPTS = Table("Delivery receipts and application services (MSC4089)")
point = SERVICE_RECEIPTS.point
_PROPOSAL = "MSC4089, Proposal"


@point(
    "msc4089.appservice-author",
    "An author who belongs to an application service is shown it in the service's transactions.",
    "MSC4089, Proposal; Application Service API, ephemeral",
    Level.SUGGESTED,
)
async def _appservice_author(bench: Bench) -> str:
    service = await bench.linked_service()
    this = await scene(bench)
    ghost = await service.user(bench.server)
    await this.author.invite(this.room, ghost.user_id)
    await ghost.join(this.room, via=this.author.server_name)
    event = await ghost.say(this.room)
    await confirm(this.reader, this.room, event)
    came = await service.until(lambda: bool(_for_services(service.transactions, event)), bench.patience_s)
    check(came, "no transaction brought it")
    return ""


@point(
    "msc4089.appservice-others",
    "A service that merely has an interest in the room is not sent receipts for other people's events.",
    _PROPOSAL,
)
async def _appservice_others(bench: Bench) -> str:
    service = await bench.linked_service()
    this = await scene(bench)
    ghost = await service.user(bench.server)
    await this.author.invite(this.room, ghost.user_id)
    await ghost.join(this.room, via=this.author.server_name)
    event = await this.author.say(this.room)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, event)
    await shown(bench, view, event, this.reader.user_id)
    await this.reader.receipt(this.room, "m.read", event)
    seen = await service.until(
        lambda: bool(_for_services(service.transactions, event, "m.read")), bench.patience_s
    )
    if not seen:
        raise NotTried("an ordinary read receipt did not reach the service either")
    check(not _for_services(service.transactions, event), "a transaction brought it")
    return ""


def _for_services(transactions: Iterable[Transaction], event: str, *types: str) -> list[Json]:
    found = []
    for transaction in transactions:
        for edu in transaction.ephemeral():
            if edu.get("type") == "m.receipt":
                held = edu.get("content", {}).get(event, {})
                found += [held[type_] for type_ in (types or BOTH) if type_ in held]
    return found
