"""``tandemctl verify``: verify a person or a device of one's own from the terminal, in the window's place."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from tandem_core.clock import SystemClock, system_chance
from tandem_core.command_line import DONE, FAILED
from tandem_core.ctl import world
from tandem_core.ctl.output import clean, note, show, show_json
from tandem_core.doorbell import ring_once
from tandem_core.errors import AlreadyRuns, BadInput, Expected
from tandem_core.paths import ProfilePaths
from tandem_core.store import devices, outbox, session
from tandem_core.store.database import Database
from tandem_core.types import DeviceId, Json, Me, Role, UserId
from tandem_core.verification.flow import Phase
from tandem_core.verification.verifications import Verifications, View

_Act = Callable[[str], Awaitable[None]]
_LOOK_EVERY_S = 0.1
_LINGER_S = 20.0
_THEIR_TURN_S = 5.0
_ENDS = {
    "m.user": "It was cancelled.",
    "m.timeout": "It took too long.",
    "m.accepted": "It goes on at another device.",
    "m.mismatched_sas": "The emoji or numbers did not match: somebody may be listening in.",
    "m.key_mismatch": "The keys are not the ones we know: somebody may be listening in.",
    "m.mismatched_commitment": "A key was swapped on its way: somebody may be listening in.",
    "m.unknown_method": "The other side knows no method that Tandem knows.",
}


class NotVerified(Expected):
    title = "Not verified"
    advice = "Try again."


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    if options.wait and options.who is not None:
        raise BadInput("--wait takes no name", advice="Leave the name out: whoever asks is answered.")
    with world.opened(paths) as here:
        return asyncio.run(_in_the_windows_place(here, options))


async def _in_the_windows_place(here: world.World, options: argparse.Namespace) -> int:
    """Be the window for as long as it takes: only one program of an account may answer."""
    from tandem_core.engine import Engine
    from tandem_core.role import stand_in

    try:
        role_lock = stand_in(here.paths, Role.APP)
    except AlreadyRuns as runs:
        # It comes forward, and shows who waits.
        ring_once(here.paths.socket(Role.APP), {"kind": "open", "uri": "", "token": ""})
        raise AlreadyRuns(
            "app", title="Tandem's window is open", advice="Verify there, or close it first."
        ) from runs
    with role_lock:
        engine = Engine(
            here.paths, here.db, here.session, Role.APP, clock=SystemClock(), chance=system_chance()
        )
        assert engine.verifications is not None
        work = asyncio.create_task(engine.run())
        talk = asyncio.create_task(_talk(here, engine.verifications, options))
        try:
            await asyncio.wait({work, talk}, return_when=asyncio.FIRST_COMPLETED)
            if not talk.done():
                work.result()
            return await talk
        finally:
            for task in (talk, work):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Expected):
                    await task


async def _talk(here: world.World, verifications: Verifications, options: argparse.Namespace) -> int:
    talk = _Talk(here.db, here.session.me, verifications, options)
    try:
        async with asyncio.timeout(options.timeout):
            await _synced(here.db)
            flow_id = await (talk.next_request() if options.wait else talk.ask(options.who))
            view = await talk.follow(flow_id)
    except TimeoutError:
        await talk.give_up()
        raise NotVerified("nobody answered in time") from None
    except BaseException:
        await talk.give_up()
        raise
    await _sent(here.db)
    if view.phase is Phase.DONE and view.is_signed:
        if not options.json:
            show(["Verified."])
        return DONE
    if view.phase is Phase.DONE:
        note(f"Both sides match, but that cannot be kept. {view.reason}")
        return FAILED
    note(f"Not verified. {_ENDS.get(view.code or '', clean(view.reason) or 'It was cancelled.')}")
    return FAILED


class _Talk:
    """One verification, told and asked about at the terminal; with ``--json`` a line for each change."""

    def __init__(
        self, db: Database, me: Me, verifications: Verifications, options: argparse.Namespace
    ) -> None:
        self._db = db
        self._me = me
        self._verifications = verifications
        self._options = options
        self._current: str | None = None
        self._answer: asyncio.Future[bool] | None = None
        self._said_at = 0.0

    async def ask(self, who: str | None) -> str:
        """Ask all of our other devices, one of them, or a person."""
        if who is not None and who.startswith("@"):
            self._current = await self._verifications.request_person(UserId(who))
        else:
            self._current = await self._verifications.request_own(None if who is None else DeviceId(who))
        return self._current

    async def next_request(self) -> str:
        """Wait until somebody asks; returns the verification's id."""
        while True:
            for view in await self._verifications.flows():
                if view.phase is Phase.ASKED and not view.we_asked:
                    self._current = view.id
                    return view.id
            await asyncio.sleep(_LOOK_EVERY_S)

    async def follow(self, flow_id: str) -> View:
        """Go through it until it is over, and what it has shown is signed; returns how it ended."""
        said: Phase | None = None
        while True:
            view = next((view for view in await self._verifications.flows() if view.id == flow_id), None)
            if view is None:
                raise NotVerified("it was forgotten")
            if view.phase is not said:
                said = view.phase
                self._said_at = asyncio.get_running_loop().time()
                self._answer = None
                await self._tell(view)
            if view.phase is Phase.CANCELLED or view.is_settled:
                self._current = None
                return view
            await self._go_on(view)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def give_up(self) -> None:
        """Tell the other side that we stop."""
        if self._current is not None:
            with contextlib.suppress(Expected):
                await self._verifications.cancel(self._current)
                await _sent(self._db)

    async def _go_on(self, view: View) -> None:
        verifications, options = self._verifications, self._options
        match view.phase:
            case Phase.ASKED if not view.we_asked:
                await self._on_answer(
                    view, "Take part? (yes/no) ", verifications.accept, verifications.cancel
                )
            case Phase.READY if options.scan is not None:
                if not view.can_scan:
                    raise NotVerified("the other side shows no code", advice="Leave --scan out.")
                await verifications.scan(view.id, await asyncio.to_thread(_read, options.scan))
            case Phase.READY if options.code:
                pass  # the other side scans
            case Phase.READY if view.can_compare and (view.we_asked or self._has_waited()):
                await verifications.start_sas(view.id)
            case Phase.COMPARE:
                question = "Does the other side show the same? (yes/no) "
                await self._on_answer(view, question, verifications.confirm, verifications.mismatch)
            case Phase.SHOWN:
                question = "Does the other side say that it worked? (yes/no) "
                await self._on_answer(view, question, verifications.confirm, verifications.mismatch)

    def _has_waited(self) -> bool:
        """Whether who asked has had their time to choose a method."""
        return asyncio.get_running_loop().time() - self._said_at >= _THEIR_TURN_S

    async def _on_answer(self, view: View, question: str, yes: _Act, no: _Act) -> None:
        """Ask once for each phase; what the other side does meanwhile is not kept waiting."""
        if self._options.yes:
            await yes(view.id)
            return
        if self._answer is None:
            self._answer = _asked("" if self._options.json else question)
        if self._answer.done():
            await (yes if self._answer.result() else no)(view.id)

    async def _tell(self, view: View) -> None:
        if self._options.json:
            show_json(_value(view))
            return
        match view.phase:
            case Phase.ASKED:
                who = await self._db.read(_name, self._me, view)
                show([f"Waiting for {who} to answer." if view.we_asked else f"{who} asks to verify."])
            case Phase.READY if self._options.code and view.shown is not None:
                show(["Give the other side this code:", view.shown.to_text()])
            case Phase.READY:
                show(["Both sides take part."])
            case Phase.COMPARE:
                emoji = "  ".join(f"{entry.symbol} {entry.name}" for entry in view.emoji)
                show([emoji, f"or the numbers {' '.join(map(str, view.decimals))}"])
            case Phase.CONFIRMED | Phase.SCANNED:
                show(["Waiting for the other side to confirm."])
            case Phase.SHOWN:
                show(["The other side has read the code."])


def _asked(question: str) -> asyncio.Future[bool]:
    """A line from standard input, read in a thread that dies with the process."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def settle(is_yes: bool) -> None:
        if not answer.done():
            answer.set_result(is_yes)

    def read() -> None:
        if question:
            print(question, end="", flush=True)
        line = sys.stdin.readline()
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was answered otherwise
            loop.call_soon_threadsafe(settle, line.strip().lower() in ("y", "yes"))

    threading.Thread(target=read, daemon=True).start()
    return answer


def _read(file: str) -> str:
    try:
        return sys.stdin.readline() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read", advice="Choose another file.") from error


async def _synced(db: Database) -> None:
    """Wait until this connection has the server's news, so that answers come as news, too."""
    started_ms = SystemClock().now_ms()
    while True:
        place = await db.read(session.connection, Role.APP)
        if (place.synced_at or 0) >= started_ms:
            return
        await asyncio.sleep(_LOOK_EVERY_S)


async def _sent(db: Database) -> None:
    """Stay until the last word is sent, for a while."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while await db.read(_waits_to_be_sent):  # noqa: ASYNC110  # another process's rows ring no event here
                await asyncio.sleep(_LOOK_EVERY_S)


def _waits_to_be_sent(conn: sqlite3.Connection) -> bool:
    return outbox.waiting_to_device(conn) is not None or bool(outbox.waiting_txns(conn))


def _name(conn: sqlite3.Connection, me: Me, view: View) -> str:
    if view.peer != me.user_id:
        return view.peer
    if view.device_id is None:
        return "another device of yours"
    return f"your device {devices.device_name(conn, view.peer, view.device_id)}"


def _value(view: View) -> Json:
    return {
        "id": view.id,
        "room_id": view.room_id,
        "user_id": view.peer,
        "device_id": view.device_id,
        "we_asked": view.we_asked,
        "phase": view.phase,
        "emoji": [[entry.symbol, entry.name] for entry in view.emoji],
        "decimals": list(view.decimals),
        "text_code": None if view.shown is None else view.shown.to_text(),
        "can_compare": view.can_compare,
        "can_scan": view.can_scan,
        "code": view.code,
        "reason": view.reason,
    }
