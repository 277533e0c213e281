"""Pictures of the delivery marks and of the panel behind them: ``python -m tests.app.delivery_shots FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tandem_core.types import EventId, RoomId
from tests.app.glass import Glass
from tests.app.panel_shots import LONG, size
from tests.app.seed import NOON_MS, Seed
from tests.app.shots import BOB, CAROL, DORA, PEOPLE, Look, hike, take


def main() -> int:
    """Save all pictures; returns 0."""
    take(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"), SCENES)
    return 0


def wear(glass: Glass, theme: str) -> None:
    """``light`` or ``dark``; with ``-strong`` in high contrast, with ``-words`` with words for marks."""
    choice, _, how = theme.partition("-")
    glass.main.shell.set_theme(
        choice, "high" if how == "strong" else "system", "words" if how == "words" else "icons"
    )


def marks(*, width: int = 1120, theme: str = "light", long: bool = False) -> Callable[[Seed], Look]:
    """Every delivery state, one below the other."""

    def fill(seed: Seed) -> Look:
        names = {user: f"{name} {LONG}" for user, name in PEOPLE.items()} if long else PEOPLE
        room = seed.room("Marks", people=names)
        everybody = [(BOB, ""), (CAROL, "")]
        people = {BOB: ["Phone", LONG if long else "Laptop"], CAROL: ["Phone"]}
        laptop = people[BOB][1]
        read_all = seed.sent(room, "read by all", people=people, at=120, delivered=everybody)
        read_some = seed.sent(room, "read by some", people=people, at=110, delivered=everybody)
        seed.sent(room, "delivered to all", people=people, at=100, delivered=everybody)
        seed.sent(room, "delivered to some", people=people, at=90, delivered=[(BOB, "")])
        some = seed.sent(
            room, "delivered, but one device cannot decrypt it", people=people, at=80, delivered=everybody
        )
        seed.cannot_read(room, some, BOB, laptop)
        one = seed.sent(room, "one device cannot decrypt it", people=people, at=70)
        seed.cannot_read(room, one, BOB, laptop)
        nobody = seed.sent(room, "nobody can decrypt it", people={BOB: [laptop]}, at=60)
        seed.cannot_read(room, nobody, BOB, laptop)
        seed.sent(room, "sent", people=people, at=50)
        crowd: dict[str, list[str]] = {f"@p{number}:example.org": [] for number in range(40)}
        seed.sent(room, "not tracked", people=crowd, at=40)
        for text, state in (("sending", "sending"), ("queued", "queued"), ("failed", "failed")):
            seed.pending(room, text, state=state, error="no answer" if state == "failed" else None)
        seed.read_up_to(room, read_some, BOB)
        seed.read_up_to(room, read_all, CAROL)

        def look(glass: Glass) -> None:
            size(glass, width, 960)
            wear(glass, theme)
            glass.main.shell.openRoom(room)

        return look

    return fill


def info(
    kind: str = "trouble", *, width: int = 1120, theme: str = "light", long: bool = False
) -> Callable[[Seed], Look]:
    """The panel of a message; ``kind``: trouble, question, note, many, found, theirs, waiting, sealed."""

    def fill(seed: Seed) -> Look:
        room, event = (_large if kind in ("many", "found") else _small)(seed, long)
        if kind in ("theirs", "waiting"):
            (event,) = seed.say(room, seed.message("And bring the map, please", at=4))
        if kind == "sealed":
            event = _seal(seed, room)
        if kind == "waiting":
            _owe(seed, room, event)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            wear(glass, theme)
            glass.main.shell.openRoom(room)
            glass.settle()
            glass.main.shell.showInfo(event)
            glass.settle()
            _do(glass, kind, long)

        return look

    return fill


def _small(seed: Seed, long: bool) -> tuple[RoomId, EventId]:
    hike(seed)
    people = {user: f"{name} {LONG}" if long else name for user, name in PEOPLE.items()}
    room = seed.room("Train tickets", people=people)
    laptop = f"Laptop {LONG}" if long else "Laptop"
    meant = {BOB: ["Phone", laptop, "Tablet"], CAROL: ["Phone"], DORA: ["Desk"]}
    heard = [(BOB, ""), (BOB, "Phone"), (CAROL, "")]
    event = seed.sent(room, "Yes, nine at the main entrance.", people=meant, at=40, delivered=heard)
    seed.cannot_read(room, event, BOB, laptop)
    seed.read_up_to(room, event, CAROL, at=NOON_MS - 60_000)
    return room, event


def _large(seed: Seed, long: bool) -> tuple[RoomId, EventId]:
    people = {f"@p{number}:example.org": f"Person {number}{LONG if long else ''}" for number in range(18)}
    room = seed.room("Choir", people=people)
    meant: dict[str, list[str]] = {user: ["Phone"] for user in people}
    heard = [(user, "") for user in list(people)[:7]]
    event = seed.sent(room, "Rehearsal begins at seven", people=meant, at=40, delivered=heard)
    seed.cannot_read(room, event, "@p9:example.org", "Phone")
    return room, event


def _seal(seed: Seed, room: RoomId) -> EventId:
    """A message whose key the author's app keeps from this device."""
    wire = {"algorithm": "m.megolm.v1.aes-sha2", "session_id": "SESSION", "ciphertext": "x"}
    (event,) = seed.say(room, seed.message("", type="m.room.encrypted", content=wire, at=4))
    reason = "withheld:m.unverified"
    seed.db.write_now(
        lambda txn: txn.execute("UPDATE event SET seal_reason = ? WHERE event_id = ?", (reason, event))
    )
    return event


def _owe(seed: Seed, room: RoomId, event: EventId) -> None:
    seed.db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state)"
            " VALUES (?, ?, ?, 'app', ?, ?, 'user', 'owed')",
            (event, room, BOB, NOON_MS, NOON_MS),
        )
    )


def _do(glass: Glass, kind: str, long: bool) -> None:
    model: Any = glass.main.panels.make("messageInfo")
    match kind:
        case "question":
            model.ask(BOB, f"Laptop {LONG}".upper() if long else "LAPTOP")
        case "note":
            model._sent(model._key, "good", "The key is on its way.")
        case "found":
            model.find("1")
    glass.settle()


SCENES: dict[str, Callable[[Seed], Look]] = {
    "marks": marks(), "marks-dark": marks(theme="dark"), "marks-strong": marks(theme="light-strong"),
    "marks-dark-strong": marks(theme="dark-strong"), "marks-narrow-long": marks(width=360, long=True),
    "marks-words": marks(width=360, theme="light-words"),
    "about": info(), "about-dark": info(theme="dark"), "about-strong": info(theme="light-strong"),
    "about-dark-strong": info("question", theme="dark-strong"), "about-question": info("question"),
    "about-note": info("note"), "about-narrow-long": info("question", width=360, long=True),
    "about-many": info("many"), "about-found-dark": info("found", theme="dark", long=True),
    "about-theirs": info("theirs"), "about-waiting": info("waiting", theme="dark"),
    "about-sealed": info("sealed"), "about-sealed-narrow-dark": info("sealed", width=360, theme="dark"),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
