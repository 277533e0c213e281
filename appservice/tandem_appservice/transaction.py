"""Read the body of a transaction into records: pure, and total over any JSON object.

Both spellings of what is not stable yet are read (MSC2409, MSC3202, MSC3682, MSC4203). What has a wrong shape
is left out and counted: a homeserver sends a transaction that is refused again and again, for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tandem_core.codec import digest
from tandem_core.sync.response import Reader
from tandem_core.types import Json

_MSC3202 = "org.matrix.msc3202."
_COUNTS = ("device_one_time_keys_count", "device_one_time_key_counts")
_FALLBACK = "device_unused_fallback_key_types"
LOSSLESS = "im.tandem.lossless_to_device"
ACCOUNT_DATA = ("account_data", "org.matrix.msc3682.account_data")
ROOM_ACCOUNT_DATA = "im.tandem.room_account_data"


class NotATransaction(ValueError):
    """The body is no transaction at all."""


@dataclass(frozen=True, slots=True)
class ForDevice:
    """One to-device event and whom it is for."""

    user_id: str
    device_id: str
    event: Json


@dataclass(frozen=True, slots=True)
class Transaction:
    """Everything one transaction says.

    ``keys``: (user, device) to what sync's ``e2ee`` block would say of key counts. ``is_lossless``: this server
    repeats to-device events until they are taken. ``malformed`` counts the pieces that made no sense.
    """

    txn_id: str
    digest: str
    events: tuple[Json, ...] = ()
    receipts: tuple[tuple[str, Json], ...] = ()
    to_device: tuple[ForDevice, ...] = ()
    keys: tuple[tuple[str, str, Json], ...] = ()
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    account_data: tuple[tuple[str, tuple[Json, ...]], ...] = ()
    room_account_data: tuple[tuple[str, str, tuple[Json, ...]], ...] = ()
    is_lossless: bool = False
    tells_account_data: bool = False
    malformed: int = 0


def read(txn_id: str, body: Any) -> Transaction:
    """Read it; raises NotATransaction if it is no object or has no list where its events belong."""
    if not isinstance(body, dict):
        raise NotATransaction("the body is no object")
    if not isinstance(body.get("events", []), list):
        raise NotATransaction("events is no list")
    reader = _Reader()
    lists = reader.object(_either(body, "device_lists", _MSC3202 + "device_lists"))
    return Transaction(
        txn_id=txn_id,
        digest=digest(body),
        events=tuple(reader.room_events(body.get("events"))),
        receipts=tuple(
            reader.receipts(
                _merged(body.get("ephemeral"), body.get("de.sorunome.msc2409.ephemeral")),
            )
        ),
        to_device=tuple(
            reader.for_devices(_merged(body.get("to_device"), body.get("de.sorunome.msc2409.to_device")))
        ),
        keys=tuple(reader.keys(body)),
        changed=tuple(reader.texts(lists.get("changed"))),
        left=tuple(reader.texts(lists.get("left"))),
        account_data=tuple(reader.account_data(_either(body, *ACCOUNT_DATA))),
        room_account_data=tuple(reader.room_account_data(body.get(ROOM_ACCOUNT_DATA))),
        is_lossless=body.get(LOSSLESS) is True,
        tells_account_data=any(key in body for key in ACCOUNT_DATA),
        malformed=reader.skipped,
    )


class _Reader(Reader):
    """Sync's reader of shapes, with those of a transaction."""

    def room_events(self, value: Any) -> Iterator[Json]:
        for event in self.events(value, "event_id", "type", "sender", "content", "room_id"):
            if event["room_id"].startswith("!") and isinstance(event.get("state_key", ""), str):
                yield event
            else:
                self.skipped += 1

    def receipts(self, value: Any) -> Iterator[tuple[str, Json]]:
        """Of what is ephemeral only receipts are of use to accounts at which nobody looks."""
        for event in self.events(value, "type", "content"):
            if event["type"] == "m.receipt":
                if isinstance(event.get("room_id"), str):
                    yield event["room_id"], event["content"]
                else:
                    self.skipped += 1

    def for_devices(self, value: Any) -> Iterator[ForDevice]:
        for event in self.events(value, "type", "sender", "to_user_id", "to_device_id"):
            plain = {"type": event["type"], "sender": event["sender"], "content": event.get("content")}
            yield ForDevice(event["to_user_id"], event["to_device_id"], plain)

    def keys(self, body: Json) -> Iterator[tuple[str, str, Json]]:
        counts = self.object(_either(body, *_COUNTS, *(_MSC3202 + name for name in _COUNTS)))
        unused = self.object(_either(body, _FALLBACK, _MSC3202 + _FALLBACK))
        for user_id, devices in counts.items():
            types = unused.get(user_id)
            for device_id, count in self.object(devices).items():
                said = types.get(device_id) if isinstance(types, dict) else None
                yield (
                    user_id,
                    device_id,
                    {
                        "device_one_time_keys_count": self.object(count),
                        # Not said is not used up: a new fallback key would take the place of one that is good.
                        "device_unused_fallback_key_types": ["signed_curve25519"] if said is None else said,
                    },
                )

    def account_data(self, value: Any) -> Iterator[tuple[str, tuple[Json, ...]]]:
        for user_id, said in self.object(value).items():
            if found := self.events(self.object(said).get("events"), "type", "content"):
                yield user_id, found

    def room_account_data(self, value: Any) -> Iterator[tuple[str, str, tuple[Json, ...]]]:
        for user_id, rooms in self.object(value).items():
            for room_id, said in self.object(rooms).items():
                if found := self.events(self.object(said).get("events"), "type", "content"):
                    yield user_id, room_id, found

    def texts(self, value: Any) -> list[str]:
        if value is not None and not isinstance(value, list):
            self.skipped += 1
            return []
        return [item for item in value or () if isinstance(item, str)]


def _either(body: Json, *names: str) -> Any:
    """What the first of these names that is there says."""
    return next((body[name] for name in names if name in body), None)


def _merged(stable: Any, unstable: Any) -> Any:
    """A list that came under two names: usually twice the same, or one of them is missing."""
    if not isinstance(stable, list) or not isinstance(unstable, list):
        return unstable if stable is None else stable
    if stable == unstable:
        return stable
    return stable + [item for item in unstable if item not in stable]
