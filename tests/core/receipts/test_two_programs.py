"""Both programs work through the same receipts: each is posted once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_core.netlock import netlock
from tandem_core.receipts import outbox, schedule
from tandem_core.types import Role
from tests.core.receipts.conftest import ME, Account
from tests.core.receipts.outbox_kit import LONGER_THAN_A_HOLD_MS, Clock, Rig, Server, owe_one

_WITHIN_S = 30.0


def test_what_both_programs_saw_due_is_posted_once(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.room()
    server = Server()
    rig = Rig(account, tmp_path, server)
    event_id = owe_one(rig)
    account.now += LONGER_THAN_A_HOLD_MS

    async def both() -> None:
        has_seen = asyncio.Barrier(2)

        @asynccontextmanager
        async def once_both_saw_it(*args: Any) -> AsyncIterator[None]:
            await asyncio.wait_for(has_seen.wait(), _WITHIN_S)
            async with netlock(*args):
                account.now += (
                    schedule.SPACING_MS + 1
                )  # so that pacing alone does not hold the second one back
                yield

        monkeypatch.setattr(outbox, "netlock", once_both_saw_it)
        programs = [
            outbox.ReceiptOutbox(
                rig.paths, account.db, server, ME, role, clock=Clock(account), chance=random.Random(1)
            )
            for role in Role
        ]
        await asyncio.gather(*(program.step() for program in programs))

    asyncio.run(both())
    assert len(server.posted) == 1
    assert rig.owed() == [(event_id, "sent", "user", None)]
