"""To-device messages in sliding sync: MSC3885, and MSC4538 which supersedes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from .bench import Bench
from .matrix import STABLE_SLIDING_SYNC, Device, Json, said
from .points import Broken, NotTried, Table, Unsupported, check
from .sliding import Connection, endpoints

TO_DEVICE = Table("To-device messages in sliding sync (MSC3885, MSC4538)")
point = TO_DEVICE.point

KIND = "org.example.conformance"
_LONG_POLL_MS = 60_000


async def _pair(bench: Bench, messages: int = 0) -> tuple[Device, Device, Connection]:
    """A sender, a reader with a fresh connection, and so many messages in the reader's queue."""
    sender, reader = await bench.people(2)
    connection = await Connection.open(reader)
    for number in range(messages):
        await sender.tell(reader, KIND, {"number": number})
    return sender, reader, connection


async def _section(connection: Connection, **config: object) -> Json:
    answer = await connection.answer({"enabled": True, **config})
    section = connection.section(answer)
    if section is None:
        raise Unsupported("an enabled extension brings no to_device section though messages wait")
    return section


def _numbers(section: Json | None) -> list[int]:
    events = (section or {}).get("events", [])
    return [event["content"]["number"] for event in events if event.get("type") == KIND]


@point(
    "msc4538.announced",
    "/versions announces the extension.",
    "MSC4538, Unstable prefix",
)
async def _announced(bench: Bench) -> str:
    names = [
        name
        for name in ("org.matrix.msc4538", "org.matrix.msc4538.stable")
        if (await bench.server.features()).get(name)
    ]
    check(bool(names), "neither org.matrix.msc4538 nor org.matrix.msc4538.stable is in unstable_features")
    return ", ".join(names)


@point(
    "msc3885.section",
    "With enabled: true the answer has next_batch and the events that wait.",
    "MSC3885, Proposal; MSC4538, Extension response",
)
async def _section_comes(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 1)
    section = await _section(connection)
    check(isinstance(section.get("next_batch"), str), "next_batch is missing or no string")
    check(_numbers(section) == [0], "the message that waits is not among the events")
    return ""


@point(
    "msc3885.next-batch-always",
    "next_batch is there even if there is nothing new.",
    "MSC3885, Proposal (MSC4538, Extension response lets the section be left out)",
)
async def _next_batch_always(bench: Bench) -> str:
    _, _, connection = await _pair(bench)
    section = connection.section(await connection.answer({"enabled": True}))
    check(section is not None and isinstance(section.get("next_batch"), str), "no next_batch without events")
    return ""


@point(
    "msc4538.only-if-enabled",
    "Without enabled: true nothing of the extension is processed.",
    "MSC4508, Common extension semantics",
)
async def _only_if_enabled(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 1)
    for config in (None, {}, {"enabled": False}):
        answer = await connection.answer(config)
        check(connection.section(answer) is None, f"a section came for the config {config}")
        connection.reset()
    return ""


@point(
    "msc4538.event-format",
    "An event has type, sender and content, as in /v3/sync.",
    "MSC4538, Extension response",
)
async def _event_format(bench: Bench) -> str:
    sender, _, connection = await _pair(bench, 1)
    events = (await _section(connection))["events"]
    right = {"type": KIND, "sender": sender.user_id, "content": {"number": 0}}
    check(right in [{key: event.get(key) for key in right} for event in events], "the event has other fields")
    return ""


@point(
    "msc4538.order",
    "Messages of one device come in the order in which it sent them.",
    "MSC4538, Semantics",
)
async def _order(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 12)
    found: list[int] = []
    config: Json = {"limit": 5}
    for _ in range(12):
        section = await _section(connection, **config)
        found += _numbers(section)
        config["since"] = section["next_batch"]
        if len(found) >= 12:
            break
    check(found == list(range(12)), f"they came as {found}")
    return "12 messages, 5 at a time"


@point(
    "msc4538.limit",
    "There are never more events than limit.",
    "MSC3885, Proposal; MSC4538, Extension request",
)
async def _limit(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 4)
    found = _numbers(await _section(connection, limit=3))
    check(0 < len(found) <= 3, f"limit 3 brought {len(found)} of 4 events")
    check(found == [0, 1, 2][: len(found)], "they are not the oldest ones")
    return f"{len(found)} of 4 with limit 3"


@point(
    "msc4538.rest-at-once",
    "While more wait than limit, the next request is answered without waiting out its long poll.",
    "MSC4538, Semantics and Long-polling",
)
async def _rest_at_once(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 3)
    section = await _section(connection, limit=2)
    first = _numbers(section)
    config = {"enabled": True, "limit": 2, "since": section["next_batch"]}
    answer = await _within(bench, connection.answer(config, timeout_ms=_LONG_POLL_MS))
    second = _numbers(connection.section(answer))
    check(first + second == [0, 1, 2], f"the answers brought {first} and {second}")
    return ""


@point(
    "msc4538.limit-positive",
    "A limit that is not a positive integer is refused with M_INVALID_PARAM.",
    "MSC4538, Extension request",
)
async def _limit_positive(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 1)
    wrong = []
    for limit in (0, -1, "5"):
        status, answer = await connection.ask({"enabled": True, "limit": limit})
        connection.reset()
        if (status, answer.get("errcode")) != (400, "M_INVALID_PARAM"):
            wrong.append(f"{limit!r}: {said(status, answer)}")
    check(not wrong, "; ".join(wrong))
    return ""


@point(
    "msc4538.acknowledged",
    "A since acknowledges what its answer brought: it never comes again, with an older since or with none.",
    "MSC3885, Proposal; MSC4538, Acknowledgement",
)
async def _acknowledged(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 2)
    first = await _section(connection, limit=1)
    second = await _section(connection, since=first["next_batch"])
    check((_numbers(first), _numbers(second)) == ([0], [1]), "they did not come one by one")
    await connection.answer({"enabled": True, "since": second["next_batch"]})
    for config in ({"since": first["next_batch"]}, {}):
        again = connection.section(await connection.answer({"enabled": True, **config}))
        check(_numbers(again) == [], f"acknowledged messages came again with {list(config) or 'no since'}")
    return ""


@point(
    "msc4538.retry",
    "A request repeated with the same since brings the same messages again.",
    "MSC3885, Proposal; MSC4538, Acknowledgement",
)
async def _retry(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench)
    since = (await _section(connection)).get("next_batch")
    await sender.tell(reader, KIND, {"number": 0})
    for _ in range(2):
        pos = connection.pos
        found = _numbers(await _section(connection, since=since))
        check(found == [0], f"the request brought {found}")
        connection.pos = pos
    return ""


@point(
    "msc4538.pos-acknowledges-nothing",
    "Going on with pos alone acknowledges nothing; the token is independent of the connection.",
    "MSC3885, Proposal; MSC4538, Connections",
)
async def _pos(bench: Bench) -> str:
    _, _, connection = await _pair(bench, 1)
    before = _numbers(await _section(connection))
    await connection.answer(None)
    await connection.answer(None)
    after = _numbers(await _section(connection))
    check(before == after == [0], f"before {before}, after going on {after}")
    return ""


@point(
    "msc3885.sticky",
    "enabled and limit are sticky: a later request need not repeat them.",
    "MSC3885, Proposal (MSC4538 and MSC4508 know no sticky parameters)",
)
async def _sticky(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench)
    since = (await _section(connection, limit=1))["next_batch"]
    for number in range(2):
        await sender.tell(reader, KIND, {"number": number})
    answer = await connection.answer({"since": since})
    check(connection.section(answer) is not None, "a request without enabled brought no section")
    found = _numbers(connection.section(answer))
    check(found == [0], f"limit 1 was forgotten: {len(found)} events")
    return ""


@point(
    "msc4538.malformed-since",
    "A since that is no token of the server is refused with M_INVALID_PARAM.",
    "MSC4538, Extension request",
)
async def _malformed_since(bench: Bench) -> str:
    _, _, connection = await _pair(bench)
    status, answer = await connection.ask({"enabled": True, "since": "conformance: no token"})
    check((status, answer.get("errcode")) == (400, "M_INVALID_PARAM"), said(status, answer))
    return ""


@point(
    "msc4538.future-since",
    "A since that the server has not issued yet is refused with M_INVALID_PARAM.",
    "MSC4538, Extension request",
)
async def _future_since(bench: Bench) -> str:
    _, _, connection = await _pair(bench)
    token = (await _section(connection))["next_batch"]
    if not token.isdecimal():
        raise NotTried("this server's tokens are no numbers: the suite cannot make one of the future")
    status, answer = await connection.ask({"enabled": True, "since": str(int(token) + 10**9)})
    check((status, answer.get("errcode")) == (400, "M_INVALID_PARAM"), said(status, answer))
    return ""


@point(
    "msc4538.old-since",
    "A next_batch stays valid after later ones were issued and used.",
    "MSC4538, Extension request",
)
async def _old_since(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench)
    old = since = (await _section(connection))["next_batch"]
    for number in range(3):
        await sender.tell(reader, KIND, {"number": number})
        since = (await _section(connection, since=since))["next_batch"]
    await connection.answer({"enabled": True, "since": since})
    await sender.tell(reader, KIND, {"number": 3})
    status, answer = await connection.ask({"enabled": True, "since": old})
    check(status == 200, said(status, answer))
    found = _numbers(connection.section(answer))
    check(found == [3], f"it brought {found} instead of what is not acknowledged")
    return ""


@point(
    "msc4538.own-queue",
    "Reading and deleting are scoped to the device: another device of the account keeps its own queue.",
    "MSC4538, Semantics and Security considerations",
)
async def _own_queue(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench)
    other = await reader.another()
    elsewhere = await Connection.open(other)
    for device, number in ((reader, 1), (other, 2), (reader, 3)):
        await sender.tell(device, KIND, {"number": number})
    section = await _section(connection)
    check(_numbers(section) == [1, 3], f"the device read {_numbers(section)}")
    await connection.answer({"enabled": True, "since": section["next_batch"]})
    check(_numbers(await _section(elsewhere)) == [2], "the other device's message is gone or changed")
    return ""


@point(
    "msc4538.one-queue-for-all-connections",
    "Connections of one device share the queue: each is shown what waits; what one acknowledges is gone for all.",
    "MSC4538, Connections",
)
async def _connections(bench: Bench) -> str:
    _, reader, first = await _pair(bench, 1)
    second = await Connection.open(reader)
    sections = [await _section(first), await _section(second)]
    check([_numbers(section) for section in sections] == [[0], [0]], "one of them was not shown it")
    await first.answer({"enabled": True, "since": sections[0]["next_batch"]})
    again = second.section(await second.answer({"enabled": True}))
    check(_numbers(again) == [], "it came again on the other connection")
    return ""


@point(
    "msc4538.enabled-later",
    "Enabling the extension on a running connection brings everything after since.",
    "MSC4538, Connections",
)
async def _enabled_later(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench)
    since = (await _section(connection))["next_batch"]
    await connection.answer({"enabled": False})
    await sender.tell(reader, KIND, {"number": 0})
    await connection.answer(None)
    found = _numbers(await _section(connection, since=since))
    check(found == [0], f"it brought {found}")
    return ""


@point(
    "msc4538.new-connection",
    "After a connection is reset, the last next_batch goes on where it was.",
    "MSC4538, Connections",
)
async def _new_connection(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench, 1)
    since = (await _section(connection))["next_batch"]
    await sender.tell(reader, KIND, {"number": 1})
    connection.reset()
    found = _numbers(await _section(connection, since=since))
    check(found == [1], f"it brought {found}")
    return ""


@point(
    "msc4538.long-poll",
    "A message ends the long poll, even if there is nothing else to send.",
    "MSC4538, Long-polling",
)
async def _long_poll(bench: Bench) -> str:
    sender, reader, connection = await _pair(bench)
    since = (await _section(connection))["next_batch"]
    poll = asyncio.create_task(connection.answer({"enabled": True, "since": since}, timeout_ms=_LONG_POLL_MS))
    await asyncio.sleep(0.3)
    await sender.tell(reader, KIND, {"number": 0})
    answer = await _within(bench, poll)
    check(_numbers(connection.section(answer)) == [0], "the long poll ended without the message")
    return ""


@point(
    "msc4538.same-queue-as-sync",
    "/v3/sync reads and acknowledges the same queue.",
    "MSC4538, Acknowledgement",
)
async def _same_queue(bench: Bench) -> str:
    _, reader, connection = await _pair(bench, 1)
    answer = await reader.sync()
    check(_numbers(answer.get("to_device")) == [0], "/v3/sync does not show the message")
    check(_numbers(await _section(connection)) == [0], "/v3/sync deleted it before its token came back")
    await reader.sync(answer["next_batch"])
    again = connection.section(await connection.answer({"enabled": True}))
    check(_numbers(again) == [], "it is there still after /v3/sync acknowledged it")
    return ""


@point(
    "msc4538.stable-endpoint",
    "The stable sliding sync endpoint takes the extension as org.matrix.msc4538.to_device (later: to_device).",
    "MSC4538, Unstable prefix",
)
async def _stable_endpoint(bench: Bench) -> str:
    sender, reader = await bench.people(2)
    if STABLE_SLIDING_SYNC not in await endpoints(bench.server, reader):
        raise Unsupported(f"{STABLE_SLIDING_SYNC} is not there")
    await sender.tell(reader, KIND, {"number": 0})
    connection = await Connection.open(reader, STABLE_SLIDING_SYNC)
    section = connection.section(await connection.answer({"enabled": True}))
    check(_numbers(section) == [0], "the message did not come")
    return ""


async def _within(bench: Bench, answering: Awaitable[Json]) -> Json:
    """The answer, if it comes well before its long poll is over."""
    try:
        return await asyncio.wait_for(answering, min(bench.patience_s, _LONG_POLL_MS / 1000 - 10))
    except TimeoutError:
        raise Broken("the long poll was not ended by a message that waits") from None
