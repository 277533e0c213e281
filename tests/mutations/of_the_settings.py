"""Bugs of settings that a user's devices share: what a server or another device could turn on."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

SETTINGS: tuple[Mutant, ...] = (
    mutant(
        "the server allows what was refused here",
        "Rules stand in clear on the server: who writes there must not turn on what a device was told to leave off.",
        core(
            "settings.py",
            "told is None or here.value == setting.refusal or not here.is_sound",
            "told is None or not here.is_sound",
        ),
        by=(
            (
                f"{CORE_TESTS}/receipts/test_shared_settings.py::"
                "test_a_refusal_of_this_device_beats_the_server_and_only_this_device_takes_it_back"
            ),
        ),
    ),
    mutant(
        "exceptions that cannot be read are no exceptions",
        "A new device that cannot open them would tell the very people who are excepted (our law 8).",
        core(
            "settings.py",
            "answered.is_sound and shared.exceptions_are_known(conn)",
            "answered.is_sound",
        ),
        by=(
            (
                f"{CORE_TESTS}/receipts/test_shared_exceptions.py::"
                "test_a_device_that_cannot_read_the_exceptions_confirms_nothing_until_it_can"
            ),
        ),
    ),
)
