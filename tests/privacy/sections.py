"""The goals one after the other: each part measures something, within its share of the time, and returns lines."""

from __future__ import annotations

from collections.abc import Callable

from tests.privacy import of_gate, of_timing
from tests.privacy.run import Run
from tests.privacy.table import Line

SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[Run], list[Line]]]] = {
    "third parties": (("D11", "D12"), of_gate.third_parties),
    "silent probes": (("D1",), of_gate.silent_probes),
    "places and programs": (("D2", "D3", "D4"), of_timing.places_and_programs),
    "active or idle": (("D2",), of_timing.active_or_idle),
    "encrypted way": (("D2",), of_timing.encrypted_way),
    "devices": (("D5",), of_timing.devices),
    "elected device": (("D5",), of_timing.devices_of_the_encrypted_way),
    "days": (("D6", "D7", "D8"), of_gate.days),
    "silent flood": (("D9",), of_gate.silent_flood),
    "misfortunes": (("D10",), of_gate.misfortunes),
    "hostile receipts": (("D13",), of_gate.hostile_receipts),
    "fortnight": (("D4",), of_timing.fortnight),
    "other timings": (("D4",), of_timing.other_timings),
    "real time": (("calibration", "D10"), of_timing.real_time),
}
