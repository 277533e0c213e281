"""People with windows, and a homeserver in memory."""

from __future__ import annotations

from tests.core.crypto.conftest import clock, make_device, server

__all__ = ["clock", "make_device", "server"]
