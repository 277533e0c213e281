"""To-device messages to and from a server: MSC4246.

What a server does with a message to itself is its own affair. To see one arrive, the suite needs a type that the
server answers by sending the content back, from ``@:server`` and under the same type (``--echo-type``).
"""

from __future__ import annotations

import secrets

from .bench import Bench
from .matrix import CLIENT, Device, Json, said
from .points import Broken, NotTried, Table, Unsupported, check
from .views import SlidingView, SyncView, View

TO_SERVER = Table("To-device messages to and from a server (MSC4246)")
point = TO_SERVER.point
_PROPOSAL = "MSC4246, Proposal"


async def _ready(bench: Bench) -> Device:
    """A signed-in person; raises NotTried without an echo, Unsupported where it stays silent."""
    _echo_type(bench)
    await bench.once("msc4246", _probe)
    return (await bench.people(1))[0]


async def _probe(bench: Bench) -> None:
    person = (await bench.people(1))[0]
    view = await SyncView.begin(person)
    nonce = await _call(bench, person, person.server_name)
    if not await view.until(lambda: bool(_echoes(bench, view, nonce)), bench.patience_s):
        raise Unsupported(f"no echo of {bench.echo_type} came within {bench.patience_s:g} s")


def _echo_type(bench: Bench) -> str:
    if not bench.echo_type:
        raise NotTried("no type is given that the server answers with an echo")
    return bench.echo_type


async def _call(bench: Bench, person: Device, server_name: str, device: str = "", type_: str = "") -> str:
    nonce = secrets.token_hex(8)
    status, answer = await person.send_to_device(
        type_ or _echo_type(bench), {f"@:{server_name}": {device: {"nonce": nonce}}}
    )
    check(status == 200, f"sendToDevice was refused: {said(status, answer)}")
    return nonce


def _echoes(bench: Bench, view: View, nonce: str) -> list[Json]:
    return [
        event
        for event in view.to_device
        if event.get("type") == bench.echo_type and event.get("content", {}).get("nonce") == nonce
    ]


async def _heard(bench: Bench, view: View, nonce: str) -> list[Json]:
    if not await view.until(lambda: bool(_echoes(bench, view, nonce)), bench.patience_s):
        raise Broken(f"nothing came back within {bench.patience_s:g} s")
    return _echoes(bench, view, nonce)


@point(
    "msc4246.accepted",
    "/sendToDevice takes a message to the empty device of the server's own user, @:server.",
    _PROPOSAL,
)
async def _accepted(bench: Bench) -> str:
    person = (await bench.people(1))[0]
    await _call(bench, person, person.server_name, type_="org.example.conformance.unknown")
    return ""


@point(
    "msc4246.wildcard-accepted",
    "/sendToDevice takes the device * for the server.",
    _PROPOSAL,
)
async def _wildcard_accepted(bench: Bench) -> str:
    person = (await bench.people(1))[0]
    await _call(bench, person, person.server_name, "*", "org.example.conformance.unknown")
    return ""


@point(
    "msc4246.delivered",
    "A message to the server reaches the part of it that it is for, at once.",
    "MSC4246, Proposal and Security considerations",
)
async def _delivered(bench: Bench) -> str:
    person = await _ready(bench)
    view = await SyncView.begin(person)
    await _heard(bench, view, await _call(bench, person, person.server_name))
    return ""


@point(
    "msc4246.wildcard",
    "The device * becomes the empty device: the message is handled, and handled once.",
    _PROPOSAL,
)
async def _wildcard(bench: Bench) -> str:
    person = await _ready(bench)
    view = await SyncView.begin(person)
    starred = await _call(bench, person, person.server_name, "*")
    await _heard(bench, view, starred)
    await _heard(bench, view, await _call(bench, person, person.server_name))
    check(
        len(_echoes(bench, view, starred)) == 1, f"it was answered {len(_echoes(bench, view, starred))} times"
    )
    return ""


@point(
    "msc4246.sender-in-sync",
    "A message from the server has the sender @:server in /v3/sync.",
    _PROPOSAL,
)
async def _sender(bench: Bench) -> str:
    person = await _ready(bench)
    view = await SyncView.begin(person)
    nonce = await _call(bench, person, person.server_name)
    _check_sender(bench, (await _heard(bench, view, nonce))[0], person.server_name, nonce)
    return ""


@point(
    "msc4246.sender-in-sliding-sync",
    "A message from the server has the sender @:server in sliding sync.",
    _PROPOSAL,
)
async def _sender_sliding(bench: Bench) -> str:
    person = await _ready(bench)
    view = await SlidingView.begin(person)
    nonce = await _call(bench, person, person.server_name)
    _check_sender(bench, (await _heard(bench, view, nonce))[0], person.server_name, nonce)
    return ""


@point(
    "msc4246.beside-users",
    "One request may carry messages to the server and to users; each gets its own.",
    _PROPOSAL,
)
async def _beside(bench: Bench) -> str:
    person = await _ready(bench)
    other = await person.another()
    view, beside = await SyncView.begin(person), await SyncView.begin(other)
    nonce = secrets.token_hex(8)
    messages = {
        f"@:{person.server_name}": {"": {"nonce": nonce}},
        person.user_id: {other.device_id: {"nonce": nonce}},
    }
    status, answer = await person.send_to_device(bench.echo_type, messages)
    check(status == 200, said(status, answer))
    check(bool(await _heard(bench, view, nonce)), "the server did not answer")
    check(
        await beside.until(
            lambda: any(event["sender"] == person.user_id for event in _echoes(bench, beside, nonce)),
            bench.patience_s,
        ),
        "the user's device did not get its message",
    )
    return ""


@point(
    "msc4246.unknown-dropped",
    "A message of an unknown type is dropped: it is taken, nothing comes of it, and what follows is handled.",
    "MSC4246, Security considerations",
)
async def _unknown(bench: Bench) -> str:
    person = await _ready(bench)
    view = await SyncView.begin(person)
    for device in ("", "*"):
        await _call(bench, person, person.server_name, device, "org.example.conformance.unknown")
    await _heard(bench, view, await _call(bench, person, person.server_name))
    check(len(view.to_device) == 1, "something else came back")
    return ""


@point(
    "msc4246.federated",
    "A message to another server reaches it, and its answer comes from that server's user.",
    _PROPOSAL,
)
async def _federated(bench: Bench) -> str:
    person = await _ready(bench)
    far = (await bench.foreigners(1))[0]
    view = await SyncView.begin(person)
    nonce = await _call(bench, person, far.server_name)
    _check_sender(bench, (await _heard(bench, view, nonce))[0], far.server_name, nonce)
    return ""


@point(
    "msc4246.federated-wildcard",
    "The device * is made the empty device for another server, too.",
    _PROPOSAL,
)
async def _federated_wildcard(bench: Bench) -> str:
    person = await _ready(bench)
    far = (await bench.foreigners(1))[0]
    view = await SyncView.begin(person)
    await _heard(bench, view, await _call(bench, person, far.server_name, "*"))
    return ""


@point(
    "msc4246.federated-in",
    "A message from a user of another server reaches this one, and the answer reaches that user.",
    _PROPOSAL,
)
async def _federated_in(bench: Bench) -> str:
    person = await _ready(bench)
    far = (await bench.foreigners(1))[0]
    view = await SyncView.begin(far)
    nonce = await _call(bench, far, person.server_name)
    _check_sender(bench, (await _heard(bench, view, nonce))[0], person.server_name, nonce)
    return ""


@point(
    "msc4246.reserved",
    "The empty localpart cannot be registered.",
    "MSC4246, Proposal and Potential issues",
)
async def _reserved(bench: Bench) -> str:
    if bench.server.shared_secret:
        status, answer = await bench.server.register("", secrets.token_urlsafe(12))
    else:
        status, answer = await bench.server.request(
            "GET", f"{CLIENT}/register/available", query={"username": ""}
        )
        if answer.get("errcode") in ("M_FORBIDDEN", "M_UNRECOGNIZED"):
            raise NotTried(f"this server lets nobody register: {said(status, answer)}")
    check(
        status != 200, "an account was registered" if bench.server.shared_secret else "it is called available"
    )
    return said(status, answer)


def _check_sender(bench: Bench, event: Json, server_name: str, nonce: str) -> None:
    right = {"sender": f"@:{server_name}", "type": bench.echo_type, "content": {"nonce": nonce}}
    wrong = [key for key, value in right.items() if event.get(key) != value]
    check(not wrong, f"wrong: {', '.join(wrong)}")
