"""The window's worker that keeps verifications going."""

from __future__ import annotations

from typing import ClassVar

from tandem_core.clock import Chance
from tandem_core.types import Topic
from tandem_core.verification.verifications import Verifications
from tandem_core.worker import Worker


class VerificationWorker(Worker):
    """Hears what was said, minds the time, signs what was verified."""

    name: ClassVar[str] = "verification"
    wants: ClassVar[frozenset[Topic]] = frozenset({Topic.VERIFICATION, Topic.OUTBOX})

    def __init__(self, verifications: Verifications, *, chance: Chance) -> None:
        super().__init__(chance)
        self._verifications = verifications

    async def step(self) -> float | None:
        return await self._verifications.work()
