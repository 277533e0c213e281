"""A background loop that survives what it cannot handle, says so, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import ClassVar

from tandem_core.clock import Chance, jittered_backoff_s
from tandem_core.errors import Expected, RateLimited, SignedOut, StoreCorrupt, StoreTooNew
from tandem_core.types import Change, Topic

log = logging.getLogger("tandem.worker")


def pause_after_s(trouble: Exception, failures: int, chance: Chance) -> float:
    """Seconds until a loop that has met trouble tries again: longer each time.

    At least what a server wishes that is asked too often (429), and more: some wish for little and refuse all the same.
    """
    pause = jittered_backoff_s(failures, chance)
    return max(pause, trouble.retry_after_s) if isinstance(trouble, RateLimited) else pause


class Worker:
    """Does what is due in ``step``, then sleeps until something of ``wants`` changes or more falls due.

    A step that fails is repeated after a growing pause. The loop ends with ``SignedOut``, since nothing that talks
    to the server can go on without a session, and with a store that is damaged or of a newer program.
    """

    name: ClassVar[str]
    wants: ClassVar[frozenset[Topic]]

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._woken = asyncio.Event()
        self.on_trouble: Callable[[str, Expected | None], None] | None = None

    async def step(self) -> float | None:
        """Do all that is due now; returns seconds until the next thing falls due, or None."""
        raise NotImplementedError

    def wake(self, changes: Iterable[Change]) -> None:
        """Look again if one of the changes concerns this worker (call on its event loop)."""
        if any(change.topic in self.wants for change in changes):
            self._woken.set()

    def retry(self) -> None:
        """Look again now: what failed may have better luck (call on its event loop)."""
        self._woken.set()

    async def run(self) -> None:
        """Run until cancelled, signed out, or without a store that can be used."""
        failures = 0
        while True:
            self._woken.clear()
            pause: float | None
            try:
                pause = await self.step()
                if failures:
                    self._tell(None)
                failures = 0
            except (SignedOut, StoreCorrupt, StoreTooNew):
                raise
            except RateLimited as limited:
                await asyncio.sleep(limited.retry_after_s)
                continue
            except Expected as trouble:
                pause = jittered_backoff_s(failures, self._chance)
                failures += 1
                log.warning("%s: %s; again in %.1f s", self.name, trouble.title, pause)
                self._tell(trouble)
            except Exception:
                pause = jittered_backoff_s(failures, self._chance)
                failures += 1
                log.exception("%s failed; again in %.1f s", self.name, pause)
            if failures and pause is not None:
                # A step that changes what it wants and then fails must not wake itself in a hot loop.
                await asyncio.sleep(min(pause, 0.25))
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the waking.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def _tell(self, trouble: Expected | None) -> None:
        if self.on_trouble is not None:
            self.on_trouble(self.name, trouble)
