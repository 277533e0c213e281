"""End to end: a person with window and notifier, a hosted account, and a real Synapse with the module."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tandem_core.role import is_running
from tandem_core.store.database import Database
from tandem_core.types import Role
from tandem_demo.device import Device, wait_for
from tandem_demo.traffic import Pen
from tandem_demo.window import WindowDriver
from tests.appservice.running import Hosted, Service, person, running
from tests.e2e.scene import heard

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

SETTINGS = "im.tandem.delivery_settings"


@dataclass
class Scene:
    """Alice and the hosted account in an encrypted direct chat."""

    service: Service
    alice: Device
    bob: Hosted
    room: str
    pen: Pen

    def write(self, text: str) -> str:
        """Alice writes; returns the event's id once the account has decrypted it."""
        self.pen.write(self.room, text)
        return self.read(text)

    def read(self, text: str) -> str:
        sql = "SELECT event_id FROM event WHERE body = ? AND seal = 'opened'"
        rows = wait_for("the service to decrypt it", lambda: self.bob.ask(sql, (text,)))
        assert len(rows) == 1
        return str(rows[0][0])

    def new_session(self) -> None:
        """Alice's next message is encrypted with a new session, whose key has to come first."""
        db = Database.open(self.alice.paths.database)
        db.write_now(lambda txn: txn.execute("UPDATE megolm_outbound SET retired = 1").rowcount)
        db.close()

    def is_confirmed(self, event_id: str) -> bool:
        return bool(self.alice.ask("SELECT 1 FROM delivery WHERE event_id = ?", (event_id,)))

    def set_confirmations(self, enabled: bool) -> None:
        self.service.as_user(self.bob.name).set_account_data(SETTINGS, {"enabled": enabled})
        wanted = '{"enabled":true}' if enabled else '{"enabled":false}'
        sql = "SELECT content FROM account_data WHERE type = ?"
        wait_for("the setting to come", lambda: self.bob.ask(sql, (SETTINGS,)) == [(wanted,)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("appservice")
    with running(folder, with_module=True) as service, ExitStack() as stack:
        alice = person(service.server, folder, "alice")
        stack.callback(alice.stop_all)
        bob = service.host("_tandem_bob")
        service.start()
        room = alice.ctl("create", "--direct", "--invite", bob.name)["room_id"]
        wait_for(
            "the invitation",
            lambda: bob.ask("SELECT 1 FROM room WHERE room_id = ? AND membership = 'invite'", (room,)),
        )
        bob.ctl("accept", room)
        bob.ctl("settings", "set", "receipts.timing", "quick")
        yield Scene(service, alice, bob, room, Pen(alice, stack))


def _words(start: str) -> str:
    return f"{start} {secrets.token_hex(4)}"


def test_what_is_typed_in_the_window_is_decrypted_by_the_service_and_told_as_delivered(scene: Scene) -> None:
    window = WindowDriver(scene.alice)
    window.open()
    try:
        text = _words("Typed by Alice")
        window.open_room(scene.room)
        wait_for("the composer", lambda: window.do("has_focus", name="composer"))
        window.do("type", text=text)
        window.do("key", name="Return")
        event_id = scene.read(text)
        wait_for("the receipt", lambda: scene.is_confirmed(event_id))
        wait_for("the words", lambda: heard(window, "Delivered to _tandem_bob"))
    finally:
        scene.alice.stop("window")
    sealed = scene.bob.ask("SELECT type, content FROM event WHERE event_id = ?", (event_id,))
    assert sealed[0][0] == "m.room.encrypted"
    assert text not in sealed[0][1]
    told = wait_for(
        "the notification", lambda: [n for n in scene.service.told() if n["event_id"] == event_id]
    )
    assert (len(told), told[0]["user_id"], "body" in told[0]) == (1, scene.bob.name, False)


def test_after_confirmations_are_switched_off_in_account_data_the_next_message_is_not_confirmed(
    scene: Scene,
) -> None:
    before = scene.write(_words("Before"))
    wait_for("the receipt", lambda: scene.is_confirmed(before))
    scene.set_confirmations(False)
    silent = scene.write(_words("Nobody confirms this"))
    # It was judged in the transaction that opened it: the notification is due, a receipt is not.
    assert scene.bob.ask("SELECT 1 FROM notification WHERE event_id = ?", (silent,))
    assert not scene.bob.ask(
        "SELECT 1 FROM receipt_owed WHERE event_id = ? AND state <> 'refused'", (silent,)
    )
    scene.set_confirmations(True)
    after = scene.write(_words("After"))
    wait_for("the next receipt", lambda: scene.is_confirmed(after))
    assert not scene.is_confirmed(silent)


def test_the_account_answers_and_is_read(scene: Scene) -> None:
    text = _words("Written by the hosted account")
    scene.bob.ctl("send", scene.room, text)
    sql = "SELECT 1 FROM event WHERE body = ? AND seal = 'opened'"
    wait_for("Alice to read it", lambda: scene.alice.ask(sql, (text,)))
    assert scene.bob.texts().count(text) == 1


def test_nothing_is_lost_or_doubled_when_the_service_and_the_server_are_killed(scene: Scene) -> None:
    texts = [_words(f"Line {number}") for number in range(9)]
    for number, text in enumerate(texts):
        scene.pen.write(scene.room, text)
        if number == 2:
            scene.service.device.stop("service", signal.SIGKILL)
        if number == 5:
            scene.service.server.kill()
            scene.service.server.start()
            scene.service.server.wait_ready()
    scene.service.start()
    for text in texts:
        scene.read(text)
    assert [text for text in scene.bob.texts() if text in texts] == texts
    assert scene.bob.doubled() == []


def test_an_account_whose_keys_the_server_gives_to_the_service_alone_is_moved_to_sync_and_back(
    scene: Scene,
) -> None:
    texts = [_words(f"Line {number}") for number in range(5)]
    scene.write(texts[0])
    scene.service.release(scene.bob.name)
    wait_for("the service to let go", lambda: not is_running(scene.bob.paths, Role.NOTIFIER))
    scene.pen.write(scene.room, texts[1])
    scene.bob.start_notifier()
    scene.new_session()
    scene.write(texts[2])
    scene.bob.stop("notifier")
    scene.new_session()
    scene.pen.write(scene.room, texts[3])
    scene.service.host(scene.bob.name)
    wait_for("the service to host it again", lambda: scene.service.hosts(scene.bob))
    scene.write(texts[4])
    for text in texts:
        scene.read(text)
    assert [text for text in scene.bob.texts() if text in texts] == texts
    assert scene.bob.doubled() == []


def test_the_status_tells_what_the_server_is_like_and_what_is_hosted(scene: Scene) -> None:
    wait_for("everything taken", lambda: scene.service.status()["accounts"][0]["waiting"] == 0)
    status = scene.service.status()
    assert (status["running"], status["to_device"], status["account_data"]) == (True, "lossless", True)
    assert status["counts"]["transactions"] > 0
    assert status["counts"]["malformed"] == 0
    (account,) = status["accounts"]
    assert (account["user_id"], account["state"], account["sealed_messages"]) == (
        scene.bob.name,
        "syncing",
        0,
    )
