"""What commands about the account's own keys work with: identity, key backup and recovery, with a door of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tandem_core.clock import SystemClock
from tandem_core.vault import pickle_key

if TYPE_CHECKING:
    from tandem_core.crypto.backup import Backup
    from tandem_core.crypto.cross_signing import CrossSigning
    from tandem_core.crypto.recovery import Recovery
    from tandem_core.ctl.world import World


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The parts that belong together; ``recovery`` hands what it finds to the other two."""

    here: World
    cross_signing: CrossSigning
    backup: Backup
    recovery: Recovery


@asynccontextmanager
async def opened(here: World) -> AsyncIterator[OwnKeys]:
    """The account's own keys, as long as this lasts."""
    from tandem_core.crypto.backup import Backup
    from tandem_core.crypto.cross_signing import CrossSigning
    from tandem_core.crypto.recovery_steps import recovery_of
    from tandem_core.crypto.state import CryptoState

    key, _ = await asyncio.to_thread(pickle_key, here.paths)
    state = CryptoState(here.db, here.session.me, key)
    async with here.door() as http:
        cross_signing = CrossSigning(here.paths, here.db, http, state, clock=SystemClock())
        backup = Backup(here.paths, here.db, http, state, clock=SystemClock())
        recovery = recovery_of(here.paths, here.db, http, state, cross_signing, backup)
        yield OwnKeys(here, cross_signing, backup, recovery)
