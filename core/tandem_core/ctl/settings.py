"""``tandemctl settings``: the same settings as the panel."""

from __future__ import annotations

import argparse

from tandem_core import setting_list, settings
from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import show, show_json, table
from tandem_core.errors import BadInput
from tandem_core.paths import ProfilePaths
from tandem_core.types import Change, Json, RoomId, Topic, UserId


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    if options.verb == "list":
        return _list(paths, options)
    setting = setting_list.declared(options.key)
    with world.opened(paths) as here:
        room_id, user_id = _target(here, setting, options)
        if options.verb == "set":
            value = setting.parsed(options.value)
            now_ms = SystemClock().now_ms()
            here.db.write_now(
                settings.set_value, options.key, value, now_ms=now_ms, room_id=room_id, user_id=user_id
            )
            world.ring(here, Change(Topic.SETTINGS))
        held = here.db.read_now(settings.effective, options.key, room_id, user_id)
    if options.json:
        show_json(_line(setting, room_id or user_id or "", held))
    elif options.verb == "get":
        show([_text(held.value)])
    return DONE


def _list(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        chosen = here.db.read_now(settings.all_values)
    if options.json:
        show_json([_line(c.setting, c.target, c.effective) for c in chosen])
    else:
        show(
            table(
                [
                    (c.setting.key, _text(c.effective.value), c.effective.source, c.target or c.setting.title)
                    for c in chosen
                ]
            )
        )
    return DONE


def _target(
    here: world.World, setting: setting_list.Setting, options: argparse.Namespace
) -> tuple[RoomId | None, UserId | None]:
    room_id, user_id = None, None
    if options.room is not None:
        if setting.scope is not setting_list.Scope.ROOM:
            raise BadInput(f"{setting.key} is not chosen per room", advice="Leave --room out.")
        room_id = here.db.read_now(world.room_named, here.link, options.room)
    if options.person is not None:
        if setting.scope is not setting_list.Scope.PERSON:
            raise BadInput(f"{setting.key} is not chosen per person", advice="Leave --person out.")
        if not options.person.startswith("@") or ":" not in options.person:
            raise BadInput(f"{options.person!r} is no user id", advice="It looks like @user:example.org.")
        user_id = UserId(options.person)
    return room_id, user_id


def _line(setting: setting_list.Setting, target: str, held: settings.Effective) -> Json:
    return {
        "key": setting.key,
        "value": held.value,
        "source": held.source,
        "scope": str(setting.scope),
        "target": target or None,
        "default": setting.default,
        "allowed": setting.allowed,
        "title": setting.title,
    }


def _text(value: setting_list.Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
