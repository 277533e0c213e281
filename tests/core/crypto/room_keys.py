"""The key backup half of a homeserver in memory, with Synapse's rules (``handlers/e2e_room_keys.py``)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from tandem_core.errors import ServerRefused
from tandem_core.types import Json


@dataclass
class Version:
    """One backup of one account."""

    name: str
    algorithm: str
    auth_data: Json
    rooms: dict[str, dict[str, Json]] = field(default_factory=dict)
    etag: int = 0
    is_deleted: bool = False

    @property
    def count(self) -> int:
        return sum(len(sessions) for sessions in self.rooms.values())

    @property
    def info(self) -> Json:
        return {
            "version": self.name,
            "algorithm": self.algorithm,
            "auth_data": copy.deepcopy(self.auth_data),
            "count": self.count,
            "etag": str(self.etag),
        }


@dataclass
class RoomKeys:
    """All backups there are; the newest that is not deleted is the current one."""

    versions: dict[str, list[Version]] = field(default_factory=dict)

    def current(self, user: str) -> Version | None:
        return next((one for one in reversed(self.versions.get(user, [])) if not one.is_deleted), None)

    def answer(self, user: str, method: str, parts: list[str], body: Json, query: dict[str, str]) -> Json:
        match [method, *parts]:
            case ["GET", "version"]:
                return self._found(self.current(user), "No backup found").info
            case ["POST", "version"]:
                made = self.versions.setdefault(user, [])
                made.append(Version(str(len(made) + 1), body["algorithm"], copy.deepcopy(body["auth_data"])))
                return {"version": made[-1].name}
            case ["DELETE", "version", name]:
                made = self.versions.get(user, [])
                self._found(
                    next((one for one in made if one.name == name), None), "no such"
                ).is_deleted = True
                return {}  # a second time, too
            case ["PUT", "keys"]:
                return self._put(user, query["version"], body)
            case ["GET", "keys", *where]:
                return self._get(self._named(user, query["version"]), where)
        raise AssertionError(f"nobody asks for {method} {parts}")

    def _put(self, user: str, name: str, body: Json) -> Json:
        current = self.current(user)
        if current is None or current.name != name:
            if current is not None and any(one.name == name for one in self._living(user)):
                raise ServerRefused(403, "M_WRONG_ROOM_KEYS_VERSION", "Wrong room_keys version.")
            raise ServerRefused(404, "M_NOT_FOUND", f"Version '{name}' not found")
        for room, found in body["rooms"].items():
            here = current.rooms.setdefault(room, {})
            for session, new in found["sessions"].items():
                if session not in here or _is_better(new, here[session]):
                    here[session] = copy.deepcopy(new)
                    current.etag += 1
        return {"etag": str(current.etag), "count": current.count}

    def _get(self, version: Version, where: list[str]) -> Json:
        match where:
            case []:
                return {"rooms": {room: {"sessions": found} for room, found in version.rooms.items()}}
            case [room]:
                return {"sessions": version.rooms.get(room, {})}
            case [room, session]:
                found = version.rooms.get(room, {}).get(session)
                if found is None:
                    raise ServerRefused(404, "M_NOT_FOUND", "No room_keys found")
                return found
        raise AssertionError(where)

    def _living(self, user: str) -> list[Version]:
        return [one for one in self.versions.get(user, []) if not one.is_deleted]

    def _named(self, user: str, name: str) -> Version:
        found = next((one for one in self._living(user) if one.name == name), None)
        return self._found(found, "Unknown backup version")

    @staticmethod
    def _found(version: Version | None, words: str) -> Version:
        if version is None:
            raise ServerRefused(404, "M_NOT_FOUND", words)
        return version


def _is_better(new: Json, old: Json) -> bool:
    if new["is_verified"] != old["is_verified"]:
        return bool(new["is_verified"])
    if new["first_message_index"] != old["first_message_index"]:
        return bool(new["first_message_index"] < old["first_message_index"])
    return bool(new["forwarded_count"] < old["forwarded_count"])
