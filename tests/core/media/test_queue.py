"""A file in the queue: uploaded once and sent once, whatever dies; or cancelled, or refused in words."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nio.crypto.attachments import decrypt_attachment

from tandem_core import sending, sign_out
from tandem_core.attachments import content
from tandem_core.errors import BadInput, DiskFull, Offline
from tandem_core.media import limits, outgoing
from tandem_core.media.cache import Cache
from tandem_core.media.limits import TooBigForServer
from tandem_core.media.outgoing import Draft, Picture
from tandem_core.store import members, room_facts, rooms, uploads
from tandem_core.store.codec import loads
from tandem_core.store.database import Transaction
from tandem_core.types import RoomId, UserId
from tests.core.crypto.world import ENCRYPTION, NOW, ROOM, Device
from tests.core.media.media_server import MediaKeyServer, Repository

PLAIN = RoomId("!plain:example.org")
DATA = bytes(range(256)) * 1200
PICTURE = Picture(40, 30, "image/png", b"a small picture", "image/jpeg", 4, 3)


def put(device: Device, draft: Draft, room: RoomId = ROOM) -> str:
    return asyncio.run(outgoing.enqueue(device.paths, device.db, room, draft, now_ms=lambda: NOW))


def send(device: Device) -> None:
    async def step() -> None:
        try:
            await device.sender.step()
        finally:
            await device.http.close()

    asyncio.run(step())


def put_and_send(device: Device) -> None:
    put(device, Draft(DATA, "a.png", picture=PICTURE))
    send(device)


def sends(device: Device) -> None:
    with pytest.raises(Offline):
        send(device)


def waiting_files(device: Device) -> list[str]:
    return os.listdir(device.paths.outgoing) if device.paths.outgoing.exists() else []


def state(device: Device) -> list[tuple[Any, ...]]:
    return device.rows("SELECT state, error FROM send_queue")


def arrived(device: Device, server: MediaKeyServer, sender: Device) -> list[dict[str, Any]]:
    """The contents of what lies in the room, as this device reads them."""
    device.receive()
    found = [device.event(device.sees(event["content"], sender)) for event in server.events.get(ROOM, [])]
    return [event.opened_content for event in found if event.opened_content is not None]


def opened(repository: Repository, file: dict[str, Any]) -> bytes:
    ciphertext = repository.media[file["url"].rsplit("/", 1)[1]]
    made: bytes = decrypt_attachment(ciphertext, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
    return made


@pytest.fixture
def plain(alone: Device, server: MediaKeyServer) -> Device:
    """Alice, also in a room without encryption."""

    def join(txn: Transaction) -> None:
        rooms.set_room(txn, alone.role, PLAIN, {"membership": "join", "members_complete": 1})
        for user in (alone.me.user_id, UserId("@bob:example.org")):
            members.set_member(txn, alone.role, PLAIN, user, {"membership": "join"}, NOW)

    alone.write(join)
    server.members[PLAIN] = {alone.me.user_id: "join"}
    return alone


def test_a_picture_arrives_with_thumbnail_sides_and_caption(
    talk: tuple[Device, Device], server: MediaKeyServer, repository: Repository, tmp_path: Path
) -> None:
    alice, bob = talk
    (tmp_path / "cat.png").write_bytes(DATA)
    put(alice, Draft(tmp_path / "cat.png", "cat.png", "Look!", PICTURE))
    (tmp_path / "cat.png").write_bytes(b"changed since")
    send(alice)
    (said,) = arrived(bob, server, alice)
    assert (said["msgtype"], said["body"], said["filename"]) == ("m.image", "Look!", "cat.png")
    assert said["info"] | {"thumbnail_file": None} == {
        "mimetype": "image/png", "size": len(DATA), "w": 40, "h": 30, "thumbnail_file": None,
        "thumbnail_info": {"mimetype": "image/jpeg", "size": 15, "w": 4, "h": 3},
    }  # fmt: skip
    assert opened(repository, said["file"]) == DATA
    assert opened(repository, said["info"]["thumbnail_file"]) == b"a small picture"
    assert state(alice) == [("sent", None)]


def test_nothing_in_clear_goes_to_the_server_or_waits_on_the_disk(
    talk: tuple[Device, Device], repository: Repository
) -> None:
    alice, _ = talk
    put(alice, Draft(DATA, "secret plans.pdf"))
    (file,) = waiting_files(alice)
    there = alice.paths.outgoing / file
    assert stat.S_IMODE(there.stat().st_mode) == 0o600
    assert DATA[:64] not in there.read_bytes()
    send(alice)
    assert DATA[:64] not in b"".join(repository.media.values())
    assert [asked.mimetype for asked in repository.uploads] == ["application/octet-stream"]
    assert not [asked for asked in repository.asked if "secret" in asked.path]


def test_what_was_sent_leaves_no_copy(talk: tuple[Device, Device]) -> None:
    alice, _ = talk
    put(alice, Draft(DATA, "a.bin"))
    send(alice)
    send(alice)
    assert waiting_files(alice) == []
    assert alice.rows("SELECT * FROM upload") == []


@pytest.mark.parametrize("trouble", ["break_uploads", "lose_request", "lose_answer"])
def test_a_broken_connection_costs_time_and_nothing_else(
    talk: tuple[Device, Device], server: MediaKeyServer, repository: Repository, trouble: str
) -> None:
    alice, bob = talk
    put(alice, Draft(DATA, "a.bin"))
    if trouble == "break_uploads":
        repository.break_uploads = 1
    else:
        getattr(server, trouble).append("/send/m.room.encrypted")
    sends(alice)
    send(alice)
    (said,) = arrived(bob, server, alice)
    assert opened(repository, said["file"]) == DATA
    assert len(repository.media) == 1


def test_what_is_at_the_server_is_not_uploaded_again(
    talk: tuple[Device, Device], server: MediaKeyServer, repository: Repository
) -> None:
    alice, _ = talk
    put(alice, Draft(DATA, "a.png", picture=PICTURE))
    server.lose_request.append("/send/m.room.encrypted")
    sends(alice)
    send(alice.restarted())
    assert len(repository.uploads) == 2  # the picture and its thumbnail
    assert len(server.events[ROOM]) == 1


class Died(BaseException):
    """The program is gone."""


_STEPS = {
    "before it is queued": (outgoing, "_queue"),
    "before its address is kept": (uploads, "note_uploaded"),
    "before it is encrypted": (sending, "_encrypted_wire"),
    "before it is known as sent": (sending, "_keep_sent"),
}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", list(_STEPS))
def test_death_at_any_commit_loses_nothing_and_doubles_nothing(
    talk: tuple[Device, Device],
    server: MediaKeyServer,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    after: bool,
) -> None:
    """``after``: all rows are written, and the commit does not come."""
    alice, bob = talk
    module, name = _STEPS[step]
    real: Callable[..., Any] = getattr(module, name)

    def die(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Died

    with monkeypatch.context() as killing:
        killing.setattr(module, name, die)
        with pytest.raises(Died):
            put_and_send(alice)
    other = alice.other_program()
    try:
        if step == "before it is queued":
            assert state(other) == []
            put(other, Draft(DATA, "a.png", picture=PICTURE))
        send(other)
        send(other)
        assert waiting_files(other) == []
        (said,) = arrived(bob, server, alice)
        assert opened(repository, said["file"]) == DATA
        assert opened(repository, said["info"]["thumbnail_file"]) == b"a small picture"
        assert state(other) == [("sent", None)]
    finally:
        other.close()


def test_an_answer_to_an_upload_that_is_lost_sends_one_message(
    talk: tuple[Device, Device], server: MediaKeyServer, repository: Repository
) -> None:
    alice, bob = talk
    put(alice, Draft(DATA, "a.bin"))
    repository.lose_answers = 1
    sends(alice)
    send(alice)
    assert len(arrived(bob, server, alice)) == 1
    assert len(repository.media) == 1  # the same bytes


def test_messages_of_a_room_wait_for_the_file_before_them(
    talk: tuple[Device, Device], server: MediaKeyServer
) -> None:
    alice, bob = talk
    put(alice, Draft(DATA, "a.bin"))
    alice.write(
        sending.enqueue,
        ROOM,
        "m.room.message",
        {"msgtype": "m.text", "body": "after"},
        body="after",
        now_ms=NOW,
    )
    send(alice)
    assert [said["body"] for said in arrived(bob, server, alice)] == ["a.bin", "after"]


def test_a_file_that_is_deleted_while_it_goes_up_is_not_sent(
    talk: tuple[Device, Device], server: MediaKeyServer, repository: Repository
) -> None:
    alice, _ = talk
    txn_id = put(alice, Draft(DATA, "a.bin"))
    repository.stall = True

    async def step() -> None:
        task = asyncio.ensure_future(alice.sender.step())
        while not repository.uploads:
            await asyncio.sleep(0.01)
        assert await alice.db.write(sending.discard, txn_id)
        await task
        await alice.http.close()
        repository.stall = False
        await asyncio.sleep(0.1)

    asyncio.run(step())
    send(alice)
    assert (state(alice), waiting_files(alice)) == ([], [])
    assert ROOM not in server.events


def test_a_cancelled_choice_leaves_nothing(
    alone: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big").write_bytes(bytes(3_000_000))

    async def choose() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.ensure_future(
            outgoing.enqueue(
                alone.paths,
                alone.db,
                ROOM,
                Draft(tmp_path / "big", "big"),
                now_ms=lambda: NOW,
                on_progress=lambda done, size: (loop.call_soon_threadsafe(begun.set), None)[1],
            )
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(choose())
    assert (state(alone), waiting_files(alone)) == ([], [])


def test_a_copy_that_is_gone_fails_in_words_and_stops_nobody(
    talk: tuple[Device, Device], server: MediaKeyServer
) -> None:
    alice, bob = talk
    put(alice, Draft(DATA, "a.bin"))
    (alice.paths.outgoing / waiting_files(alice)[0]).unlink()
    put(alice, Draft(DATA, "b.bin"))
    damaged = next(file for file in alice.paths.outgoing.iterdir())
    damaged.write_bytes(b"cut")
    put(alice, Draft(b"fine", "c.bin"))
    send(alice)
    assert [row[1] for row in state(alice)] == [
        "The copy of the file that was to be sent is gone",
        "The copy of the file that was to be sent is damaged",
        None,
    ]
    assert [said["body"] for said in arrived(bob, server, alice)] == ["c.bin"]


def test_too_big_is_said_at_once_where_the_limit_is_known(alone: Device, repository: Repository) -> None:
    repository.limit = 1000

    async def ask() -> None:
        await limits.refresh(alone.db, alone.http)
        await alone.http.close()

    asyncio.run(ask())
    with pytest.raises(TooBigForServer, match=r"307 kB; it takes 1\.0 kB at most"):
        put(alone, Draft(DATA, "a.bin"))
    assert (state(alone), waiting_files(alone)) == ([], [])


def test_too_big_is_said_before_a_byte_goes_out_where_it_was_not(
    alone: Device, repository: Repository
) -> None:
    put(alone, Draft(DATA, "a.bin"))
    repository.limit = 1000
    send(alone)
    assert state(alone) == [("failed", "The file is too big; your homeserver takes 1.0 kB at most")]
    assert repository.uploads == []


@pytest.mark.parametrize(
    ("status", "errcode", "words"),
    [
        (413, "M_TOO_LARGE", "The file is too big for your homeserver"),
        (403, "M_FORBIDDEN", "Your homeserver does not let you send files"),
        (403, "M_USER_LIMIT_EXCEEDED", "quota"),
    ],
)
def test_a_refused_file_says_why_and_goes_when_tried_again(
    talk: tuple[Device, Device],
    server: MediaKeyServer,
    repository: Repository,
    status: int,
    errcode: str,
    words: str,
) -> None:
    alice, bob = talk
    txn_id = put(alice, Draft(DATA, "a.bin"))
    repository.refuse = (status, {"errcode": errcode, "error": "quota"})
    send(alice)
    assert state(alice) == [("failed", words)]
    repository.refuse = None
    assert alice.write(sending.retry, txn_id)
    send(alice)
    assert len(arrived(bob, server, alice)) == 1


def test_in_a_room_without_encryption_the_file_goes_as_it_is(
    plain: Device, server: MediaKeyServer, repository: Repository
) -> None:
    put(plain, Draft(DATA, "a.png", picture=PICTURE), PLAIN)
    send(plain)
    (event,) = server.events[PLAIN]
    assert event["type"] == "m.room.message"
    assert repository.media[event["content"]["url"].rsplit("/", 1)[1]] == DATA
    assert "file" not in event["content"]
    assert sorted(asked.mimetype for asked in repository.uploads) == ["image/jpeg", "image/png"]
    # What we have just sent need not be fetched to be seen.
    made = content.read("image", event["content"])
    assert made is not None
    assert made.thumbnail is not None
    assert Cache(plain.paths.media).find(made.thumbnail) is not None


def test_a_file_in_clear_does_not_go_out_once_encryption_is_on(
    plain: Device, server: MediaKeyServer, repository: Repository
) -> None:
    put(plain, Draft(DATA, "a.bin"), PLAIN)
    plain.write(room_facts.set_encryption, plain.role, PLAIN, ENCRYPTION)
    send(plain)
    assert state(plain) == [("failed", "Encryption was turned on in this room; send the file again")]
    assert repository.uploads == []
    assert PLAIN not in server.events


def test_the_server_is_asked_for_encryption_before_a_file_goes_out_in_clear(
    plain: Device, server: MediaKeyServer, repository: Repository
) -> None:
    put(plain, Draft(DATA, "a.bin"), PLAIN)
    plain.write(rooms.set_room, plain.role, PLAIN, {"members_complete": 0})
    server.encrypted.add(PLAIN)
    send(plain)
    assert repository.uploads == []
    assert state(plain)[0][0] == "failed"


def test_progress_is_there_to_be_shown(talk: tuple[Device, Device], repository: Repository) -> None:
    alice, _ = talk
    txn_id = put(alice, Draft(DATA, "a.bin"))
    found = alice.read(uploads.progress, txn_id)
    assert (found.sent, found.size) == (0, len(DATA))
    (upload,) = alice.read(uploads.waiting, txn_id)
    assert alice.write(uploads.note_progress, upload, ROOM, 1000)
    assert alice.read(uploads.progress, txn_id).sent == 1000
    send(alice)
    assert alice.read(uploads.progress, txn_id) is None


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "forbidden"])
def test_only_files_that_can_be_read_are_taken(
    alone: Device, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    if kind == "folder":
        source.mkdir()
    elif kind == "pipe":
        os.mkfifo(source)
    elif kind == "forbidden":
        source.write_bytes(b"x")
        real = os.open

        def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
            if path == source:
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BadInput):
        put(alone, Draft(source, "source"))
    assert (state(alone), waiting_files(alone)) == ([], [])


def test_a_disk_that_fills_up_while_copying_leaves_nothing(
    alone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(descriptor: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as filling:
        filling.setattr(os, "write", full)
        with pytest.raises(DiskFull):
            put(alone, Draft(DATA, "a.bin"))
    assert (state(alone), waiting_files(alone)) == ([], [])


@pytest.mark.parametrize(
    ("name", "msgtype", "mimetype"),
    [
        ("song.mp3", "m.audio", "audio/mpeg"),
        ("film.mp4", "m.video", "video/mp4"),
        ("drawing.svg", "m.file", "image/svg+xml"),
        ("page.html", "m.file", "text/html"),
        ("UNKNOWN", "m.file", "application/octet-stream"),
    ],
)
def test_what_nobody_has_looked_at_is_no_picture(
    alone: Device, name: str, msgtype: str, mimetype: str
) -> None:
    put(alone, Draft(b"x", name))
    said = loads(alone.one("SELECT content FROM send_queue"))
    assert (said["msgtype"], said["info"]["mimetype"]) == (msgtype, mimetype)


def test_signing_out_leaves_no_file(alone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_VAULT", "file")
    put(alone, Draft(DATA, "a.png", picture=PICTURE))
    assert waiting_files(alone)
    assert list(alone.paths.media.iterdir())
    alone.close()
    sign_out.wipe(alone.paths)
    assert not alone.paths.outgoing.exists()
    assert not alone.paths.media.exists()
