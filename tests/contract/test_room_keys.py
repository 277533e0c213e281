"""The key backup that tests keep in memory says what a real Synapse says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tandem_core.errors import ServerRefused
from tandem_core.types import Json
from tandem_demo.raw import CLIENT, RawClient
from tests.core.crypto.room_keys import RoomKeys

pytestmark = pytest.mark.synapse
Ask = Callable[[str, list[str], Json, str | None], tuple[int, Json]]
_VERSION = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "abc"}}


def _steps(ask: Ask) -> list[tuple[int, Any]]:
    """Everything that Tandem asks of a backup, and what may come instead of an answer."""

    def key(index: int, *, forwarded: int = 0, verified: bool = False) -> Json:
        data = {"ephemeral": "e", "ciphertext": f"c{index}{forwarded}", "mac": "m"}
        return {
            "first_message_index": index,
            "forwarded_count": forwarded,
            "is_verified": verified,
            "session_data": data,
        }

    def put(version: str, session: str, entry: Json, room: str = "!a:x") -> tuple[int, Json]:
        body = {"rooms": {room: {"sessions": {session: entry}}}}
        return ask("PUT", ["keys"], body, version)

    answers = [
        ask("GET", ["version"], {}, None),
        put("1", "s", key(3)),
        ask("POST", ["version"], _VERSION, None),
        ask("GET", ["version"], {}, None),
        ask("GET", ["keys"], {}, "1"),
        put("1", "s", key(3)),
        put("1", "s", key(5)),
        put("1", "s", key(3, forwarded=1)),
        ask("GET", ["keys", "!a:x", "s"], {}, "1"),
        put("1", "s", key(1, forwarded=1)),
        put("1", "s", key(1)),
        ask("GET", ["keys", "!a:x", "s"], {}, "1"),
        put("1", "t", key(0), room="!b:x"),
        ask("GET", ["keys", "!b:x"], {}, "1"),
        ask("GET", ["keys", "!none:x"], {}, "1"),
        ask("GET", ["keys", "!a:x", "none"], {}, "1"),
        ask("GET", ["keys"], {}, "1"),
        ask("POST", ["version"], _VERSION, None),
        put("1", "u", key(0)),
        put("7", "u", key(0)),
        ask("GET", ["keys"], {}, "7"),
        ask("GET", ["version"], {}, None),
        ask("DELETE", ["version", "2"], {}, None),
        put("2", "u", key(0)),
        ask("GET", ["version"], {}, None),
        ask("DELETE", ["version", "1"], {}, None),
        put("1", "u", key(0)),
        ask("DELETE", ["version", "1"], {}, None),
        ask("DELETE", ["version", "7"], {}, None),
        ask("GET", ["version"], {}, None),
    ]
    return [(status, _told(status, answer)) for status, answer in answers]


def _told(status: int, answer: Json) -> Any:
    """What matters of an answer: errors by their code, and no etag, which means nothing by itself."""
    if status != 200:
        return answer["errcode"]
    return {name: value for name, value in answer.items() if name != "etag"}


def test_the_backup_in_memory_answers_as_synapse_does(make_user: Callable[..., RawClient]) -> None:
    alice = make_user("alice")
    memory = RoomKeys()

    def real(method: str, parts: list[str], body: Json, version: str | None) -> tuple[int, Json]:
        where = "/".join([CLIENT, "room_keys", *(quote(part, safe="") for part in parts)])
        query = f"?version={version}" if version else ""
        return alice.request(method, where + query, None if method == "GET" else body)

    def fake(method: str, parts: list[str], body: Json, version: str | None) -> tuple[int, Json]:
        try:
            return 200, memory.answer(
                "@alice:x", method, parts, body, {"version": version} if version else {}
            )
        except ServerRefused as refused:
            return refused.status, {"errcode": refused.errcode}

    assert _steps(fake) == _steps(real)
