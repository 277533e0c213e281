"""The suite against real Synapses, with our module and without it: each result must be the one that is recorded.

The suite runs as others run it: a copy of the folder, by itself, without anything of this repository in reach.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tandem_demo.raw import Json
from tandem_demo.synapse import SynapseServer, free_port
from tests.conformance.service import registration
from tests.conformance.suite import TABLES
from tests.homeserver.two_servers import federating

pytestmark = pytest.mark.synapse

HERE = Path(__file__).parent
ECHO = "org.example.conformance.echo"
FLAGS = ("im.tandem.account_data", "im.tandem.lossless_to_device")
"""What tandem-synapse wants to be asked for in a registration."""
AT_ONCE = 12
PARTS = [
    pytest.param([point.id for point in table.points][start : start + AT_ONCE], id=f"{table.title}, {start}")
    for table in TABLES
    for start in range(0, len(table.points), AT_ONCE)
]
"""All points, so many in one run of the suite that a test stays short."""


@dataclass
class World:
    """Two Synapses with the module, and a stock one; they federate. The suite's copy is in ``folder``."""

    folder: Path
    module: SynapseServer
    far: SynapseServer
    stock: SynapseServer

    def run(self, name: str, first: SynapseServer, second: SynapseServer, only: Sequence[str]) -> str:
        """What differs from the expectation of that name, or an empty text; the suite's own exit status agrees."""
        command = [
            sys.executable,
            "-m",
            "conformance",
            "--url",
            first.base_url,
            "--second-url",
            second.base_url,
        ]
        command += ["--expect", str(HERE / "expectations" / f"{name}.json"), "--echo-type", ECHO]
        command += ["--registration", str(first.folder / "conformance.yaml")]
        # A stock server is silent about what it does not know: there the patience is what the suite waits in vain.
        command += ["--patience", "10" if first is self.stock else "40"]
        command += ["--jobs", "4"]
        command += [word for name_ in only for word in ("--only", name_)]
        if os.environ.get("CONFORMANCE_RECORD"):
            command += ["--record", str(HERE / "expectations" / f"{name}.json")]
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environ |= {"CONFORMANCE_SECRET": _secret(first), "CONFORMANCE_SECOND_SECRET": _secret(second)}
        done = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=170, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        assert (done.returncode == 1) == bool(done.stderr), done.stdout + done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("conformance")
    shutil.copytree(
        HERE, folder / "conformance", ignore=shutil.ignore_patterns("test_*", "expectations", "__pycache__")
    )
    servers = [
        _server(folder / name, with_module=name != "stock", with_service=name != "far")
        for name in ("module", "far", "stock")
    ]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        for server in servers:
            server.wait_ready()
        yield World(folder, *servers)


def _server(folder: Path, *, with_module: bool, with_service: bool) -> SynapseServer:
    # What Synapse needs to be told for MSC4203 at all.
    extra: Json = {"experimental_features": {"msc2409_to_device_messages_enabled": True}}
    if with_service:
        folder.mkdir()
        file = folder / "conformance.yaml"
        file.write_text(json.dumps(registration(f"http://127.0.0.1:{free_port()}", FLAGS)), "utf-8")
        extra["app_service_config_files"] = [str(file)]
    server = federating(folder, with_module=with_module, extra=extra)
    if with_module:
        shutil.copy(HERE / "echo_module.py", folder)  # where Synapse starts, and so can import it
        path = folder / "homeserver.yaml"
        config = json.loads(path.read_text("utf-8"))
        config["modules"].append({"module": "echo_module.EchoModule", "config": {"type": ECHO}})
        path.write_text(json.dumps(config), "utf-8")
    return server


def _secret(server: SynapseServer) -> str:
    config = json.loads((server.folder / "homeserver.yaml").read_text("utf-8"))
    return str(config["registration_shared_secret"])


@pytest.mark.parametrize("only", PARTS)
def test_synapse_with_the_module_does_what_is_recorded(world: World, only: Sequence[str]) -> None:
    assert world.run("module", world.module, world.far, only) == ""


@pytest.mark.parametrize("only", PARTS)
def test_stock_synapse_does_what_is_recorded(world: World, only: Sequence[str]) -> None:
    assert world.run("stock", world.stock, world.module, only) == ""


def test_the_module_beside_a_stock_server_does_what_is_recorded(world: World) -> None:
    assert world.run("module-with-stock", world.module, world.stock, ("msc4089.federated-*",)) == ""
