"""Bugs of key backups and of keys between devices of one person, as patches."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_WORKER = f"{CORE_TESTS}/crypto/test_backup_worker.py"
_BACKUP = f"{CORE_TESTS}/crypto/test_backup.py"
_RESTORE = f"{CORE_TESTS}/crypto/test_restore.py"
_HOSTILE = f"{CORE_TESTS}/crypto/test_hostile_backups.py"
_FORWARDED = f"{CORE_TESTS}/crypto/test_forwarded_keys.py"

BACKUP: tuple[Mutant, ...] = (
    mutant(
        "keys for anybody's backup",
        "A server shows a backup whose key it has, and the client fills it.",
        core(
            "crypto/backup.py",
            "    if has_key or form.is_signed(description, state.me.user_id, _signers(conn, state)):\n",
            "    if has_key or description:\n",
        ),
        by=(f"{_WORKER}::test_nothing_is_encrypted_to_a_version_that_is_not_trusted",),
    ),
    mutant(
        "a better copy is forgotten",
        "A session that got better during its upload is marked as kept, and the backup has the worse copy for ever.",
        core("store/backup.py", " AND i.first_index >= ?3)", " AND i.first_index + ?3 >= 0)"),
        by=(f"{_WORKER}::test_a_better_copy_that_comes_during_the_upload_stays_due",),
    ),
    mutant(
        "the new backup stays empty",
        "Another client makes a new backup; what was in the old one counts as kept.",
        core(
            "store/backup.py",
            "        before is None or (before.used, before.used_key) != (version, public_key)\n",
            "        before is None or before.used is None\n",
        ),
        by=(f"{_WORKER}::test_a_version_that_another_of_our_clients_made_is_taken_up_with_every_key",),
    ),
    mutant(
        "a backup whose key nobody has",
        "The private key is kept once the server has answered; a crash before that leaves a backup that nobody opens.",
        core(
            "crypto/backup.py",
            "        secrets.keep(txn, state, NEXT, secret, now_ms)\n    txn",
            "    txn",
        ),
        by=(f"{_BACKUP}::test_a_crash_at_any_request_leaves_no_backup_whose_key_nobody_has",),
    ),
    mutant(
        "sessions under swapped ids",
        "A hostile backup gives one session under the id of another.",
        core(
            "crypto/backup_format.py",
            "    if session.session_id != session_id:\n",
            "    if not session.session_id:\n",
        ),
        by=(f"{_BACKUP}::test_a_session_under_another_id_and_with_another_key_is_refused",),
    ),
    mutant(
        "hearsay for good",
        "What a backup says of a session's sender makes its messages forgeries, and they never open again.",
        core(
            "crypto/megolm.py",
            "        return _sealed(Reason.BAD_KEY if is_unproven else Reason.FORGED)\n",
            "        return _sealed(Reason.FORGED)\n",
        ),
        by=(f"{_HOSTILE}::test_whoever_writes_into_the_backup_cannot_silence_anybody",),
    ),
    mutant(
        "the backup is asked for ever",
        "A session that the backup has not got is asked for with each event that comes.",
        core(
            "store/backup.py", "        (now_ms, MISSING_FOR_MS, limit),\n", "        (now_ms, 0, limit),\n"
        ),
        by=(
            f"{_RESTORE}::test_the_backup_is_asked_once_for_a_session_that_it_has_not_and_again_after_hours",
        ),
    ),
    mutant(
        "forwarded keys that nobody asked for",
        "CVE-2022-39246: a forwarded room key is taken although this device asked nobody for it.",
        core(
            "crypto/key_requests.py",
            "    if device.device_id not in asked.devices:\n",
            "    if not device.device_id:\n",
        ),
        by=(f"{_FORWARDED}::test_a_key_from_a_verified_device_that_was_not_asked_is_not_taken",),
    ),
    mutant(
        "keys for whoever asks",
        "CVE-2021-40823: a room key goes to a device whose identity was never checked.",
        core(
            "crypto/key_requests.py",
            "            left[asked.device_id] = ANSWERS_PER_HOUR - given if is_verified else 0\n",
            "            left[asked.device_id] = ANSWERS_PER_HOUR - given\n",
        ),
        by=(f"{_FORWARDED}::test_a_device_that_lost_its_trust_meanwhile_gets_nothing",),
    ),
)
