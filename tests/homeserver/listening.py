"""A Synapse with our module and a second one that handles to-device messages to the server."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.homeserver.two_servers import soon


def listening(server: SynapseServer, settings: Json | None = None, *, second_first: bool = True) -> None:
    """Give a server that has not started the second module, before or behind ours, and a log that tells more."""
    path = server.folder / "homeserver.yaml"
    config: Json = json.loads(path.read_text("utf-8"))
    ours = {"module": "tandem_synapse.TandemModule", "config": settings or {}}
    second = {"module": "second_module.SecondModule", "config": {"folder": str(server.folder)}}
    config["modules"] = [second, ours] if second_first else [ours, second]
    path.write_text(json.dumps(config), "utf-8")
    log = server.folder / "log.json"
    told = json.loads(log.read_text("utf-8")) | {"loggers": {"tandem_synapse": {"level": "INFO"}}}
    log.write_text(json.dumps(told), "utf-8")


@contextmanager
def importable() -> Iterator[None]:
    """Servers that are started in this block find the second module."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield


def heard(server: SynapseServer) -> list[Json]:
    """What the second module has handled, in order."""
    path = server.folder / "heard.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def to_server(
    client: RawClient, address: str, type_: str, by_device: Any, txn: str, **others: Any
) -> tuple[int, Json]:
    """Send to-device messages to a server; returns (status, body)."""
    messages = {address: by_device, **others}
    return client.request("PUT", f"{CLIENT}/sendToDevice/{type_}/{txn}", {"messages": messages})


def inbox(client: RawClient, since: str | None = None) -> tuple[list[Json], str]:
    """This device's to-device events, and the token that acknowledges them."""
    # Another filter each time: Synapse gives the same answer to the same question for two minutes.
    other = {"room": {"rooms": [], "timeline": {"limit": secrets.randbelow(10**6) + 1}}}
    answer = client.sync_v2(since, filter=json.dumps(other))
    return list(answer.get("to_device", {}).get("events", [])), str(answer["next_batch"])


def of_type(client: RawClient, type_: str) -> list[Json]:
    """Wait until this device's inbox holds events of this type; acknowledges nothing."""
    return soon(lambda: [event for event in inbox(client)[0] if event["type"] == type_])
