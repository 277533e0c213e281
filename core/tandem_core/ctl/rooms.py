"""``tandemctl rooms``, ``create``, ``join``, ``invite``, ``accept``, ``decline``, ``leave``."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

from tandem_core.command_line import DONE, FAILED
from tandem_core.ctl import world
from tandem_core.ctl.output import local_time, note, show, show_json, table
from tandem_core.errors import BadInput, UnknownRoom
from tandem_core.http import Http
from tandem_core.paths import ProfilePaths
from tandem_core.store import inspect, rooms
from tandem_core.store.database import Database
from tandem_core.types import Change, Json, RoomId, Topic, UserId

# What a command does at the server; returns the room it was about.
Act = Callable[[world.World, Http], Awaitable[RoomId]]


def list_rooms(paths: ProfilePaths, options: argparse.Namespace) -> int:
    with world.opened(paths) as here:
        if not asyncio.run(world.refresh(here, options.timeout)):
            note("The server cannot be reached; this is what is stored.")
        found = here.db.read_now(rooms.room_list, here.link, search=options.search)
    if options.json:
        show_json([_value(room) for room in found])
    else:
        show(table([_cells(room) for room in found]))
    return DONE


def create(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.sync import rooms_api

    for user in options.invite:
        _user(user)

    async def act(here: world.World, http: Http) -> RoomId:
        return await rooms_api.create(
            http,
            here.db,
            invite=[UserId(user) for user in options.invite],
            name=options.name,
            encrypted=not options.plain,
            public=options.public,
            direct=options.direct or None,
        )

    return _run(paths, options, act, "join")


def join(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core import uri
    from tandem_core.sync import rooms_api

    target: str = options.room
    via: tuple[str, ...] = ()
    if target.lower().startswith(("matrix:", "http")):
        address = uri.parse(target)
        target, via = address.id, address.via
    if target[:1] not in ("!", "#"):
        raise BadInput(
            f"{target!r} is no room", advice="Use its id (!...), alias (#...) or a matrix: address."
        )

    async def act(here: world.World, http: Http) -> RoomId:
        if await here.db.read(_is_invited, RoomId(target)):
            await rooms_api.accept(http, here.db, RoomId(target))
            return RoomId(target)
        return await rooms_api.join(http, here.db, target, via=via)

    return _run(paths, options, act, "join")


def accept(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.sync import rooms_api

    return _on_known(paths, options, rooms_api.accept, "join")


def decline(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.sync import rooms_api

    return _on_known(paths, options, rooms_api.decline, "leave")


def leave(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.sync import rooms_api

    return _on_known(paths, options, rooms_api.leave, "leave")


def invite(paths: ProfilePaths, options: argparse.Namespace) -> int:
    from tandem_core.sync import rooms_api

    user = _user(options.user)
    options.timeout = 30.0

    async def act(here: world.World, http: Http) -> RoomId:
        room_id = await _known(here, options)
        await rooms_api.invite(http, here.db, room_id, user)
        return room_id

    return _run(paths, options, act, None)


def _on_known(
    paths: ProfilePaths,
    options: argparse.Namespace,
    call: Callable[[Http, Database, RoomId], Awaitable[object]],
    membership: str,
) -> int:
    async def act(here: world.World, http: Http) -> RoomId:
        room_id = await _known(here, options)
        await call(http, here.db, room_id)
        return room_id

    return _run(paths, options, act, membership)


def _run(paths: ProfilePaths, options: argparse.Namespace, act: Act, membership: str | None) -> int:
    """Act, then wait until the store knows of it, so that the next command can build on it."""
    with world.opened(paths) as here:
        return asyncio.run(_act(here, options, act, membership))


async def _act(here: world.World, options: argparse.Namespace, act: Act, membership: str | None) -> int:
    async with here.door() as http:
        room_id = await act(here, http)
    known = True
    if membership is not None:

        def look(conn: sqlite3.Connection) -> bool | None:
            said = inspect.memberships_of(conn, room_id)
            gone = membership == "leave" and "join" not in said and "invite" not in said
            return True if membership in said or gone else None

        known = await world.until(here, look, options.timeout, Change(Topic.ROOMS, room_id)) is not None
    if options.json:
        show_json({"room_id": room_id})
    else:
        show([room_id])
    if not known:
        note("Done on the server, but it has not come back to this machine yet.")
        return FAILED
    return DONE


async def _known(here: world.World, options: argparse.Namespace) -> RoomId:
    try:
        return await here.db.read(world.room_named, here.link, options.room)
    except UnknownRoom:
        if not await world.refresh(here, options.timeout):
            raise
        return await here.db.read(world.room_named, here.link, options.room)


def _is_invited(conn: sqlite3.Connection, room_id: RoomId) -> bool:
    said = inspect.memberships_of(conn, room_id)
    return "invite" in said and "join" not in said


def _user(text: str) -> UserId:
    if not text.startswith("@") or ":" not in text:
        raise BadInput(f"{text!r} is no user id", advice="It looks like @user:example.org.")
    return UserId(text)


def _value(room: rooms.RoomRow) -> Json:
    return {
        "room_id": room.room_id,
        "name": room.name,
        "membership": room.membership,
        "encrypted": room.encrypted,
        "direct": room.is_dm,
        "people": room.joined_count,
        "unread": room.unread,
        "highlights": room.highlights,
        "last_at": room.last_at or None,
        "inviter": room.inviter,
        "topic": room.topic,
    }


def _cells(room: rooms.RoomRow) -> tuple[str, ...]:
    marks = [
        *(["invitation"] if room.membership == "invite" else []),
        *(["encrypted"] if room.encrypted else []),
        *([f"{room.unread} unread"] if room.unread else []),
    ]
    return room.room_id, local_time(room.last_at or None), room.name, ", ".join(marks)
