"""A second homeserver on loopback, as small as the tests need: real TLS, real keys, real signatures.

It joins rooms, sends events and ephemeral units, and writes down every transaction that it is sent.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures
from synapse.events import make_event_from_dict

from tandem_demo.raw import Json
from tandem_demo.synapse import SynapseServer
from tests.homeserver.certificate import certificate

ROOM_VERSION = "10"
_YEAR_MS = 365 * 86_400_000


class RemoteServer:
    """Use as a context manager; ``name`` is its server name, host and port."""

    def __init__(self, folder: Path) -> None:
        self._key = generate_signing_key("remote")
        self._numbers = itertools.count(1)
        self._heard: list[Json] = []
        self._news = threading.Condition()
        self.announcement: Json | None = None
        """What it answers when it is asked whether it takes delivery receipts; None: 404, as a stock Synapse."""
        self.refuses: Callable[[Json], bool] = lambda _transaction: False
        """Transactions that it answers 500, and writes down all the same."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(folder))
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self.name = f"127.0.0.1:{self._http.server_port}"
        self.user_id = f"@remote:{self.name}"

    def __enter__(self) -> RemoteServer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def join(self, server: SynapseServer, room_id: str) -> None:
        """Our user joins a public room of that server, by the handshake of federation."""
        prefix = "/_matrix/federation"
        room, user = quote(room_id, safe=""), quote(self.user_id, safe="")
        made = self._ask(server, "GET", f"{prefix}/v1/make_join/{room}/{user}?ver={ROOM_VERSION}")
        event, event_id = self._signed(made["event"])
        self._ask(server, "PUT", f"{prefix}/v2/send_join/{room}/{quote(event_id, safe='')}", event)
        self._last = event_id

    def say(self, server: SynapseServer, room_id: str, state: dict[str, str], depth: int) -> str:
        """Send a message into the room; ``state`` holds the event ids that allow it, by type."""
        event, event_id = self._signed(
            {
                "type": "m.room.message",
                "room_id": room_id,
                "sender": self.user_id,
                "content": {"msgtype": "m.text", "body": "from elsewhere"},
                "auth_events": [state["m.room.create"], state["m.room.power_levels"], self._last],
                "prev_events": [self._last],
                "depth": depth,
            }
        )
        answer = self._transaction(server, pdus=[event])
        assert answer["pdus"][event_id] == {}, answer
        return event_id

    def send_receipts(self, server: SynapseServer, content: Json) -> None:
        """Send one ``m.receipt`` ephemeral unit."""
        self.send_edus(server, [{"edu_type": "m.receipt", "content": content}])

    def send_edus(self, server: SynapseServer, edus: list[Json]) -> None:
        """Send ephemeral units in one transaction, which must be taken."""
        self._transaction(server, edus=edus)

    def hear(self, wanted: Callable[[Json], bool], within_s: float = 20.0) -> list[Json]:
        """Wait for a transaction like this; returns all that were heard until then."""
        end = time.monotonic() + within_s
        with self._news:
            while not any(wanted(each) for each in self._heard):
                left = end - time.monotonic()
                assert left > 0, "the other server never sent it"
                self._news.wait(left)
            return list(self._heard)

    def _transaction(self, server: SynapseServer, **parts: Any) -> Json:
        path = f"/_matrix/federation/v1/send/t{next(self._numbers)}"
        body = {"origin": self.name, "origin_server_ts": _now_ms(), "pdus": [], **parts}
        return self._ask(server, "PUT", path, body)

    def _ask(self, server: SynapseServer, method: str, path: str, body: Json | None = None) -> Json:
        signed: Json = {
            "method": method,
            "uri": path,
            "origin": self.name,
            "destination": server.server_name,
        }
        if body is not None:
            signed["content"] = body
        signature = sign_json(signed, self.name, self._key)["signatures"][self.name]["ed25519:remote"]
        header = f'X-Matrix origin="{self.name}",key="ed25519:remote",sig="{signature}"'
        header += f',destination="{server.server_name}"'
        conn = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            conn.request(method, path, data, {"Authorization": header, "Content-Type": "application/json"})
            response = conn.getresponse()
            answer: Json = json.loads(response.read())
        finally:
            conn.close()
        assert response.status == 200, (response.status, answer)
        return answer

    def _signed(self, template: Json) -> tuple[Json, str]:
        event = {**template, "origin": self.name, "origin_server_ts": _now_ms()}
        version = KNOWN_ROOM_VERSIONS[ROOM_VERSION]
        add_hashes_and_signatures(version, event, self.name, self._key)
        return event, make_event_from_dict(event, version).event_id

    def _keys(self) -> Json:
        verify = {"ed25519:remote": {"key": encode_verify_key_base64(get_verify_key(self._key))}}
        body = {
            "server_name": self.name,
            "valid_until_ts": _now_ms() + _YEAR_MS,
            "verify_keys": verify,
            "old_verify_keys": {},
        }
        return sign_json(body, self.name, self._key)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        remote = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/_matrix/key/v2/server"):
                    self._answer(200, remote._keys())
                elif "/query/im.tandem.delivery" in self.path and remote.announcement is not None:
                    self._answer(200, remote.announcement)
                else:
                    self._answer(404, {"errcode": "M_NOT_FOUND"})

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.startswith("/_matrix/federation/v1/send/"):
                    with remote._news:
                        remote._heard.append(body)
                        remote._news.notify_all()
                self._answer(500 if remote.refuses(body) else 200, {"pdus": {}})

            def _answer(self, status: int, body: Json) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                # The homeserver may be stopped while we answer.
                with contextlib.suppress(OSError):
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet: a test's output is about the test."""

        return Handler


def _now_ms() -> int:
    return int(time.time() * 1000)
