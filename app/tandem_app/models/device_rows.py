"""What a device of the account looks like in the list: words, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tandem_app.models.words import clock_time, moment
from tandem_core.trust import DeviceTrust

if TYPE_CHECKING:
    from tandem_core.own_devices import OwnDevice

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_TRUST = {
    DeviceTrust.VERIFIED: ("verified", "Verified"),
    DeviceTrust.SIGNED_BY_OWNER: ("signed", "Signed by your account"),
    DeviceTrust.UNSIGNED: ("unverified", "Not verified"),
    None: ("none", "No encryption keys known"),
}


def row(
    device: OwnDevice,
    now_ms: int,
    *,
    is_first_other: bool,
    with_address: bool = False,
    has_others: bool = True,
) -> dict[str, Any]:
    """A map for QML: id, name, heading, seen, trust, trustWords, isThis, canVerify, spoken."""
    seen = seen_words(device.last_seen_at, now_ms)
    if with_address:
        seen += f" \N{MIDDLE DOT} {device.last_seen_ip or 'address not known'}"
    if device.name:
        seen += f" \N{MIDDLE DOT} {device.device_id}"
    trust, trust_words = _TRUST[device.trust]
    return {
        "id": device.device_id,
        "name": device.label,
        "heading": "This device" if device.is_this else "Other devices" if is_first_other else "",
        "seen": seen,
        "trust": trust,
        "trustWords": trust_words,
        "isThis": device.is_this,
        "canVerify": device.trust in (DeviceTrust.UNSIGNED, DeviceTrust.SIGNED_BY_OWNER)
        and (has_others or not device.is_this),
        "spoken": f"{device.label}. {trust_words}. {seen}",
    }


def seen_words(at_ms: int | None, now_ms: int) -> str:
    """When a device was last seen. Servers note it every few minutes only, so minutes are not counted below that."""
    if at_ms is None:
        return "Never seen, as far as your server says"
    ago_ms = now_ms - at_ms
    if ago_ms < 5 * _MINUTE_MS:
        return "Last seen just now"
    if ago_ms < _HOUR_MS:
        return f"Last seen {ago_ms // _MINUTE_MS} minutes ago"
    when = moment(at_ms, now_ms)
    return f"Last seen today {when}" if when == clock_time(at_ms) else f"Last seen {when}"
