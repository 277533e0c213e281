"""Pictures of the pages about encryption and verification in their states; ``tests.app.panel_shots`` takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tandem_app.identity_watch import Changed
from tandem_core.types import DeviceId, RoomId, UserId
from tandem_core.verification.emoji import EMOJI
from tandem_core.verification.flow import Phase
from tandem_core.verification.qr import Code, Mode
from tandem_core.verification.verifications import View
from tests.app.encryption_seed import person, stands
from tests.app.glass import Glass
from tests.app.panel_shots import LONG, dark, model, size
from tests.app.seed import NOON_MS, Seed
from tests.app.shots import BOB, CAROL, Look, hike

# Verification.

ASKED = View(
    "$request", None, UserId("@alice:example.org"), DeviceId("PHONEXYZ"), False, NOON_MS, Phase.ASKED, None, "", False,
    (), (), None, False, False, False,
)  # fmt: skip
SHOWN = Code(Mode.TRUSTED, "$request", "A" * 43, "B" * 43, bytes(16))
STRING = tuple(EMOJI[number] for number in (19, 41, 0, 36, 49, 53, 63))
VIEWS = {
    "asked": ASKED,
    "asked-person": replace(ASKED, room_id=RoomId("!room1:example.org"), peer=BOB),
    "asking": replace(ASKED, we_asked=True, device_id=None),
    "ready": replace(ASKED, phase=Phase.READY, shown=SHOWN, can_compare=True, can_scan=True),
    "compare": replace(ASKED, phase=Phase.COMPARE, emoji=STRING, decimals=(1782, 7037, 1233)),
    "confirmed": replace(ASKED, phase=Phase.CONFIRMED, emoji=STRING, decimals=(1782, 7037, 1233)),
    "shown": replace(ASKED, phase=Phase.SHOWN),
    "done": replace(ASKED, phase=Phase.DONE, is_settled=True),
    "unkept": replace(
        ASKED, phase=Phase.DONE, is_settled=True, reason="The other side's account has no identity."
    ),
    "cancelled": replace(ASKED, phase=Phase.CANCELLED, code="m.user", is_theirs=True),
    "attacked": replace(ASKED, phase=Phase.CANCELLED, code="m.key_mismatch"),
}


def show_verification(glass: Glass, view: View, *, page: bool = True) -> Any:
    """A verification as the engine has it; returns the model."""
    made = model(glass, "verification")
    made._loaded([view])
    made._chosen = view.id
    if page:
        glass.main.shell.openPage("verification")
    made._loaded([view])
    glass.settle()
    return made


def verification(
    what: str, *, width: int = 1120, is_dark: bool = False, page: bool = True, long: bool = False
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        room = hike(seed)
        name = LONG if long else "Alice's phone"
        seed.db.write_now(
            lambda txn: txn.execute(
                "INSERT INTO device (user_id, device_id, curve25519, ed25519, display_name, algorithms, first_seen)"
                " VALUES ('@alice:example.org', 'PHONEXYZ', 'c', 'e', ?, '[]', 0)",
                (name,),
            )
        )

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            made = show_verification(glass, VIEWS[what], page=page)
            if long and what == "ready":
                made._problem = "This is no verification code. Copy the whole code that the other side shows."
                made.changed.emit()

        return look

    return fill


# Encryption.


def encryption(
    device: str = "verified",
    recovery: str = "complete",
    kept: str = "open",
    *,
    doing: str = "",
    width: int = 1120,
    height: int = 860,
    is_dark: bool = False,
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        hike(seed)
        stands(seed, device=device, recovery=recovery, kept=kept)

        def look(glass: Glass) -> None:
            size(glass, width, height)
            if is_dark:
                dark(glass)
            glass.main.shell.openPage("encryption")
            glass.settle()
            made = model(glass, "encryption")
            match doing:
                case "reset" | "unlock":
                    glass.click(glass.item("resetIdentity" if doing == "reset" else "unlockRecovery"))
                case "key":
                    made._busy = "recovery"
                    made.approval._show(
                        "key", "EsTc 8ZbR 4mGf QvX2 hW1s Kp3L 9dNy TcYq uB6e Zr5A 7xJm Hk2V", False
                    )
                    made.changed.emit()
                case "wrong":
                    made._busy = "reset"
                    made.approval._show("password", "", True)
                    made.changed.emit()
                case "browser":
                    made._busy = "identity"
                    made.approval._show("browser", "https://account.example.org/approve", False)
                    made.changed.emit()
                case "problem":
                    made._complain(
                        "recovery", "This is not the recovery key of this account. It may be an older one."
                    )

        return look

    return fill


def question(asked: str, *, width: int = 1120, is_dark: bool = False) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        room = hike(seed)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            model(glass, "banner").question(asked)

        return look

    return fill


def identity(
    *, was_verified: bool, width: int = 1120, is_dark: bool = False, settings: bool = False
) -> Callable[[Seed], Look]:
    def fill(seed: Seed) -> Look:
        room = hike(seed)
        person(seed, BOB, is_verified=was_verified, is_new=True)
        person(seed, CAROL, is_verified=True)

        def look(glass: Glass) -> None:
            size(glass, width, 740)
            if is_dark:
                dark(glass)
            glass.main.shell.openRoom(room)
            made = model(glass, "identities")
            made.show([Changed(UserId(BOB), "Bob", was_verified)])
            glass.main.shell.set_identity(True)
            if settings:
                glass.main.shell.openSettings(room)

        return look

    return fill


SCENES: dict[str, Callable[[Seed], Look]] = {
    "verify-asked": verification("asked"), "verify-person-dark": verification("asked-person", is_dark=True),
    "verify-asking": verification("asking"), "verify-ready": verification("ready"),
    "verify-compare": verification("compare"),
    "verify-compare-narrow-dark": verification("compare", width=360, is_dark=True),
    "verify-shown": verification("shown"), "verify-done": verification("done"),
    "verify-attacked-dark": verification("attacked", is_dark=True), "verify-cancelled": verification("cancelled"),
    "verify-ready-narrow-long": verification("ready", width=360, long=True),
    "verify-bar": verification("asked", page=False),
    "verify-bar-narrow-long": verification("asked", page=False, width=360, long=True, is_dark=True),
    "encryption": encryption(), "encryption-dark-new": encryption("unverified", "locked", "closed", is_dark=True),
    "encryption-nothing": encryption("verified", "none", "none"),
    "encryption-starting": encryption("starting", "none", "unknown"),
    "encryption-reset": encryption("unverified", "none", "untrusted", doing="reset"),
    "encryption-unlock-narrow": encryption("unverified", "locked", "untrusted", doing="unlock", width=360),
    "encryption-key": encryption("verified", "none", "none", doing="key"),
    "encryption-key-narrow-dark": encryption("verified", "none", "none", doing="key", width=360, is_dark=True),
    "encryption-restoring": encryption("verified", "incomplete", "restoring"),
    "encryption-wrong-dark": encryption(doing="wrong", is_dark=True), "encryption-browser": encryption(doing="browser"),
    "encryption-problem": encryption("unverified", "locked", "closed", doing="problem"),
    "question": question("verify_or_recover"), "question-narrow": question("reset", width=360),
    "question-dark": question("set_up_recovery", is_dark=True),
    "identity-violated": identity(was_verified=True),
    "identity-changed-dark": identity(was_verified=False, is_dark=True),
    "identity-narrow": identity(was_verified=True, width=360),
    "identity-settings": identity(was_verified=True, settings=True),
}  # fmt: skip
