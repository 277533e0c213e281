"""Settings and Synapses that the module does not work with: refused at start, with a sentence that names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tandem_demo.synapse import SynapseError, SynapseServer
from tandem_synapse import seams, versions

pytestmark = pytest.mark.synapse


@pytest.mark.parametrize(
    ("version", "is_tested"),
    [
        (f"{versions.OLDEST}.0", True),
        (f"{versions.NEWEST}.9", True),
        (f"{versions.NEWEST}.0rc1", True),
        ("1.157.2", False),
        ("1.164.0", False),
        ("2.150.0", False),
    ],
)
def test_releases_between_the_oldest_and_the_newest_are_taken(version: str, is_tested: bool) -> None:
    assert versions.is_tested(version) is is_tested


def test_a_synapse_that_was_not_tested_is_refused_unless_the_administrator_says_otherwise() -> None:
    with pytest.raises(seams.IncompatibleSynapse, match=r"this is Synapse 1\.999\.0"):
        seams.install({}, accept_untested=False, version="1.999.0")
    seams.install({}, accept_untested=True, version="1.999.0")


def test_a_wrong_setting_stops_synapse_with_its_name(tmp_path: Path) -> None:
    modules = [{"module": "tandem_synapse.TandemModule", "config": {"nonsense": 1}}]
    server = SynapseServer.create(tmp_path, extra={"modules": modules})
    server.start()
    with pytest.raises(SynapseError, match="nonsense"):
        server.wait_ready()
    server.stop()


def test_a_synapse_in_which_several_processes_write_receipts_is_refused_at_start(tmp_path: Path) -> None:
    place = {"host": "127.0.0.1", "port": 1}
    workers = {
        "instance_map": {"main": place, "one": place, "two": place},
        "stream_writers": {"receipts": ["one", "two"]},
    }
    server = SynapseServer.create(tmp_path, extra=workers)
    server.start()
    with pytest.raises(SynapseError, match=r"one, two.* works with one"):
        server.wait_ready()
    server.stop()


def test_a_synapse_whose_inside_has_changed_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import synapse.rest.client.receipts as r\n"
        "async def on_POST(self, request, room_id, receipt_type, event_id, thread_id): ...\n"
        "r.ReceiptRestServlet.on_POST = on_POST\n",
        "utf-8",
    )
    server = SynapseServer.create(tmp_path / "synapse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        server.start()
    with pytest.raises(SynapseError, match=r"on_POST takes .* expected"):
        server.wait_ready()
    server.stop()


def test_a_synapse_in_which_the_module_cannot_even_be_loaded_is_refused_with_a_sentence(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins\n"
        "original = builtins.__import__\n"
        "def without(name, globals=None, locals=None, fromlist=(), level=0):\n"
        "    if name == 'synapse.storage.database' and (globals or {}).get('__name__') == 'tandem_synapse.seams':\n"
        "        raise ImportError('cannot import name make_conn')\n"
        "    return original(name, globals, locals, fromlist, level)\n"
        "builtins.__import__ = without\n",
        "utf-8",
    )
    server = SynapseServer.create(tmp_path / "synapse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        server.start()
    with pytest.raises(
        SynapseError, match=r"this is Synapse 1\.\d+.* cannot be loaded \(cannot import name make_conn"
    ):
        server.wait_ready()
    server.stop()
