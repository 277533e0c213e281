"""Pictures of the window in its states, to be looked at: ``python -m tests.app.shots FOLDER``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_QUICK_BACKEND", "software")
os.environ["TANDEM_NO_NOTIFIER"] = "1"
os.environ["TANDEM_VAULT"] = "file"
os.environ["TZ"] = "UTC"

from PySide6.QtTest import QTest

from tandem_app.commands import Commands
from tandem_app.engine_thread import EngineThread
from tandem_app.window import MainWindow, make_application
from tandem_core.paths import profile_paths
from tandem_core.store.session import set_pos
from tandem_core.types import Role, RoomId
from tests.app.glass import Glass
from tests.app.seed import NOON_MS, Seed

BOB, CAROL, DORA = "@bob:example.org", "@carol:example.org", "@dora:example.org"
Look = Callable[[Glass], None]
PEOPLE = {BOB: "Bob", CAROL: "Carol Díaz", DORA: "Dora"}
DEVICES = {BOB: ["Phone", "Laptop"], CAROL: ["Phone"]}


def main() -> int:
    """Save all pictures; returns 0."""
    take(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"), _SCENES)
    return 0


def take(folder: Path, scenes: dict[str, Callable[[Seed], Look]]) -> None:
    """Fill a store for each scene, show the window over it, do what the scene does, and save what is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    application = make_application(sys.argv[:1])
    for number, (name, fill) in enumerate(scenes.items()):
        with tempfile.TemporaryDirectory() as home:
            os.environ["TANDEM_HOME"] = home
            seed = Seed(profile_paths())
            seed.sign_in()
            look = fill(seed)
            seed.close()
            thread = EngineThread(seed.paths)
            window = MainWindow(seed.paths, thread, Commands(thread), clock_ms=lambda: NOON_MS)
            window.show()
            glass = Glass(window, application)
            glass.window.requestActivate()
            glass.settle()
            window.watch.read_rooms()
            QTest.qWait(60)
            look(glass)
            QTest.qWait(120)
            glass.settle()
            glass.window.grabWindow().save(str(folder / f"{number:02}-{name}.png"))
            glass.close()


def hike(seed: Seed) -> RoomId:
    """A lively room, with something of everything."""
    seed.many_rooms(24)
    room = seed.room("Weekend hike", people=PEOPLE, topic="Saturday, if it stays dry")
    joined = {"membership": "join", "displayname": "Carol Díaz"}
    seed.say(
        room,
        seed.message("", CAROL, type="m.room.member", state_key=CAROL, content=joined, at=1500),
        seed.message("Who is in for Saturday?", at=1500),
        seed.message(
            "I found a nice route along the river: https://example.org/route/17 – about 14 km, with a café half"
            " way and a train back every half hour.",
            at=1499,
        ),
        seed.message("Count me in!", CAROL, at=1490),
        seed.message(
            "I bring the map, you bring the cake", CAROL, at=1489,
            html="I bring the <b>map</b>, you bring the <i>cake</i>",
        ),
    )  # fmt: skip
    seed.sent(
        room, "Sounds lovely. I can drive three people.", people=DEVICES, at=1480,
        delivered=[(BOB, ""), (CAROL, "")],
    )  # fmt: skip
    last = seed.say(room, seed.message("packs the rucksack", msgtype="m.emote", at=120))
    seed.read_up_to(room, last[0])
    events = seed.say(
        room,
        seed.message("Forecast: 18°, no rain, light wind from the west", DORA, msgtype="m.notice", at=50),
        seed.sealed(at=40),
        seed.message("to be deleted", at=39),
    )
    seed.redact(room, events[2])
    seed.say(room, seed.message("See you at the station at nine?", at=20))
    seed.sent(room, "Yes, nine at the main entrance.", people=DEVICES, at=10, delivered=[(BOB, "")])
    direct = seed.room("Bob", direct=True)
    seed.say(direct, seed.message("Did you see the photos?", at=5))
    seed.sent(
        direct, "Yes! Great light.", people={BOB: ["Phone", "Laptop"]}, at=3,
        delivered=[(BOB, ""), (BOB, "Phone"), (BOB, "Laptop")],
    )  # fmt: skip
    seed.room("Book club", membership="invite", inviter=DORA)
    return room


def light(seed: Seed) -> Look:
    room = hike(seed)
    return lambda glass: glass.main.shell.openRoom(room)


def dark(seed: Seed) -> Look:
    room = hike(seed)

    def look(glass: Glass) -> None:
        glass.main.shell.set_theme("dark")
        glass.main.shell.openRoom(room)

    return look


def list_only(seed: Seed) -> Look:
    hike(seed)
    return lambda glass: None


def narrow(seed: Seed) -> Look:
    room = hike(seed)

    def look(glass: Glass) -> None:
        glass.window.setWidth(400)
        glass.main.shell.openRoom(room)

    return look


def asking(*, is_dark: bool = False) -> Callable[[Seed], Look]:
    """A message to a large group that asks for confirmations."""

    def fill(seed: Seed) -> Look:
        club = seed.room(
            "Rowing club", people={f"@p{number}:example.org": f"P{number}" for number in range(40)}
        )
        seed.say(club, seed.message("When is the next regatta?", "@p3:example.org", at=3))

        def look(glass: Glass) -> None:
            if is_dark:
                glass.window.setWidth(400)
                glass.main.shell.set_theme("dark")
            glass.main.shell.openRoom(club)
            glass.settle()
            glass.type("On Friday at six. Who comes?")
            glass.click(glass.item("askButton"))

        return look

    return fill


def narrow_list(seed: Seed) -> Look:
    hike(seed)
    return lambda glass: glass.window.setWidth(400)


def long_names(seed: Seed) -> Look:
    """Words without an end must be cut or wrapped, and nothing may cover anything."""
    room = seed.room(
        "Arbeitsgemeinschaft für Rindfleischetikettierungsüberwachungsaufgaben und mehr " * 2,
        people={BOB: "Bartholomäus Maximilian von und zu Hohenlohe-Schillingsfürst der Jüngere, Doktor " * 2},
        topic="A topic that goes on and on, since somebody thought that everything has to be said in it. "
        * 3,
    )
    seed.say(
        room,
        seed.message("Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3, at=30),
        seed.message("https://example.org/" + "very-long-path/" * 20, at=29),
        seed.message("مرحبا، كيف حالك اليوم؟ أتمنى أن تكون بخير", at=28),
        seed.message("one\ntwo\n\nfour, after an empty line", at=27),
        seed.message(
            "list and code", at=26,
            html="<p>First a list:</p><ul><li>one</li><li>two</li></ul><p>then <code>some_code(1, 2)</code></p>",
        ),
    )  # fmt: skip
    seed.sent(room, "W" * 200, people={f"@p{n}:example.org": [] for n in range(20)}, at=20,
              delivered=[(f"@p{n}:example.org", "") for n in range(11)])  # fmt: skip
    seed.pending(
        room, "x" * 90, state="failed", error="a reason that is much longer than anybody wants to read " * 3
    )
    return lambda glass: glass.main.shell.openRoom(room)


def marks(seed: Seed) -> Look:
    """Every delivery state, one below the other."""
    room = seed.room("Marks", people=PEOPLE)
    everybody = [(BOB, ""), (CAROL, "")]
    read_all = seed.sent(room, "read by all", people=DEVICES, at=60, delivered=everybody)
    read_some = seed.sent(room, "read by some", people=DEVICES, at=50, delivered=everybody)
    seed.sent(room, "delivered to all", people=DEVICES, at=40, delivered=everybody)
    seed.sent(room, "delivered to some", people=DEVICES, at=30, delivered=[(BOB, "")])
    seed.sent(room, "sent", people=DEVICES, at=20)
    for text, state in (("sending", "sending"), ("queued", "queued"), ("failed", "failed")):
        seed.pending(room, text, state=state, error="no answer" if state == "failed" else None)
    seed.read_up_to(room, read_some, BOB)
    seed.read_up_to(room, read_all, CAROL)
    return lambda glass: glass.main.shell.openRoom(room)


def scrolled_up(seed: Seed) -> Look:
    room = seed.room("Long talk", people=PEOPLE)
    seed.say(
        room,
        *[
            seed.message(f"message {n}, a few words", (BOB, CAROL, DORA)[n // 3 % 3], at=300 - n)
            for n in range(90)
        ],
    )

    def look(glass: Glass) -> None:
        from PySide6.QtCore import Qt

        glass.main.shell.openRoom(room)
        glass.settle()
        glass.press(Qt.Key.Key_PageUp, times=2)
        again = Seed(glass.main.paths)
        again.say(room, again.message("something new", CAROL, at=1))
        again.close()
        glass.main.watch.look()
        glass.settle()
        glass.press(Qt.Key.Key_Up, times=3)

    return look


def empty(seed: Seed) -> Look:
    seed.db.write_now(lambda txn: set_pos(txn, Role.APP, "0", seed.now_ms))
    return lambda glass: None


def no_result(seed: Seed) -> Look:
    hike(seed)

    def look(glass: Glass) -> None:
        from PySide6.QtCore import Qt

        glass.press(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        glass.type("zebra")

    return look


def offline(seed: Seed) -> Look:
    room = hike(seed)
    seed.pending(room, "And I have a spare raincoat", state="failed", error="the server refused")
    seed.pending(room, "Do we need cash?")

    def look(glass: Glass) -> None:
        glass.main.shell.openRoom(room)
        glass.main.shell.set_status("No connection to your homeserver")

    return look


_SCENES: dict[str, Callable[[Seed], Look]] = {
    "light": light, "dark": dark, "list": list_only, "narrow": narrow, "narrow-list": narrow_list,
    "long-names": long_names, "marks": marks, "scrolled-up": scrolled_up, "empty": empty,
    "no-result": no_result, "offline": offline, "asking": asking(), "asking-narrow-dark": asking(is_dark=True),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
