"""A server that comes back from an older backup: what is said afterwards is neither missed nor deleted unread."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem_demo.device import wait_for
from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer
from tests.support.proxy import actions
from tests.support.proxy.scene import LINKS, Scene

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

_AHEAD = 40
"""To-device events that the server forgets; the programs have acknowledged them by then."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """A Synapse of the tests' own, whose clock will be turned back."""
    made = SynapseServer.create(tmp_path_factory.mktemp("restored") / "synapse")
    with made.running():
        yield made


@pytest.fixture
def scene(server: SynapseServer, tmp_path: Path) -> Iterator[Scene]:
    with Scene.playing(server, tmp_path / "people", seed=8) as made:
        yield made


def test_tokens_from_a_future_that_never_was_are_given_up(
    scene: Scene, server: SynapseServer, tmp_path: Path
) -> None:
    backup = _back_up(server, tmp_path / "backup")
    scene.exchange()

    bob = scene.as_bob()
    _poke(scene, bob, "im.forgotten", _AHEAD)
    wait_for("the forgotten ones", lambda: _count(scene, "im.forgotten") == _AHEAD)
    scene.assert_tokens_tell_the_truth()
    before = _held(scene)

    _set_back(server, backup)
    begun = len(scene.proxy.log)
    # Fewer than the server lost: with the old token none of these could ever be seen.
    _poke(scene, bob, "im.afterwards", 5)
    wait_for("what came afterwards", lambda: _count(scene, "im.afterwards") == 5)
    # A place from the future is one, too, for this server; so a program may wait there until something happens.
    wait_for(
        "tokens of this server", lambda: _are_behind(scene, bob, before), every_s=1.0, within_s=_AHEAD / 2
    )

    # Enough that the server's count passes the old tokens: had one been sent, it would delete them unread.
    _poke(scene, bob, "im.later", _AHEAD)
    wait_for("what came later", lambda: _count(scene, "im.later") == _AHEAD)
    scene.assert_tokens_never_led(since_number=begun)
    scene.assert_signed_in_and_running()
    # What was said is still there, once; and talk goes on.
    for link in LINKS:
        assert max(Counter(scene.bodies(scene.alice, link)).values()) == 1
    body = scene.write("bob")
    wait_for("Bob's words", lambda: all(body in scene.bodies(scene.alice, link) for link in LINKS))


def test_what_is_said_before_the_first_poll_after_a_restore_is_not_missed(
    scene: Scene, server: SynapseServer, tmp_path: Path
) -> None:
    """Synapse takes a place from its future for the present one, so what was said in between is in no answer."""
    backup = _back_up(server, tmp_path / "backup")
    # Room events only: no count of to-device events goes back.
    forgotten = [scene.write("bob", new_key=False) for _ in range(6)]
    wait_for(
        "Bob's words", lambda: all(set(forgotten) <= set(scene.bodies(scene.alice, link)) for link in LINKS)
    )
    scene.proxy.add("down", actions.drop_request(), path="", times=None)
    _set_back(server, backup)
    body = scene.write("bob", new_key=False)
    waiting = "SELECT 1 FROM send_queue WHERE state IN ('queued', 'sending')"
    wait_for("Bob's words at the server", lambda: not scene.bob.ask(waiting))
    scene.proxy.heal()
    wait_for("Bob's words", lambda: all(body in scene.bodies(scene.alice, link) for link in LINKS))


def _poke(scene: Scene, bob: RawClient, kind: str, count: int) -> None:
    user_id, device_id = scene.alice.ask("SELECT user_id, device_id FROM session")[0]
    for number in range(count):
        bob.send_to_device(f"{kind}.{number}", {user_id: {device_id: {}}})


def _count(scene: Scene, kind: str) -> int:
    """How many different ones came; plain events may come to both programs."""
    return int(
        scene.alice.ask("SELECT count(DISTINCT type) FROM inbox WHERE type LIKE ?", (f"{kind}.%",))[0][0]
    )


def _are_behind(scene: Scene, bob: RawClient, before: dict[str, int]) -> bool:
    """Whether no token is of that future any more; if one is, another event wakes who waits.

    A program that is in its long poll out of turn has none until its next request.
    """
    held = _held(scene)
    if held and all(token < max(before.values()) for token in held.values()):
        return True
    _poke(scene, bob, "im.nudge", 1)
    return False


def _held(scene: Scene) -> dict[str, int]:
    rows = scene.alice.ask("SELECT conn, since FROM connection WHERE since IS NOT NULL")
    return {str(link): int(since) for link, since in rows}


def _back_up(server: SynapseServer, folder: Path) -> Path:
    """Keep the server's database as it is now; returns where. The server is stopped meanwhile."""
    server.stop()
    _copy(server.folder, folder)
    server.start()
    server.wait_ready()
    return folder


def _set_back(server: SynapseServer, backup: Path) -> None:
    """Have the server go on, after a crash, from its kept database."""
    server.kill()
    _copy(backup, server.folder)
    server.start()
    server.wait_ready()


def _copy(source: Path, target: Path) -> None:
    """Put the database of a stopped server, and nothing else, from one folder into another."""
    target.mkdir(exist_ok=True)
    for old in target.glob("homeserver.db*"):
        old.unlink()
    for file in source.glob("homeserver.db*"):
        shutil.copy2(file, target)
