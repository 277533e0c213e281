"""Everything that runs for one program: the sync loop, the workers and the doorbell, as one task group."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from tandem_core import capabilities
from tandem_core.clock import Chance, Clock, SystemClock, system_chance
from tandem_core.doorbell import Bell, DoorbellServer, changes_of
from tandem_core.errors import (
    Expected,
    SignedOut,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    TandemError,
)
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.role import is_running
from tandem_core.store import session as sessions
from tandem_core.store.database import Database, Transaction
from tandem_core.store.session import ProgramState, Session, SessionState
from tandem_core.sync.gaps import GapFiller
from tandem_core.sync.history import History
from tandem_core.sync.loop import SyncLoop
from tandem_core.sync.members import OpenRoomMembers
from tandem_core.sync.reads import ReadSender
from tandem_core.sync.turn import SharedTurn
from tandem_core.tokens import renewing_http
from tandem_core.types import Change, Json, Role, RoomId, Topic
from tandem_core.worker import Worker

if TYPE_CHECKING:
    from tandem_core.verification.verifications import Verifications

log = logging.getLogger("tandem.engine")

Listener = Callable[[frozenset[Change]], None]
OnState = Callable[[Expected | None], None]
"""Told when the server stops or starts to be heard of: None, or what is wrong."""

_STUCK_S = 6.0
_WATCH_S = 2.0
_GOODBYE_S = 5.0
_SAY_AGAIN_S = 2.0
STUCK = "waiting for the other half of Tandem, which holds the message store"
HELD = StoreBusy.title
"""The same of a program that is not Tandem."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a person may be told of this program; ``detail`` is a sentence or empty.

    ``advice`` is there where nothing gets better by waiting: the store cannot be written.
    """

    state: ProgramState
    detail: str = ""
    advice: str = ""


class Feed(Protocol):
    """What brings the server's news into the store: the long poll, or an appservice's transactions."""

    def watch_room(self, *room_ids: RoomId) -> None:
        """Follow these rooms closely instead of those before."""
        ...

    async def run(self) -> None:
        """Bring news until cancelled; raises SignedOut."""
        ...


class CapabilityCheck(Worker):
    """Asks the server what it can do, at the start and every hour."""

    name: ClassVar[str] = "capabilities"
    wants: ClassVar[frozenset[Topic]] = frozenset()

    def __init__(self, db: Database, http: Http, *, clock: Clock, chance: Chance) -> None:
        super().__init__(chance)
        self._db = db
        self._http = http
        self._clock = clock

    async def step(self) -> float | None:
        await capabilities.refresh(self._db, self._http, now_ms=self._clock.now_ms())
        return capabilities.RECHECK_S


class Engine:
    """One program's engine. The caller holds the role lock (``role.take_role``) and owns ``db``.

    ``run`` lives until it is cancelled, or raises SignedOut, StoreCorrupt, or StoreTooNew when a newer program
    has changed the store meanwhile: this one has written nothing since. ``on_message`` is called on the engine's loop
    with every doorbell message that is no ring (focus, open). ``feed`` makes what brings news in place of a long poll.
    """

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        session: Session,
        role: Role,
        *,
        clock: Clock | None = None,
        chance: Chance | None = None,
        http: Http | None = None,
        on_message: Callable[[Json], None] | None = None,
        feed: Callable[[OnState], Feed] | None = None,
    ) -> None:
        self.paths = paths
        self.db = db
        self.session = session
        self.me = session.me
        self.role = role
        self.clock = clock or SystemClock()
        self.chance = chance or system_chance()
        self.http = http or renewing_http(paths, db, session, chance=self.chance, clock=self.clock)
        self.on_message = on_message
        self.status = Status(ProgramState.STARTING)
        self.history = History(db, self.http, self.me, role, clock=self.clock, chance=self.chance)
        self.doorbell = DoorbellServer(paths.socket(role), self._on_message)
        self._bell = Bell(paths.socket(role.other))
        self._listeners: list[Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session_changed = asyncio.Event()
        self._status_changed = asyncio.Event()
        self._turn: SharedTurn | None = None
        self._feed: Feed = self._make_sync() if feed is None else feed(self._on_sync_state)
        self._open_room = OpenRoomMembers(db, self.http, role, chance=self.chance)
        self.verifications: Verifications | None = None
        """Of the window only."""
        self._workers = self._make_workers()

    def listen(self, listener: Listener) -> None:
        """Call ``listener(changes)`` on the engine's loop for every change, ours or the other program's."""
        self._listeners.append(listener)

    def watch_room(self, room_id: RoomId | None) -> None:
        """Follow this room closely (the open one), or none. Call it on the engine's loop."""
        self._feed.watch_room(*([] if room_id is None else [room_id]))
        self._open_room.open_room(room_id)

    def wake(self, changes: Iterable[Change]) -> None:
        """Tell workers and listeners of changes made elsewhere. Call it on the engine's loop."""
        self._tell(frozenset(changes))

    async def run(self) -> None:
        """Run until cancelled; raises SignedOut when the session ends, StoreCorrupt or StoreTooNew with the store."""
        self._loop = asyncio.get_running_loop()
        self.db.listen(self._on_commit)
        final = Status(ProgramState.STOPPED)
        try:
            await self._say_first()
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.run(), name=worker.name)
                if self._turn is not None:
                    group.create_task(self._turn.run(), name="turn")
                group.create_task(self._feed.run(), name="feed")
                group.create_task(self.doorbell.run(), name="doorbell")
                group.create_task(self._keep_status(), name="status")
                group.create_task(self._watch_session(), name="session")
                group.create_task(self._watch_store(), name="watchdog")
        except* (StoreCorrupt, StoreTooNew) as unusable:
            trouble = _first(unusable)
            log.error("%s", trouble)
            raise trouble from None
        except* SignedOut as signed_out:
            error = _first(signed_out)
            assert isinstance(error, SignedOut)
            final = Status(ProgramState.SIGNED_OUT, error.title)
            await self._note_signed_out(error)
            raise error from None
        finally:
            self.db.unlisten(self._on_commit)
            await self._close(final)

    async def _say_first(self) -> None:
        """Say that we start; the other program may hold the store already."""
        watchdog = asyncio.create_task(self._watch_store(), name="watchdog")
        try:
            await self._say(self.status)
        except (StoreCorrupt, StoreTooNew):
            raise
        except StoreError as trouble:
            log.warning("%s", trouble.title)
            self._status_changed.set()
        finally:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)

    async def _close(self, final: Status) -> None:
        """Say goodbye; the store may be locked by somebody else, which must not keep us."""
        self.status = final
        try:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._say(final)
            self._bell.ring([Change(Topic.STATUS)])
        finally:  # also when somebody loses patience meanwhile
            self._bell.close()
            await self.http.close(for_good=True)

    def _make_sync(self) -> SyncLoop:
        """The long poll, in turns with the other program's."""
        paths, role = self.paths, self.role
        self._turn = SharedTurn(paths, clock=self.clock, other_runs=lambda: is_running(paths, role.other))
        return SyncLoop(
            self.db,
            self.http,
            self.me,
            role,
            clock=self.clock,
            chance=self.chance,
            on_state=self._on_sync_state,
            turn=self._turn,
        )

    def _make_workers(self) -> list[Worker]:
        # vodozemac and the vault are no business of a program that only asks whether another one runs.
        from tandem_core.crypto.backup_worker import BackupWorker
        from tandem_core.crypto.exceptions_box import ExceptionsBox
        from tandem_core.crypto.failed_reports import FailedReports
        from tandem_core.crypto.gossip import GossipWorker
        from tandem_core.crypto.key_requests import KeyRequests
        from tandem_core.crypto.letters import OlmLetters
        from tandem_core.crypto.worker import CryptoWorker, LocalOpener
        from tandem_core.encryption import Encryption
        from tandem_core.receipts.encrypted import EncryptedTransport
        from tandem_core.receipts.outbox import ReceiptOutbox
        from tandem_core.receipts.own import OwnDevices
        from tandem_core.receipts.shared_settings import SharedSettings
        from tandem_core.sending import Sender

        paths, db, http, me, role = self.paths, self.db, self.http, self.me, self.role
        clock, chance = self.clock, self.chance
        opener = LocalOpener(paths, db, me, role, clock=clock, chance=chance)
        crypto = CryptoWorker(paths, db, http, opener, clock=clock, chance=chance, follows_sync=True)
        self._on_synced = crypto.note_synced
        self.encryption = Encryption(paths, db, crypto)
        box = ExceptionsBox(db, opener)
        letters = OlmLetters(paths, db, http, opener, crypto)
        encrypted = EncryptedTransport(db, me, letters, clock=clock, chance=chance)
        answering: list[Worker] = []
        if role is Role.APP:
            # Only the window answers: a person has to look.
            from tandem_core.verification.verifications import Verifications
            from tandem_core.verification.worker import VerificationWorker

            self.verifications = Verifications(db, me, role, http, crypto, clock=clock)
            answering.append(VerificationWorker(self.verifications, chance=chance))
        return [
            *answering,
            opener,
            crypto,
            GossipWorker(paths, db, http, me, opener, crypto, clock=clock, chance=chance),
            Sender(paths, db, http, me, role, opener, crypto, clock=clock, chance=chance),
            ReceiptOutbox(paths, db, http, me, role, clock=clock, chance=chance, others=[encrypted]),
            OwnDevices(paths, db, me, letters, clock=clock, chance=chance),
            # A hosted account has a person elsewhere, whose settings are not written for them.
            SharedSettings(
                paths, db, http, me, box, writes=self._turn is not None, clock=clock, chance=chance
            ),
            FailedReports(paths, db, me, role, letters, clock=clock, chance=chance),
            KeyRequests(paths, db, http, me, opener, crypto, clock=clock, chance=chance),
            BackupWorker(paths, db, http, opener, clock=clock, chance=chance),
            GapFiller(db, http, me, role, clock=clock, chance=chance),
            ReadSender(paths, db, http, chance=chance),
            self._open_room,
            CapabilityCheck(db, http, clock=clock, chance=chance),
        ]

    def _on_commit(self, changes: frozenset[Change]) -> None:
        """After a commit of ours, in the writer's thread."""
        self._bell.ring(changes)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._tell, changes)

    def _on_message(self, message: Json) -> None:
        """The doorbell rang, on our loop."""
        if message.get("kind") == "ring":
            self._tell(changes_of(message))
        elif self.on_message is not None:
            self.on_message(message)

    def _tell(self, changes: frozenset[Change]) -> None:
        if any(change.topic is Topic.SESSION for change in changes):
            self._session_changed.set()
        for worker in self._workers:
            worker.wake(changes)
        for listener in self._listeners:
            listener(changes)

    def _on_sync_state(self, trouble: Expected | None) -> None:
        if trouble is None:
            self._on_synced()
            if self.status.state is ProgramState.OFFLINE:
                for worker in self._workers:
                    worker.retry()
            self._set_status(Status(ProgramState.SYNCING))
        else:
            advice = trouble.advice if isinstance(trouble, StoreError) else ""
            self._set_status(Status(ProgramState.OFFLINE, trouble.title, advice))

    def _set_status(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._status_changed.set()
            self._tell(frozenset({Change(Topic.STATUS)}))

    async def _keep_status(self) -> None:
        """Write what we say of ourselves to our row, after the fact and never in anybody's way."""
        while True:
            await self._status_changed.wait()
            self._status_changed.clear()
            try:
                await self._say(self.status)
            except StoreError:
                await asyncio.sleep(_SAY_AGAIN_S)
                self._status_changed.set()

    async def _watch_session(self) -> None:
        """End when the other program or tandemctl has signed this device out."""
        while True:
            await self._session_changed.wait()
            self._session_changed.clear()
            session = await self.db.read(sessions.session)
            if session is None or session.me != self.me or session.state is not SessionState.SIGNED_IN:
                raise SignedOut(soft=session is not None and session.state is SessionState.SOFT_LOGGED_OUT)
            self.http.token = session.access_token

    async def _watch_store(self) -> None:
        """Say so when somebody holds the store for long; it cannot be written into the store then.

        Ends with the store's own error once nothing can be done with it any more.
        """
        while True:
            await asyncio.sleep(_WATCH_S)
            if self.db.unusable is not None:
                raise self.db.unusable
            words = self._held_by()
            if words and self.status.detail != words:
                log.warning("%s", words)
                self._set_status(replace(self.status, detail=words, advice=""))
            elif not words and self._is_said_to_wait():
                self._set_status(replace(self.status, detail=""))

    def _is_said_to_wait(self) -> bool:
        """Whether our status says so still; one that the sync loop has set is its own to take back."""
        is_loops = self.status.state is ProgramState.OFFLINE
        return self.status.detail == STUCK or (self.status.detail == HELD and not is_loops)

    def _held_by(self) -> str:
        """Who holds the store, if a transaction of ours has waited for long."""
        for words, since in ((STUCK, self.db.turnstile.waiting_since), (HELD, self.db.foreign_since)):
            if since is not None and time.monotonic() - since > _STUCK_S:
                return words
        return ""

    async def _say(self, status: Status) -> None:
        await self.db.write(
            sessions.note_program, self.role, status.state, status.detail, self.clock.now_ms()
        )

    async def _note_signed_out(self, error: SignedOut) -> None:
        """Keep it for both programs, unless the session was renewed meanwhile."""

        def note(txn: Transaction) -> None:
            sessions.mark_signed_out(txn, error.soft, self.http.token)

        with contextlib.suppress(StoreError):
            await self.db.write(note)


def _first(group: BaseExceptionGroup[TandemError]) -> TandemError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, TandemError):
        raise found
    return found
