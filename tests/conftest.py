"""Fixtures that all suites share: a real Synapse, started once; fresh people; an own folder for Tandem."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer, modules

hypothesis.settings.register_profile(
    "tandem", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tandem")
"""No property is judged by how long the machine takes for it."""

_numbers = itertools.count(1)
_SHARED = ("model", "mutations", "scenarios", "torture")
"""Folders whose tests share a world of their own."""
_LONG = (
    "torture",
    "scenarios",
    "model",
    "faults",
    "appservice",
    "conformance",
    "homeserver",
    "interop",
    "e2e",
    "demo",
)
"""Folders whose files take long, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left alone with it at the end; else the drawn order stays."""
    weights = {folder: number for number, folder in enumerate(_LONG)}
    items.sort(key=lambda item: weights.get(Path(item.nodeid).parts[1], len(weights)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each worker gets whole files, or whole folders where a world is shared.

    xdist's own ``loadgroup`` writes its groups into node ids, which pytest 9.2 no longer lets it do.
    """
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = Path(file).parts[1]
            return folder if folder in _SHARED else file

    config.option.loadscopereorder = False
    return WholeFiles(config, log)


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """A real Synapse with our module; tests use people of their own on it. Receipts go out one by one, at once."""
    extra = {"modules": modules(coalesce_seconds=0)}
    yield from _running(SynapseServer.create(tmp_path_factory.mktemp("synapse"), extra=extra))


@pytest.fixture(scope="session")
def stock_synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """A real Synapse without our module."""
    yield from _running(SynapseServer.create(tmp_path_factory.mktemp("stock"), with_module=False))


def _running(server: SynapseServer) -> Iterator[SynapseServer]:
    with server.running():
        yield server


def new_user(server: SynapseServer, name: str = "user", *, admin: bool = False) -> tuple[str, str]:
    """A fresh account; returns (localpart, password)."""
    localpart = f"{name}-{next(_numbers)}-{secrets.token_hex(3)}"
    password = secrets.token_urlsafe(12)
    server.register(localpart, password, admin=admin)
    return localpart, password


@pytest.fixture
def make_user(synapse: SynapseServer) -> Callable[..., RawClient]:
    """Make a fresh account on the shared Synapse and sign it in as a raw client."""

    def make(name: str = "user", device_id: str | None = None) -> RawClient:
        localpart, password = new_user(synapse, name)
        return RawClient(synapse.base_url).login(localpart, password, device_id)

    return make


@pytest.fixture
def tandem_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TANDEM_HOME of the test's own; the pickle key in a file, never in somebody's keyring."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("TANDEM_HOME", str(home))
    monkeypatch.setenv("TANDEM_VAULT", "file")
    return home
