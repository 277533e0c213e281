"""Verifications of the window: what a person can do with them, and how the other side is heard.

Secrets live in memory only. A verification that was under way when its window died is cancelled at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from tandem_core.clock import Clock
from tandem_core.crypto import gossip
from tandem_core.crypto.own_identity import IdentityChanged, NoIdentity, NotConfirmed
from tandem_core.crypto.worker import CryptoWorker
from tandem_core.errors import BadInput, Expected
from tandem_core.http import Http
from tandem_core.store import devices
from tandem_core.store import verification as rows
from tandem_core.store.database import Database
from tandem_core.store.verification import Said, Standing
from tandem_core.sync import rooms_api
from tandem_core.types import DeviceId, Me, Role, RoomId, UserId
from tandem_core.verification import machine, messages, qr, steps
from tandem_core.verification.emoji import EMOJI, Emoji
from tandem_core.verification.flow import REQUEST_MS, Act, Event, Flow, NotNow, Phase, Scan
from tandem_core.verification.messages import Code, Place
from tandem_core.verification.sas import Half, OwnHalf

log = logging.getLogger("tandem.verification")


class NoDevice(Expected):
    title = "There is no such device to verify"
    advice = "Sign in with another device first, or use your recovery key."


class NothingToSign(Expected):
    title = "The other side's account has no identity"
    advice = "Have them set one up in their app, then verify again."


@dataclass(frozen=True, slots=True)
class View:
    """A verification as a person may see it. ``id`` stays the same all its life; times in ms."""

    id: str
    room_id: RoomId | None
    peer: UserId
    device_id: DeviceId | None
    we_asked: bool
    asked_at: int
    phase: Phase
    code: str | None
    reason: str
    is_theirs: bool
    """Whether the other side has ended it."""
    emoji: tuple[Emoji, ...]
    decimals: tuple[int, ...]
    shown: qr.Code | None
    """A code for the other side to scan."""
    can_compare: bool
    can_scan: bool
    is_settled: bool
    """It is done, and what it has shown is signed and kept, or cannot be: then ``reason`` says why."""

    @property
    def is_signed(self) -> bool:
        """It has verified what it was to verify, for good."""
        return self.is_settled and not self.reason


class Verifications:
    """All that a person does with verifications. Methods raise NotNow, BadInput and what ``Http.request`` raises."""

    def __init__(
        self,
        db: Database,
        me: Me,
        role: Role,
        http: Http,
        crypto: CryptoWorker,
        *,
        clock: Clock,
        new_id: Callable[[], str] = lambda: f"tandem.{secrets.token_hex(16)}",
        new_secret: Callable[[], bytes] = lambda: secrets.token_bytes(qr.SECRET_BYTES),
        new_half: Callable[[], Half] = OwnHalf,
    ) -> None:
        self._db = db
        self._me = me
        self._role = role
        self._http = http
        self._crypto = crypto
        self._clock = clock
        self._new_id = new_id
        self._new_secret = new_secret
        self._new_half = new_half
        self._live: dict[Place, Flow] = {}
        self._ids: dict[Place, str] = {}
        self._step = asyncio.Lock()
        self._signing = asyncio.Lock()
        self._changing = asyncio.Lock()
        """Held while a verification changes in the store and then in memory: nobody is to see it between the two."""
        self._has_begun = False

    async def flows(self) -> list[View]:
        """Every verification of the last day, the newest first."""
        async with self._changing:
            return [self._view(row) for row in await self._db.read(rows.all_standing)]

    async def request_own(self, device_id: DeviceId | None = None) -> str:
        """Ask one of our other devices, or all of them; returns the verification's id. Raises NoDevice."""
        await self._look_at(self._me.user_id)
        known = await self._db.read(devices.devices_of, [self._me.user_id])
        others = [device.device_id for device in known if device.device_id != self._me.device_id]
        asked = tuple(device for device in others if device_id in (None, device))
        if not asked:
            raise NoDevice(device_id or "")
        async with self._step:
            await self._begin()
            now_ms = self._clock.now_ms()
            flow = Flow(Place(self._new_id()), self._me.user_id, None, True, now_ms, now_ms, asked=asked)
            async with self._changing:
                await self._db.write(steps.ask, self._me, flow)
                return self._hold(flow)

    async def request_person(self, user_id: UserId) -> str:
        """Ask a person, in the direct chat with them, which is made if there is none; returns the id."""
        if user_id == self._me.user_id:
            raise BadInput("this is you", advice="Verify your other devices instead.")
        await self._look_at(user_id)
        room_id = await self._db.read(steps.direct_room, self._role, user_id)
        if room_id is None:
            room_id = await rooms_api.create(self._http, self._db, invite=[user_id], direct=True)
        async with self._step:
            await self._begin()
            now_ms = self._clock.now_ms()
            async with self._changing:
                flow = await self._db.write(steps.ask_in_room, self._me, room_id, user_id, now_ms)
                return self._hold(flow)

    async def accept(self, flow_id: str) -> None:
        """Take part in a verification that the other side asks for."""
        row = await self._row(flow_id)
        await self._get_to_know(row.peer, row.device_id)
        await self._act(flow_id, Act.AGREE)

    async def start_sas(self, flow_id: str) -> None:
        """Compare emoji or numbers."""
        await self._act(flow_id, Act.START_SAS)

    async def confirm(self, flow_id: str) -> None:
        """The person says that the emoji match, or that the other side shows success after the scan."""
        await self._act(flow_id, Act.CONFIRM)

    async def mismatch(self, flow_id: str) -> None:
        """The person says that they do not."""
        await self._act(flow_id, Act.MISMATCH)

    async def cancel(self, flow_id: str) -> None:
        """Decline or stop; the other side is told."""
        await self._act(flow_id, Act.CANCEL)

    async def scan(self, flow_id: str, text: str) -> None:
        """Use the text code that the other side shows. Raises qr.BadCode."""
        await self._act(flow_id, Scan(qr.Code.from_text(text)))

    async def work(self) -> float | None:
        """Hear what was said, mind the time, sign what was verified; returns seconds until time is over for one."""
        async with self._step:
            await self._begin()
            await self._name()
            for said in await self._db.read(rows.waiting):
                await self._hear(said)
            for flow in list(self._live.values()):
                if self._clock.now_ms() >= flow.due_at:
                    await self._take(flow, Act.TICK)
            standing = await self._db.read(rows.all_standing)
            if any(steps.is_overdue(row, self._clock.now_ms()) for row in standing):
                await self._db.write(steps.time_out_untouched, self._me, self._clock.now_ms())
        await self._settle()
        return await self._next_due_s()

    # ── Steps ───────────────────────────────────────────────────────────────────────────────────

    async def _act(self, flow_id: str, event: Event) -> None:
        async with self._step:
            await self._begin()
            await self._name()
            row = await self._row(flow_id)
            flow = self._live.get(Place(row.flow, row.room_id))
            if flow is None:
                if row.phase != Phase.ASKED or row.we_asked:
                    raise NotNow("it is over")
                if self._clock.now_ms() - row.asked_at >= REQUEST_MS:
                    raise NotNow("the request is too old")
                flow = steps.flow_of(row)
            await self._take(flow, event)
        await self._settle()

    async def _take(self, flow: Flow, event: Event) -> None:
        async with self._changing:
            step = await self._db.write(steps.act, self._me, flow, event, self._fresh())
            self._hold(step.flow)

    async def _hear(self, said: Said) -> None:
        flow = self._live.get(Place(said.flow, said.room_id))
        if flow is None:
            await self._db.write(steps.pass_by, self._me, said, self._clock.now_ms())
            return
        message = messages.read(messages.Kind(said.kind), said.content)
        if isinstance(message, messages.Ready) and flow.device is None:
            await self._get_to_know(flow.peer, message.device)
        async with self._changing:
            step = await self._db.write(steps.hear, self._me, flow, said, self._fresh())
            self._hold(step.flow)

    async def _begin(self) -> None:
        """Once: end what the last run left behind."""
        if self._has_begun:
            return
        if await self._db.read(rows.all_standing):
            await self._db.write(steps.name_sent, self._me, self._clock.now_ms())
            await self._db.write(steps.give_up_left_over, self._me, self._clock.now_ms())
        self._has_begun = True

    async def _name(self) -> None:
        if not any(place.room_id is not None and not place.flow.startswith("$") for place in self._ids):
            return
        async with self._changing:
            named = await self._db.write(steps.name_sent, self._me, self._clock.now_ms())
            for old, new in named.items():
                flow = self._live.pop(old, None)
                known = self._ids.pop(old, old.flow)
                if isinstance(new, Place):
                    self._ids[new] = known
                    if flow is not None:
                        self._live[new] = replace(flow, place=new)

    async def _settle(self) -> None:
        """Sign what was verified. What cannot be signed here is said, and let be."""
        async with self._signing:
            for row in await self._db.read(rows.all_standing):
                if row.pending is None:
                    continue
                why = ""
                try:
                    await self._sign(row)
                except (NoIdentity, NotConfirmed, IdentityChanged, NothingToSign) as error:
                    log.warning("what was verified cannot be signed: %s", error.title)
                    why = f"{error.title}. {error.advice}"
                await self._db.write(rows.settled, row.room_id, row.flow, why)

    async def _sign(self, row: Standing) -> None:
        assert row.pending is not None
        user, device, ed25519, master = (row.pending[key] for key in ("user", "device", "ed25519", "master"))
        ours = await self._crypto.cross_signing()
        if user != self._me.user_id:
            if master is None:
                raise NothingToSign
            await ours.confirm_person(UserId(user), master)
            return
        if master is not None:
            await ours.confirm_own_identity(master)
        if device is not None:
            try:
                await ours.confirm_own_device(DeviceId(device), ed25519)
            except NotConfirmed:
                if master is None:
                    raise
                # This is the new device of the two: the other one signs us.
        await self._db.write(gossip.ask_for_missing, self._me, self._clock.now_ms())

    async def _get_to_know(self, user_id: UserId, device_id: DeviceId | None) -> None:
        if await self._db.read(steps.key_of, user_id, device_id) is None:
            await self._look_at(user_id)

    async def _look_at(self, user_id: UserId) -> None:
        """Have this person's devices and identity as the server shows them now."""
        keys = await self._crypto.keys()
        await self._db.write(devices.track, [user_id, self._me.user_id])
        await self._db.write(devices.mark_outdated, [user_id])
        await keys.query([user_id, self._me.user_id])

    async def _next_due_s(self) -> float | None:
        standing = await self._db.read(rows.all_standing)
        due = [flow.due_at for flow in self._live.values()]
        due += [
            row.asked_at + REQUEST_MS for row in standing if row.phase == Phase.ASKED and not row.we_asked
        ]
        return None if not due else max(0.0, (min(due) - self._clock.now_ms()) / 1000)

    # ── Parts ───────────────────────────────────────────────────────────────────────────────────

    def _fresh(self) -> steps.Fresh:
        return steps.Fresh(self._clock.now_ms(), self._new_half, self._new_secret())

    def _hold(self, flow: Flow) -> str:
        """Remember a verification that goes on here, forget one that is over."""
        known = self._ids.setdefault(flow.place, flow.place.flow)
        if flow.phase.is_over:
            self._live.pop(flow.place, None)
        else:
            self._live[flow.place] = flow
        return known

    async def _row(self, flow_id: str) -> Standing:
        """The verification with this id; raises BadInput."""
        async with self._changing:
            for row in await self._db.read(rows.all_standing):
                if self._id(row) == flow_id:
                    return row
        raise BadInput("there is no such verification", advice="It may be over.")

    def _id(self, row: Standing) -> str:
        return self._ids.get(Place(row.flow, row.room_id), row.flow)

    def _view(self, row: Standing) -> View:
        flow = self._live.get(Place(row.flow, row.room_id)) or steps.flow_of(row)
        is_late = steps.is_overdue(row, self._clock.now_ms())
        return View(
            self._id(row),
            row.room_id,
            row.peer,
            row.device_id,
            row.we_asked,
            row.asked_at,
            Phase.CANCELLED if is_late else Phase(row.phase),
            Code.TIMEOUT if is_late else row.code,
            row.reason,
            row.is_theirs,
            tuple(EMOJI[number] for number in flow.emoji),
            flow.decimals,
            flow.shown if flow.phase is Phase.READY else None,
            machine.can_compare(flow),
            machine.can_scan(flow),
            row.phase == Phase.DONE and row.pending is None,
        )
