"""Against a stock Synapse, users of an inclusive namespace: hosted, in sync elsewhere, and moved to and fro."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tandem_core.role import is_running
from tandem_core.types import Role
from tandem_demo.device import Device, wait_for
from tandem_demo.traffic import Pen
from tests.appservice.running import Hosted, Service, person, running, sign_in

pytestmark = [pytest.mark.synapse, pytest.mark.slow]


@dataclass
class Scene:
    """Alice writes to Carol, who has a device of her own and one that is hosted."""

    service: Service
    carol: Device
    hosted: Hosted
    room: str
    pen: Pen

    def write(self, *texts: str) -> None:
        for text in texts:
            self.pen.write(self.room, text)

    def wait_read(self, *texts: str) -> None:
        """Both of Carol's devices read these, each once."""
        marks = ",".join("?" * len(texts))
        sql = f"SELECT count(*) FROM event WHERE seal = 'opened' AND body IN ({marks})"
        for device in (self.hosted, self.carol):
            wait_for(
                f"{device.name} to read", lambda device=device: device.ask(sql, texts) == [(len(texts),)]
            )
        assert [text for text in self.hosted.texts() if text in texts] == list(texts)
        assert self.hosted.doubled() == []


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("stock")
    words = ("--users", "@carol:localhost$", "--inclusive")
    with running(folder, with_module=False, words=words) as service, ExitStack() as stack:
        alice = person(service.server, folder, "alice")
        stack.callback(alice.stop_all)
        password = secrets.token_urlsafe(12)
        service.server.register("carol", password)
        carol = sign_in(service.server, folder, "carol", password)
        stack.callback(carol.stop_all)
        hosted = service.host("carol")
        service.start()
        room = alice.ctl("create", "--name", "Office", "--invite", "@carol:localhost")["room_id"]
        invited = "SELECT 1 FROM room WHERE room_id = ? AND membership = 'invite'"
        wait_for("the invitation", lambda: carol.ask(invited, (room,)))
        carol.ctl("accept", room)
        joined = "SELECT 1 FROM room WHERE room_id = ? AND membership = 'join' AND members_complete"
        wait_for("the hosted device to join", lambda: hosted.ask(joined, (room,)))
        yield Scene(service, carol, hosted, room, Pen(alice, stack))


def _words(start: str) -> str:
    return f"{start} {secrets.token_hex(4)}"


def test_a_user_who_also_syncs_elsewhere_reads_everything_on_both_devices(scene: Scene) -> None:
    texts = [_words(f"Line {number}") for number in range(4)]
    scene.write(*texts)
    scene.wait_read(*texts)
    status = scene.service.status()
    assert (status["to_device"], status["account_data"]) == ("stock", False)
    # To-device events for her own device are none of the service's business.
    assert status["counts"]["ignored_devices"] > 0


def test_a_user_is_moved_from_transactions_to_sync_and_back_and_has_everything_once(scene: Scene) -> None:
    texts = [_words(f"Line {number}") for number in range(6)]
    scene.write(*texts[:2])
    scene.wait_read(*texts[:2])
    scene.service.release("carol")
    wait_for("the service to let go", lambda: not is_running(scene.hosted.paths, Role.NOTIFIER))
    scene.write(texts[2])
    scene.hosted.start_notifier()
    scene.write(texts[3])
    scene.wait_read(*texts[:4])
    scene.hosted.stop("notifier")
    scene.write(texts[4])
    again = scene.service.host("carol")
    assert again.profile == scene.hosted.profile
    wait_for("the service to host it again", lambda: scene.service.hosts(scene.hosted))
    scene.write(texts[5])
    scene.wait_read(*texts)
