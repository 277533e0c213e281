"""The running service: the homeserver's transactions on one side, an engine for each account on the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace

from aiohttp import web

from tandem_appservice import accounts
from tandem_appservice.feed import TransactionFeed
from tandem_appservice.handover import hand_to_released
from tandem_appservice.notify import NotificationWorker, Notify
from tandem_appservice.ping import ping_until_reached
from tandem_appservice.queue import Account, Queue
from tandem_appservice.registration import Registration
from tandem_appservice.server import MOST_BODY, application
from tandem_appservice.sight import LINK
from tandem_appservice.transaction import Transaction
from tandem_core.clock import Chance, Clock, SystemClock, jittered_backoff_s, system_chance
from tandem_core.engine import Engine, OnState
from tandem_core.errors import AlreadyRuns, Expected, SignedOut, StoreCorrupt, StoreTooNew
from tandem_core.http import Http
from tandem_core.paths import profile_paths
from tandem_core.role import take_role
from tandem_core.session import current
from tandem_core.store.database import Database
from tandem_core.tokens import renewing_http
from tandem_core.types import Role

log = logging.getLogger("tandem.appservice")

log_of: ContextVar[str] = ContextVar("account", default="")
"""Whose work a log line is about."""

BEGINNINGS_AT_ONCE = 16
"""So many accounts ask the homeserver for their rooms side by side."""
_LOOK_S = 1.0
"""How often accounts that were added or removed are looked for."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the service runs; ``most_body`` in bytes."""

    host: str
    port: int
    notify: Notify
    with_text: bool = False
    most_body: int = MOST_BODY


class Host:
    """Everything that runs. The caller holds the service's lock and owns ``queue``."""

    def __init__(
        self,
        registration: Registration,
        queue: Queue,
        options: Options,
        *,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self._registration = registration
        self._queue = queue
        self._options = options
        self._clock = clock or SystemClock()
        self._chance = chance or system_chance()
        self._gate = asyncio.Semaphore(BEGINNINGS_AT_ONCE)
        self._woken: dict[str, asyncio.Event] = {}
        self._lives: dict[Account, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until cancelled. Raises Expected where the address cannot be had."""
        options = self._options
        app = application(self._registration, self.accept, self._is_hosted, most_body=options.most_body)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, options.host, options.port).start()
            except OSError as error:
                raise Expected(
                    f"{options.host}:{options.port}: {error.strerror}",
                    title="The service cannot listen there",
                    advice="Choose another address with --listen.",
                ) from error
            log.info("listening on %s:%d for %s", options.host, options.port, self._registration.homeserver)
            knocking = asyncio.create_task(self._knock(), name="ping")
            try:
                await self._keep_accounts()
            finally:
                knocking.cancel()
                await asyncio.gather(knocking, return_exceptions=True)
        finally:
            await runner.cleanup()
            for life in self._lives.values():
                life.cancel()
            await asyncio.gather(*self._lives.values(), return_exceptions=True)

    async def _knock(self) -> None:
        """Let the homeserver know that we are here, and note whether it is the right one."""
        made = self._registration
        http = Http(made.homeserver, token=made.as_token, chance=self._chance, clock=self._clock)
        try:
            await asyncio.to_thread(self._queue.set_fact, "reached", None)
            found = await ping_until_reached(http, made, clock=self._clock, chance=self._chance)
            if not found.ok:
                log.error("%s", found.detail)
            await asyncio.to_thread(self._queue.set_fact, "reached", {"ok": found.ok, "detail": found.detail})
        finally:
            await http.close()

    async def accept(self, said: Transaction) -> None:
        """Keep a transaction for good and wake those it is for."""
        accepted = await asyncio.to_thread(self._queue.accept, said, self._clock.now_ms())
        if not accepted.is_new:
            log.info("transaction %s came again", said.txn_id)
        for user_id in accepted.users:
            woken = self._woken.get(user_id)
            if woken is not None:
                woken.set()

    async def _is_hosted(self, user_id: str) -> bool:
        hosted = await asyncio.to_thread(self._queue.accounts)
        return any(account.user_id == user_id for account in hosted)

    async def _keep_accounts(self) -> None:
        while True:
            hosted = [_identity(account) for account in await asyncio.to_thread(self._queue.accounts)]
            await self._end(self._lives.keys() - set(hosted))
            for account in hosted:
                if account not in self._lives:
                    self._lives[account] = asyncio.create_task(self._host(account), name=account.user_id)
            await asyncio.sleep(_LOOK_S)

    async def _end(self, gone: Iterable[Account]) -> None:
        lives = [self._lives.pop(account) for account in gone]
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)

    async def _host(self, account: Account) -> None:
        """Host one account for as long as it can be; what ends it is told and touches no other."""
        log_of.set(account.user_id)
        failures = 0
        while True:
            try:
                await (self._live(account) if account.is_hosted else self._pass_on(account))
            except SignedOut as ended:
                if not ended.soft:
                    log.error("%s; to host it again: tandem-appservice add-account", ended.title)
                    return
                await self._sign_in_again(account)
            except (StoreCorrupt, StoreTooNew) as unusable:
                log.error("%s", unusable.sentence)
                return
            except AlreadyRuns:
                log.warning("another program runs on the profile %s", account.profile)
            except Expected as trouble:
                log.warning("%s", trouble.sentence)
            except Exception:
                log.exception("hosting the account failed; it is begun again")
            await asyncio.sleep(jittered_backoff_s(failures, self._chance))
            failures += 1

    async def _pass_on(self, account: Account) -> None:
        """Hand a released account the to-device events that come here; its own program does the rest."""
        woken = self._woken[account.user_id] = asyncio.Event()
        try:
            while True:
                woken.clear()
                await asyncio.to_thread(hand_to_released, self._queue, account, now_ms=self._clock.now_ms())
                await woken.wait()
        finally:
            self._woken.pop(account.user_id, None)

    async def _sign_in_again(self, account: Account) -> None:
        """The token has run out: the same device gets a new one, as the service's own token can ask for it."""
        try:
            await accounts.add(
                self._registration, self._queue, account.user_id, profile=account.profile, clock=self._clock
            )
        except Expected as trouble:
            log.warning("%s", trouble.sentence)

    async def _live(self, account: Account) -> None:
        paths = profile_paths(account.profile)
        with take_role(paths, Role.NOTIFIER):
            db = await asyncio.to_thread(Database.open, paths.database)
            try:
                await self._run_engine(account, db)
            finally:
                await asyncio.to_thread(db.close)

    async def _run_engine(self, account: Account, db: Database) -> None:
        session = await asyncio.to_thread(current, db)
        me = session.me
        if (me.user_id, me.device_id) != (account.user_id, account.device_id):
            raise Expected(
                f"{me.user_id}, device {me.device_id}",
                title=f"The profile {account.profile} is another device than the one that is hosted",
                advice="Add the account again: tandem-appservice add-account.",
            )
        clock, chance = self._clock, self._chance
        paths = profile_paths(account.profile)
        http = renewing_http(paths, db, session, chance=chance, clock=clock)

        def feed(on_state: OnState) -> TransactionFeed:
            made = TransactionFeed(
                self._queue, db, http, me, clock=clock, chance=chance, on_state=on_state, gate=self._gate
            )
            self._woken[account.user_id] = made.woken
            return made

        engine = Engine(
            paths,
            db,
            session,
            LINK,
            clock=clock,
            chance=chance,
            http=http,
            feed=feed,
        )
        worker = NotificationWorker(
            db,
            me.user_id,
            self._options.notify,
            with_text=self._options.with_text,
            clock=clock,
            chance=chance,
        )
        engine.listen(worker.wake)
        notifications = asyncio.create_task(worker.run(), name="notifications")
        log.info("hosted as device %s", me.device_id)
        try:
            await engine.run()
        finally:
            self._woken.pop(account.user_id, None)
            notifications.cancel()
            await asyncio.gather(notifications, return_exceptions=True)


def _identity(account: Account) -> Account:
    """The account without what changes while it is hosted."""
    return replace(account, is_prepared=False)


class NameAccount(logging.Filter):
    """Puts the account before what its engine says: the lines of many stand in one log."""

    def filter(self, record: logging.LogRecord) -> bool:
        user_id = log_of.get()
        if user_id and not hasattr(record, "account"):
            record.account = user_id
            record.msg = f"{user_id.replace('%', '%%') if record.args else user_id} {record.msg}"
        return True


def allow_many_files() -> None:
    """Each account has a dozen files and sockets open; ask the system for as many as it gives."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def serve(registration: Registration, queue: Queue, options: Options) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    life = asyncio.create_task(Host(registration, queue, options).run())

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            # A second signal ends the process at once.
            loop.remove_signal_handler(number)
        life.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await life
