"""What the end-to-end tests ask of a world, always of the stores and the server, never of a program's word."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from tandem_core.store.codec import digest
from tandem_demo.device import Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tandem_demo.window import WindowDriver
from tandem_demo.world import World
from tests.conftest import new_user


def signed_in(server: SynapseServer, folder: Path, name: str) -> Device:
    """A fresh account's only device, which confirms as recommended."""
    localpart, password = new_user(server, name)
    device = Device(name, folder / name, headless=True)
    device.home.mkdir(mode=0o700)
    words = ("--homeserver", server.base_url, "--user", localpart, "--password-file", "-")
    device.ctl("login", *words, password=password)
    device.confirm_as_recommended()
    return device


def direct_chat(author: Device, reader: Device) -> str:
    """Two people who run come together in a direct chat; returns the room."""
    reader_id = str(reader.ask("SELECT user_id FROM session")[0][0])
    room = str(author.ctl("create", "--direct", "--invite", reader_id)["room_id"])
    wait_for(
        "the invite",
        lambda: reader.ask("SELECT 1 FROM room WHERE room_id = ? AND membership = 'invite'", (room,)),
    )
    reader.ctl("accept", room)
    return room


def listen(server: SynapseServer) -> None:
    """Have a server that does not run yet write down every request."""
    file = server.folder / "log.json"
    log = json.loads(file.read_text("utf-8"))
    log["loggers"] = {f"synapse.access.http.{server.port}": {"level": "INFO"}}
    file.write_text(json.dumps(log), "utf-8")


def requests(server: SynapseServer) -> list[str]:
    """What a server that listened was asked for, once it has ended; each line with its path in clear."""
    lines = server.log_file.read_text("utf-8").splitlines()
    return [unquote(line) for line in lines if "Processed request" in line]


def start_all(world: World) -> None:
    """Start every notifier that does not run."""
    for device in world.devices:
        if not device.runs("notifier"):
            device.stop("notifier")
            device.start_notifier()


def heard(window: WindowDriver, words: str) -> bool:
    """Whether a screen reader would hear ``words`` somewhere in the window."""
    return any(words in str(name) for name in window.do("names"))


def event_of(device: Device, body: str) -> str:
    """The id of the message with this text, once the device's timeline holds it in clear."""
    rows = wait_for(
        f"a message on {device.name}",
        lambda: device.ask("SELECT event_id FROM event WHERE body = ? AND seal = 'opened'", (body,)),
    )
    assert len(rows) == 1, "the same words came as two events"
    return str(rows[0][0])


def wait_in_view(device: Device, link: str, event_id: str) -> None:
    """Wait until this connection's own view of the room has the event, opened."""
    wait_for(f"the message in {device.name}'s {link} view", partial(in_view, device, link, event_id))


def in_view(device: Device, link: str, event_id: str) -> bool:
    """Whether this connection's own view has the event, opened."""
    rows = device.ask(
        "SELECT 1 FROM timeline JOIN event USING (event_id)"
        " WHERE conn = ? AND event_id = ? AND shown AND seal = 'opened'",
        (link, event_id),
    )
    return bool(rows)


def unread(device: Device, link: str, room_id: str) -> int | None:
    """The unread count that this connection keeps for the room."""
    rows = device.ask("SELECT unread FROM room WHERE conn = ? AND room_id = ?", (link, room_id))
    return int(rows[0][0]) if rows else None


def tokens(device: Device) -> dict[str, str]:
    """Each connection's own to-device token."""
    return dict(device.ask("SELECT conn, since FROM connection WHERE since IS NOT NULL"))


def position_of_server(world: World) -> int:
    """The newest to-device position the server would give to anybody now."""
    warden = RawClient(world.server.base_url, world.admin_token)
    body = {"conn_id": "observer", "extensions": {"to_device": {"enabled": True, "limit": 1}}}
    status, answer = warden.sliding_sync(body)
    assert status == 200
    return int(answer["extensions"]["to_device"]["next_batch"])


def kept_by_server(world: World, device: Device) -> dict[str, int]:
    """The encrypted to-device events that the server still keeps for a device: digest and position.

    Read in the server's own database, since asking it over HTTP with a token would acknowledge them.
    """
    user_id, device_id = device.ask("SELECT user_id, device_id FROM session")[0]
    file = world.server.folder / "homeserver.db"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as conn:
        rows = conn.execute(
            "SELECT stream_id, message_json FROM device_inbox WHERE user_id = ? AND device_id = ?",
            (user_id, device_id),
        ).fetchall()
    events = [(position, json.loads(text)) for position, text in rows]
    return {
        digest([event["type"], event["sender"], event["content"]]): int(position)
        for position, event in events
        if event["type"] == "m.room.encrypted"
    }


def times_shown(device: Device, event_id: str) -> int:
    """How often a notification for the event was put on the screen, its replacements included."""
    return sum(popup.get("event_id") == event_id for popup in device.popups())


def processes_under(folder: Path) -> list[int]:
    """Processes whose arguments or environment name a path in ``folder``; zombies are gone already."""
    mark = os.fsencode(folder)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark in words:
            found.append(int(entry.name))
    return found
