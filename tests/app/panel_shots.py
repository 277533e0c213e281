"""Pictures of the pages and panels in their states, to be looked at: ``python -m tests.app.panel_shots FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tandem_core import capabilities, settings
from tandem_core.errors import DiskFull, ServerRefused
from tandem_core.own_devices import OwnDevice
from tandem_core.store import account_data, crypto, rooms
from tandem_core.store import session as sessions
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, Role, RoomId, UserId
from tests.app.glass import Glass
from tests.app.seed import NOON_MS, Seed
from tests.app.shots import BOB, CAROL, DEVICES, DORA, PEOPLE, Look, hike, take

LONG = "Maximiliane-Friederike von und zu Hohenstein-Wolkenburg auf Niederlangenau"


def main() -> int:
    """Save all pictures; returns 0."""
    from tests.app.security_shots import SCENES

    take(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"), _SCENES | SCENES)
    return 0


def size(glass: Glass, width: int, height: int) -> None:
    glass.window.setWidth(width)
    glass.window.setHeight(height)
    glass.settle()


def dark(glass: Glass) -> None:
    glass.main.shell.set_theme("dark")


def model(glass: Glass, what: str) -> Any:
    return glass.main.panels.make(what)


# Signing in.


def login(
    *, width: int = 1120, is_dark: bool = False, problem: tuple[str, str] | None = None
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        seed.db.write_now(lambda txn: txn.execute("DELETE FROM session"))

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.set_session("signed_out")
            glass.settle()
            glass.type("example.org")
            if problem:
                model(glass, "login")._refuse(*problem)

        return look

    return fill


def ended(state: str, *, asking: bool = False) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        seed.db.write_now(
            lambda txn: txn.execute("UPDATE session SET state = ?, access_token = NULL", (state,))
        )

        def look(glass: Glass) -> None:
            glass.main.shell.set_session(state)
            model(glass, "login")._look("")
            glass.settle()
            if asking:
                glass.click(glass.item("forgetAccount"))

        return look

    return fill


# Settings.


def choices(seed: Seed) -> RoomId:
    room = hike(seed)

    def write(txn: Any) -> None:
        settings.set_value(txn, "receipts.room", "never", now_ms=NOON_MS, room_id=room)
        settings.set_value(
            txn, "receipts.person", "never", now_ms=NOON_MS, user_id=UserId("@mallory:example.org")
        )
        settings.set_value(txn, "receipts.groups_max", 12, now_ms=NOON_MS)

    seed.db.write_now(write)
    return room


def account(
    *,
    width: int = 1120,
    is_dark: bool = False,
    page_downs: int = 0,
    leaving: str = "",
    supported: bool = True,
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        choices(seed)
        can = capabilities.Capabilities(True, supported, supported, "m.delivery" if supported else None)
        seed.db.write_now(lambda txn: capabilities.keep(txn, can, NOON_MS))

        def look(glass: Glass) -> None:
            from PySide6.QtCore import Qt

            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openSettings("")
            glass.settle()
            glass.press(Qt.Key.Key_Tab, times=2)
            glass.press(Qt.Key.Key_PageDown, times=page_downs)
            settings_model = model(glass, "settings")
            if leaving == "offline":
                from tandem_core.errors import Offline

                settings_model._not_left(Offline())
            elif leaving:
                settings_model.askToLeave()
            glass.press(Qt.Key.Key_PageDown, times=page_downs)

        return look

    return fill


def of_room(
    *,
    width: int = 1120,
    is_dark: bool = False,
    public: bool = False,
    direct: bool = False,
    long: bool = False,
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        seed.many_rooms(12)
        name = LONG if long else "Bob" if direct else "Weekend hike"
        topic = (
            None
            if direct
            else "Saturday, if it stays dry. " + ("Bring cake and a raincoat. " * 8 if long else "")
        )
        people = {BOB: "Bob"} if direct else PEOPLE
        room = seed.room(name, people=people, direct=direct, topic=topic, encrypted=not public)

        def write(txn: Any) -> None:
            txn.execute("INSERT OR REPLACE INTO room_fact (room_id, accepted, encryption) VALUES (?, 'sent', ?)",
                        (room, None if public else '{"algorithm":"m.megolm.v1.aes-sha2"}'))  # fmt: skip
            if public:
                txn.execute("UPDATE room SET join_rule = 'public' WHERE room_id = ?", (room,))
                settings.set_value(txn, "receipts.room", "on", now_ms=NOON_MS, room_id=room)

        seed.db.write_now(write)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            glass.main.shell.openSettings(room)

        return look

    return fill


def confirmations(
    *,
    width: int = 1120,
    is_dark: bool = False,
    page_downs: int = 0,
    what: str = "",
) -> Callable[[Seed], Look]:
    """``what``: empty (an account with nothing in it), full, long, paused, unread."""

    def fill(seed: Seed) -> Look:
        if what:
            for name, user in (("Bob", BOB), (LONG if what == "long" else "Carol", CAROL)):
                room = seed.room(name, people={user: name}, direct=True)
                seed.db.write_now(lambda txn, room=room: rooms.accept(txn, room, "sent"))
            choices(seed)
            done = {f"$s{number}": NOON_MS - number * 900_000 for number in range(41)}
            seed.confirmed(RoomId("!room1:example.org"), BOB, done)

        def write(txn: Any) -> None:
            if what == "paused":
                settings.set_value(txn, "receipts.paused_until", NOON_MS + 3_600_000, now_ms=NOON_MS)
            if what == "long":
                settings.set_value(txn, "receipts.direct", "off", now_ms=NOON_MS)
            if what == "unread":
                account_data.put(txn, DELIVERY_EXCEPTIONS, {"algorithm": "another"})

        seed.db.write_now(write)
        if what == "long":
            seed.answer(rules={"direct": "on"}, changed={"direct": NOON_MS + 9})

        def look(glass: Glass) -> None:
            from PySide6.QtCore import Qt

            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openSettings("")
            glass.main.shell.openPage("confirmations")
            glass.settle()
            if what in ("full", "long"):
                model(glass, "confirmations").toggleLog()
                glass.settle()
            glass.press(Qt.Key.Key_Tab, times=2)
            glass.press(Qt.Key.Key_PageDown, times=page_downs)

        return look

    return fill


def question(*, width: int = 1120, is_dark: bool = False, problem: bool = False) -> Callable[[Seed], Look]:
    """The one question, above an open room."""

    def fill(seed: Seed) -> Look:
        room = hike(seed)

        def write(txn: Any) -> None:
            txn.execute("DELETE FROM account_data")
            sessions.set_pos(txn, Role.APP, "p", NOON_MS)

        seed.db.write_now(write)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            glass.main.panels.look()
            if problem:
                model(glass, "confirmQuestion")._failed(DiskFull())
            glass.settle()

        return look

    return fill


# Devices.

DEVICE_LIST = [
    OwnDevice(DeviceId("ALICEDEV"), "Tandem on workbench", NOON_MS - 60_000, "192.0.2.7", True, DeviceTrust.VERIFIED),
    OwnDevice(DeviceId("PHONEXYZ"), "Alice's phone", NOON_MS - 25 * 60_000, "192.0.2.8", False, DeviceTrust.VERIFIED),
    OwnDevice(DeviceId("WEBDEVICE"), "Firefox on Linux", NOON_MS - 5 * 3_600_000, "2001:db8::7", False,
              DeviceTrust.UNSIGNED),
    OwnDevice(DeviceId("OLDTABLET"), "", NOON_MS - 90 * 86_400_000, None, False, DeviceTrust.SIGNED_BY_OWNER),
    OwnDevice(DeviceId("SCRIPT"), "Backup script", None, None, False, None),
]  # fmt: skip


def show_devices(glass: Glass, devices: list[OwnDevice], state: str = "ready") -> Any:
    """Open the page over a list that the server gave; returns its model."""
    glass.main.shell.openSettings("")
    glass.main.shell.openPage("devices")
    glass.settle()
    made = model(glass, "devices")
    made._devices, made._state = devices, state
    made._show()
    glass.settle()
    return made


def devices(
    what: str = "", *, width: int = 1120, is_dark: bool = False, long: bool = False, state: str = "ready"
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        hike(seed)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            shown = [] if what == "nothing" else DEVICE_LIST
            if long:
                shown = [replace(one, name=f"{LONG} {LONG}"[:100]) for one in shown]
            made = show_devices(glass, shown, state)
            if what == "rename":
                made.edit("PHONEXYZ")
            if what in ("one", "several", "password", "wrong", "browser"):
                made.choose("WEBDEVICE")
            if what == "several":
                made.choose("OLDTABLET")
                made.toggleAddresses()
            if what in ("password", "wrong", "browser"):
                made._busy = "sign_out"
                kind = "browser" if what == "browser" else "password"
                made._approval._show(kind, "https://example.org/approve", what == "wrong")
                made._show()
            if what == "problem":
                made._problem = (
                    "Your homeserver does not let apps sign out devices. Do it on its account page."
                )
                made._show()
            if what == "news":
                made._news = "2 devices are signed out."
                made._show()

        return look

    return fill


# Message info.


def info(*, width: int = 1120, is_dark: bool = False, kind: str = "some") -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        seed.many_rooms(8)
        people: dict[str, str] = dict(PEOPLE)
        devices: dict[str, list[str]] = {**DEVICES, DORA: ["Tablet"]}
        if kind == "long":
            people = {
                BOB: LONG,
                "@a-very-long-name-of-a-person-that-never-ends:matrix.a-long-server-name.example.org": "x",
            }
            devices = {BOB: ["The telephone that I got from my grandmother for my birthday", "Laptop"], **{
                user: ["Phone"] for user in people if user != BOB}}  # fmt: skip
        if kind == "many":
            people = {f"@p{n:02}:example.org": f"Person {n:02}" for n in range(40)}
            devices = {user: ["Phone", "Laptop"] for user in people}
        room = seed.room("Weekend hike", people=people)
        seed.say(room, seed.message("Who is in?", at=60))
        heard = {
            "some": [(BOB, ""), (BOB, "Phone"), (CAROL, "")],
            "none": [],
            "long": [(BOB, ""), (BOB, "Laptop")],
            "many": [(user, "") for user in list(people)[:25]],
        }[kind]
        sent = seed.sent(room, "Yes, nine at the main entrance.", people=devices, at=40, delivered=heard)
        as_sent = "UPDATE event SET type = 'm.room.encrypted', opened_type = type, seal = 'opened' WHERE event_id = ?"
        seed.db.write_now(lambda txn: txn.execute(as_sent, (sent,)))
        if kind == "some":
            seed.read_up_to(room, sent, CAROL, at=NOON_MS - 60_000)

        def look(glass: Glass) -> None:
            from PySide6.QtCore import Qt

            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            glass.settle()
            glass.main.shell.showInfo(glass.main.timeline.keyAt(0))
            glass.settle()
            if kind == "some":
                glass.press(Qt.Key.Key_Tab)

        return look

    return fill


# Invitations and the banner.


def invite(
    *, width: int = 1120, is_dark: bool = False, long: bool = False, problem: bool = False
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        seed.many_rooms(8)
        room = seed.room(
            LONG * 3 if long else "Book club", membership="invite", inviter=DORA,
            people={DORA: LONG if long else "Dora"}, topic="We read one book a month" * (9 if long else 1),
        )  # fmt: skip

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            if problem:
                model(glass, "invite")._failed(room, ServerRefused(403, "M_FORBIDDEN", "not invited"))

        return look

    return fill


def banner(kind: str, *, width: int = 1120, is_dark: bool = False) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        room = hike(seed)
        if kind == "restored":
            seed.db.write_now(crypto.note_restored, NOON_MS)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            panels = glass.main.panels
            match kind:
                case "disk":
                    panels.show_trouble(DiskFull())
                case "failure":
                    panels.show_failure(
                        ServerRefused(403, "M_FORBIDDEN", "You don't have permission to do that")
                    )
                case "connection":
                    panels.show_status("No connection to your homeserver")
                    model(glass, "banner")._lasts()
                case "restored":
                    panels.look()
                case "news":
                    from tandem_app.models.login import key_words

                    model(glass, "banner").news(key_words("file", glass.main.paths))

        return look

    return fill


WRONG = ("password", "User name or password is wrong. Check both and try again.")
AWAY = ("server", "This server cannot be reached. Check the address and your network, then try again.")
LIMITED = ("form", "There were too many attempts. The server asks to wait 20 s before the next one.")
_SCENES: dict[str, Callable[[Seed], Look]] = {
    "login": login(), "login-dark-wrong": login(is_dark=True, problem=WRONG),
    "login-narrow-away": login(width=360, problem=AWAY),
    "login-limited": login(problem=LIMITED),
    "login-again": ended("soft_logged_out"), "login-removed-asking": ended("signed_out", asking=True),
    "settings": account(), "settings-dark-2": account(is_dark=True, page_downs=1),
    "settings-leaving": account(page_downs=4, leaving="asked"),
    "settings-offline": account(page_downs=4, leaving="offline", is_dark=True),
    "settings-narrow": account(width=360, supported=False), "settings-narrow-2": account(width=360, page_downs=1),
    "settings-narrow-3": account(width=360, page_downs=2),
    "confirmations": confirmations(what="full"), "confirmations-2": confirmations(what="full", page_downs=1),
    "confirmations-3": confirmations(what="full", page_downs=2), "confirmations-empty-3": confirmations(page_downs=3),
    "confirmations-4": confirmations(what="full", page_downs=3),
    "confirmations-5": confirmations(what="full", page_downs=4),
    "confirmations-dark": confirmations(what="paused", is_dark=True),
    "confirmations-dark-3": confirmations(what="paused", is_dark=True, page_downs=3),
    "confirmations-unread": confirmations(what="unread"),
    "confirmations-narrow": confirmations(what="long", width=360),
    "confirmations-narrow-2": confirmations(what="long", width=360, page_downs=1),
    "confirmations-narrow-3": confirmations(what="long", width=360, page_downs=2),
    "confirmations-narrow-4": confirmations(what="long", width=360, page_downs=3),
    "confirmations-narrow-5": confirmations(what="long", width=360, page_downs=4),
    "confirm-question": question(), "confirm-question-dark": question(is_dark=True),
    "confirm-question-narrow": question(width=360),
    "confirm-question-problem": question(problem=True),
    "room-group": of_room(), "room-direct-dark": of_room(direct=True, is_dark=True),
    "room-public": of_room(public=True),
    "room-long-narrow": of_room(long=True, width=360),
    "devices": devices(), "devices-dark-several": devices("several", is_dark=True), "devices-rename": devices("rename"),
    "devices-wrong": devices("wrong"), "devices-browser-dark": devices("browser", is_dark=True),
    "devices-narrow": devices(width=360), "devices-narrow-long": devices("password", width=360, long=True),
    "devices-narrow-rename": devices("rename", width=360, is_dark=True, long=True),
    "devices-loading": devices("nothing", state="loading"), "devices-offline": devices("nothing", state="offline"),
    "devices-old-narrow": devices(width=360, state="offline"), "devices-problem": devices("problem"),
    "devices-news-dark": devices("news", is_dark=True),
    "info": info(), "info-dark": info(is_dark=True), "info-none": info(kind="none"), "info-long": info(kind="long"),
    "info-many": info(kind="many"), "info-narrow": info(width=360),
    "invite": invite(), "invite-dark-problem": invite(is_dark=True, problem=True),
    "invite-narrow-long": invite(width=360, long=True),
    "banner-disk": banner("disk"), "banner-failure-dark": banner("failure", is_dark=True),
    "banner-connection-narrow": banner("connection", width=360), "banner-news": banner("news"),
    "banner-restored": banner("restored"), "banner-restored-dark": banner("restored", is_dark=True),
    "banner-restored-narrow": banner("restored", width=360),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
