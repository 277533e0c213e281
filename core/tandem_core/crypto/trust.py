"""Whom to trust: the name inside ``crypto`` for ``tandem_core.trust``, which the receipts below use as well."""

from __future__ import annotations

from tandem_core.trust import (
    DeviceTrust,
    EventTrust,
    Notice,
    PersonTrust,
    device,
    devices,
    notices,
    of_device,
    of_event,
    of_person,
    people,
    person,
)

__all__ = [
    "DeviceTrust",
    "EventTrust",
    "Notice",
    "PersonTrust",
    "device",
    "devices",
    "notices",
    "of_device",
    "of_event",
    "of_person",
    "people",
    "person",
]
