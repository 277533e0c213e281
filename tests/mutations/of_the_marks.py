"""Bugs of what authors are shown of their messages."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

MARKS: tuple[Mutant, ...] = (
    mutant(
        "read because a marker has passed it",
        "A read marker moves over a row that says it cannot be decrypted; nothing was read there (our law 7).",
        core(
            "receipts/states.py",
            "        if self.failing and not (read and delivered):\n",
            "        if self.failing and not read:\n",
        ),
        by=(
            f"{CORE_TESTS}/receipts/test_states.py::test_a_marker_that_passed_what_nothing_could_open_is_no_reading",
        ),
    ),
    mutant(
        "whoever joins later is waited for",
        "A tick that takes itself back when somebody comes whom the message was never for.",
        core(
            "receipts/summary.py",
            "counted=user in meant and user not in aside",
            "counted=user not in aside",
        ),
        by=(
            f"{CORE_TESTS}/receipts/test_summary.py::test_people_who_joined_later_or_left_do_not_change_who_is_counted",
        ),
    ),
)
