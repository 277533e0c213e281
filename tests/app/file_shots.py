"""Pictures of rows with files in their states, to be looked at: ``python -m tests.app.file_shots FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QColor, QImage, QLinearGradient, QPainter

from tandem_app.models.files import _Work
from tandem_core.errors import Offline
from tandem_core.store import uploads
from tandem_core.store.database import Transaction
from tandem_core.store.outbox import put_message
from tandem_core.store.uploads import Upload
from tandem_core.types import Json, RoomId
from tests.app.glass import Glass
from tests.app.panel_shots import dark, model, size
from tests.app.seed import NOON_MS, Seed
from tests.app.shots import CAROL, PEOPLE, Look, take

LONG = "Protokoll der Vollversammlung vom 21. November mit allen Anlagen und Nachträgen (endgültige Fassung 3).pdf"


def main() -> int:
    """Save all pictures; returns 0."""
    take(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"), _SCENES)
    return 0


def attached(msgtype: str, name: str, *, size: int | None, w: int = 0, h: int = 0, caption: str = "") -> Json:
    """The content of a message with a file."""
    info: Json = {"mimetype": "image/png"} | ({} if size is None else {"size": size})
    if w:
        info |= {"w": w, "h": h}
    return {
        "msgtype": msgtype,
        "body": caption or name,
        "filename": name,
        "info": info,
        "url": f"mxc://example.org/{len(name)}",
    }


def painted(folder: Path, name: str, width: int, height: int) -> str:
    """A landscape, roughly; returns its URL."""
    image = QImage(width, height, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    sky = QLinearGradient(0, 0, 0, height)
    sky.setColorAt(0, QColor("#7fb8e8"))
    sky.setColorAt(0.6, QColor("#fbe9c7"))
    sky.setColorAt(0.61, QColor("#5a8a4a"))
    sky.setColorAt(1, QColor("#2f5a2a"))
    painter.fillRect(0, 0, width, height, sky)
    painter.end()
    file = folder / name
    image.save(str(file), "PNG")
    return QUrl.fromLocalFile(str(file)).toString()


def queue(seed: Seed, room: RoomId, content: Json, sent: int, size: int, *, error: str = "") -> str:
    """Our own file on its way."""

    def put(txn: Transaction) -> str:
        txn_id = put_message(txn, room, "m.room.message", content, content["body"], None, NOON_MS)
        uploads.put(txn, Upload(txn_id, "file", "x", size, "application/octet-stream", True))
        txn.execute("UPDATE upload SET sent = ? WHERE txn_id = ?", (sent, txn_id))
        if error:
            txn.execute("UPDATE send_queue SET state = 'failed', error = ? WHERE txn_id = ?", (error, txn_id))
        return txn_id

    return seed.db.write_now(put)


def talk(*, width: int = 1120, height: int = 740, is_dark: bool = False) -> Callable[[Seed], Look]:
    """Pictures and files that came, and our own."""

    def fill(seed: Seed) -> Look:
        room = seed.room("Weekend hike", people=PEOPLE)
        events = seed.say(
            room,
            seed.message("", content=attached("m.image", "river.png", size=2_400_000, w=1600, h=900), at=30),
            seed.message("", CAROL, content=attached("m.file", "route.gpx", size=48_211), at=25),
            seed.message("", CAROL, content=attached("m.file", LONG, size=None), at=24),
            seed.message(
                "",
                content=attached(
                    "m.image", "tower.png", size=310_000, w=500, h=1400, caption="The tower, at last!"
                ),
                at=12,
            ),
        )
        queue(seed, room, attached("m.file", "album.zip", size=180_000_000), 64_000_000, 180_000_000)

        def look(glass: Glass) -> None:
            size(glass, width, height)
            if is_dark:
                dark(glass)
            files = model(glass, "files")
            files._work[events[0]] = _Work("shown", painted(seed.paths.data, "a.png", 800, 450))
            files._work[events[3]] = _Work("shown", painted(seed.paths.data, "b.png", 214, 600))
            glass.main.shell.openRoom(room)

        return look

    return fill


def states(*, width: int = 1120, is_dark: bool = False) -> Callable[[Seed], Look]:
    """Everything that can be said of a file."""

    def fill(seed: Seed) -> Look:
        room = seed.room("Weekend hike", people=PEOPLE)
        picture = attached("m.image", "river.png", size=2_400_000, w=1600, h=600)
        events = seed.say(
            room,
            seed.message("", content=picture | {"url": "mxc://example.org/a"}, at=40),
            seed.message("", content=attached("m.image", "broken.png", size=12_000, w=100, h=80), at=39),
            seed.message("", content=attached("m.file", "fetching.pdf", size=9_000_000), at=38),
            seed.message("", content=attached("m.file", "gone.pdf", size=9_000), at=37),
            seed.message("", content=attached("m.file", "kept.pdf", size=9_000), at=36),
            seed.message("", content=attached("m.image", "big.png", size=44_000_000, w=9000, h=3000), at=35),
            seed.message("", content={"msgtype": "m.file", "body": "nothing behind it.txt"}, at=34),
        )
        queue(
            seed,
            room,
            attached("m.file", "huge.iso", size=4_700_000_000),
            0,
            10,
            error="The file is too big for your homeserver",
        )

        def look(glass: Glass) -> None:
            size(glass, width, 900)
            if is_dark:
                dark(glass)
            work: dict[str, Any] = model(glass, "files")._work
            work[events[0]] = _Work("fetching", progress=0.4)
            work[events[1]] = _Work("failed", words="This picture cannot be shown")
            work[events[2]] = _Work("saving", progress=0.7)
            work[events[3]] = _Work("failed", words=Offline.title)
            work[events[4]] = _Work("saved", words="Saved as kept.pdf")
            glass.main.shell.openRoom(room)

        return look

    return fill


def choosing(*, width: int = 1120, is_dark: bool = False) -> Callable[[Seed], Look]:
    """Files beside the composer, one of which is too big."""

    def fill(seed: Seed) -> Look:
        room = seed.room("Weekend hike", people=PEOPLE)
        seed.say(room, seed.message("Do you have the pictures?", at=3))
        seed.db.write_now(
            lambda txn: txn.execute("INSERT INTO fact (key, value) VALUES ('media.upload_size', '100000')")
        )
        small, big = seed.paths.data / "river.png", seed.paths.data / LONG
        small.write_bytes(bytes(48_000))
        big.write_bytes(bytes(140_000))

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            glass.settle()
            pane = glass.item("roomPane")
            chosen = model(glass, "chosenFiles")
            chosen.show(room)
            chosen.add([QUrl.fromLocalFile(str(small)), QUrl.fromLocalFile(str(big))])
            pane.metaObject().invokeMethod(pane, "showChosen")
            glass.settle()
            glass.type("Here they are")

        return look

    return fill


def large(seed: Seed) -> Look:
    """One picture, large."""
    room = seed.room("Weekend hike", people=PEOPLE)
    (event,) = seed.say(
        room, seed.message("", content=attached("m.image", "river.png", size=2_400_000, w=1600, h=900), at=3)
    )

    def look(glass: Glass) -> None:
        files = model(glass, "files")
        picture = painted(seed.paths.data, "a.png", 1600, 900)
        files._work[event] = _Work("shown", picture)
        glass.main.shell.openRoom(room)
        glass.settle()
        glass.main.shell.openFile(event)
        glass.settle()

    return look


_SCENES: dict[str, Callable[[Seed], Look]] = {
    "files-light": talk(),
    "files-dark": talk(is_dark=True),
    "files-narrow": talk(width=360),
    "states-light": states(),
    "states-dark": states(is_dark=True),
    "states-narrow": states(width=360),
    "choosing-light": choosing(),
    "choosing-narrow-dark": choosing(width=360, is_dark=True),
    "large": large,
}


if __name__ == "__main__":
    sys.exit(main())
