"""The file that tells the homeserver of this service, and what the service itself reads from it.

It holds both tokens, so its mode is 0600. JSON is YAML.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tandem_core.errors import BadInput, Expected
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.types import Json

OWN_KEY = "im.tandem.service"
"""What this service itself wants to know; homeservers leave out what they do not know."""
FEATURES = {"msc2409_to_device_messages_enabled": True, "msc3202_transaction_extensions": True}
"""Synapse's ``experimental_features`` without which it sends neither to-device events nor key counts."""
_FLAGS = {
    "receive_ephemeral": True,
    "de.sorunome.msc2409.push_ephemeral": True,
    "org.matrix.msc3202": True,
    "im.tandem.account_data": True,
    "im.tandem.room_account_data": True,
    "im.tandem.lossless_to_device": True,
    "rate_limited": False,
}
_LOCALPART = re.compile(r"[a-z0-9._=/+-]+\Z")


class NotRegistered(Expected):
    title = "There is no registration yet"
    advice = "Make it first: tandem-appservice registration."


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Regular expressions of user ids, aliases and room ids; ``exclusive`` is about the users."""

    users: tuple[str, ...]
    exclusive: bool = True
    aliases: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registration:
    """``url``: where the homeserver reaches us; ``homeserver``: where we reach it."""

    id: str
    url: str
    as_token: str
    hs_token: str
    sender_localpart: str
    namespaces: Namespaces
    homeserver: str
    server_name: str

    def has_user(self, user_id: str) -> bool:
        """Whether this user is in the namespace, as homeservers match: from the start, not to the end."""
        return any(re.match(regex, user_id) for regex in self.namespaces.users)


def service_paths() -> ProfilePaths:
    """The folders of the service itself; no profile can have their name."""
    base = profile_paths()
    name = "_appservice"
    return replace(
        base,
        profile=name,
        data=base.data.with_name(name),
        runtime=base.runtime.with_name(name),
        log=base.log.with_name(name),
    )


def make(
    *,
    homeserver: str,
    server_name: str,
    url: str,
    namespaces: Namespaces,
    id: str = "tandem",
    sender_localpart: str = "_tandem",
) -> Registration:
    """A new registration with fresh tokens; raises BadInput for what a homeserver would refuse."""
    for name, address in (("--homeserver", homeserver), ("--url", url)):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(
                f"{name} {address!r} is no address", advice="Write it like http://127.0.0.1:29340."
            )
    if not _LOCALPART.match(sender_localpart):
        raise BadInput(f"{sender_localpart!r} is no localpart of a user")
    for regex in (*namespaces.users, *namespaces.aliases, *namespaces.rooms):
        try:
            re.compile(regex)
        except re.error as error:
            raise BadInput(f"{regex!r} is no regular expression: {error}") from error
    return Registration(
        id=id,
        url=url.rstrip("/"),
        as_token=secrets.token_urlsafe(32),
        hs_token=secrets.token_urlsafe(32),
        sender_localpart=sender_localpart,
        namespaces=namespaces,
        homeserver=homeserver.rstrip("/"),
        server_name=server_name,
    )


def to_json(made: Registration) -> Json:
    """The file's content."""
    spaces = made.namespaces

    def listed(regexes: Sequence[str], exclusive: bool) -> list[Json]:
        return [{"exclusive": exclusive, "regex": regex} for regex in regexes]

    return {
        "id": made.id,
        "url": made.url,
        "as_token": made.as_token,
        "hs_token": made.hs_token,
        "sender_localpart": made.sender_localpart,
        "namespaces": {
            "users": listed(spaces.users, spaces.exclusive),
            "aliases": listed(spaces.aliases, False),
            "rooms": listed(spaces.rooms, False),
        },
        **_FLAGS,
        OWN_KEY: {"homeserver": made.homeserver, "server_name": made.server_name},
    }


def file_of(paths: ProfilePaths) -> Path:
    """Where the service keeps its registration."""
    return paths.data / "registration.yaml"


def write(made: Registration, file: Path) -> None:
    """Keep it in ``file``, readable by its owner only, whole or not at all."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(to_json(made), stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    fresh.rename(file)


def load(paths: ProfilePaths) -> Registration:
    """The service's registration; raises NotRegistered, or BadInput for a file that cannot be read."""
    file = file_of(paths)
    try:
        said: Any = json.loads(file.read_text("utf-8"))
        spaces, own = said["namespaces"], said[OWN_KEY]
        return Registration(
            id=str(said["id"]),
            url=str(said["url"]),
            as_token=str(said["as_token"]),
            hs_token=str(said["hs_token"]),
            sender_localpart=str(said["sender_localpart"]),
            namespaces=Namespaces(
                users=_regexes(spaces["users"]),
                exclusive=all(space["exclusive"] for space in spaces["users"]),
                aliases=_regexes(spaces["aliases"]),
                rooms=_regexes(spaces["rooms"]),
            ),
            homeserver=str(own["homeserver"]),
            server_name=str(own["server_name"]),
        )
    except FileNotFoundError:
        raise NotRegistered() from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file}", title="The registration cannot be read", advice="Restore it, or make a new one."
        ) from error


def for_homeserver(file: Path) -> str:
    """What the administrator adds to homeserver.yaml, for this copy of the file."""
    features = "".join(f"\n  {name}: true" for name in FEATURES)
    return f"app_service_config_files:\n  - {file}\nexperimental_features:{features}\n"


def _regexes(spaces: Any) -> tuple[str, ...]:
    return tuple(str(space["regex"]) for space in spaces)
