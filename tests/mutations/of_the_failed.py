"""Bugs of failed delivery and of bridges: who is told, who is believed, and who gets a key."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_TOLD = f"{CORE_TESTS}/crypto/test_failed_reports.py"
_HEARD = f"{CORE_TESTS}/crypto/test_failed_heard.py"
_AGAIN = f"{CORE_TESTS}/crypto/test_key_again.py"
_BRIDGE = f"{CORE_TESTS}/receipts/test_bridge.py"

FAILED: tuple[Mutant, ...] = (
    mutant(
        "a failure is told at once",
        "Session-ios #784: a report overtakes the key that is on its way, and everybody resends.",
        core("receipts/failed.py", "GRACE_MS = 5 * 60 * 1000", "GRACE_MS = 0"),
        by=(f"{_TOLD}::test_the_author_is_told_after_five_minutes_of_grace_and_not_before",),
    ),
    mutant(
        "who refuses a key learns that it is missed",
        "Section 4c of the research: whoever withholds a key on purpose must not get an answer for it.",
        core("receipts/failed.py", "not in _ON_PURPOSE:", "not in ():"),
        by=(f"{_TOLD}::test_nothing_is_told_of_a_key_that_was_refused_on_purpose",),
    ),
    mutant(
        "a new login announces itself",
        "Section 4c of the research: a flood of failures tells everybody that there is a new device.",
        core("receipts/failed.py", "event_at >= since + SETTLED_MS and", ""),
        by=(f"{_TOLD}::test_what_does_not_hold_when_the_message_comes_is_not_even_kept",),
    ),
    mutant(
        "strangers are told of failures",
        "Section 4c of the research: an undecryptable message can be made by anybody.",
        core(
            "receipts/failed.py",
            " if trust.person(conn, me, sender) is PersonTrust.VERIFIED else Unsaid.NOT_VERIFIED",
            "",
        ),
        by=(f"{_TOLD}::test_what_does_not_hold_any_more_when_it_is_due_is_dropped_with_its_reason",),
    ),
    mutant(
        "any device may say that it lacks a key",
        "Section 4e.4 of the research: a device that joined later was never to have the key.",
        core(
            "receipts/failed_heard.py",
            "if start is None or index < start:",
            "if start is None and index < 0:",
        ),
        by=(f"{_HEARD}::test_a_device_that_was_not_to_have_the_key_is_not_heard",),
    ),
    mutant(
        "the server's word heals",
        "Section 4e.11 of the research: a server that lies would hide what a device has said itself.",
        core("store/failed.py", "AND d.via <> 'server' ", "AND d.via <> '' "),
        by=(f"{_HEARD}::test_only_what_its_device_encrypted_takes_a_failure_back",),
    ),
    mutant(
        "a key for whoever asks",
        "Section 4f of the research: a failure is made up to get at a key that was never meant for the device.",
        core("crypto/key_again.py", "if start is None or start > index:", "if start is None and index < 0:"),
        by=(f"{_AGAIN}::test_no_key_for_a_device_that_was_not_there_when_the_message_was_sent",),
    ),
    mutant(
        "a key sent again reaches back too far",
        "Section 4c of the research: the device gets the messages before the one it was entitled to, as well.",
        core(
            "crypto/key_again.py",
            "while session.message_index < index:",
            "while session.message_index > index:",
        ),
        by=(f"{_AGAIN}::test_the_device_can_read_that_message_and_what_follows_and_nothing_before",),
    ),
    mutant(
        "anybody speaks for the bridge",
        "Section 1.2 of the research: a member of the room paints ticks on our messages.",
        core(
            "receipts/bridge.py",
            "if sender == bridge.bot or is_account(bridge, sender):\n            return",
            "if True:\n            return",
        ),
        by=(f"{_BRIDGE}::test_nobody_else_is",),
    ),
)
