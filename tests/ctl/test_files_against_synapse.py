"""Files between two people by the real tandemctl and a real Synapse, in encrypted rooms and others."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.ctl.test_against_synapse import WITHIN_S, Person, alice, bob, chat, until

__all__ = ["alice", "bob", "chat"]
pytestmark = pytest.mark.synapse


def test_a_file_arrives_as_it_was_and_the_server_never_sees_it(
    alice: Person, bob: Person, chat: str, tmp_path: Path
) -> None:
    data = os.urandom(400_000)
    (tmp_path / "plans.bin").write_bytes(data)
    sent = alice.value("send-file", chat, str(tmp_path / "plans.bin"), "--caption", "The plans")
    assert sent["state"] == "sent"
    [got] = [m for m in bob.value("messages", chat) if m["event_id"] == sent["event_id"]]
    assert (got["kind"], got["seal"], got["body"]) == ("file", "opened", "The plans")
    assert got["attachment"] == {
        "name": "plans.bin", "caption": "The plans", "size": 400_000, "mimetype": "application/octet-stream",
        "width": None, "height": None, "encrypted": True,
    }  # fmt: skip
    (tmp_path / "bobs").mkdir()
    saved = bob.value("save", sent["event_id"], str(tmp_path / "bobs"))
    assert Path(saved["file"]).read_bytes() == data
    kept = [file.read_bytes() for file in (alice.server.folder / "media").rglob("*") if file.is_file()]
    assert kept
    assert not [stored for stored in kept if data[:32] in stored or b"plans" in stored]
    # What was sent is swept by whoever sends next.
    assert alice.value("send", chat, "That is all.")["state"] == "sent"
    assert list((alice.home / "data" / "default" / "outgoing").iterdir()) == []


def test_a_picture_in_a_room_without_encryption_has_its_sides(alice: Person, tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (300, 200), "green").save(out, "PNG")
    (tmp_path / "cat.png").write_bytes(out.getvalue())
    room = alice.value("create", "--plain", "--name", "Plain")["room_id"]
    sent = alice.value("send-file", room, str(tmp_path / "cat.png"))
    [got] = [m for m in alice.value("messages", room) if m["event_id"] == sent["event_id"]]
    assert (got["kind"], got["encrypted"]) == ("image", False)
    about = got["attachment"]
    assert (about["mimetype"], about["width"], about["height"], about["encrypted"]) == (
        "image/png",
        300,
        200,
        False,
    )
    alice.value("save", sent["event_id"], str(tmp_path / "back.png"))
    assert (tmp_path / "back.png").read_bytes() == out.getvalue()


def test_a_file_too_big_for_the_server_is_refused_before_anything_is_queued(
    alice: Person, chat: str, tmp_path: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(5 * 1024 * 1024 + 1))
    status, out, err = alice.run("send-file", chat, str(tmp_path / "big.bin"))
    assert (status, out) == (1, "")
    assert "1 byte too much; it takes 5.2 MB at most" in err
    assert alice.value("status")["outbox"]["messages"] == 0


def test_the_notifier_alone_brings_a_queued_file_there(
    alice: Person, bob: Person, chat: str, tmp_path: Path
) -> None:
    data = os.urandom(300_000)
    (tmp_path / "album.zip").write_bytes(data)
    queued = alice.value("send-file", chat, str(tmp_path / "album.zip"), "--no-wait")
    assert queued["state"] == "queued"
    environment = {**os.environ, "TANDEM_HOME": str(alice.home), "TANDEM_VAULT": "file"}
    notifier = subprocess.Popen([sys.executable, "-m", "tandem_notifier.main", "run"], env=environment)
    try:
        until(lambda: alice.value("status")["outbox"]["messages"] == 0)
    finally:
        notifier.terminate()
        notifier.wait(WITHIN_S)
    [got] = [m for m in bob.value("messages", chat) if (m["attachment"] or {}).get("name") == "album.zip"]
    bob.value("save", got["event_id"], str(tmp_path / "bobs.zip"))
    assert (tmp_path / "bobs.zip").read_bytes() == data
