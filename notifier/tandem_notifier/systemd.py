"""Tell systemd how this service is (sd_notify(3), sd_watchdog_enabled(3)); does nothing elsewhere."""

from __future__ import annotations

import asyncio
import os
import socket


def notify(state: str) -> bool:
    """Send ``READY=1``, ``STOPPING=1``, ``WATCHDOG=1`` or ``STATUS=...``; False when nobody asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.send(state.encode())
    except OSError:
        return False
    return True


def watchdog_period_s() -> float | None:
    """How often systemd wants to hear that we live, halved; None if it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        period_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return period_us / 2_000_000 if period_us > 0 else None


async def feed_watchdog() -> None:
    """Say that the event loop turns, as long as it does; ends at once where nobody asks."""
    period_s = watchdog_period_s()
    while period_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s)
