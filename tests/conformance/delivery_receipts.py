"""Delivery receipts: MSC4089."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from .bench import Bench
from .matrix import Device, Json, said
from .points import Broken, Level, NotTried, Table, Unsupported, check
from .views import SlidingView, SyncView, View, look

RECEIPTS = Table("Delivery receipts (MSC4089)")
point = RECEIPTS.point

STABLE = "m.delivery"
UNSTABLE = "org.matrix.msc4089.delivery"
BOTH = (STABLE, UNSTABLE)
_PROPOSAL = "MSC4089, Proposal"
_CLOCK_MS = 300_000
"""How far the server's clock may be from its own events' times, and how coarse a ts may be."""
_MANY = 20


@dataclass
class Scene:
    """The author has written an event in a room that the reader, and a third person, are in; others are outside."""

    author: Device
    reader: Device
    other: Device
    outside: list[Device]
    room: str
    event: str


async def scene(bench: Bench, *, encrypted: bool = False, outside: int = 0) -> Scene:
    """Raises Unsupported where the server takes no delivery receipts at all."""
    await bench.once("msc4089", _probe)
    author, reader, other, *rest = await bench.people(3 + outside)
    room = await author.create_room(reader, other, encrypted=encrypted)
    event = await author.say(room)
    return Scene(author, reader, other, rest, room, event)


async def _probe(bench: Bench) -> None:
    author, reader = await bench.people(2)
    room = await author.create_room(reader)
    event = await author.say(room)
    refusals = []
    for kind in (UNSTABLE, STABLE):
        status, answer = await reader.receipt(room, kind, event)
        if status == 200:
            return
        refusals.append(f"{kind}: {said(status, answer)}")
    raise Unsupported("the server takes no delivery receipts (" + "; ".join(refusals) + ")")


async def confirm(reader: Device, room: str, event: str, kind: str = UNSTABLE) -> None:
    status, answer = await reader.receipt(room, kind, event)
    check(status == 200, f"a delivery receipt was refused: {said(status, answer)}")


async def shown(bench: Bench, view: View, event: str, user: str) -> Json:
    """The receipt of that user for that event, once it is shown; raises Broken if it does not come."""
    if not await view.until(lambda: bool(view.of(*BOTH, event=event, user=user)), bench.patience_s):
        raise Broken(f"the author was not shown the receipt within {bench.patience_s:g} s")
    receipt = view.of(*BOTH, event=event, user=user)[-1].receipt
    return receipt if isinstance(receipt, dict) else {}


async def passed(bench: Bench, view: View, room: str, event: str, by: Device) -> None:
    """Let this view come past a read receipt that is sent now: what was to come before it has come."""
    status, answer = await by.receipt(room, "m.read", event)
    if status != 200:
        raise NotTried(f"an ordinary read receipt was refused: {said(status, answer)}")
    if not await view.until(lambda: bool(view.of("m.read", event=event, user=by.user_id)), bench.patience_s):
        raise NotTried("an ordinary read receipt did not come either")


@point(
    "msc4089.announced",
    "/versions announces org.matrix.msc4089.",
    "MSC4089, Unstable prefix",
)
async def _announced(bench: Bench) -> str:
    is_announced = bool((await bench.server.features()).get("org.matrix.msc4089"))
    if not is_announced:
        await bench.once("msc4089", _probe)
    check(is_announced, "receipts are taken, but org.matrix.msc4089 is not in unstable_features")
    return ""


@point(
    "msc4089.unstable-type",
    "A server that announces support takes org.matrix.msc4089.delivery.",
    "MSC4089, Unstable prefix",
)
async def _unstable_type(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, this.event, UNSTABLE)
    await shown(bench, view, this.event, this.reader.user_id)
    return f"shown as {view.of(*BOTH)[-1].type}"


@point(
    "msc4089.stable-type",
    "The server takes m.delivery as well.",
    "MSC4089, Unstable prefix",
    Level.RECOMMENDED,
)
async def _stable_type(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, this.event, STABLE)
    await shown(bench, view, this.event, this.reader.user_id)
    return f"shown as {view.of(*BOTH)[-1].type}"


@point(
    "msc4089.sync",
    "The author's /v3/sync shows it as a part of m.receipt: event, type, user, ts.",
    _PROPOSAL,
)
async def _sync(bench: Bench) -> str:
    this = await scene(bench)
    view = await SyncView.begin(this.author)
    await confirm(this.reader, this.room, this.event)
    receipt = await shown(bench, view, this.event, this.reader.user_id)
    check(view.of(*BOTH)[-1].room == this.room, "it stands in another room")
    check(type(receipt.get("ts")) is int, f"ts is no number of milliseconds, but {receipt.get('ts')!r}")
    return ""


@point(
    "msc4089.sliding-sync",
    "The receipts extension of sliding sync shows it as well, as a part of m.receipt.",
    "MSC4089, Proposal; MSC3960",
    Level.RECOMMENDED,
)
async def _sliding_sync(bench: Bench) -> str:
    this = await scene(bench)
    view = await SlidingView.begin(this.author, this.room)
    await confirm(this.reader, this.room, this.event)
    receipt = await shown(bench, view, this.event, this.reader.user_id)
    check(type(receipt.get("ts")) is int, f"ts is no number of milliseconds, but {receipt.get('ts')!r}")
    return ""


@point(
    "msc4089.first-sync",
    "A device that syncs for the first time is shown the receipts of the newest events.",
    "MSC4089, Proposal (as read receipts are)",
    Level.SUGGESTED,
)
async def _first_sync(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, this.event)
    await shown(bench, view, this.event, this.reader.user_id)
    fresh = await look(await this.author.another(), this.room)
    check(bool(fresh.of(*BOTH, event=this.event)), "a new device's first sync does not show it")
    return ""


@point(
    "msc4089.server-ts",
    "ts is implied by the server, whatever the client says.",
    _PROPOSAL,
)
async def _server_ts(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    status, answer = await this.reader.receipt(this.room, UNSTABLE, this.event, {"ts": 1234})
    if status != 200:
        return f"a body with a ts is refused: {said(status, answer)}"
    ts = (await shown(bench, view, this.event, this.reader.user_id)).get("ts", 0)
    found = await this.author.ok("GET", f"/_matrix/client/v3/rooms/{this.room}/event/{this.event}")
    apart = abs(ts - found["origin_server_ts"])
    check(apart <= _CLOCK_MS, f"it is {apart} ms from the time of the event")
    return ""


@point(
    "msc4089.author-only",
    "Nobody but the event's author is shown it: no other member, and not the one who sent it.",
    _PROPOSAL,
)
async def _author_only(bench: Bench) -> str:
    this = await scene(bench)
    author = await look(this.author, this.room)
    views = [await look(this.other, this.room), await look(this.reader, this.room)]
    await confirm(this.reader, this.room, this.event)
    await shown(bench, author, this.event, this.reader.user_id)
    fresh = await look(await this.other.another(), this.room)
    for view in (*views, fresh):
        await passed(bench, view, this.room, this.event, this.author)
        check(not view.of(*BOTH), f"{_who(this, view)} was shown it")
    return "incremental and first syncs of the reader and of a third member"


@point(
    "msc4089.author-only-sliding-sync",
    "Nor does sliding sync show it to anybody but the author.",
    _PROPOSAL,
)
async def _author_only_sliding(bench: Bench) -> str:
    this = await scene(bench)
    author = await SlidingView.begin(this.author, this.room)
    views = [await SlidingView.begin(this.other, this.room), await SlidingView.begin(this.reader, this.room)]
    await confirm(this.reader, this.room, this.event)
    await shown(bench, author, this.event, this.reader.user_id)
    for view in (*views, await SlidingView.begin(this.other, this.room)):
        await passed(bench, view, this.room, this.event, this.author)
        check(not view.of(*BOTH), f"{_who(this, view)} was shown it by sliding sync")
    return "incremental and first syncs of the reader and of a third member"


@point(
    "msc4089.author-devices",
    "Each of the author's devices is shown it.",
    _PROPOSAL,
)
async def _author_devices(bench: Bench) -> str:
    this = await scene(bench)
    views = [await look(this.author, this.room), await look(await this.author.another(), this.room)]
    await confirm(this.reader, this.room, this.event)
    for view in views:
        await shown(bench, view, this.event, this.reader.user_id)
    return "two devices"


@point(
    "msc4089.long-poll",
    "The author's long poll ends when one comes, as with other receipts.",
    _PROPOSAL,
    Level.SUGGESTED,
)
async def _long_poll(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    await view.step(1000)
    poll = asyncio.create_task(view.step(int(bench.patience_s * 1000) + 30_000))
    await asyncio.sleep(0.3)
    await confirm(this.reader, this.room, this.event)
    try:
        await asyncio.wait_for(poll, bench.patience_s)
    except TimeoutError:
        raise Broken("the long poll went on") from None
    await shown(bench, view, this.event, this.reader.user_id)
    return ""


@point(
    "msc4089.singular",
    "A receipt is for one event and no marker 'up to' it: older events stay unconfirmed, and can be confirmed later.",
    _PROPOSAL,
)
async def _singular(bench: Bench) -> str:
    this = await scene(bench)
    newer = await this.author.say(this.room)
    newest = await this.author.say(this.room)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, newest)
    await shown(bench, view, newest, this.reader.user_id)
    check({seen.event for seen in view.of(*BOTH)} == {newest}, "older events were confirmed with it")
    for event in (this.event, newer):
        await confirm(this.reader, this.room, event)
        await shown(bench, view, event, this.reader.user_id)
    return "the newest of three first, then the oldest, then the middle one"


@point(
    "msc4089.read-is-not-delivery",
    "A read receipt does not make a delivery receipt, and both can stand beside each other.",
    _PROPOSAL,
)
async def _read(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    await passed(bench, view, this.room, this.event, this.reader)
    check(not view.of(*BOTH), "a read receipt brought a delivery receipt")
    await confirm(this.reader, this.room, this.event)
    await shown(bench, view, this.event, this.reader.user_id)
    check(bool(view.of("m.read", event=this.event)), "the read receipt is gone")
    return ""


@point(
    "msc4089.encrypted-event",
    "An encrypted event can be confirmed.",
    _PROPOSAL,
)
async def _encrypted(bench: Bench) -> str:
    this = await scene(bench, encrypted=True)
    sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AA", "session_id": "AA"}
    event = await this.author.send(this.room, "m.room.encrypted", sealed)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, event)
    await shown(bench, view, event, this.reader.user_id)
    return ""


@point(
    "msc4089.duplicate",
    "A duplicate is answered with 200.",
    _PROPOSAL,
)
async def _duplicate(bench: Bench) -> str:
    this = await scene(bench)
    for _ in range(3):
        await confirm(this.reader, this.room, this.event)
    return "three times"


@point(
    "msc4089.every-client",
    "Each of the reader's clients may send one for the same event; the second is answered with 200, too.",
    _PROPOSAL,
)
async def _every_client(bench: Bench) -> str:
    this = await scene(bench)
    view = await look(this.author, this.room)
    await confirm(this.reader, this.room, this.event)
    await confirm(await this.reader.another(), this.room, this.event)
    await shown(bench, view, this.event, this.reader.user_id)
    return ""


@point(
    "msc4089.before-join",
    "A receipt for an event from before the reader's join does not reach the author.",
    _PROPOSAL,
    Level.RECOMMENDED,
)
async def _before_join(bench: Bench) -> str:
    this = await scene(bench, outside=1)
    late = this.outside[0]
    await this.author.invite(this.room, late.user_id)
    await late.join(this.room, via=this.author.server_name)
    await _comes_to_nothing(bench, this, late, this.event)
    return ""


@point(
    "msc4089.outsider",
    "Somebody who is not in the room confirms nothing.",
    "MSC4089, Security considerations",
    Level.RECOMMENDED,
)
async def _outsider(bench: Bench) -> str:
    this = await scene(bench, outside=1)
    await _comes_to_nothing(bench, this, this.outside[0], this.event)
    return ""


async def _comes_to_nothing(bench: Bench, this: Scene, person: Device, event: str) -> None:
    view = await look(this.author, this.room)
    status, _ = await person.receipt(this.room, UNSTABLE, event)
    if status == 200:
        # Taken, so it may be on its way: one that is allowed, and sent later, shows when it should have come.
        await confirm(this.reader, this.room, this.event)
        await shown(bench, view, this.event, this.reader.user_id)
    check(not view.of(*BOTH, user=person.user_id), "the author was shown it")


@point(
    "msc4089.bundled",
    "Many receipts are bundled instead of being delivered one by one.",
    "MSC4089, Potential issues",
    Level.RECOMMENDED,
)
async def _bundled(bench: Bench) -> str:
    this = await scene(bench)
    events = [await this.author.say(this.room, f"{number}") for number in range(_MANY)]
    view = await look(this.author, this.room)
    people = (this.reader, this.other)

    def has_all() -> bool:
        return len({(seen.event, seen.user) for seen in view.of(*BOTH)}) == _MANY * len(people)

    watching = asyncio.create_task(view.until(has_all, bench.patience_s))
    for event in events:
        await asyncio.gather(*(confirm(person, this.room, event) for person in people))
    check(await watching, f"only {len(view.of(*BOTH))} of {_MANY * len(people)} came")
    answers = sum(1 for batch in view.batches if any(seen.type in BOTH for seen in batch))
    check(answers <= _MANY * len(people) // 2, f"{_MANY * len(people)} receipts came in {answers} answers")
    return f"{_MANY * len(people)} receipts, sent while the author waits, came in {answers} answers"


def _who(this: Scene, view: View) -> str:
    return "the reader" if view.device.user_id == this.reader.user_id else "a third member"
