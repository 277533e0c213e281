"""Bugs of what is kept: the shared inbox, tokens and places, locks between the two programs, the session."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

INBOX: tuple[Mutant, ...] = (
    mutant(
        "private inboxes",
        "Naive private tokens: each process works off what it fetched itself, and the server has"
        " deleted it for the other one.",
        core(
            "store/inbox.py",
            "limit: int) -> list[InboxRow]",
            "limit: int, link: str = '%') -> list[InboxRow]",
        ),
        core(
            "store/inbox.py",
            'WHERE state = 0 ORDER BY seq LIMIT ?", (limit,)',
            'WHERE state = 0 AND conn LIKE ? ORDER BY seq LIMIT ?", (link, limit)',
        ),
        core(
            "crypto/drain.py",
            'now_ms: int) -> int:\n    """Process the next',
            'now_ms: int, link: str = \'%\') -> int:\n    """Process the next',
        ),
        core("crypto/drain.py", "inbox.waiting(txn.conn, BATCH)", "inbox.waiting(txn.conn, BATCH, link)"),
        core("crypto/worker.py", "self._db.read(_has_inbox)", "self._db.read(inbox.waiting, 1, self._role)"),
        core(
            "crypto/worker.py",
            "drain.drain, state, self._clock.now_ms())",
            "drain.drain, state, self._clock.now_ms(), self._role)",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_two_programs.py::test_what_one_program_fetched_the_other_opens_when_it_dies",
        ),
    ),
    mutant(
        "an inbox row per program",
        "Two connections bring the same page; without one digest for both, every event is applied twice"
        " (MSC3885 says nothing of two readers).",
        core(
            "store/inbox.py",
            "                mark(event),\n                link,",
            '                mark(event | {"content": [link, content]}),\n                link,',
        ),
        by=(
            f"{CORE_TESTS}/store/test_inbox.py::test_the_same_encrypted_event_over_both_connections_is_kept_once",
            f"{CORE_TESTS}/crypto/test_olm.py::test_a_hundred_messages_are_opened_in_order_and_so_none_is_lost",
        ),
    ),
    mutant(
        "processed events are forgotten",
        "The server repeats what was not acknowledged; a guard that ends with the processing opens it again",
        core(
            "store/inbox.py",
            'UPDATE inbox SET state = ?, content = NULL WHERE seq = ?"',
            'UPDATE inbox SET state = ?, content = NULL, digest = NULL WHERE seq = ?"',
        ),
        by=(
            f"{CORE_TESTS}/store/test_inbox.py::test_a_processed_event_is_not_taken_in_again",
            f"{CORE_TESTS}/crypto/test_olm.py::test_the_same_event_from_both_connections_has_one_effect",
        ),
    ),
    mutant(
        "newest first",
        "An inbox that is a pile: vodozemac keeps forty skipped keys, the others are lost.",
        core(
            "store/inbox.py", "WHERE state = 0 ORDER BY seq LIMIT", "WHERE state = 0 ORDER BY seq DESC LIMIT"
        ),
        by=(f"{CORE_TESTS}/store/test_inbox.py::test_waiting_gives_the_oldest_first_and_no_more_than_asked",),
    ),
    mutant(
        "the effect apart from its mark",
        "What an event did is committed before the event is marked; death in between repeats it.",
        core(
            "crypto/drain.py",
            "        if error is None:\n            inbox.mark_done",
            "        txn.execute('COMMIT')\n        txn.execute('BEGIN IMMEDIATE')\n"
            "        if error is None:\n            inbox.mark_done",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_olm.py::test_a_rolled_back_step_has_no_effect_and_the_message_opens_later",
        ),
    ),
    mutant(
        "nobody looks again",
        "rust-sdk #4445: the other process got the key and rang, and the open timeline does not listen.",
        core(
            "crypto/worker.py",
            "frozenset({Topic.INBOX, Topic.KEYS, Topic.TIMELINE})",
            "frozenset({Topic.TIMELINE})",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_two_programs.py::test_a_key_that_the_other_program_fetched_opens_what_waits_here",
        ),
    ),
)

TOKENS: tuple[Mutant, ...] = (
    mutant(
        "token first",
        "element-meta #762: the token is saved in a transaction of its own before its events, and a failure between"
        " the two acknowledges what nobody kept.",
        core(
            "sync/loop.py",
            "        applied = await self._db.write(\n            apply,",
            "        if response.to_device is not None:\n"
            "            await self._db.write(inbox.put_batch, self._role, (), response.to_device.next_batch, 0)\n"
            "        applied = await self._db.write(\n            apply,",
        ),
        by=(f"{CORE_TESTS}/sync/test_tokens.py::test_a_failure_in_mid_run_acknowledges_only_what_was_kept",),
    ),
    mutant(
        "token ahead in memory",
        "A token kept in memory, as js-sdk's ExtensionToDevice has it: it moves with the"
        " answer, whether that is kept or not.",
        core(
            "sync/loop.py",
            "since=poll.since, asks=poll.asks",
            "since=poll.since and getattr(self, '_ahead', poll.since), asks=poll.asks",
        ),
        core(
            "sync/loop.py",
            "        applied = await self._db.write(\n            apply,",
            "        if response.to_device is not None:\n"
            "            self._ahead = response.to_device.next_batch\n"
            "        applied = await self._db.write(\n            apply,",
        ),
        by=(f"{CORE_TESTS}/sync/test_tokens.py::test_a_failure_in_mid_run_acknowledges_only_what_was_kept",),
    ),
    mutant(
        "no block, no token",
        "A missing to-device block read as one that starts again.",
        core(
            "sync/apply.py",
            "    if response.e2ee is not None:\n        apply_one",
            "    else:\n        sessions.forget_tokens(txn)\n    if response.e2ee is not None:\n        apply_one",
        ),
        by=(f"{CORE_TESTS}/sync/test_apply.py::test_without_a_to_device_block_the_token_stays",),
    ),
    mutant(
        "one place for both programs",
        "rust-sdk #2525: a shared place is read, asked from and saved by two processes at once.",
        core(
            "store/session.py",
            'SELECT pos, since, synced_at, covered FROM connection WHERE conn = ?", (link,)',
            'SELECT pos, since, synced_at, covered FROM connection ORDER BY synced_at DESC"',
        ),
        by=(f"{CORE_TESTS}/sync/test_apply.py::test_each_connection_has_its_own_token_and_place",),
    ),
    mutant(
        "limit zero",
        "Synapse: a to-device limit of 0 moves the token past what nobody saw.",
        core("sync/request.py", "TO_DEVICE_LIMIT = 100", "TO_DEVICE_LIMIT = 0"),
        by=(
            f"{CORE_TESTS}/sync/test_request.py::test_the_to_device_limit_is_never_zero_and_never_unlimited",
        ),
    ),
    mutant(
        "a future token is believed",
        "A server restored from a backup answers a token from its future with silence for ever.",
        core(
            "sync/loop.py",
            "        if self._probed_at is None:\n            return True",
            "        if self._probed_at is None:\n            return False",
        ),
        by=(
            f"{CORE_TESTS}/sync/test_loop.py::test_the_first_request_of_a_run_acknowledges_nothing_so_that_a_lost_future_is_noticed",
        ),
    ),
    mutant(
        "not dirty on reset",
        "rust-sdk #3959, #3965: a request without a place drops changed device lists; new devices get no keys.",
        core("sync/place.py", "    devices.mark_all_outdated(txn)\n", ""),
        by=(
            f"{CORE_TESTS}/sync/test_loop.py::test_a_place_that_expired_is_given_up_and_the_token_is_not",
            f"{CORE_TESTS}/crypto/test_devices.py::test_a_lost_place_in_sync_outdates_every_list_durably",
        ),
    ),
    mutant(
        "dirty after the answer",
        "rust-sdk #3965: marked after the new request instead of durably before it; death in between forgets it.",
        core(
            "sync/loop.py",
            "        await self._db.write(start_over, self._role, and_forget_tokens=and_forget_tokens)\n",
            "        await self._db.write(sessions.set_pos, self._role, None, None)\n",
        ),
        core(
            "sync/loop.py",
            "        if applied.skipped:",
            "        if place.pos is None:\n"
            "            await self._db.write(start_over, self._role)\n"
            "            await self._db.write(sessions.set_pos, self._role, response.pos, None)\n"
            "        if applied.skipped:",
        ),
        by=(f"{CORE_TESTS}/sync/test_loop.py::test_a_place_that_expired_is_given_up_and_the_token_is_not",),
    ),
    mutant(
        "a token the server cannot read is kept",
        "Synapse refuses a malformed token with 400 each time: who keeps it never syncs again.",
        core("sync/loop.py", "            await self._db.write(sessions.forget_tokens)\n", ""),
        by=(
            f"{CORE_TESTS}/sync/test_loop.py::test_a_token_the_server_cannot_read_is_dropped_and_the_place_stays",
        ),
    ),
)

FENCES: tuple[Mutant, ...] = (
    mutant(
        "no owner of network work",
        "rust-sdk #2491, #3313: the lock between processes is not taken; both upload, claim and send.",
        core("netlock.py", "while not try_lock(lock):", "while False:"),
        by=(
            f"{CORE_TESTS}/sync/test_engine.py::test_network_work_of_a_kind_has_one_owner_at_a_time",
            f"{CORE_TESTS}/crypto/test_account.py::test_two_programs_upload_once",
        ),
    ),
    mutant(
        "asked before the lock only",
        "rust-sdk #3313: what was true before the lock is believed under it; a fence belongs inside.",
        core(
            "crypto/keys.py",
            "                missing = await self._db.read(_without_session, missing)\n"
            "                await self._claim",
            "                await self._claim",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_two_programs.py::test_a_key_that_both_programs_saw_missing_is_claimed_once",
        ),
    ),
    mutant(
        "a claimed key replaces a session",
        "Two processes claim for one device; the later answer overwrites the session that is in use.",
        core(
            "crypto/keys.py",
            "        if rows.has_olm_session(txn.conn, device.curve25519)\n        or _make_session(",
            "        if _make_session(",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_devices.py::test_a_session_that_appeared_meanwhile_wins_over_the_claimed_key",
        ),
    ),
    mutant(
        "no fence around a step",
        "chatmail/core #7464: a transaction that reads before it takes the write lock fails, or works on what was.",
        core("store/database.py", 'conn.execute("BEGIN IMMEDIATE")', 'conn.execute("BEGIN")'),
        core("store/database.py", "            with self.turnstile:\n", "            if True:\n"),
        by=(
            f"{CORE_TESTS}/store/test_two_writers.py::test_what_two_programs_count_together_is_counted_once_each",
        ),
    ),
    mutant(
        "no turnstile",
        "SQLite's busy handler polls: a program that drains a backlog starves the other for seconds (our law 4).",
        core("store/database.py", "            with self.turnstile:\n", "            if True:\n"),
        by=(f"{CORE_TESTS}/store/test_two_writers.py::test_who_asked_is_not_overtaken_again_and_again",),
    ),
    mutant(
        "opened beside SQLite",
        "Our ADR 0005: closing any descriptor of the file drops all of the process's locks on it.",
        core(
            "store/database.py",
            "    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)\n",
            "    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)\n"
            "    if path.exists():\n        __import__('os').close(__import__('os').open(path, 2))\n",
        ),
        by=(
            f"{CORE_TESTS}/store/test_shared_file.py::test_opening_the_store_again_leaves_the_locks_of_earlier_connections_alone",
        ),
    ),
    mutant(
        "logged out by a 5xx",
        "rust-sdk #6794: timeouts and 5xx answers ended the session.",
        core(
            "http.py",
            '        raise Offline(f"HTTP {status}")\n    if not',
            "        raise SignedOut(soft=False)\n    if not",
        ),
        by=(f"{CORE_TESTS}/sync/test_http.py::test_passing_failures_are_offline",),
    ),
    mutant(
        "logged out by any 401",
        "element-x-android #1153 and rust-sdk #6794: a refusal that is no word about the token ended the session.",
        core(
            "http.py",
            'if status == 401 and code in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"):',
            "if status == 401:",
        ),
        by=(f"{CORE_TESTS}/sync/test_http.py::test_a_question_for_the_password_is_no_sign_out",),
    ),
    mutant(
        "logged out by an old token",
        "rust-sdk #6794: the other process had renewed the session while this one's question was under way.",
        core(
            "engine.py",
            "sessions.mark_signed_out(txn, error.soft, self.http.token)",
            "sessions.mark_signed_out(txn, error.soft, sessions.session(txn.conn).access_token)",
        ),
        by=(
            f"{CORE_TESTS}/sync/test_engine.py::test_an_old_tokens_refusal_does_not_sign_out_a_renewed_session",
        ),
    ),
    mutant(
        "both programs renew the session",
        "Our law 14: several refreshes at a time; the later ones use a refresh token that is spent.",
        core(
            "tokens.py", '            async with netlock(self._paths, "token"):\n', "            if True:\n"
        ),
        by=(
            f"{CORE_TESTS}/test_token_refresh.py::test_many_requests_of_both_programs_at_the_same_moment_make_one_refresh",
        ),
    ),
    mutant(
        "logged out by a failed refresh",
        "rust-sdk #6794: a server that cannot renew the session for now ended it.",
        core(
            "tokens.py",
            'not in _ENDS:\n                raise Offline("the session could not be renewed") from refused',
            "not in _ENDS:\n                pass",
        ),
        by=(f"{CORE_TESTS}/test_token_refresh.py::test_trouble_with_a_refresh_is_never_a_sign_out",),
    ),
    mutant(
        "two of one program",
        "FluffyChat #1781: a second desktop instance works on the same store as the same connection.",
        core(
            "role.py",
            "        if try_lock(descriptor):\n            return descriptor",
            "        if descriptor:\n            return descriptor",
        ),
        by=(f"{CORE_TESTS}/sync/test_engine.py::test_a_role_is_taken_once_and_given_back",),
    ),
    mutant(
        "an old program opens a newer store",
        "Two versions side by side during an update: the old one writes into a schema it does not know.",
        core("store/migrations.py", "    if version > len(STEPS):\n", "    if version < 0:\n"),
        by=("tests/ctl/test_command_line.py::test_the_doctor_says_that_a_store_is_damaged_or_newer",),
    ),
    mutant(
        "a commit that power loss takes back",
        "SQLite's WAL with synchronous=NORMAL: what was acknowledged to the server is gone after a power cut.",
        core("store/database.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"),
        by=(
            f"{CORE_TESTS}/store/test_two_writers.py::test_each_commit_is_on_the_disk_before_it_is_believed",
        ),
    ),
    mutant(
        "the ring before the commit",
        "Told inside the transaction: the other program looks, sees nothing, and sleeps (our law 11).",
        core(
            "store/database.py",
            '            conn.execute("COMMIT")\n',
            "            for listener in self._listeners:\n                listener(frozenset(transaction.changes))\n"
            '            conn.execute("COMMIT")\n',
        ),
        by=(f"{CORE_TESTS}/store/test_two_writers.py::test_who_is_told_of_a_change_can_see_it",),
    ),
    mutant(
        "focus of a dead window",
        "A window that was killed goes on hiding notifications (our law 11; leases that expire have this hole).",
        core("doorbell.py", "focus = self._guests.pop(guest)", "focus = self._guests.get(guest)"),
        by=(f"{CORE_TESTS}/test_doorbell.py::test_focus_of_a_killed_window_is_forgotten",),
    ),
)
