"""Two real Synapses on loopback that federate with each other over TLS; each with our module or without it.

@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with TwoServers(tmp_path_factory.mktemp("two")) as servers:
        yield servers

alice, bob = two.person(two.here, "alice"), two.person(two.there, "bob")
room = two.room(alice, bob)
event = two.say(alice, room, "hello", bob)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer, free_port
from tests.conftest import new_user
from tests.homeserver.certificate import certificate

T = TypeVar("T")
WITHIN_S = 60.0
"""How long something that comes over federation is waited for before the test fails."""

QUICK = {
    "max_long_retry_delay": "1s",
    "max_short_retry_delay": "1s",
    "destination_min_retry_interval": "1s",
    "destination_max_retry_interval": "2s",
}
"""Synapse's pauses after another server did not answer, otherwise of 10 minutes up to a week."""


class TwoServers:
    """``here`` and ``there``, both running inside the ``with`` block; each is killed and started by its own methods.

    ``here_extra`` and ``there_extra`` override settings in homeserver.yaml.
    """

    def __init__(
        self,
        folder: Path,
        *,
        here_module: bool = True,
        there_module: bool = True,
        here_extra: Mapping[str, Any] | None = None,
        there_extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.here = federating(folder / "here", with_module=here_module, extra=here_extra)
        self.there = federating(folder / "there", with_module=there_module, extra=there_extra)

    def __enter__(self) -> TwoServers:
        try:
            for server in (self.here, self.there):
                server.start()
            for server in (self.here, self.there):
                server.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        for server in (self.here, self.there):
            server.stop()

    def person(self, server: SynapseServer, name: str, device_id: str | None = None) -> RawClient:
        """A fresh account on that server, signed in."""
        localpart, password = new_user(server, name)
        return RawClient(server.base_url).login(localpart, password, device_id)

    def room(self, host: RawClient, *others: RawClient, **body: Any) -> str:
        """A private room of the host's with the others in it, wherever they live; all servers know all members."""
        room_id = host.create_room(**{"preset": "private_chat", **body})
        for other in others:
            host.invite(room_id, other.user_id)
            soon(lambda other=other: other.request("POST", f"{CLIENT}/join/{quote(room_id)}", {})[0] == 200)
        everybody = {host.user_id, *(other.user_id for other in others)}
        for person in (host, *others):
            soon(lambda person=person: everybody <= joined(person, room_id))
        return room_id

    def say(self, author: RawClient, room_id: str, text: str, *seen_by: RawClient) -> str:
        """The author writes; returns the event's id when these people's servers have it."""
        event_id = author.say(room_id, text)
        for person in seen_by:
            soon(lambda person=person: has_event(person, room_id, event_id))
        return event_id


def federating(
    folder: Path, *, with_module: bool = True, extra: Mapping[str, Any] | None = None
) -> SynapseServer:
    """A Synapse that is found by its name, which is its TLS listener's address: ``127.0.0.1:port``."""
    port = free_port()
    server = SynapseServer.create(folder, with_module=with_module, server_name=f"127.0.0.1:{port}")
    pem = str(certificate(folder))
    path = folder / "homeserver.yaml"
    config: Json = json.loads(path.read_text("utf-8"))
    del config["federation_domain_whitelist"]
    config["listeners"].append(
        {
            "port": port,
            "type": "http",
            "tls": True,
            "bind_addresses": ["127.0.0.1"],
            "resources": [{"names": ["federation"], "compress": False}],
        }
    )
    config |= {
        "tls_certificate_path": pem,
        "tls_private_key_path": pem,
        "federation_verify_certificates": False,
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "federation": QUICK,
        "federation_rr_transactions_per_room_per_second": 1000,
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 10_000,
            "sleep_delay": 1,
            "reject_limit": 10_000,
            "concurrent": 100,
        },
    }
    path.write_text(json.dumps(config | dict(extra or {}), indent=1), "utf-8")
    return server


def soon(look: Callable[[], T], within_s: float = WITHIN_S) -> T:
    """Ask again until the answer is true; returns it. What comes over federation comes when it comes."""
    end = time.monotonic() + within_s
    while not (answer := look()):
        assert time.monotonic() < end, "it never came over federation"
        time.sleep(0.05)
    return answer


def joined(client: RawClient, room_id: str) -> set[str]:
    """Who is in the room as this person's server sees it."""
    status, answer = client.request("GET", f"{CLIENT}/rooms/{quote(room_id)}/joined_members")
    return set(answer["joined"]) if status == 200 else set()


def has_event(client: RawClient, room_id: str, event_id: str) -> bool:
    """Whether this person's server has the event."""
    return client.request("GET", f"{CLIENT}/rooms/{quote(room_id)}/event/{quote(event_id)}")[0] == 200
