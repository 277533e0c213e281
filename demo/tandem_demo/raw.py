"""A raw HTTP client for outside observers: the server's own words, nothing of Tandem's in between."""

from __future__ import annotations

import http.client
import json
import secrets
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

Json = dict[str, Any]

CLIENT = "/_matrix/client/v3"
SLIDING_SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


class RawError(Exception):
    """A convenience call got another status than 200."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"{status} {body.get('errcode')}: {body.get('error')}")
        self.status = status
        self.body = body


class RawClient:
    """One account's access by plain ``http.client``; ``request`` never raises for a status."""

    def __init__(self, base_url: str, token: str = "", user_id: str = "", device_id: str = "") -> None:
        self.base_url = base_url
        self.token = token
        self.user_id = user_id
        self.device_id = device_id

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, timeout: float = 30.0
    ) -> tuple[int, Json]:
        """One HTTP request on a connection of its own; returns (status, parsed body or {})."""
        parts = urlsplit(self.base_url)
        conn = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
        try:
            headers = {"Content-Type": "application/json"}
            bearer = self.token if token is None else token
            if bearer:
                headers["Authorization"] = f"Bearer {bearer}"
            data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
            conn.request(method, path, data, headers)
            answer = conn.getresponse()
            raw = answer.read()
        finally:
            conn.close()
        try:
            parsed = json.loads(raw) if raw else {}
        except ValueError:
            parsed = {}
        return answer.status, parsed if isinstance(parsed, dict) else {"": parsed}

    def ok(self, method: str, path: str, body: Any = None, *, timeout: float = 30.0) -> Json:
        """The same, raising RawError unless the status is 200."""
        status, answer = self.request(method, path, body, timeout=timeout)
        if status != 200:
            raise RawError(status, answer)
        return answer

    def login(self, user: str, password: str, device_id: str | None = None) -> RawClient:
        """Sign in with a password; returns a client of that device."""
        body: Json = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
        }
        if device_id is not None:
            body["device_id"] = device_id
        answer = self.ok("POST", f"{CLIENT}/login", body)
        return RawClient(self.base_url, answer["access_token"], answer["user_id"], answer["device_id"])

    def create_room(self, **body: Any) -> str:
        return str(self.ok("POST", f"{CLIENT}/createRoom", body)["room_id"])

    def create_encrypted_room(self, *invite: str, direct: bool = False) -> str:
        """A private room with Megolm on from the start."""
        state = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        return self.create_room(
            preset="trusted_private_chat" if direct else "private_chat",
            is_direct=direct,
            invite=list(invite),
            initial_state=[state],
        )

    def invite(self, room_id: str, user_id: str) -> None:
        self.ok("POST", f"{CLIENT}/rooms/{quote(room_id)}/invite", {"user_id": user_id})

    def join(self, room_id: str) -> None:
        self.ok("POST", f"{CLIENT}/join/{quote(room_id)}", {})

    def leave(self, room_id: str) -> None:
        self.ok("POST", f"{CLIENT}/rooms/{quote(room_id)}/leave", {})

    def send(
        self, room_id: str, content: Json, type_: str = "m.room.message", txn_id: str | None = None
    ) -> str:
        """Send an event; returns its id."""
        txn = txn_id or secrets.token_hex(8)
        path = f"{CLIENT}/rooms/{quote(room_id)}/send/{quote(type_)}/{quote(txn)}"
        return str(self.ok("PUT", path, content)["event_id"])

    def say(self, room_id: str, text: str) -> str:
        """Send plain text; returns the event id."""
        return self.send(room_id, {"msgtype": "m.text", "body": text})

    def set_state(self, room_id: str, type_: str, content: Json, state_key: str = "") -> str:
        path = f"{CLIENT}/rooms/{quote(room_id)}/state/{quote(type_)}/{quote(state_key)}"
        return str(self.ok("PUT", path, content)["event_id"])

    def receipt(self, room_id: str, kind: str, event_id: str, body: Any = None) -> tuple[int, Json]:
        """POST a receipt; returns (status, body)."""
        path = f"{CLIENT}/rooms/{quote(room_id)}/receipt/{quote(kind)}/{quote(event_id)}"
        return self.request("POST", path, {} if body is None else body)

    def send_to_device(self, type_: str, messages: Json, txn_id: str | None = None) -> None:
        txn = txn_id or secrets.token_hex(8)
        self.ok("PUT", f"{CLIENT}/sendToDevice/{quote(type_)}/{quote(txn)}", {"messages": messages})

    def upload_keys(self, body: Json) -> Json:
        return self.ok("POST", f"{CLIENT}/keys/upload", body)

    def sliding_sync(self, body: Json, *, pos: str | None = None, timeout_ms: int = 0) -> tuple[int, Json]:
        """One simplified sliding sync request; returns (status, body)."""
        query = {"timeout": str(timeout_ms)} | ({} if pos is None else {"pos": pos})
        path = f"{SLIDING_SYNC}?{urlencode(query)}"
        return self.request("POST", path, body, timeout=30 + timeout_ms / 1000)

    def sync_v2(self, since: str | None = None, *, timeout_ms: int = 0, **query: str) -> Json:
        """One old-style sync."""
        words = {"timeout": str(timeout_ms), **query} | ({} if since is None else {"since": since})
        return self.ok("GET", f"{CLIENT}/sync?{urlencode(words)}", timeout=30 + timeout_ms / 1000)
