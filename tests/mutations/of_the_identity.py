"""Bugs of cross-signing: what a server hides, swaps or names alike, and a second identity after a death."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_IDENTITIES = f"{CORE_TESTS}/crypto/test_identities.py"
_OWN = f"{CORE_TESTS}/crypto/test_cross_signing.py"
_RULES = f"{CORE_TESTS}/crypto/test_sending_rules.py"

IDENTITY: tuple[Mutant, ...] = (
    mutant(
        "a device passes for an identity",
        "CVE-2022-39250: a device is named like a cross-signing key, and a signature of one is taken for the other's.",
        core(
            "crypto/published.py",
            "    return device.device_id in taken or device.ed25519 in taken\n",
            "    return False\n",
        ),
        by=(f"{_IDENTITIES}::test_a_device_named_like_its_owners_key_is_no_device",),
    ),
    mutant(
        "an unsigned self-signing key",
        "Whoever runs the server gives a person another self-signing key, and it vouches for devices of theirs.",
        core(
            "crypto/published.py",
            "        if not is_signed_by(value, user_id, master, master):\n",
            "        if not is_signed_by(value, user_id, key, key) and found[usage]:\n",
        ),
        by=(f"{_IDENTITIES}::test_a_self_signing_key_without_the_masters_signature_vouches_for_nothing",),
    ),
    mutant(
        "a hidden identity is forgotten",
        "A server leaves an identity out of one answer, and shows another one as the first in the next.",
        core(
            "store/identities.py",
            '"UPDATE identity SET hidden = 1 WHERE user_id = ? AND hidden = 0"',
            '"DELETE FROM identity WHERE user_id = ?"',
        ),
        by=(f"{_IDENTITIES}::test_an_identity_that_the_server_hides_stays_known",),
    ),
    mutant(
        "a name inherits a signature",
        "A device is deleted and another one takes its name: it was never signed, and counts as if.",
        core(
            "store/devices.py",
            "SET signed_by = CASE WHEN (device.curve25519, device.ed25519)",
            "SET signed_by = CASE WHEN (excluded.curve25519, excluded.ed25519)",
        ),
        by=(f"{_IDENTITIES}::test_a_new_device_under_an_old_name_does_not_inherit_the_signature",),
    ),
    mutant(
        "a violation is only told",
        "What a verified person's new identity must stop goes out all the same.",
        core(
            "crypto/sending_rules.py",
            "        if notice.trust is PersonTrust.VIOLATED and notice.user_id in users and",
            "        if notice.trust is PersonTrust.NO_IDENTITY and notice.user_id in users and",
        ),
        by=(f"{_RULES}::test_nothing_is_sent_while_somebody_verified_shows_another_identity",),
    ),
    mutant(
        "a second identity after a death",
        "The first identity was on its way when the program died; the next one makes another.",
        core(
            "crypto/own_identity.py",
            "    waiting = identities.new(txn.conn)\n    if waiting is not None:\n        made",
            "    waiting = None\n    if waiting is not None:\n        made",
        ),
        by=(f"{_OWN}::test_a_death_at_any_request_goes_on_with_the_same_identity",),
    ),
)
