"""Delivery receipts between two servers: MSC4089."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from .bench import Bench
from .delivery_receipts import BOTH, UNSTABLE, confirm, passed, shown
from .matrix import Device, Homeserver, said
from .points import NotTried, Table, Unsupported, check
from .views import look

FEDERATED = Table("Delivery receipts between servers (MSC4089)")
point = FEDERATED.point
_PROPOSAL = "MSC4089, Proposal"


@dataclass
class Scene:
    """The author and a third person are on one server, the reader on the other."""

    author: Device
    other: Device
    reader: Device
    room: str
    event: str


async def _meet(bench: Bench, author_at: Homeserver, reader_at: Homeserver) -> Scene:
    author, other = await author_at.people(2)
    reader = (await reader_at.people(1))[0]
    room = await author.create_room(other)
    await author.invite(room, reader.user_id)
    await _join(bench, reader, room, author.server_name)
    event = await author.say(room)
    await _arrives(bench, reader, room, event)
    return Scene(author, other, reader, room, event)


async def _join(bench: Bench, person: Device, room: str, via: str) -> None:
    """The invitation has to travel first."""
    view = await person.sync()
    end = asyncio.get_running_loop().time() + bench.patience_s
    while room not in view.get("rooms", {}).get("invite", {}):
        if asyncio.get_running_loop().time() > end:
            raise NotTried("the servers do not reach each other: an invitation did not arrive")
        view = await person.sync(view["next_batch"], 1000)
    await person.join(room, via=via)


async def _arrives(bench: Bench, person: Device, room: str, event: str) -> None:
    end = asyncio.get_running_loop().time() + bench.patience_s
    path = f"/_matrix/client/v3/rooms/{room}/event/{event}"
    while (await person.request("GET", path))[0] != 200:
        if asyncio.get_running_loop().time() > end:
            raise NotTried("the servers do not reach each other: an event did not arrive")
        await asyncio.sleep(0.2)


async def _takes(server: Homeserver) -> None:
    """Raises Unsupported where this server takes no delivery receipts even of its own users."""
    author, reader = await server.people(2)
    room = await author.create_room(reader)
    status, answer = await reader.receipt(room, UNSTABLE, await author.say(room))
    if status != 200:
        raise Unsupported(f"{server.base_url} takes no delivery receipts: {said(status, answer)}")


@point(
    "msc4089.federated-out",
    "The receipt of a user of this server reaches an author on another one.",
    _PROPOSAL,
)
async def _out(bench: Bench) -> str:
    second = bench.other_server()
    await _takes(bench.server)
    this = await _meet(bench, second, bench.server)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, this.event)
    await shown(bench, view, this.event, this.reader.user_id)
    return ""


@point(
    "msc4089.federated-in",
    "The receipt of a user of another server reaches an author on this one.",
    _PROPOSAL,
)
async def _in(bench: Bench) -> str:
    second = bench.other_server()
    await _takes(bench.server)
    try:
        await _takes(second)
    except Unsupported as words:
        raise NotTried(str(words)) from words
    this = await _meet(bench, bench.server, second)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, this.event)
    await shown(bench, view, this.event, this.reader.user_id)
    return ""


@point(
    "msc4089.federated-author-only",
    "On the author's server nobody else is shown a receipt that came from here, whether or not it supports them.",
    _PROPOSAL,
)
async def _author_only(bench: Bench) -> str:
    second = bench.other_server()
    await _takes(bench.server)
    this = await _meet(bench, second, bench.server)
    author, other = await look(this.author, this.room), await look(this.other, this.room)
    status, answer = await this.reader.receipt(this.room, UNSTABLE, this.event)
    if status == 200:
        await shown(bench, author, this.event, this.reader.user_id)
    await passed(bench, other, this.room, this.event, this.reader)
    check(not other.of(*BOTH), "a third member was shown it")
    fresh = await look(await this.other.another(), this.room)
    check(not fresh.of(*BOTH, event=this.event), "a third member's first sync showed it")
    return "" if status == 200 else f"the receipt was refused: {said(status, answer)}"
