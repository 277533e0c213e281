"""A homeserver's cross-signing half, with Synapse's rules: for each fake server, whatever it keeps devices in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tandem_core.crypto.signed import is_signed_by
from tandem_core.types import Json

USAGES = ("master", "self_signing", "user_signing")
Devices = Mapping[Any, Mapping[Any, Json]]


class Refusal(Exception):
    """The server says no; ``flows`` is the answer of one that wants an approval first."""

    def __init__(self, status: int, errcode: str, message: str, flows: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode
        self.message = message
        self.flows = flows


class CrossSigningKeys:
    """Everybody's keys by usage, and what was signed since: (by whom, on whose, under which id, signatures)."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Json]] = {}
        self.signatures: list[tuple[str, str, str, dict[str, str]]] = []

    def upload(self, user: str, body: Json, password: str) -> None:
        """The first identity is taken as it comes, the same one again, too; another one needs the password."""
        known = self.keys.get(user, {})
        given = {usage: body[f"{usage}_key"] for usage in USAGES if f"{usage}_key" in body}
        if known:
            if all(_key_of(known.get(usage)) == _key_of(key) for usage, key in given.items()):
                return
            auth = body.get("auth")
            if not isinstance(auth, dict) or auth.get("password") != password:
                flows = [{"stages": ["m.login.password"]}]
                raise Refusal(
                    401,
                    "M_FORBIDDEN",
                    "",
                    {"flows": flows, "params": {}, "session": "uia", "completed": []},
                )
        master = _key_of(given.get("master", known.get("master")))
        if master is None:
            raise Refusal(400, "M_MISSING_PARAM", "No master key available")
        for usage, key in given.items():
            if key["user_id"] != user or key["usage"] != [usage]:
                raise Refusal(400, "M_INVALID_PARAM", f"Invalid {usage} key")
            if usage != "master" and not is_signed_by(key, user, master, master):
                raise Refusal(400, "M_INVALID_SIGNATURE", f"{usage} key is not signed")
        self.keys[user] = known | copy.deepcopy(given)

    def sign(self, by: str, body: Json, devices: Devices) -> Json:
        """Keep signatures on what the server has, made with the right key; returns the failures."""
        failures: dict[str, dict[str, Json]] = {}
        for whose, objects in body.items():
            for target, value in objects.items():
                error = self._error(by, whose, target, value, devices)
                if error is None:
                    made = {
                        key_id: signature
                        for key_id, signature in value["signatures"][by].items()
                        if key_id != f"ed25519:{target}"  # what a device says of itself came with its keys
                    }
                    self.signatures.append((by, whose, target, made))
                else:
                    failures.setdefault(whose, {})[target] = {"errcode": error, "error": "refused"}
        return failures

    def show(self, asker: str | None, found: Devices) -> Json:
        """The fields of a ``/keys/query`` answer; signatures are put on the devices of ``found``, too.

        What was said of a master key is shown to who said it, and a user-signing key to its owner.
        """
        answer: Json = {}
        for usage in USAGES:
            answer[f"{usage}_keys"] = {
                user: copy.deepcopy(self.keys[user][usage])
                for user in found
                if usage in self.keys.get(user, {}) and (usage != "user_signing" or user == asker)
            }
        for by, whose, target, made in self.signatures:
            if whose not in found:
                continue
            master = answer["master_keys"].get(whose)
            is_master = _key_of(master) == target
            signed = master if is_master else found[whose].get(target)
            if signed is not None and (by == asker or not is_master):
                signed.setdefault("signatures", {}).setdefault(by, {}).update(made)
        return answer

    def _error(self, by: str, whose: str, target: str, value: Json, devices: Devices) -> str | None:
        theirs, own = self.keys.get(whose, {}), self.keys.get(by, {})
        is_master = _key_of(theirs.get("master")) == target
        known = theirs["master"] if is_master else devices.get(whose, {}).get(target)
        if known is None or (whose != by and not is_master):
            return "M_NOT_FOUND"
        if _bare(known) != _bare(value):
            return "M_MISSING_PARAM"
        if whose == by and is_master:
            return None if _is_signed_by_any(by, value, devices.get(by, {})) else "M_INVALID_SIGNATURE"
        key = _key_of(own.get("self_signing" if whose == by else "user_signing"))
        is_signed = key is not None and is_signed_by(value, by, key, key)
        return None if is_signed else "M_INVALID_SIGNATURE"


def _is_signed_by_any(user: str, value: Json, devices: Mapping[Any, Json]) -> bool:
    return any(
        is_signed_by(value, user, device_id, keys["keys"][f"ed25519:{device_id}"])
        for device_id, keys in devices.items()
    )


def _key_of(value: Json | None) -> str | None:
    """The one public key of a key object."""
    return None if value is None else str(next(iter(value["keys"].values())))


def _bare(value: Json) -> Json:
    return {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
