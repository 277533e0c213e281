"""Keeps what all of a user's devices share the same everywhere: rules in clear, exceptions encrypted.

What a person chooses lies in ``setting`` until it is in the account data: whichever program runs writes it, and
whatever dies, the row is still there. Each key has the time of its choice and the newest one wins, also where two
devices write at once: who finds its newer choice missing writes it again. Unknown keys of others stay.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import replace
from typing import Any, ClassVar, Protocol

from tandem_core import settings
from tandem_core.clock import Chance, Clock
from tandem_core.codec import dumps, parse
from tandem_core.errors import ServerRefused
from tandem_core.http import Http, path
from tandem_core.netlock import netlock
from tandem_core.paths import ProfilePaths
from tandem_core.receipts.checks import is_id
from tandem_core.setting_list import SETTINGS, Scope, Setting
from tandem_core.store import account_data
from tandem_core.store import settings as rows
from tandem_core.store import shared_settings as shared
from tandem_core.store.database import Database, Transaction
from tandem_core.store.settings import SettingRow
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, DELIVERY_SETTINGS, Shared, Standing
from tandem_core.types import Json, Me, Topic
from tandem_core.worker import Worker

log = logging.getLogger("tandem.receipts.shared_settings")

REMEMBER_REMOVED_MS = 180 * 86_400_000
"""So long a removed exception is remembered, for devices that were away."""
MOST_TEXT = 40_000
"""Characters of the exceptions in clear: account data ends at 64 KiB, and base64 makes it a third longer."""
_LOOK_AGAIN_S = 5.0
_PARTS = {"rooms": "room", "people": "person"}


class Box(Protocol):
    """Encrypts for the user's own devices (``crypto.exceptions_box``)."""

    async def has_key(self) -> bool: ...

    async def seal(self, text: str) -> Json | None: ...

    async def open(self, content: Json) -> str | None: ...


class SharedSettings(Worker):
    """Opens the exceptions that other devices wrote, and writes what was chosen here; either program does.

    ``writes`` is false for a hosted account, whose person chooses elsewhere.
    """

    name: ClassVar[str] = "shared settings"
    wants: ClassVar[frozenset[Topic]] = frozenset(
        {Topic.SETTINGS, Topic.ACCOUNT_DATA, Topic.KEYS, Topic.SESSION}
    )

    def __init__(
        self,
        paths: ProfilePaths,
        db: Database,
        http: Http,
        me: Me,
        box: Box,
        *,
        writes: bool = True,
        clock: Clock,
        chance: Chance,
    ) -> None:
        super().__init__(chance)
        self._paths = paths
        self._db = db
        self._http = http
        self._me = me
        self._box = box
        self._writes = writes
        self._clock = clock

    async def step(self) -> float | None:
        await self._open_news()
        if not self._writes or not await self._waits():
            return None
        async with netlock(self._paths, "shared_settings"):
            if await self._db.read(rules_wait):
                await self._write_rules()
            if await self._exceptions_wait():
                await self._write_exceptions()
        # Another device has written at the same moment: what it overwrote is written again.
        return _LOOK_AGAIN_S if await self._waits() else None

    async def _waits(self) -> bool:
        return await self._db.read(rules_wait) or await self._exceptions_wait()

    async def _exceptions_wait(self) -> bool:
        # Without a key, and if they are too many, they stay here, and hold here.
        if not (await self._db.read(exceptions_wait) and await self._box.has_key()):
            return False
        return await self._db.read(exceptions_text, self._clock.now_ms()) is not None

    async def _write_rules(self) -> None:
        there = await self._get(DELIVERY_SETTINGS)
        wanted = await self._db.read(rules_to_write, there)
        if wanted is not None:
            await self._put(DELIVERY_SETTINGS, wanted)
            await self._get(DELIVERY_SETTINGS)
        await self._db.write(settle_rules)

    async def _write_exceptions(self) -> None:
        await self._get(DELIVERY_EXCEPTIONS)
        await self._open_news()
        if await self._db.read(exceptions_wait):
            text = await self._db.read(exceptions_text, self._clock.now_ms())
            sealed = None if text is None else await self._box.seal(text)
            if sealed is None:
                return
            await self._put(DELIVERY_EXCEPTIONS, sealed)
            await self._get(DELIVERY_EXCEPTIONS)
            await self._open_news()
        await self._db.write(settle_exceptions)

    async def _open_news(self) -> None:
        """Open the encrypted exceptions that nobody has looked at yet, or that did not open before."""
        content = await self._db.read(account_data.get, DELIVERY_EXCEPTIONS)
        now = await self._db.read(shared.standing)
        if content and now.opened != shared.mark(content):
            await self._db.write(keep_opened, content, await self._box.open(content))

    async def _get(self, kind: str) -> Json:
        """One piece of the account data as the server has it; empty where it has none."""
        where = path("user", self._me.user_id, "account_data", kind)
        try:
            content = await self._http.request("GET", where)
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            content = {}
        await self._db.write(keep_account_data, kind, content)
        return content

    async def _put(self, kind: str, content: Json) -> None:
        await self._http.request("PUT", path("user", self._me.user_id, "account_data", kind), content)


def keep_account_data(txn: Transaction, kind: str, content: Json) -> None:
    """Keep what the server has, if that is news."""
    if (account_data.get(txn.conn, kind) or {}) != content:
        account_data.put(txn, kind, content)
        settings.note_account_data(txn, kind, content)


# ── Rules ──────────────────────────────────────────────────────────────────────────────────────


def rules_wait(conn: sqlite3.Connection) -> bool:
    """Whether something chosen here is not in the account data as this device knows it, or is done with."""
    content = account_data.get(conn, DELIVERY_SETTINGS) or {}
    return rules_to_write(conn, content) is not None or any(
        _is_settled(setting, row, shared.rule_in(content, setting.shared))
        for setting, row in _own_rules(conn)
    )


def rules_to_write(conn: sqlite3.Connection, content: Json) -> Json | None:
    """The account data with what was chosen here later than there; None if it needs no change."""
    rules, changed = content.get("rules"), content.get("changed")
    rules = dict(rules) if isinstance(rules, dict) else {}
    changed = dict(changed) if isinstance(changed, dict) else {}
    merged = dict(content)
    is_news = False
    for setting, row in _own_rules(conn):
        told = shared.rule_in(content, setting.shared)
        value = json.loads(row.value)
        if told is not None and (_is_same(told.value, value) or told.changed_at > row.changed_at):
            continue
        if setting.shared == "answered" and value is False:
            continue
        is_news = True
        if setting.shared == "answered":
            # Whoever answered confirms, unless they choose otherwise; a damaged answer is given anew.
            merged["enabled"] = settings.effective(conn, "receipts.enabled").value
        elif setting.shared == "enabled":
            merged["enabled"] = value
            changed["enabled"] = row.changed_at
        else:
            rules[setting.shared] = value
            changed[setting.shared] = row.changed_at
    if not is_news:
        return None
    if rules or "rules" in merged:
        merged["rules"] = rules
    if changed or "changed" in merged:
        merged["changed"] = changed
    merged.setdefault("durable", True)
    return merged


def settle_rules(txn: Transaction) -> None:
    """Forget what is written; a refusal stays, since only this device may take it back."""
    content = account_data.get(txn.conn, DELIVERY_SETTINGS) or {}
    for setting, row in _own_rules(txn.conn):
        if _is_settled(setting, row, shared.rule_in(content, setting.shared)):
            rows.clear(txn, row.scope, row.target, row.key)


def _own_rules(conn: sqlite3.Connection) -> list[tuple[Setting, SettingRow]]:
    return [pair for pair in _own(conn) if pair[0].scope is Scope.ACCOUNT]


def _own(conn: sqlite3.Connection) -> list[tuple[Setting, SettingRow]]:
    """The shared settings with a sound choice of this device."""
    found = [(SETTINGS[row.key], row) for row in rows.rows(conn) if row.key in SETTINGS]
    return [
        (setting, row)
        for setting, row in found
        if setting.shared and setting.scope == row.scope and settings.is_allowed(setting, row.value)
    ]


def _is_settled(setting: Setting, row: SettingRow, told: Shared | None) -> bool:
    value = json.loads(row.value)
    if told is None or value == setting.refusal:
        return False
    return _is_same(told.value, value) or told.changed_at > row.changed_at


# ── Exceptions ─────────────────────────────────────────────────────────────────────────────────


def exceptions_wait(conn: sqlite3.Connection) -> bool:
    """Whether the encrypted exceptions lack something that this device knows.

    Not while they cannot be opened here: another device may have put there what nobody may lose.
    """
    content = account_data.get(conn, DELIVERY_EXCEPTIONS)
    now = shared.standing(conn)
    if now.anew:
        return True
    if content and now.opened != shared.mark(content):
        return False
    held = shared.exceptions(conn)
    is_missing = now.lacks or (not content and any(told.value != "default" for told in held.values()))
    return is_missing or any(
        _is_news(row, told) or _is_settled(setting, row, told)
        for setting, row in _own(conn)
        if setting.scope is not Scope.ACCOUNT
        for told in (held.get((row.scope, row.target)),)
    )


def exceptions_text(conn: sqlite3.Connection, now_ms: int) -> str | None:
    """All that this device knows, as it is encrypted; None if it is too much for the account data."""
    held = _with_own(conn)
    removed = sorted((told.changed_at, where) for where, told in held.items() if told.value == "default")
    while removed and removed[0][0] < now_ms - REMEMBER_REMOVED_MS:
        del held[removed.pop(0)[1]]
    others = parse(shared.standing(conn).others)
    text = _text(others, held)
    while len(text) > MOST_TEXT and removed:
        del held[removed.pop(0)[1]]
        text = _text(others, held)
    if len(text) > MOST_TEXT:
        log.info("there are too many exceptions to share them: %d", len(held))
        return None
    return text


def keep_opened(txn: Transaction, content: Json, text: str | None) -> None:
    """Take over what was opened; what could not be opened, or makes no sense, is noted: nothing is confirmed then."""
    now = shared.standing(txn.conn)
    read = None if text is None else read_exceptions(text)
    if read is None:
        if now.bad != shared.mark(content):
            log.warning("the exceptions in the account data cannot be opened here")
        shared.set_standing(txn, replace(now, bad=shared.mark(content)))
        return
    found, others = read
    shared.merge_exceptions(txn, found)
    lacks = any(
        (told.value != "default" and where not in found) or (where in found and told != found[where])
        for where, told in shared.exceptions(txn.conn).items()
    )
    shared.set_standing(txn, Standing(shared.mark(content), "", False, lacks, dumps(others)))


def settle_exceptions(txn: Transaction) -> None:
    """Forget what is shared now; a refusal stays, since only this device may take it back."""
    held = shared.exceptions(txn.conn)
    for setting, row in _own(txn.conn):
        if setting.scope is not Scope.ACCOUNT and _is_settled(
            setting, row, held.get((row.scope, row.target))
        ):
            rows.clear(txn, row.scope, row.target, row.key)


def read_exceptions(text: str) -> tuple[dict[tuple[str, str], Shared], Json] | None:
    """The exceptions by scope and target, and what else is there; None if any of it cannot be understood."""
    try:
        said = parse(text)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    found: dict[tuple[str, str], Shared] = {}
    for part, scope in _PARTS.items():
        entries = said.get(part, {})
        if not isinstance(entries, dict):
            return None
        for target, entry in entries.items():
            told = _entry(SETTINGS[f"receipts.{scope}"], target, entry)
            if told is None:
                return None
            found[scope, target] = told
    return found, {key: value for key, value in said.items() if key not in _PARTS}


def _entry(setting: Setting, target: str, entry: Any) -> Shared | None:
    if not is_id(target) or not isinstance(entry, dict):
        return None
    value, at = entry.get("value"), entry.get("at")
    return Shared(value, at) if value in setting.choices and shared.is_time(at) else None


def _with_own(conn: sqlite3.Connection) -> dict[tuple[str, str], Shared]:
    """What is shared, and what this device chose later."""
    held = shared.exceptions(conn)
    for setting, row in _own(conn):
        where = (row.scope, row.target)
        if setting.scope is not Scope.ACCOUNT and _is_news(row, held.get(where)):
            held[where] = Shared(json.loads(row.value), row.changed_at)
    return held


def _is_news(row: SettingRow, told: Shared | None) -> bool:
    return told is None or (
        row.changed_at > told.changed_at and not _is_same(told.value, json.loads(row.value))
    )


def _is_same(one: object, other: object) -> bool:
    """As JSON: True is not 1."""
    return dumps(one) == dumps(other)


def _text(others: Json, held: dict[tuple[str, str], Shared]) -> str:
    parts: Json = {part: {} for part in _PARTS}
    names = {scope: part for part, scope in _PARTS.items()}
    for (scope, target), told in held.items():
        parts[names[scope]][target] = {"value": told.value, "at": told.changed_at}
    return dumps({"v": 1, **others, **parts})
