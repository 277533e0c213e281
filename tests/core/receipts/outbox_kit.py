"""Alice's outbox: her real store, either program's judge and outbox, and a server that takes receipts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tandem_core import setting_list, settings
from tandem_core.clock import SystemClock
from tandem_core.http import Http
from tandem_core.judge import judge
from tandem_core.paths import ProfilePaths
from tandem_core.receipts.outbox import ReceiptOutbox
from tandem_core.receipts.transports import Transport
from tandem_core.types import Json, Role
from tests.core.receipts.conftest import BOB, ME, Account

UNSTABLE = "org.matrix.msc4089.delivery"
FEATURES = {"org.matrix.simplified_msc3575": True, "org.matrix.msc4089": True, "im.tandem.delivery.v1": True}
LONGER_THAN_A_HOLD_MS = 60_000


class Server(Http):
    """Stands where the homeserver is: takes receipts, or answers with the next of ``troubles``."""

    def __init__(self, features: dict[str, bool] | None = None) -> None:
        super().__init__("http://127.0.0.1:1", token="token")
        self.features = FEATURES if features is None else features
        self.posted: list[tuple[str, Json | None]] = []
        self.asked_versions = 0
        self.troubles: list[Exception | None] = []
        """What the next requests are answered with; None: taken."""

    async def request(self, method: str, path: str, body: Json | None = None, **_: Any) -> Json:
        if path.endswith("/versions"):
            self.asked_versions += 1
            return {"versions": ["v1.11"], "unstable_features": self.features}
        if self.troubles and (trouble := self.troubles.pop(0)) is not None:
            raise trouble
        self.posted.append((path, body))
        return {}


class Clock(SystemClock):
    def __init__(self, account: Account) -> None:
        self._account = account

    def now_ms(self) -> int:
        return self._account.now


class Rig:
    """Alice's store, a server, and either program's outbox."""

    def __init__(self, account: Account, folder: Path, server: Server) -> None:
        self.account = account
        self.server = server
        self.paths = ProfilePaths("default", folder, folder / "run", folder / "log")

    def judge(self, event: Any, role: Role = Role.APP) -> None:
        self.account.write(judge, ME, role, event, now_ms=self.account.now, chance=random.Random(1))

    def step(self, role: Role = Role.APP, others: Sequence[Transport] = ()) -> float | None:
        outbox = ReceiptOutbox(
            self.paths,
            self.account.db,
            self.server,
            ME,
            role,
            clock=Clock(self.account),
            chance=random.Random(1),
            others=others,
        )
        return asyncio.run(outbox.step())

    def owed(self) -> list[tuple[Any, ...]]:
        """What is owed or was: refusals are in ``refused``."""
        return self.account.rows(
            "SELECT event_id, state, share, reason FROM receipt_owed WHERE state <> 'refused' ORDER BY event_id"
        )

    def refused(self) -> list[tuple[Any, ...]]:
        return self.account.rows(
            "SELECT event_id, reason FROM receipt_owed WHERE state = 'refused' ORDER BY event_id"
        )

    def choose(self, key: str, value: setting_list.Value, **target: Any) -> None:
        self.account.write(settings.set_value, key, value, now_ms=self.account.now, **target)


def owe_one(rig: Rig, **content: Any) -> str:
    event = rig.account.message(BOB, **content)
    rig.judge(event)
    return event.event_id
