"""MSC3682: what has changed in the account data of an application service's users. Reads Synapse's tables only.

Changes are found by their position in Synapse's streams and not by the callback for modules: the callback knows
nothing of tags and push rules, and what was committed just before a crash never reaches it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from synapse.module_api import LoggingTransaction

from tandem_synapse import appservice_json
from tandem_synapse.registrations import Wishes
from tandem_synapse.seams import AppServices, Inside, Service

logger = logging.getLogger(__name__)

Json = dict[str, Any]

MOST_EVENTS = 500
MOST_BYTES = 1_000_000
MOST_PUSH_RULES = 50
"""Of one transaction; a person's push rules are some 10 kB."""
_PAGE = 2000
_CHUNK = 200

_TABLES = {
    "global": ("account_data", "'', account_data_type"),
    "room": ("room_account_data", "room_id, account_data_type"),
    "tags": ("room_tags_revisions", "room_id, 'm.tag'"),
}


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One piece of account data that is newer than a position; ``room_id`` is empty for global data."""

    stream_id: int
    table: str
    user_id: str
    room_id: str
    type_: str


@dataclass(frozen=True, slots=True)
class AccountNews:
    """Newest values, by user (and room), and up to where they reach in both streams."""

    of_users: dict[str, list[Json]]
    of_rooms: dict[str, dict[str, list[Json]]]
    account_data: int
    push_rules: int
    is_complete: bool

    def __bool__(self) -> bool:
        return bool(self.of_users or self.of_rooms)


class AccountDataSource:
    """Finds changes and reads the values as they are now, so that several changes of one piece become one event."""

    def __init__(self, inside: Inside, services: AppServices) -> None:
        self._inside = inside
        self._services = services

    async def news(self, service: Service, wishes: Wishes, account_data: int, push_rules: int) -> AccountNews:
        """What this service has not been given behind these two positions, up to what one transaction may hold."""
        news = await self._account_data(service, wishes, account_data)
        rules, reached, all_rules = await self._push_rules(service, wishes, push_rules)
        for user_id, content in rules.items():
            news.of_users.setdefault(user_id, []).append({"type": "m.push_rules", "content": content})
        return AccountNews(
            news.of_users, news.of_rooms, news.account_data, reached, news.is_complete and all_rules
        )

    async def _account_data(self, service: Service, wishes: Wishes, low: int) -> AccountNews:
        now = self._services.account_data_position()
        tables = (["global"] if wishes.account_data else []) + (
            ["room", "tags"] if wishes.room_account_data else []
        )
        changed = self._services.account_data_changed_since(low)
        users = None if changed is None else [user for user in changed if service.is_interested_in_user(user)]

        def read(txn: LoggingTransaction, low: int) -> AccountNews:
            if users is None:
                changes, high = _page(txn, tables, low, now)
                changes = [change for change in changes if service.is_interested_in_user(change.user_id)]
            else:
                changes, high = _of_users(txn, tables, users, low, now), now
            return _values(txn, sorted(changes), high, is_complete=high == now)

        while True:
            news = await self._inside.run("tandem_account_data_news", partial(read, low=low))
            if news or news.account_data >= now:
                return news
            low = news.account_data  # a page of other people's

    async def _push_rules(
        self, service: Service, wishes: Wishes, low: int
    ) -> tuple[dict[str, Json], int, bool]:
        now = self._services.push_rules_position()
        if not wishes.account_data or now <= low:
            return {}, max(now, low), True

        def read(txn: LoggingTransaction) -> list[tuple[str, int]]:
            txn.execute(
                "SELECT user_id, max(stream_id) FROM push_rules_stream WHERE stream_id > ? AND stream_id <= ?"
                " GROUP BY user_id ORDER BY max(stream_id)",
                (low, now),
            )
            return [
                (str(user), int(last)) for user, last in txn.fetchall() if service.is_interested_in_user(user)
            ]

        found = await self._inside.run("tandem_push_rules_news", read)
        taken = found[:MOST_PUSH_RULES]
        rules = {user_id: await self._services.push_rules(user_id) for user_id, _ in taken}
        return (rules, now, True) if len(taken) == len(found) else (rules, taken[-1][1], False)


def _page(txn: LoggingTransaction, tables: Sequence[str], low: int, now: int) -> tuple[list[Change], int]:
    """The next changes of anybody, and up to where they are all; for a start behind what Synapse remembers."""
    high = now
    changes: list[Change] = []
    for table in tables:
        name, columns = _TABLES[table]
        txn.execute(
            f"SELECT stream_id, user_id, {columns} FROM {name}"  # noqa: S608 names only
            " WHERE stream_id > ? AND stream_id <= ? ORDER BY stream_id LIMIT ?",
            (low, high, _PAGE),
        )
        found = list(_changes(txn, table))
        if len(found) == _PAGE:
            high = found[-1].stream_id
        changes += found
    return [change for change in changes if change.stream_id <= high], high


def _of_users(
    txn: LoggingTransaction, tables: Sequence[str], users: Collection[str], low: int, now: int
) -> list[Change]:
    """The changes of these people."""
    changes: list[Change] = []
    every = list(users)
    for start in range(0, len(every), _CHUNK):
        chunk = every[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        for table in tables:
            name, columns = _TABLES[table]
            txn.execute(
                f"SELECT stream_id, user_id, {columns} FROM {name}"  # noqa: S608 names and question marks only
                f" WHERE user_id IN ({marks}) AND stream_id > ? AND stream_id <= ?",
                (*chunk, low, now),
            )
            changes += _changes(txn, table)
    return changes


def _changes(txn: LoggingTransaction, table: str) -> Iterator[Change]:
    for stream_id, user_id, room_id, type_ in txn.fetchall():
        yield Change(int(stream_id), table, str(user_id), str(room_id), str(type_))


def _values(
    txn: LoggingTransaction, changes: Sequence[Change], high: int, *, is_complete: bool
) -> AccountNews:
    """The values of these changes, oldest first, as many as a transaction takes."""
    of_users: dict[str, list[Json]] = {}
    of_rooms: dict[str, dict[str, list[Json]]] = {}
    size = 0
    for number, change in enumerate(changes):
        if number == MOST_EVENTS or size > MOST_BYTES:
            return AccountNews(of_users, of_rooms, changes[number - 1].stream_id, 0, False)
        text = _value(txn, change)
        if text is None:
            continue  # the account was erased in between
        size += len(text)
        content = appservice_json.parsed(text)
        if content is None:
            logger.warning("Account data %s of %s is nested too deeply", change.type_, change.user_id)
            continue
        event = {"type": change.type_, "content": content}
        if change.room_id:
            of_rooms.setdefault(change.user_id, {}).setdefault(change.room_id, []).append(event)
        else:
            of_users.setdefault(change.user_id, []).append(event)
    return AccountNews(of_users, of_rooms, high, 0, is_complete)


def _value(txn: LoggingTransaction, change: Change) -> str | None:
    if change.table == "tags":
        txn.execute(
            "SELECT tag, content FROM room_tags WHERE user_id = ? AND room_id = ?",
            (change.user_id, change.room_id),
        )
        return json.dumps(
            {"tags": {tag: appservice_json.parsed(content) or {} for tag, content in txn.fetchall()}}
        )
    if change.table == "room":
        txn.execute(
            "SELECT content FROM room_account_data WHERE user_id = ? AND room_id = ? AND account_data_type = ?",
            (change.user_id, change.room_id, change.type_),
        )
    else:
        txn.execute(
            "SELECT content FROM account_data WHERE user_id = ? AND account_data_type = ?",
            (change.user_id, change.type_),
        )
    row = txn.fetchone()
    return None if row is None else str(row[0])
