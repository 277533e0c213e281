"""Bugs of secret storage and gossip: whom a secret goes to, whom one is taken from, and what a new key may cost."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_STORAGE = f"{CORE_TESTS}/crypto/test_secret_storage.py"
_RECOVERY = f"{CORE_TESTS}/crypto/test_recovery.py"
_CRASHES = f"{CORE_TESTS}/crypto/test_recovery_crashes.py"
_GOSSIP = f"{CORE_TESTS}/crypto/test_gossip.py"

SECRETS: tuple[Mutant, ...] = (
    mutant(
        "a secret for whoever asks",
        "CVE-2021-40823: keys were given to a device because its name was right, verified or not.",
        core(
            "crypto/gossip.py",
            "        and trust.is_verified(conn, me, asked.device_id)\n",
            "        and asked.device_id\n",
        ),
        by=(f"{_GOSSIP}::test_a_device_that_is_not_verified_waits_and_is_answered_once_it_is",),
    ),
    mutant(
        "a secret from whoever sends",
        "CVE-2022-39251 and its kin: a message is taken for the word of one of our own devices, and is not.",
        core(
            "crypto/gossip.py",
            "    if device is None or not trust.is_verified(txn.conn, state.me, device.device_id):\n",
            "    if device is None:\n",
        ),
        by=(f"{_GOSSIP}::test_a_secret_from_a_device_that_is_not_verified_is_ignored",),
    ),
    mutant(
        "a secret is believed unseen",
        "The request ends with the first answer, whether it fits what the account publishes or not.",
        core(
            "crypto/gossip.py",
            "            fits = offer.name in await adopt(cross_signing, backup, {offer.name: secret})\n",
            "            fits = bool(await adopt(cross_signing, backup, {offer.name: secret}) or True)\n",
        ),
        by=(f"{_GOSSIP}::test_a_secret_that_does_not_fit_is_dropped_and_the_request_stays_open",),
    ),
    mutant(
        "secrets without their names",
        "A server puts the backup's key where the master key was, and it opens.",
        core(
            "crypto/secret_storage.py",
            "bytes(32), SHA256, 1, name.encode())",
            'bytes(32), SHA256, 1, b"")',
        ),
        by=(f"{_STORAGE}::test_a_server_that_swaps_secrets_between_names_is_found_out",),
    ),
    mutant(
        "one round of stretching",
        "A server asks for one iteration, and guesses the passphrase from what it makes.",
        core("crypto/secret_storage.py", "LEAST_ITERATIONS = 10_000\n", "LEAST_ITERATIONS = 1\n"),
        by=(f"{_STORAGE}::test_a_server_makes_no_passphrase_easy_to_guess_and_keeps_nobody_busy",),
    ),
    mutant(
        "a new key before its secrets",
        "The new recovery key is made the default without a look whether the server has what it is to open.",
        core("crypto/recovery.py", "        if not fits:\n            raise NotStored\n", ""),
        by=(f"{_RECOVERY}::test_a_server_that_drops_what_is_written_is_found_out_before_the_old_key_goes",),
    ),
    mutant(
        "the old key goes first",
        "The old recovery key is cleared away, the program dies, and nobody has seen the new one.",
        core(
            "crypto/recovery.py",
            "        gone = {key_id for key_id in left if key_id != default}\n",
            "        gone = set(left)\n",
        ),
        by=(f"{_CRASHES}::test_wherever_it_dies_a_key_that_was_shown_opens_everything",),
    ),
)
