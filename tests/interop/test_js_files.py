"""Files between Tandem and matrix-js-sdk, encrypted on both sides by different code."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from tests.interop.peer import Person
from tests.interop.tandem import Tandem

pytestmark = [pytest.mark.synapse, pytest.mark.slow]

SIZES = (1, 16, 1_000_003)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000002000000030806000000b9eade81000000114944415478da63706838f01f84"
    "19301800c2d30efbcb545d840000000049454e44ae426082"
)
"""A picture of 2 by 3."""


@pytest.fixture
def room(alice: Tandem, bob: Person) -> str:
    """An encrypted room of both; only Alice's notifier runs."""
    alice.only("notifier")
    made = alice.create(bob.user_id)
    bob.join(made)
    bob.knows_members(made, alice.user_id)
    return made


def test_they_open_files_that_tandem_sends(alice: Tandem, bob: Person, room: str, tmp_path: Path) -> None:
    rng = random.Random(5)
    for size in SIZES:
        file = tmp_path / f"täst {size}.bin"
        file.write_bytes(rng.randbytes(size))
        sent = alice.ctl("send-file", room, str(file))
        row = bob.message(room, file.name)
        assert (row["event_id"], row["content"]["msgtype"]) == (sent["event_id"], "m.file")
        assert row["content"]["info"]["size"] == size
        saved = bob.do("save_file", room=room, event=sent["event_id"], path=str(tmp_path / "saved"))
        assert saved == {"size": size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


@pytest.mark.complete
def test_they_open_pictures_that_tandem_sends(alice: Tandem, bob: Person, room: str, tmp_path: Path) -> None:
    file = tmp_path / "dot.png"
    file.write_bytes(PNG)
    sent = alice.ctl("send-file", room, str(file), "--caption", "look")
    content = bob.message(room, "look")["content"]
    assert (content["msgtype"], content["filename"]) == ("m.image", "dot.png")
    assert content["info"] | {"w": 2, "h": 3, "mimetype": "image/png", "size": len(PNG)} == content["info"]
    bob.do("save_file", room=room, event=sent["event_id"], path=str(tmp_path / "saved"))
    assert (tmp_path / "saved").read_bytes() == PNG


def test_tandem_opens_files_that_they_send(alice: Tandem, bob: Person, room: str, tmp_path: Path) -> None:
    rng = random.Random(6)
    for size in SIZES:
        file = tmp_path / "file"
        file.write_bytes(rng.randbytes(size))
        event_id = bob.do(
            "send_file", room=room, path=str(file), name=f"from js {size}", mimetype="application/pdf"
        )
        alice.has(event_id)
        to = tmp_path / f"saved {size}"
        assert alice.ctl("save", event_id, str(to))["size"] == size
        assert to.read_bytes() == file.read_bytes()


def test_a_hostile_name_stays_in_the_folder(alice: Tandem, bob: Person, room: str, tmp_path: Path) -> None:
    file = tmp_path / "dot.png"
    file.write_bytes(PNG)
    name = "../../.bashrc\u202egnp.exe"
    event_id = bob.do(
        "send_file", room=room, path=str(file), thumbnail=str(file), name=name, mimetype="image/png"
    )
    alice.has(event_id)
    folder = tmp_path / "downloads"
    folder.mkdir()
    alice.ctl("save", event_id, str(folder))
    (saved,) = folder.iterdir()
    assert saved.read_bytes() == PNG
    assert not saved.name.startswith(".")
    assert {path.name for path in tmp_path.iterdir()} == {"dot.png", "downloads"}
