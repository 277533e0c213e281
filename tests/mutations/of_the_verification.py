"""Bugs of verification: what lets somebody in between, or verifies whom nobody has compared."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_MACHINE = f"{CORE_TESTS}/verification/test_machine.py"
_ENDINGS = f"{CORE_TESTS}/verification/test_endings.py"
_NETWORK = f"{CORE_TESTS}/verification/test_network.py"
_KEPT = f"{CORE_TESTS}/verification/test_kept.py"

VERIFICATION: tuple[Mutant, ...] = (
    mutant(
        "a device's MAC passes for the account's",
        "CVE-2022-39250: a device is named like a master key, and what was said of the one is taken for the other.",
        core(
            "verification/machine.py",
            '        elif theirs.master is not None and key_id == f"ed25519:{theirs.master}":\n',
            '        if theirs.master is not None and key_id == f"ed25519:{theirs.master}":\n',
        ),
        by=(f"{_ENDINGS}::test_a_device_with_the_name_of_an_account_key_is_no_account_key",),
    ),
    mutant(
        "a promise that nobody checks",
        "Who sits in between tries keys until the emoji are the same on both sides.",
        core(
            "verification/machine.py",
            "    if flow.we_started and sas.commitment(said.key, flow.start) != flow.promise:\n",
            "    if flow.we_started and flow.promise is None:\n",
        ),
        by=(
            f"{_ENDINGS}::test_a_key_that_is_not_the_promised_one_ends_it",
            f"{_NETWORK}::test_swapped_keys_are_caught_by_the_promise",
        ),
    ),
    mutant(
        "a key is left out of what was said",
        "The list of keys that are vouched for is shortened on its way, and nobody notices.",
        core(
            "verification/machine.py",
            '    if not holds(",".join(sorted(key_id for key_id, _ in said.macs)), "KEY_IDS", said.keys):\n',
            "    if not said.keys:\n",
        ),
        by=(f"{_ENDINGS}::test_macs_that_do_not_hold_end_it",),
    ),
    mutant(
        "verified before anybody has looked",
        "The other side's confirmation is enough, and a person here still looks at the emoji.",
        core(
            "verification/machine.py",
            "    if flow.phase is Phase.CONFIRMED:\n        return _finish(flow, found, world)\n",
            "    if found is not None:\n        return _finish(flow, found, world)\n",
        ),
        by=(f"{_MACHINE}::test_two_people_who_see_the_same_emoji_have_verified_each_other",),
    ),
    mutant(
        "a code is taken at its word",
        "What a scanned code says of our own key is not compared with the key that we have.",
        core(
            "verification/machine.py",
            "            if (code.first, code.second) == (theirs.master, mine.master):\n",
            "            if code.first == theirs.master:\n",
        ),
        by=(f"{_MACHINE}::test_a_code_with_other_keys_than_ours_ends_it",),
    ),
    mutant(
        "anybody in the room calls it off",
        "A cancellation counts whoever sent it.",
        core(
            "store/verification.py",
            '    if kind == PREFIX + "cancel" and (sender == row.peer or is_ours):\n',
            '    if kind == PREFIX + "cancel":\n',
        ),
        by=(f"{_KEPT}::test_only_those_who_take_part_can_take_it_back",),
    ),
)
