"""A person whose client is written out by hand: bare HTTP and vodozemac, so that a test decides each byte."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from vodozemac import Account, Curve25519PublicKey, GroupSession, Session

from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user

Json = dict[str, Any]
OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"


@dataclass(frozen=True, slots=True)
class Address:
    """One device of somebody, as a sender must know it."""

    user_id: str
    device_id: str
    curve25519: str
    ed25519: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A key that the server gave out for a device, one-time or fallback."""

    key_id: str
    key: str
    is_fallback: bool


class Peer:
    """A signed-in device with keys of its own; it reads nothing and writes what it is told to."""

    def __init__(self, client: RawClient, *, one_time_keys: int = 0) -> None:
        self.client = client
        self.account = Account()
        self._sessions: dict[str, Session] = {}
        self.account.generate_one_time_keys(one_time_keys)
        keys = {
            f"curve25519:{client.device_id}": self.account.curve25519_key.to_base64(),
            f"ed25519:{client.device_id}": self.account.ed25519_key.to_base64(),
        }
        self.device_keys = self._signed(
            {
                "user_id": client.user_id,
                "device_id": client.device_id,
                "algorithms": [OLM, MEGOLM],
                "keys": keys,
            }
        )
        body: Json = {"device_keys": self.device_keys}
        if one_time_keys:
            body["one_time_keys"] = {
                f"signed_curve25519:{key_id}": self._signed({"key": key.to_base64()})
                for key_id, key in self.account.one_time_keys.items()
            }
        client.upload_keys(body)
        self.account.mark_keys_as_published()

    @classmethod
    def sign_up(cls, server: SynapseServer, name: str, *, one_time_keys: int = 1) -> Peer:
        """A fresh account with one device."""
        localpart, password = new_user(server, name)
        return cls(RawClient(server.base_url).login(localpart, password), one_time_keys=one_time_keys)

    @property
    def user_id(self) -> str:
        return self.client.user_id

    def claim(self, to: Address) -> Claimed:
        """Take a key of this device from the server."""
        wish = {"one_time_keys": {to.user_id: {to.device_id: "signed_curve25519"}}}
        answer = self.client.ok("POST", f"{CLIENT}/keys/claim", wish)
        ((key_id, key),) = answer["one_time_keys"][to.user_id][to.device_id].items()
        return Claimed(key_id, key["key"], bool(key.get("fallback")))

    def begin(self, to: Address, claimed: Claimed | None = None) -> Claimed:
        """Open an Olm session with this device, from a key that was claimed or from the next one."""
        claimed = claimed or self.claim(to)
        self._sessions[to.device_id] = self.account.create_outbound_session(
            Curve25519PublicKey.from_base64(to.curve25519), Curve25519PublicKey.from_base64(claimed.key)
        )
        return claimed

    def knows(self, to: Address) -> bool:
        """Whether there is an Olm session with this device."""
        return to.device_id in self._sessions

    def seal(self, to: Address, kind: str, content: Json) -> Json:
        """An ``m.room.encrypted`` to-device content for this device."""
        payload = {
            "type": kind,
            "content": content,
            "sender": self.user_id,
            "recipient": to.user_id,
            "recipient_keys": {"ed25519": to.ed25519},
            "keys": {"ed25519": self.account.ed25519_key.to_base64()},
        }
        message_type, body = self._sessions[to.device_id].encrypt(json.dumps(payload).encode()).to_parts()
        return {
            "algorithm": OLM,
            "sender_key": self.account.curve25519_key.to_base64(),
            "ciphertext": {
                to.curve25519: {
                    "type": message_type,
                    "body": base64.b64encode(body).decode().rstrip("="),
                }
            },
        }

    def deliver(self, to: Address, sealed: Json) -> None:
        """Put a sealed content into the device's mailbox."""
        self.client.send_to_device("m.room.encrypted", {to.user_id: {to.device_id: sealed}})

    def room_key(self, room_id: str, session: GroupSession) -> Json:
        """The content of an ``m.room_key`` for this session, from where it stands."""
        return {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": session.session_id,
            "session_key": session.session_key.to_base64(),
        }

    def share(self, to: Address, room_id: str, session: GroupSession) -> None:
        """Give this device the key of a session."""
        if not self.knows(to):
            self.begin(to)
        self.deliver(to, self.seal(to, "m.room_key", self.room_key(room_id, session)))

    def post(self, room_id: str, session: GroupSession, body: str) -> str:
        """Write in an encrypted room; returns the event's id. The key goes its own way."""
        content = self.seal_in(room_id, session, "m.room.message", {"msgtype": "m.text", "body": body})
        return self.client.send(room_id, content, "m.room.encrypted")

    def seal_in(self, room_id: str, session: GroupSession, kind: str, content: Any) -> Json:
        """An ``m.room.encrypted`` content for this room."""
        sender_key = self.account.curve25519_key.to_base64()
        return sealed_in(room_id, session, kind, content, sender_key, self.client.device_id)

    def say(self, to: Address, room_id: str) -> str:
        """Write something with a key of its own, which travels first; returns the words."""
        body = f"{self.user_id} {secrets.token_hex(4)}"
        session = GroupSession()
        self.share(to, room_id, session)
        self.post(room_id, session, body)
        return body

    def mail(self) -> list[Json]:
        """The to-device events that wait for this device; they stay, since nothing is acknowledged."""
        body = {"conn_id": "peer", "extensions": {"to_device": {"enabled": True, "limit": 100}}}
        status, answer = self.client.sliding_sync(body)
        assert status == 200
        return list(answer["extensions"]["to_device"]["events"])

    def _signed(self, value: Json) -> Json:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        signature = self.account.sign(text.encode()).to_base64()
        return {
            **value,
            "signatures": {self.client.user_id: {f"ed25519:{self.client.device_id}": signature}},
        }


def sealed_in(
    room_id: str, session: GroupSession, kind: str, content: Any, sender_key: str, device_id: str
) -> Json:
    """An event's encrypted content, by the next key of this session."""
    payload = {"type": kind, "content": content, "room_id": room_id}
    return {
        "algorithm": MEGOLM,
        "ciphertext": session.encrypt(json.dumps(payload).encode()).to_base64(),
        "session_id": session.session_id,
        "sender_key": sender_key,
        "device_id": device_id,
    }


def look_up(asking: RawClient, user_id: str, device_id: str) -> Address:
    """A device's keys, as the server tells them."""
    answer = asking.ok("POST", f"{CLIENT}/keys/query", {"device_keys": {user_id: []}})
    keys = answer["device_keys"][user_id][device_id]["keys"]
    return Address(user_id, device_id, keys[f"curve25519:{device_id}"], keys[f"ed25519:{device_id}"])


def display_name(client: RawClient, name: str) -> None:
    """Give oneself another name."""
    client.ok("PUT", f"{CLIENT}/profile/{quote(client.user_id)}/displayname", {"displayname": name})
