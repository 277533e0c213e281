"""Files in the open room as a person meets them: seen, fetched, saved, chosen and sent."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from PySide6.QtCore import QMimeData, QObject, Qt, QUrl
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtTest import QSignalSpy

from tandem_app.models.chosen_files import ChosenFilesModel
from tandem_app.models.files import FilesModel
from tandem_core.attachments import content
from tandem_core.http import Http
from tandem_core.media import cipher, limits
from tandem_core.paths import ProfilePaths
from tandem_core.store import uploads
from tandem_core.store.codec import loads
from tandem_core.types import Json, RoomId
from tests.app.glass import Glass, says
from tests.app.seed import Seed
from tests.core.media.media_server import MediaServer, Repository

pytestmark = pytest.mark.gui
Show = Callable[..., Glass]


def picture(width: int = 40, height: int = 30) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(out, "PNG")
    return out.getvalue()


def sides(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


class OneThread(QObject):
    """The engine's thread, whose work is done at once and in this one."""

    def __init__(self, paths: ProfilePaths, seed: Seed, url: str) -> None:
        super().__init__()
        self.paths = paths
        self._db = seed.db
        self._url = url
        self.engine: Any = None

    async def opened(self) -> Any:
        return self._db

    def call(
        self,
        work: Coroutine[Any, Any, Any],
        done: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        async def run() -> Any:
            http = Http(self._url, token="t0ken")
            self.engine = SimpleNamespace(http=http, db=self._db)
            try:
                return await work
            finally:
                await http.close()

        try:
            result = asyncio.run(run())
        except Exception as error:
            assert failed is not None
            failed(error)
        else:
            if done is not None:
                done(result)


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def thread(paths: ProfilePaths, seed: Seed, repository: Repository) -> Iterator[OneThread]:
    with MediaServer(repository) as server:
        yield OneThread(paths, seed, server.base_url)


@pytest.fixture
def files(thread: OneThread, seed: Seed) -> Iterator[FilesModel]:
    conn = seed.db.reader()
    yield FilesModel(thread, lambda: conn)  # type: ignore[arg-type]
    conn.close()


@pytest.fixture
def chosen(thread: OneThread, seed: Seed) -> Iterator[ChosenFilesModel]:
    conn = seed.db.reader()
    yield ChosenFilesModel(thread, lambda: conn, lambda: 5)  # type: ignore[arg-type]
    conn.close()


def came(
    seed: Seed, repository: Repository, data: bytes, name: str = "cat.png", msgtype: str = "m.image"
) -> str:
    """A message with an encrypted file; returns its event id."""
    *pieces, file = list(cipher.encrypted(iter([data])))
    assert isinstance(file, dict)
    source = repository.put(b"".join(piece for piece in pieces if isinstance(piece, bytes)))
    said: Json = {
        "msgtype": msgtype,
        "body": name,
        "file": file | {"url": source},
        "info": {"size": len(data)},
    }
    room = seed.room("Talk")
    return seed.say(room, seed.message("", content=said))[0]


def test_a_picture_is_fetched_once_and_drawn_small_from_a_copy(
    files: FilesModel, seed: Seed, repository: Repository
) -> None:
    event = came(seed, repository, picture(1600, 1200))
    files.want(event, "")
    now = files.look(event)
    assert now["state"] == "shown"
    copy = Path(QUrl(now["picture"]).toLocalFile())
    assert sides(copy) == (800, 600)
    assert copy.parent == seed.paths.media
    files.want(event, "")
    assert len(repository.asked) == 1


def test_the_large_view_takes_what_is_here(files: FilesModel, seed: Seed, repository: Repository) -> None:
    event = came(seed, repository, picture(1600, 1200))
    files.want(event, "")
    assert files.open(event)
    assert files.property("viewName") == "cat.png"
    assert sides(Path(QUrl(files.property("viewPicture")).toLocalFile())) == (1600, 1200)
    assert len(repository.asked) == 1
    files.close()
    assert files.property("viewKey") == ""


def test_what_cannot_be_shown_says_so_and_can_be_saved(
    files: FilesModel, seed: Seed, repository: Repository, tmp_path: Path
) -> None:
    event = came(seed, repository, b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    files.want(event, "")
    assert (files.look(event)["state"], files.look(event)["words"]) == (
        "failed",
        "This picture cannot be shown",
    )
    files.save(event, QUrl.fromLocalFile(str(tmp_path / "it.svg")))
    assert (tmp_path / "it.svg").read_bytes().startswith(b"<svg")
    assert files.look(event)["words"] == "Saved as it.svg"


def test_a_file_that_was_changed_is_not_saved(
    files: FilesModel, seed: Seed, repository: Repository, tmp_path: Path
) -> None:
    event = came(seed, repository, b"pay 10", "bill.txt", "m.file")
    (media_id,) = repository.media
    repository.media[media_id] = b"pay 99"
    files.save(event, QUrl.fromLocalFile(str(tmp_path / "bill.txt")))
    assert files.look(event)["words"] == "This file is not what its sender sent"
    assert list(tmp_path.glob("bill*")) == []


def test_what_failed_is_tried_again(files: FilesModel, seed: Seed, repository: Repository) -> None:
    event = came(seed, repository, picture())
    media = dict(repository.media)
    repository.media.clear()
    files.want(event, "")
    assert files.look(event)["state"] == "failed"
    repository.media.update(media)
    files.again(event)
    assert files.look(event)["state"] == "shown"


def test_a_hostile_name_proposes_a_harmless_one(
    files: FilesModel, seed: Seed, repository: Repository
) -> None:
    event = came(seed, repository, b"x", "../../.bashrc\u202egpj", "m.file")
    spy = QSignalSpy(files.saveWanted)
    assert not files.open(event)
    assert QUrl(spy.at(0)[1]).fileName() == "bashrcgpj"


def test_a_big_picture_waits_until_somebody_asks(
    files: FilesModel, seed: Seed, repository: Repository
) -> None:
    event = came(seed, repository, picture())
    said = loads(
        seed.db.read_now(
            lambda c: c.execute("SELECT content FROM event WHERE event_id = ?", (event,)).fetchone()[0]
        )
    )
    said["info"]["size"] = 50_000_000
    (other,) = seed.say(RoomId("!room1:example.org"), seed.message("", content=said))
    files.want(other, "")
    assert repository.asked == []
    files.fetch(other)
    assert files.look(other)["state"] == "shown"


def test_chosen_files_go_with_the_words_beside_the_first(
    chosen: ChosenFilesModel, seed: Seed, tmp_path: Path
) -> None:
    room = seed.room("Talk")
    chosen.show(room)
    for name, data in (("cat.png", picture(1600, 1200)), ("notes.txt", b"notes")):
        (tmp_path / name).write_bytes(data)
    chosen.add([QUrl.fromLocalFile(str(tmp_path / name)) for name in ("cat.png", "notes.txt")])
    assert [row["name"] for row in chosen.property("rows")] == ["cat.png", "notes.txt"]
    assert chosen.send("Look!")
    assert chosen.property("rows") == []
    rows = seed.db.read_now(
        lambda conn: conn.execute("SELECT txn_id, content FROM send_queue ORDER BY id").fetchall()
    )
    first, second = (loads(row["content"]) for row in rows)
    assert (first["msgtype"], first["body"], first["info"]["w"]) == ("m.image", "Look!", 1600)
    assert first["info"]["thumbnail_info"] | {"size": 0} == {
        "mimetype": "image/jpeg",
        "w": 800,
        "h": 600,
        "size": 0,
    }
    assert (second["msgtype"], second["body"]) == ("m.file", "notes.txt")
    assert len(seed.db.read_now(uploads.waiting, rows[0]["txn_id"])) == 2


def newest(seed: Seed) -> str:
    """The key of what was queued last."""
    row = seed.db.read_now(
        lambda conn: conn.execute("SELECT txn_id FROM send_queue ORDER BY id DESC").fetchone()
    )
    return str(row["txn_id"])


def test_our_own_picture_is_seen_before_it_is_sent(
    chosen: ChosenFilesModel, files: FilesModel, seed: Seed, tmp_path: Path
) -> None:
    for encrypted in (True, False):
        room = seed.room("Talk", encrypted=encrypted)
        chosen.show(room)
        (tmp_path / "cat.png").write_bytes(picture(1600, 1200))
        chosen.add([QUrl.fromLocalFile(str(tmp_path / "cat.png"))])
        assert chosen.send("")
        key = newest(seed)
        about = seed.db.read_now(uploads.progress, key)
        files.want(key, about.in_clear or "")
        assert files.look(key)["state"] == "shown"


def test_too_big_is_said_at_once_and_nothing_else_is_kept_back(
    chosen: ChosenFilesModel, seed: Seed, repository: Repository, tmp_path: Path
) -> None:
    room = seed.room("Talk")
    chosen.show(room)
    repository.limit = 100
    (tmp_path / "big.bin").write_bytes(bytes(2000))
    (tmp_path / "small.bin").write_bytes(bytes(20))
    chosen.add(
        [QUrl.fromLocalFile(str(tmp_path / "big.bin")), QUrl.fromLocalFile(str(tmp_path / "small.bin"))]
    )
    errors = [row["error"] for row in chosen.property("rows")]
    assert errors == ["The file is too big for your homeserver (2.0 kB; it takes 100 bytes at most)", ""]
    assert seed.db.read_now(limits.kept) == 100
    assert chosen.send("")
    assert [row["name"] for row in chosen.property("rows")] == ["big.bin"]
    assert not chosen.send("")


def test_a_folder_or_an_address_is_not_taken_for_a_file(
    chosen: ChosenFilesModel, seed: Seed, tmp_path: Path
) -> None:
    chosen.show(seed.room("Talk"))
    chosen.add([QUrl("https://example.org/x.png"), QUrl.fromLocalFile(str(tmp_path))])
    (row,) = chosen.property("rows")
    assert row["error"] == f"Only files can be sent ({tmp_path.name})"
    assert not chosen.property("canSend")


def test_each_room_keeps_what_was_chosen_there(chosen: ChosenFilesModel, seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    chosen.show("!one:example.org")
    chosen.add([QUrl.fromLocalFile(str(tmp_path / "a.bin"))])
    chosen.show("!two:example.org")
    assert chosen.property("rows") == []
    chosen.show("!one:example.org")
    assert len(chosen.property("rows")) == 1
    chosen.remove(0)
    assert chosen.property("rows") == []


def test_a_picture_of_the_clipboard_is_taken_and_text_is_left_to_the_composer(
    chosen: ChosenFilesModel, seed: Seed, qapp: QGuiApplication
) -> None:
    chosen.show(seed.room("Talk"))
    held = QMimeData()
    image = QImage(20, 10, QImage.Format.Format_RGB32)
    image.fill(0)
    held.setImageData(image)
    QGuiApplication.clipboard().setMimeData(held)
    assert chosen.paste()
    assert [row["name"] for row in chosen.property("rows")] == ["Pasted picture.png"]
    QGuiApplication.clipboard().setText("words")
    assert not chosen.paste()


def attached(name: str, msgtype: str = "m.file", **info: Any) -> Json:
    return {"msgtype": msgtype, "body": name, "url": "mxc://example.org/abc", "info": info}


def test_a_file_tells_its_name_and_size_and_what_can_be_done(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("", content=attached("harmless\u202egpj.exe", size=1_400_000), at=5))
    glass = show()
    glass.click(glass.item("roomRow"))
    assert glass.messages() == ["Bob: File harmlessgpj.exe, 1.4 MB, 11:55"]
    assert glass.item("fileName").property("text") == "harmlessgpj.exe"
    assert glass.named("Save harmlessgpj.exe as…")


def test_a_picture_has_its_place_before_it_is_there(seed: Seed, show: Show, tmp_path: Path) -> None:
    talk = seed.room("Talk")
    (event,) = seed.say(
        talk, seed.message("", content=attached("cat.png", "m.image", size=9, w=400, h=200), at=5)
    )
    glass = show()
    glass.click(glass.item("roomRow"))
    row = glass.item("messageRow")
    before = row.height()
    (tmp_path / "cat.png").write_bytes(picture(400, 200))
    files = glass.main.panels.make("files")
    from tandem_app.models.files import _Work

    files._work[event] = _Work("shown", QUrl.fromLocalFile(str(tmp_path / "cat.png")).toString())  # type: ignore[attr-defined]
    files._tell()  # type: ignore[attr-defined]
    glass.settle(20)
    assert row.height() == before


def test_a_picture_opens_and_closes_by_keyboard(seed: Seed, show: Show) -> None:
    talk = seed.room("Talk")
    seed.say(talk, seed.message("", content=attached("cat.png", "m.image", size=9, w=400, h=200), at=5))
    glass = show()
    glass.click(glass.item("roomRow"))
    glass.press(Qt.Key.Key_Up)
    glass.press(Qt.Key.Key_Return)
    assert glass.main.shell.property("page") == "picture"
    assert "Picture cat.png" in glass.sayings()
    glass.press(Qt.Key.Key_Tab)
    assert glass.focus() == "savePicture"
    glass.press(Qt.Key.Key_Escape)
    assert glass.main.shell.property("page") == ""
    assert glass.focus() == "composer"


def test_a_file_on_its_way_is_stopped_by_its_button(seed: Seed, show: Show, tmp_path: Path) -> None:
    from tests.app.file_shots import queue

    talk = seed.room("Talk")
    queue(seed, talk, attached("album.zip", size=180), 60, 180)
    glass = show(engine=True)
    glass.click(glass.item("roomRow"))
    assert "180 bytes · Sending…" in glass.sayings()
    glass.click(glass.item("stopButton"))
    glass.wait(lambda: not glass.items("messageRow"), "the row is gone")
    count = seed.db.read_now(lambda conn: conn.execute("SELECT count(*) FROM send_queue").fetchone()[0])
    assert count == 0


def test_dropped_files_stand_beside_the_composer_and_go_with_enter(
    seed: Seed, show: Show, tmp_path: Path
) -> None:
    talk = seed.room("Talk")
    (tmp_path / "notes.txt").write_bytes(b"notes")
    glass = show(engine=True)
    glass.click(glass.item("roomRow"))
    glass.wait(lambda: glass.main.engine_thread.db is not None, "the store is open")
    chosen = glass.main.panels.make("chosenFiles")
    pane = glass.item("roomPane")
    pane.metaObject().invokeMethod(pane, "showChosen")
    chosen.add([QUrl.fromLocalFile(str(tmp_path / "notes.txt"))])  # type: ignore[attr-defined]
    glass.settle()
    assert "notes.txt, 5 bytes" in glass.sayings()
    glass.press(Qt.Key.Key_Return)
    glass.wait(lambda: glass.items("messageRow"), "it is queued")
    assert glass.items("chosenFile") == []
    row = seed.db.read_now(
        lambda conn: conn.execute("SELECT content FROM send_queue WHERE room_id = ?", (talk,)).fetchone()
    )
    made = content.read("file", loads(row["content"]))
    assert made is not None
    assert (made.name, made.size) == ("notes.txt", 5)


@pytest.fixture
def at_server(seed: Seed, repository: Repository) -> Iterator[None]:
    """The account's homeserver has files, and nothing else."""
    with MediaServer(repository) as server:
        seed.db.write_now(lambda txn: txn.execute("UPDATE session SET homeserver = ?", (server.base_url,)))
        yield


def test_a_picture_comes_by_itself_when_it_is_in_sight(
    seed: Seed, show: Show, repository: Repository, at_server: None
) -> None:
    event = came(seed, repository, picture(1600, 1200))
    glass = show(engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine runs")
    glass.click(glass.item("roomRow"))
    files: Any = glass.main.panels.make("files")
    glass.wait(lambda: files.look(event)["state"] == "shown", "it is shown")
    assert repository.asked[-1].token == "token-of-a-test"
    (said,) = [words for words in glass.sayings() if words.startswith("Picture cat.png, ")]
    glass.click(glass.named(said))
    glass.wait(lambda: files.property("viewPicture").endswith(".large"), "it is shown large")
    large = glass.item("largePicture")
    glass.wait(lambda: large.property("sourceSize").width() == 1600, "it is loaded")
    assert 0 < large.property("paintedWidth") <= large.width()
    assert large.property("paintedHeight") / large.property("paintedWidth") == pytest.approx(0.75)


def test_fetching_can_be_stopped_and_begun_again(
    seed: Seed, show: Show, repository: Repository, at_server: None
) -> None:
    repository.stall = True
    event = came(seed, repository, picture() + bytes(300_000))
    glass = show(engine=True)
    glass.wait(lambda: glass.main.engine_thread.engine is not None, "the engine runs")
    glass.click(glass.item("roomRow"))
    files: Any = glass.main.panels.make("files")
    glass.wait(lambda: repository.asked and files.look(event)["state"] == "fetching", "it is being fetched")
    glass.click(glass.item("stopButton"))
    glass.wait(lambda: files.look(event)["state"] == "failed", "it was stopped")
    assert "Cancelled" in glass.sayings()
    assert list(seed.paths.media.iterdir()) == []
    repository.stall = False
    glass.click(glass.item("againButton"))
    glass.wait(lambda: files.look(event)["state"] == "shown", "it is shown")


def test_pasting_takes_pictures_and_leaves_words_to_the_composer(seed: Seed, show: Show) -> None:
    seed.room("Talk")
    glass = show()
    glass.click(glass.item("roomRow"))
    QGuiApplication.clipboard().setText("just words")
    glass.press(Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
    assert glass.item("composer").property("text") == "just words"
    assert glass.items("chosenFile") == []
    image = QImage(20, 10, QImage.Format.Format_RGB32)
    image.fill(0)
    held = QMimeData()
    held.setImageData(image)
    QGuiApplication.clipboard().setMimeData(held)
    glass.press(Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
    assert glass.item("composer").property("text") == "just words"
    (chip,) = glass.items("chosenFile")
    assert says(chip).startswith("Pasted picture.png, ")
    glass.click(glass.item("removeFile"))
    assert glass.items("chosenFile") == []
    assert glass.focus() == "composer"
