"""The wheel that an administrator installs, in a plain Synapse of the oldest supported release: used, and removed.

Nothing else of ours is in that environment, and no folder of the workspace on its path. The other tests run in the
newest release, which the lock names.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import OTHER_PYTHON, SynapseServer
from tandem_synapse import versions
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, receipts_in_v2, sliding

pytestmark = [pytest.mark.synapse, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def test_the_locks_name_the_oldest_and_the_newest_release() -> None:
    for lock, minor in (("synapse-oldest", versions.OLDEST), ("dev", versions.NEWEST)):
        text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
        assert re.findall(r"^matrix-synapse==(\d+\.\d+)\.", text, re.MULTILINE) == [minor]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT / "homeserver", check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean(wheel: Path) -> Iterator[str]:
    """The Python of that environment; servers that tests make are started with it."""
    made = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "oldest_synapse.py")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    python = made.stdout.strip()
    words = ("install", "--quiet", "--no-index", "--no-deps", "--force-reinstall")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *words, str(wheel)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OTHER_PYTHON, python)
        yield python


def _ask(python: str, script: str) -> str:
    return subprocess.run(
        [python, "-I", "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_wheel_holds_the_module_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "tandem_synapse/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"tandem_synapse"}


def test_a_plain_synapse_with_the_wheel_takes_receipts(clean: str, tmp_path: Path) -> None:
    names = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions() if 'tandem' in d.name))"
    assert _ask(clean, names) == "tandem-synapse"
    path, version = _ask(
        clean, "import synapse, tandem_synapse as t; print(t.__file__, synapse.__version__)"
    ).split(maxsplit=1)
    assert str(Path(clean).parent.parent) in path
    assert version.startswith(f"{versions.OLDEST}.")
    paths = _ask(clean, "import sys; print(*sys.path, sep='\\n')").splitlines()
    assert not [each for each in paths if Path(each).is_relative_to(ROOT) and ".venv-" not in each]
    server = SynapseServer.create(tmp_path)
    with server.running():
        alice, bob = (_person(server, name) for name in ("alice", "bob"))
        room = alice.create_room(invite=[bob.user_id])
        bob.join(room)
        pos, since = sliding(alice)["pos"], alice.sync_v2()["next_batch"]
        event = alice.say(room, "hello")
        assert bob.receipt(room, UNSTABLE, event) == (200, {})
        assert set(receipts_in(sliding(alice, pos, timeout_ms=20_000), room)[event]) == {bob.user_id}
        assert set(receipts_in_v2(alice.sync_v2(since), room)[event]) == {bob.user_id}
        assert receipts_in(sliding(bob), room) == {}
    _remove_it(clean, server)


def _remove_it(python: str, server: SynapseServer) -> None:
    """As docs/HOMESERVER.md says: the lines out, then the tables; and Synapse is as before."""
    settings = server.configs[0]
    command = [python, "-I", "-m", "tandem_synapse.remove", "-c", str(settings)]
    loaded = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=False)
    assert (loaded.returncode, "still loads the module" in loaded.stderr) == (1, True)
    config = json.loads(settings.read_text("utf-8"))
    del config["modules"]
    settings.write_text(json.dumps(config), "utf-8")
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "would remove im_tandem_delivery (1 rows)" in asked.stdout
    assert (asked.returncode, "nothing was removed" in asked.stderr) == (1, True)
    assert _tables(server) != []
    done = subprocess.run([*command, "--yes"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert _tables(server) == []
    with server.running():
        alice = _person(server, "alice-again")
        room = alice.create_room()
        event = alice.say(room, "as before")
        assert alice.receipt(room, "m.read", event) == (200, {})
        assert alice.receipt(room, UNSTABLE, event)[1]["errcode"] == "M_UNKNOWN"
        assert not alice.ok("GET", "/_matrix/client/versions")["unstable_features"].get("org.matrix.msc4089")
        assert alice.ok("GET", f"{CLIENT}/account/whoami")["user_id"] == alice.user_id


def _tables(server: SynapseServer) -> list[str]:
    with closing(sqlite3.connect(server.folder / "homeserver.db")) as conn:
        rows = conn.execute("SELECT name FROM sqlite_master WHERE name LIKE '%tandem%'").fetchall()
    return [name for (name,) in rows]


def _person(server: SynapseServer, name: str) -> RawClient:
    server.register(name, "a long password")
    return RawClient(server.base_url).login(name, "a long password")


def test_the_module_s_core_tests_hold_in_the_oldest_release(clean: str) -> None:
    tests = "tests/homeserver/test_delivery_receipts.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-p", "no:xdist", tests],
        cwd=ROOT,
        env=os.environ | {OTHER_PYTHON: clean},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
