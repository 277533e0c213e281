"""The module's settings, as they stand under ``modules:`` in homeserver.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from synapse.module_api.errors import ConfigError

STABLE_TYPE = "m.delivery"
UNSTABLE_TYPE = "org.matrix.msc4089.delivery"

_MOST_SECONDS = 3600.0
_KNOWN = {
    "emit_type",
    "per_second",
    "burst_count",
    "keep_days",
    "hold_seconds",
    "coalesce_seconds",
    "federate",
    "federate_retry_seconds",
    "accept_untested_synapse",
    "to_server_per_second",
    "to_server_burst_count",
    "to_server_waiting",
}


@dataclass(frozen=True, slots=True)
class ModuleConfig:
    """``emit_type``: the receipt type that authors see in sync (MSC4089, "Unstable prefix").

    ``hold_seconds``: the least and the most seconds after an event's arrival at which the receipt of a person with
    several devices is released. The default lies behind the 2 to 8 seconds for which the project's own client waits in
    direct chats, so that all devices have spoken by then. ``coalesce_seconds``: between two releases to one author
    (or one other homeserver). ``federate``: exchange receipts with other homeservers that announce support;
    ``federate_retry_seconds``: the first and the longest pause after one of them did not take what was sent.
    ``accept_untested_synapse`` lets the module run where only its look at Synapse's methods says that it fits.
    ``to_server_*``: of to-device messages to the server (MSC4246), per person or other server; ``waiting`` per type.
    """

    emit_type: str = UNSTABLE_TYPE
    per_second: float = 20.0
    burst_count: int = 200
    keep_days: int = 30
    hold_seconds: tuple[float, float] = (8.0, 10.0)
    coalesce_seconds: float = 2.0
    federate: bool = True
    federate_retry_seconds: tuple[float, float] = (5.0, 3600.0)
    accept_untested_synapse: bool = False
    to_server_per_second: float = 20.0
    to_server_burst_count: int = 200
    to_server_waiting: int = 1000


def parse(raw: dict[str, Any]) -> ModuleConfig:
    """Check the administrator's words; raises ConfigError naming the wrong one."""
    unknown = set(raw) - _KNOWN
    if unknown:
        raise ConfigError(
            f"tandem_synapse: unknown setting {min(map(str, unknown))!r}; known: {', '.join(sorted(_KNOWN))}"
        )
    emit_type = raw.get("emit_type", UNSTABLE_TYPE)
    if emit_type not in (STABLE_TYPE, UNSTABLE_TYPE):
        raise ConfigError(f"tandem_synapse: emit_type must be {STABLE_TYPE} or {UNSTABLE_TYPE}")
    return ModuleConfig(
        emit_type=emit_type,
        per_second=float(_positive(raw, "per_second", 20.0)),
        burst_count=int(_positive(raw, "burst_count", 200)),
        keep_days=int(_positive(raw, "keep_days", 30)),
        hold_seconds=_span(raw, "hold_seconds", (8.0, 10.0)),
        coalesce_seconds=_seconds(raw.get("coalesce_seconds", 2.0), "coalesce_seconds"),
        federate=_yes_or_no(raw, "federate", True),
        federate_retry_seconds=_pauses(raw, "federate_retry_seconds", (5.0, 3600.0)),
        accept_untested_synapse=_yes_or_no(raw, "accept_untested_synapse", False),
        to_server_per_second=float(_positive(raw, "to_server_per_second", 20.0)),
        to_server_burst_count=int(_positive(raw, "to_server_burst_count", 200)),
        to_server_waiting=int(_positive(raw, "to_server_waiting", 1000)),
    )


def _yes_or_no(raw: dict[str, Any], key: str, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"tandem_synapse: {key} must be true or false")
    return value


def _pauses(raw: dict[str, Any], key: str, default: tuple[float, float]) -> tuple[float, float]:
    first, longest = _span(raw, key, default)
    if first < 1:
        raise ConfigError(f"tandem_synapse: the first number of {key} must be 1 or more")
    return first, longest


def _positive(raw: dict[str, Any], key: str, default: float) -> float:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ConfigError(f"tandem_synapse: {key} must be a number above zero")
    return value


def _seconds(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_SECONDS:
        raise ConfigError(
            f"tandem_synapse: {key} must be a number of seconds between 0 and {_MOST_SECONDS:.0f}"
        )
    return float(value)


def _span(raw: dict[str, Any], key: str, default: tuple[float, float]) -> tuple[float, float]:
    value = raw.get(key, default)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(
            f"tandem_synapse: {key} must be a list of two numbers: the least and the most seconds"
        )
    low, high = (_seconds(each, key) for each in value)
    if low > high:
        raise ConfigError(f"tandem_synapse: the first number of {key} must not be above the second")
    return low, high
