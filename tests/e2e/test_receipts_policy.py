"""Who is told what: the defaults, the person's choices, and the servers that must hear nothing."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tandem_demo.device import Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tandem_demo.traffic import Pen
from tandem_demo.world import World
from tests.conftest import new_user
from tests.e2e.scene import direct_chat, event_of, listen, requests, signed_in

pytestmark = [pytest.mark.synapse, pytest.mark.slow]

_numbers = itertools.count(1)
_LONGER_THAN_ANY_HOLD_S = 15.0
"""The world's devices are set to confirm within 6 s; the server holds what it merges for 10 s at most."""

_USUAL = {
    "receipts.device_detail": "accepted",
    "receipts.direct": "on",
    "receipts.room": "default",
    "receipts.person": "default",
}
"""As the world is made."""


@contextmanager
def _chosen(world: World, key: str, value: str, *scope: str) -> Iterator[None]:
    """A setting of Bob's on both of his devices, put back afterwards."""
    bobs = (world.phone, world.laptop)
    for device in bobs:
        device.ctl("settings", "set", key, value, *scope)
    try:
        yield
    finally:
        for device in bobs:
            device.ctl("settings", "set", key, _USUAL[key], *scope)


def _told(device: Device, event_id: str) -> list[tuple[Any, ...]]:
    """What the author's device has heard of its message: people, and devices where named."""
    return device.ask("SELECT user_id, device_id FROM delivery WHERE event_id = ?", (event_id,))


def _owed(device: Device, event_id: str) -> list[tuple[Any, ...]]:
    return device.ask("SELECT state, share, reason FROM receipt_owed WHERE event_id = ?", (event_id,))


def _say(world: World, pens: dict[str, Pen], start: str) -> str:
    """Alice writes; returns the event once both of Bob's devices have it in clear."""
    text = f"{start} {secrets.token_hex(4)}"
    pens["alice"].write(world.direct, text)
    event_id = event_of(world.phone, text)
    assert event_of(world.laptop, text) == event_id
    return event_id


def _assert_nobody_tells(world: World, event_id: str, reason: str) -> None:
    """The decision fell with the opening; and nothing leaves after the longest time one is held."""
    refused = [("refused", "user", reason)]
    assert _owed(world.phone, event_id) == _owed(world.laptop, event_id) == refused
    time.sleep(_LONGER_THAN_ANY_HOLD_S)
    assert _owed(world.phone, event_id) == _owed(world.laptop, event_id) == refused
    assert world.phone.ctl("receipts", "--why", event_id)["reason"] == reason
    assert _told(world.alice, event_id) == []


def test_by_default_the_author_learns_of_the_person_and_of_no_device(
    awake: World, pens: dict[str, Pen]
) -> None:
    world = awake
    with _chosen(world, "receipts.device_detail", "verified"):
        event_id = _say(world, pens, "Which device is it")
        for device in (world.phone, world.laptop):
            sent = wait_for(
                f"{device.name}'s receipt",
                lambda device=device: [row for row in _owed(device, event_id) if row[0] == "sent"],
            )
            assert sent == [("sent", "user", None)]
        wait_for("the receipt at Alice", lambda: _told(world.alice, event_id))
    told = world.alice.ctl("receipts", event_id)
    assert (told["people_delivered"], told["devices_delivered"]) == (1, 0)
    assert _told(world.alice, event_id) == [(f"@bob:{world.server.server_name}", "")]


def test_with_receipts_off_the_message_arrives_and_nobody_is_told(awake: World, pens: dict[str, Pen]) -> None:
    world = awake
    with _chosen(world, "receipts.direct", "off"):
        _assert_nobody_tells(world, _say(world, pens, "Keep it to yourself"), "kind_off")


def test_never_for_a_person_beats_on_for_the_room(awake: World, pens: dict[str, Pen]) -> None:
    world = awake
    alice = f"@alice:{world.server.server_name}"
    with (
        _chosen(world, "receipts.room", "on", "--room", world.direct),
        _chosen(world, "receipts.person", "never", "--person", alice),
    ):
        _assert_nobody_tells(world, _say(world, pens, "Not even here"), "person_never")


def _account_data(world: World, kind: str) -> dict[str, Any]:
    """Bob's account data as the server has it."""
    user, token = world.phone.ask("SELECT user_id, access_token FROM session")[0]
    bob = RawClient(world.server.base_url, token, user)
    status, content = bob.request("GET", f"/_matrix/client/v3/user/{quote(user)}/account_data/{kind}")
    return content if status == 200 else {}


def _value(device: Device, key: str, *scope: str) -> object:
    return device.ctl("settings", "get", key, *scope)["value"]


def test_what_one_device_chooses_the_other_ones_notifier_goes_by_with_the_next_message(
    awake: World, pens: dict[str, Pen]
) -> None:
    world = awake
    world.phone.ctl("settings", "set", "receipts.direct", "off")
    wait_for(
        "the choice at the server",
        lambda: _account_data(world, "im.tandem.delivery_settings").get("rules", {}).get("direct") == "off",
    )
    # Sync brings the laptop's notifier the choice before, or with, the message.
    _assert_nobody_tells(world, _say(world, pens, "Off everywhere"), "kind_off")
    assert _value(world.laptop, "receipts.direct") == "off"
    world.phone.ctl("settings", "set", "receipts.direct", "on")
    wait_for("the laptop to hear", lambda: _value(world.laptop, "receipts.direct") == "on")
    event_id = _say(world, pens, "On again")
    wait_for("the receipt at Alice", lambda: _told(world.alice, event_id))


def test_an_exception_of_one_device_holds_on_the_other_and_the_server_learns_no_name(
    awake: World, pens: dict[str, Pen]
) -> None:
    world = awake
    alice = f"@alice:{world.server.server_name}"
    scope = ("--person", alice)
    world.phone.ctl("settings", "set", "receipts.person", "never", *scope)
    wait_for("the laptop to hear", lambda: _value(world.laptop, "receipts.person", *scope) == "never")
    content = _account_data(world, "im.tandem.delivery_exceptions")
    assert set(content) == {"algorithm", "iv", "ciphertext", "mac"}
    assert "alice" not in json.dumps(content)
    _assert_nobody_tells(world, _say(world, pens, "Not to you"), "person_never")
    world.phone.ctl("settings", "set", "receipts.person", "default", *scope)
    wait_for("the laptop to hear", lambda: _value(world.laptop, "receipts.person", *scope) == "default")
    event_id = _say(world, pens, "To you again")
    wait_for("the receipt at Alice", lambda: _told(world.alice, event_id))


def test_a_message_that_cannot_be_decrypted_is_never_confirmed(awake: World) -> None:
    """The same author's readable message is confirmed, which shows that the silence means something."""
    world = awake
    carol = _carol(world)
    bob = f"@bob:{world.server.server_name}"
    sealed_room, plain_room = (
        carol.create_encrypted_room(bob, direct=True),
        carol.create_room(preset="private_chat", invite=[bob]),
    )
    for room in (sealed_room, plain_room):
        wait_for(
            "Carol's invite",
            lambda room=room: world.phone.ask(
                "SELECT 1 FROM room WHERE room_id = ? AND membership = 'invite'", (room,)
            ),
        )
        world.phone.ctl("accept", room)
        world.phone.ctl("settings", "set", "receipts.room", "on", "--room", room)
    garbage = carol.send(
        sealed_room,
        {
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": "AwgAEnACgAkLmt6qF84IK++J7UDH2Za1YVchHyprqTqsg",
            "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ",
            "sender_key": "RF3s+E7RkTQTGF2d8Deol0FkQvgII2aJDf3/Jp5mxVU",
            "device_id": carol.device_id,
        },
        "m.room.encrypted",
    )
    readable = carol.say(plain_room, "In clear")
    wait_for(
        "the receipt for the readable one", lambda: "sent" in {row[0] for row in _owed(world.phone, readable)}
    )
    wait_for("it at Carol", lambda: readable in _confirmed(carol))
    seals = world.phone.ask("SELECT seal FROM event WHERE event_id = ?", (garbage,))
    assert seals in ([("sealed",)], [("refused",)])
    time.sleep(_LONGER_THAN_ANY_HOLD_S)
    assert _owed(world.phone, garbage) == []
    assert garbage not in _confirmed(carol)


def _carol(world: World) -> RawClient:
    localpart, password = new_user(world.server, "carol")
    return RawClient(world.server.base_url).login(localpart, password)


def _confirmed(author: RawClient) -> set[str]:
    """The events for which an author's plain sync brings a delivery receipt."""
    # Synapse answers the same first sync of the same device for two minutes as it did before.
    joined = author.sync_v2(timeout_ms=next(_numbers))["rooms"]["join"]
    return {
        event_id
        for room in joined.values()
        for event in room["ephemeral"]["events"]
        if event["type"] == "m.receipt"
        for event_id, kinds in event["content"].items()
        if any("delivery" in kind for kind in kinds)
    }


@pytest.fixture
def listening_stock(tmp_path: Path) -> Iterator[SynapseServer]:
    """A Synapse without our module that writes down every request."""
    server = SynapseServer.create(tmp_path / "stock", with_module=False)
    listen(server)
    with server.running():
        yield server


def test_a_stock_server_is_sent_no_receipt_and_the_reason_is_kept(
    listening_stock: SynapseServer, tmp_path: Path
) -> None:
    server = listening_stock
    author, reader = (signed_in(server, tmp_path, name) for name in ("author", "reader"))
    # Else the reader would confirm inside the encryption (test_encrypted_way.py).
    author.ctl("settings", "set", "receipts.ask_direct", "false")
    try:
        reader.ctl("settings", "set", "receipts.timing", "quick")
        for device in (author, reader):
            device.start_notifier()
        room = direct_chat(author, reader)
        text = f"To nobody else {secrets.token_hex(4)}"
        with ExitStack() as stack:
            Pen(author, stack).write(room, text)
            event_id = event_of(reader, text)
        dropped = wait_for(
            "the decision", lambda: [row for row in _owed(reader, event_id) if row[0] != "owed"]
        )
        assert [(row[0], row[2]) for row in dropped] == [("dropped", "no_way")]
        assert _told(author, event_id) == []
    finally:
        for device in (author, reader):
            device.stop_all()
    server.stop()
    asked = requests(server)
    assert any(f"/rooms/{room}/send/" in line for line in asked), "the server writes requests down"
    # What the user chose lies in the account data, which says nothing of any message.
    assert [line for line in asked if "delivery" in line and "/account_data/" not in line] == []
