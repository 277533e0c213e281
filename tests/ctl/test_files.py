"""``tandemctl send-file`` and ``save`` where the server does not answer, or answers badly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tandem_core.media import cipher
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.store import members, rooms, session, timeline
from tandem_core.store.database import Database, Transaction
from tandem_core.types import DeviceId, Json, Me, Role, RoomId, UserId
from tests.core.media.media_server import MediaServer, Repository
from tests.ctl.test_command_line import Run

ME = Me(UserId("@alice:example.org"), DeviceId("ALICE1"))
ROOM = RoomId("!room:example.org")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def signed_in(tandem_home: Path, repository: Repository) -> Any:
    """Alice is signed in at a server that knows of nothing but files, and is in one room."""
    paths = profile_paths()
    paths.make()
    db = Database.open(paths.database)
    with MediaServer(repository) as server:

        def fill(txn: Transaction) -> None:
            session.set_session(txn, ME, server.base_url, "secret-token", 1)
            for link in Role:
                rooms.set_room(txn, link, ROOM, {"membership": "join", "name": "Talk", "members_complete": 1})
                members.set_member(txn, link, ROOM, ME.user_id, {"membership": "join"}, 1)

        db.write_now(fill)
        yield paths
        db.close()


def came(paths: ProfilePaths, repository: Repository, name: str, data: bytes) -> str:
    """An encrypted file from Bob; returns its event id."""
    *pieces, file = list(cipher.encrypted(iter([data])))
    assert isinstance(file, dict)
    source = repository.put(b"".join(piece for piece in pieces if isinstance(piece, bytes)))
    content: Json = {
        "msgtype": "m.file",
        "body": name,
        "file": file | {"url": source},
        "info": {"size": len(data)},
    }
    raw = {
        "event_id": "$file", "sender": "@bob:example.org", "type": "m.room.message",
        "origin_server_ts": 1, "content": content,
    }  # fmt: skip
    db = Database.open(paths.database)
    for link in Role:
        db.write_now(timeline.append_live, link, ROOM, [raw], limited=False, prev_batch=None, now_ms=1)
    db.close()
    return "$file"


def test_a_file_is_queued_with_its_caption(run: Run, signed_in: ProfilePaths, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"notes")
    sent = run.value("send-file", "Talk", str(tmp_path / "notes.txt"), "--caption", "Look!", "--no-wait")
    assert sent["state"] == "queued"
    (said,) = _queued(signed_in)
    assert (said["filename"], said["body"], said["info"]["size"]) == ("notes.txt", "Look!", 5)


def _queued(paths: ProfilePaths) -> list[Json]:
    from tandem_core.store.codec import loads

    db = Database.open(paths.database)
    try:
        rows = db.read_now(lambda conn: conn.execute("SELECT content FROM send_queue").fetchall())
    finally:
        db.close()
    return [loads(row["content"]) for row in rows]


@pytest.mark.parametrize("what", ["folder", "pipe", "nothing"])
def test_what_is_no_file_is_refused_in_one_line(
    run: Run, signed_in: ProfilePaths, tmp_path: Path, what: str
) -> None:
    source = tmp_path / "source"
    if what == "folder":
        source.mkdir()
    elif what == "pipe":
        os.mkfifo(source)
    status, out, err = run("send-file", "Talk", str(source), "--no-wait")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert _queued(signed_in) == []


def test_a_file_that_the_server_would_refuse_is_not_queued(
    run: Run, signed_in: ProfilePaths, repository: Repository, tmp_path: Path
) -> None:
    repository.limit = 3
    (tmp_path / "notes.txt").write_bytes(b"notes")
    status, _, err = run("send-file", "Talk", str(tmp_path / "notes.txt"), "--no-wait")
    assert status == 1
    assert "5 bytes; it takes 3 bytes at most" in err
    assert _queued(signed_in) == []


def test_a_file_is_saved_under_a_harmless_name_and_replaces_nothing_by_itself(
    run: Run, signed_in: ProfilePaths, repository: Repository, tmp_path: Path
) -> None:
    event = came(signed_in, repository, "../../evil\u202etxt.sh", b"data")
    saved = run.value("save", event, str(tmp_path))
    assert saved == {"event_id": event, "file": str(tmp_path / "eviltxt.sh"), "size": 4}
    assert (tmp_path / "eviltxt.sh").read_bytes() == b"data"
    (tmp_path / "mine.txt").write_bytes(b"mine")
    status, _, err = run("save", event, str(tmp_path / "mine.txt"))
    assert (status, (tmp_path / "mine.txt").read_bytes()) == (2, b"mine")
    assert "--force" in err
    assert run("save", event, str(tmp_path / "mine.txt"), "--force")[0] == 0
    assert (tmp_path / "mine.txt").read_bytes() == b"data"
    assert not os.access(tmp_path / "mine.txt", os.X_OK)


def test_a_changed_file_is_not_saved(
    run: Run, signed_in: ProfilePaths, repository: Repository, tmp_path: Path
) -> None:
    event = came(signed_in, repository, "bill.txt", b"pay 10")
    (media_id,) = repository.media
    repository.media[media_id] = b"pay 99"
    status, _, err = run("save", event, str(tmp_path))
    assert (status, list(tmp_path.glob("bill*"))) == (1, [])
    assert "not what its sender sent" in err


def test_a_message_without_a_file_has_nothing_to_save(
    run: Run, signed_in: ProfilePaths, tmp_path: Path
) -> None:
    status, _, err = run("save", "$nothing", str(tmp_path))
    assert status == 2
    assert "$nothing" in err
