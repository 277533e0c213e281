"""Delivery receipts as ``m.receipt`` content, merged into what Synapse has already gathered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tandem_synapse.config import STABLE_TYPE, UNSTABLE_TYPE
from tandem_synapse.store import DeliveryRow

Json = dict[str, Any]
DEVICES_KEY = "im.tandem.devices"


def by_room(rows: Iterable[DeliveryRow], emit_type: str) -> dict[str, Json]:
    """Room id to content: ``{event: {type: {user: {ts, im.tandem.devices: {device: {ts}}}}}}``."""
    rooms: dict[str, Json] = {}
    for row in rows:
        receipt: Json = {"ts": row.ts}
        if row.devices:
            receipt[DEVICES_KEY] = {device: {"ts": ts} for device, ts in row.devices.items()}
        event = rooms.setdefault(row.room_id, {}).setdefault(row.event_id, {})
        event.setdefault(emit_type, {})[row.user_id] = receipt
    return rooms


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Json:
    """Two receipt contents in one; neither argument is changed (Synapse's may be a shared cache entry)."""
    result: Json = {event_id: dict(types) for event_id, types in first.items()}
    for event_id, types in second.items():
        target = result.setdefault(event_id, {})
        for type_, users in types.items():
            target[type_] = {**target.get(type_, {}), **users}
    return result


def without_delivery(content: Mapping[str, Any]) -> Json:
    """A federated ``m.receipt`` EDU's content without delivery receipts: ``{room: {type: ...}}``.

    A stock Synapse would keep them and show them to the whole room (DESIGN law 10).
    """
    return {
        room_id: {type_: users for type_, users in types.items() if type_ not in (STABLE_TYPE, UNSTABLE_TYPE)}
        if isinstance(types, Mapping)
        else types
        for room_id, types in content.items()
    }


def without_strays(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """One of Synapse's own receipt events without delivery receipts; None when nothing else is in it.

    What other servers sent before this module was installed lies in Synapse's table, for everybody to see.
    """
    found = event.get("content", {})
    if all(STABLE_TYPE not in types and UNSTABLE_TYPE not in types for types in found.values()):
        return event
    kept = {event_id: types for event_id, types in without_delivery(found).items() if types}
    return {**event, "content": kept} if kept else None
