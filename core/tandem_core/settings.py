"""What holds of each setting, and choosing it.

Inheritance is visible: ``effective`` says where a value comes from: the room or person, the account,
or Tandem's own default. Some settings are shared by all of a user's devices (``store.shared_settings``): what was
chosen here holds until it is written there, then the newest choice of any device. But a refusal that was chosen here
is taken back here only: neither the server nor another device turns on what this device was told to leave off.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from tandem_core.errors import BadInput
from tandem_core.setting_list import SETTINGS, Scope, Setting, Value, declared
from tandem_core.store import settings as store
from tandem_core.store import shared_settings as shared
from tandem_core.store.database import Transaction
from tandem_core.types import Json, RoomId, Topic, UserId


@dataclass(frozen=True, slots=True)
class Effective:
    """A value and where it comes from: ``room``, ``person``, ``account`` or ``default``.

    ``is_sound`` is false when what is stored cannot be understood; the value is then the default, and whoever
    must be careful (the receipt gate) refuses.
    """

    value: Value
    source: str
    is_sound: bool = True


@dataclass(frozen=True, slots=True)
class Chosen:
    """One line of ``all_values``: a setting, for whom, its value and where that comes from."""

    setting: Setting
    target: str
    effective: Effective


def effective(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> Effective:
    """The value that holds and its source; a room or person setting needs its room or person."""
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    row = store.row(conn, setting.scope, target, key)
    told = _told(conn, setting, target)
    here = None if row is None else _held(setting, _loaded(row.value))
    if here is not None and (told is None or here.value == setting.refusal or not here.is_sound):
        return here
    there = None if told is None else _held(setting, told.value)
    if here is not None and row is not None and told is not None and there is not None:
        return here if row.changed_at >= told.changed_at or not there.is_sound else there
    return there or Effective(setting.default, "default")


def beaten(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> Value | None:
    """What the user's other devices chose later, where a refusal of this one beats it; None: nothing is beaten."""
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    row, told = store.row(conn, setting.scope, target, key), _told(conn, setting, target)
    if row is None or told is None or _loaded(row.value) != setting.refusal:
        return None
    there = _held(setting, told.value)
    is_beaten = there.is_sound and there.value != setting.refusal and told.changed_at > row.changed_at
    return there.value if is_beaten else None


def get(
    conn: sqlite3.Connection, key: str, room_id: RoomId | None = None, user_id: UserId | None = None
) -> Value:
    """The value that holds."""
    return effective(conn, key, room_id, user_id).value


def set_value(
    txn: Transaction,
    key: str,
    value: Value,
    *,
    now_ms: int,
    room_id: RoomId | None = None,
    user_id: UserId | None = None,
) -> None:
    """Keep a choice; ``"default"`` for a room or person forgets it. Raises BadInput when it is not allowed.

    A shared one is written to the account data later, by whichever program runs; it is newer than all that this
    device has heard of, whatever the clocks say.
    """
    setting = declared(key)
    target = _target(setting, room_id, user_id)
    checked = setting.checked(value)
    told = _told(txn.conn, setting, target)
    if checked == "default" and (told is None or told.value == "default"):
        store.clear(txn, setting.scope, target, key)
        return
    at = now_ms if told is None else max(now_ms, told.changed_at + 1)
    store.put(txn, setting.scope, target, key, json.dumps(checked), at)


def all_values(conn: sqlite3.Connection) -> list[Chosen]:
    """Every account setting with its source, then each room's and person's own choices."""
    found = [Chosen(s, "", effective(conn, s.key)) for s in SETTINGS.values() if s.scope is Scope.ACCOUNT]
    named = {(row.scope, row.target, row.key) for row in store.rows(conn)}
    named |= {(scope, target, f"receipts.{scope}") for scope, target in shared.exceptions(conn)}
    for scope, target, key in sorted(named):
        setting = SETTINGS.get(key)
        if setting is None or setting.scope is Scope.ACCOUNT or setting.scope != scope:
            continue
        held = effective(conn, key, RoomId(target), UserId(target))
        if held.source != "default" or not held.is_sound:
            found.append(Chosen(setting, target, held))
    return found


def is_allowed(setting: Setting, text: str) -> bool:
    """Whether a stored choice (JSON text) can be understood."""
    try:
        setting.checked(_loaded(text))
    except BadInput:
        return False
    return True


def note_account_data(txn: Transaction, event_type: str, content: Json) -> None:
    """Say that settings changed when account data that acts as one arrived (whom you ignore, push rules, receipts)."""
    if event_type in (
        "m.ignored_user_list",
        "m.push_rules",
        shared.DELIVERY_SETTINGS,
        shared.DELIVERY_EXCEPTIONS,
    ):
        txn.changed(Topic.SETTINGS)


def confirms(conn: sqlite3.Connection) -> bool | None:
    """Whether this account confirms deliveries at all: asked once, and not switched off; None if that makes no sense.

    It makes none either where there are exceptions that this device cannot read: nobody must be told by mistake.
    """
    enabled, answered = effective(conn, "receipts.enabled"), effective(conn, "receipts.answered")
    if not (enabled.is_sound and answered.is_sound and shared.exceptions_are_known(conn)):
        return None
    return answered.value is True and enabled.value is True


def _told(conn: sqlite3.Connection, setting: Setting, target: str) -> shared.Shared | None:
    """What is shared of a setting, if it is one of those."""
    if not setting.shared:
        return None
    if setting.scope is Scope.ACCOUNT:
        return shared.rule(conn, setting.shared)
    return shared.exception(conn, setting.scope, target)


def _held(setting: Setting, value: object) -> Effective:
    try:
        checked = setting.checked(value)
    except BadInput:
        return Effective(setting.default, "default", is_sound=False)
    return Effective(checked, "default" if checked == "default" else str(setting.scope))


def _loaded(text: str) -> object:
    """A stored value; what is no JSON is not allowed for any setting."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _target(setting: Setting, room_id: RoomId | None, user_id: UserId | None) -> str:
    match setting.scope:
        case Scope.ACCOUNT:
            return ""
        case Scope.ROOM:
            if not room_id:
                raise BadInput(f"{setting.key} is chosen per room", advice="Name the room with --room.")
            return room_id
        case Scope.PERSON:
            if not user_id:
                raise BadInput(f"{setting.key} is chosen per person", advice="Name the person with --person.")
            return user_id
