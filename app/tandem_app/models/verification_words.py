"""What a verification says to a person: words, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tandem_core.verification.flow import Phase
from tandem_core.verification.messages import REASONS, Code

if TYPE_CHECKING:
    from tandem_core.verification.verifications import View

_ENDS = {
    "m.user": ("Cancelled", "Nothing was verified."),
    "m.timeout": ("It took too long", "Nothing was verified. Begin again when both sides are at hand."),
    "m.accepted": ("It goes on at another device", "You have answered there."),
    "m.mismatched_sas": (
        "They did not match",
        "Somebody may be listening in. Do not write anything secret until you have verified.",
    ),
    "m.key_mismatch": (
        "The keys are not the ones we know",
        "Somebody may be listening in, or your homeserver shows wrong keys. Nothing was verified.",
    ),
    "m.mismatched_commitment": (
        "A key was swapped on its way",
        "Somebody may be listening in. Nothing was verified.",
    ),
    "m.unknown_method": ("No common method", "The other side knows no method that Tandem knows."),
}
_ODD = ("The verification failed", "The other side sent something unexpected. Nothing was verified.")
DANGEROUS = frozenset({"m.mismatched_sas", "m.key_mismatch", "m.mismatched_commitment"})


def said(view: View, who: str, is_own: bool) -> tuple[str, str]:
    """Title and sentence for how a verification stands; ``who`` is the other side's name."""
    match view.phase:
        case Phase.ASKED if view.we_asked:
            return (
                f"Waiting for {who}",
                "Accept on the other side. A request is open for ten minutes.",
            )
        case Phase.ASKED if is_own:
            return (
                f"Verify {who}?",
                "It is signed in to your account. If it is not yours, decline, sign it out and change your password.",
            )
        case Phase.ASKED:
            return (
                f"{who} asks to verify",
                "Have them beside you or on the telephone, so that both of you can compare what is shown.",
            )
        case Phase.READY:
            return (
                f"Verify {who}",
                "Compare emoji, or give one side's code to the other by a way that nobody can change.",
            )
        case Phase.STARTED | Phase.ACCEPTED | Phase.KEYED:
            return "One moment", "The two sides agree on what to show."
        case Phase.COMPARE:
            return "Do both sides show the same?", "Look at all of them, in this order."
        case Phase.CONFIRMED:
            return f"Waiting for {who}", "They have to confirm, too."
        case Phase.SCANNED:
            return f"Waiting for {who}", "The code is right. They have to confirm on their side."
        case Phase.SHOWN:
            return (
                "Did it work on the other side?",
                f"{who} has read your code. Look whether it says so there.",
            )
        case Phase.DONE if view.reason:
            return "Both sides match, but that cannot be kept", view.reason
        case Phase.DONE:
            own = "The device is trusted, and shares the account's keys."
            return f"{who} is verified", own if is_own else "Your messages go to them and nobody in between."
        case Phase.CANCELLED:
            if view.code == "m.user" and view.is_theirs:
                return "The other side cancelled", "Nothing was verified."
            if view.code == "m.user" and view.reason not in ("", REASONS[Code.USER]):
                return "Cancelled", view.reason
            return _ENDS.get(view.code or "", _ODD)


def bar(view: View, who: str) -> str:
    """One line above the room."""
    if view.phase is Phase.ASKED and not view.we_asked:
        return f"{who} asks to be verified" if view.room_id is None else f"{who} asks to verify each other"
    return f"Verifying {who}"
