"""The outside observer: what the server accepted against what each device's store ended up with.

It asks the server over raw HTTP (the administrator's message listing shows events as they are stored,
without adding a device to anybody) and reads the stores. It never asks the programs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tandem_demo.device import Device
from tandem_demo.raw import RawClient
from tandem_demo.traffic import Written
from tandem_demo.world import World


@dataclass
class Findings:
    """Sets compared, not logs read: every list should be empty."""

    messages: int = 0
    in_clear: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    repeated_popups: int = 0


def server_events(world: World) -> list[dict[str, Any]]:
    """All message events of the two rooms as the server keeps them, oldest first."""
    client = RawClient(world.server.base_url)
    events: list[dict[str, Any]] = []
    for room in (world.direct, world.group):
        token, found = "", []
        while True:
            query = f"?dir=b&limit=500{f'&from={quote(token)}' if token else ''}"
            path = f"/_synapse/admin/v1/rooms/{quote(room)}/messages{query}"
            status, body = client.request("GET", path, token=world.admin_token)
            if status != 200:
                raise RuntimeError(f"the server refused the observer: {status}")
            found += body["chunk"]
            token = body.get("end", "")
            if not token or not body["chunk"]:
                break
        events += reversed(found)
    return [event for event in events if event["type"] in ("m.room.encrypted", "m.room.message")]


def compare(world: World, ledger: list[Written]) -> Findings:
    """Hold the ledger, the server and every view of every device against each other."""
    findings = Findings(messages=len(ledger))
    events = server_events(world)
    findings.in_clear = [event["event_id"] for event in events if event["type"] != "m.room.encrypted"]
    wanted = {written.body for written in ledger}
    for device, conn in (
        (world.alice, "app"),
        (world.alice, "notifier"),
        (world.phone, "notifier"),
        (world.laptop, "notifier"),
    ):
        seen = Counter(_bodies(device, conn)) & Counter(dict.fromkeys(wanted, 10))
        where = f"{device.name}/{conn}"
        findings.lost += [f"{where}: {body}" for body in sorted(wanted - set(seen))]
        findings.doubled += [f"{where}: {body}" for body, times in seen.items() if times > 1]
    accepted = {event["event_id"] for event in events}
    known = {str(row[0]) for row in world.alice.ask("SELECT event_id FROM event")}
    findings.lost += [f"server has {event_id}, the device does not" for event_id in sorted(accepted - known)]
    shown = Counter(popup["event_id"] for popup in world.alice.popups())
    findings.repeated_popups = sum(times - 1 for times in shown.values())
    return findings


def _bodies(device: Device, conn: str) -> list[str]:
    rows = device.ask(
        "SELECT e.body FROM timeline t JOIN event e USING (event_id)"
        " WHERE t.conn = ? AND e.seal = 'opened' AND e.kind = 'text'",
        (conn,),
    )
    return [str(row[0]) for row in rows]


def result(world: World, findings: Findings, *, notified_while_closed: bool) -> dict[str, Any]:
    """The one JSON line, each value read off the server or a store at this moment."""
    delivered = world.alice.ask(
        "SELECT DISTINCT d.user_id, d.device_id FROM delivery d JOIN event e USING (event_id)"
        " WHERE e.sender = (SELECT user_id FROM session)"
    )
    tokens = dict(world.alice.ask("SELECT conn, since FROM connection"))
    return {
        "encrypted": bool(findings.messages) and not findings.in_clear,
        "people": len({user for user, _ in delivered}),
        "devices": len({(user, device) for user, device in delivered if device}),
        "tokens": {"app": tokens.get("app"), "notifier": tokens.get("notifier")},
        "notified_while_closed": notified_while_closed,
        "lost": len(findings.lost),
        "doubled": len(findings.doubled),
        "messages": findings.messages,
        "repeated_popups": findings.repeated_popups,
    }
