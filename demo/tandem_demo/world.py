"""The demo's world: a homeserver, two people, three devices, a direct chat and a group, all encrypted."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tandem_demo.device import Device, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tandem_demo.tell import Teller


@dataclass
class World:
    """Everything that runs; ``alice`` has the window and a notifier, Bob's two devices are headless."""

    server: SynapseServer
    admin_token: str
    alice: Device
    phone: Device
    laptop: Device
    direct: str
    group: str

    @property
    def devices(self) -> tuple[Device, Device, Device]:
        return self.alice, self.phone, self.laptop


@contextmanager
def running_world(folder: Path, tell: Teller, *, headless: bool) -> Iterator[World]:
    """Build the world inside ``folder``; ends all that it started when left, however it is left."""
    tell.step(
        "Starting a Matrix homeserver: Synapse with the Tandem module, on this machine only (about 5 s)"
    )
    server = SynapseServer.create(folder / "synapse", with_module=True)
    devices: list[Device] = []
    try:
        server.start()
        server.wait_ready()
        tell.line(f"Synapse answers at {server.base_url}")
        yield _people(server, folder, devices, tell, headless=headless)
    finally:
        tell.step("Ending everything that was started")
        for device in devices:
            device.stop_all()
        server.stop()


def _people(
    server: SynapseServer, folder: Path, devices: list[Device], tell: Teller, *, headless: bool
) -> World:
    tell.step("Making the accounts @alice and @bob; Bob has two devices (about 10 s)")
    passwords = {name: secrets.token_urlsafe(12) for name in ("alice", "bob", "warden")}
    for name, password in passwords.items():
        server.register(name, password, admin=name == "warden")
    warden = RawClient(server.base_url).login("warden", passwords["warden"])
    for name in ("alice", "bob"):
        user = quote(f"@{name}:{server.server_name}")
        warden.ok("PUT", f"/_synapse/admin/v2/users/{user}", {"displayname": name.capitalize()})
    for account, name, person in (
        ("alice", "alice", "alice"),
        ("bob", "bob-phone", "bob"),
        ("bob", "bob-laptop", "bob"),
    ):
        # Bob's devices have no screen: their notifications always go to a log.
        device = Device(name, folder / name, headless or account == "bob")
        device.home.mkdir(mode=0o700, parents=True)
        devices.append(device)
        device.ctl(
            "login",
            "--homeserver",
            server.base_url,
            "--user",
            person,
            "--password-file",
            "-",
            "--device-name",
            {"alice": "Desktop", "bob-phone": "Phone", "bob-laptop": "Laptop"}[name],
            password=passwords[person],
        )
    alice, phone, laptop = devices
    for device in devices:
        # Asked once per account in a window; here both have answered: as recommended.
        device.confirm_as_recommended()
    tell.line("Signed in: Alice's Desktop, Bob's Phone, Bob's Laptop")
    for device in (alice, phone):
        device.ctl("identity", "set-up")
    recovery_key = phone.ctl("recovery", "set-up")["recovery_key"]
    laptop.ctl("recovery", "unlock", "--key-file", "-", password=recovery_key)
    tell.line("Alice and Bob have an identity each; Bob's Laptop joined his with the Phone's recovery key")
    tell.line(
        'Bob shares device details with "accepted contacts" for this demo, and nobody takes long to confirm:'
    )
    for device in (phone, laptop):
        device.ctl("settings", "set", "receipts.device_detail", "accepted")
    for device in devices:
        device.ctl("settings", "set", "receipts.timing", "quick")
    tell.line(
        "  tandemctl settings set receipts.device_detail accepted    (the default is: verified contacts)"
    )
    tell.line("  tandemctl settings set receipts.timing quick              (the default is: protected)")

    alice.start_notifier()
    phone.start_notifier()
    tell.line("Started: Alice's notifier, Bob's Phone. Bob's Laptop sleeps for now.")
    bob = f"@bob:{server.server_name}"
    direct = alice.ctl("create", "--direct", "--invite", bob)["room_id"]
    group = alice.ctl("create", "--name", "Weekend plans", "--invite", bob)["room_id"]
    for room in (direct, group):
        wait_for("Bob's invite", partial(_is_invited, phone, room))
        phone.ctl("accept", room)
    tell.line("An encrypted direct chat and an encrypted group, both joined by Bob")
    return World(server, warden.token, alice, phone, laptop, direct, group)


def _is_invited(device: Device, room_id: str) -> bool:
    return bool(device.ask("SELECT 1 FROM room WHERE membership = 'invite' AND room_id = ?", (room_id,)))
