"""Bugs of what is done: keys and ratchets, sending, receipts and notifications."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Edit, Mutant, core, mutant

CRYPTO: tuple[Mutant, ...] = (
    mutant(
        "an old copy is taken for the present",
        "Our ADR 0007: yesterday's store over today's, and every ratchet goes over the places it has used before.",
        core(
            "crypto/rollback.py",
            "            if await self._db.read(lost_sessions, seen):",
            "            if not seen and await self._db.read(lost_sessions, seen):",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_rollback.py::test_an_older_copy_encrypts_nothing_with_what_it_holds",
            f"{CORE_TESTS}/crypto/test_rollback.py::test_the_same_copy_put_back_twice_is_noticed_twice",
        ),
    ),
    mutant(
        "only Megolm begins anew",
        "Our ADR 0007: the new session's key goes out over an Olm ratchet that went back, and nobody can open it.",
        core("store/crypto.py", '    txn.execute("UPDATE olm_session SET stale = 1")\n', ""),
        by=(f"{CORE_TESTS}/crypto/test_rollback.py::test_an_older_copy_encrypts_nothing_with_what_it_holds",),
    ),
    mutant(
        "stale account",
        "rust-sdk #1415: the account is kept in memory and not read again when the other process moved it on.",
        core(
            "crypto/state.py",
            "elif self._account is None or row.generation != self._generation:",
            "elif self._account is None:",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_two_programs.py::test_the_account_goes_on_in_whichever_program_uses_it_next",
        ),
    ),
    mutant(
        "stale session cache",
        "rust-sdk #3110: receive, the other process sends, receive; the session in memory is behind the store.",
        core(
            "crypto/state.py",
            "        return Session.from_pickle(pickle, self.pickle_key)",
            "        read = Session.from_pickle(pickle, self.pickle_key)\n"
            "        return vars(self).setdefault('_sessions', {}).setdefault(read.session_id, read)",
        ),
        core(
            "crypto/state.py",
            "        self._is_dirty = False\n\n    def account",
            "        self._is_dirty = False\n        vars(self).pop('_sessions', None)\n\n    def account",
        ),
        core(
            "crypto/state.py",
            "        rows.put_olm_session(txn, session.session_id, sender_key,",
            "        vars(self).setdefault('_sessions', {})[session.session_id] = session\n"
            "        rows.put_olm_session(txn, session.session_id, sender_key,",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_group.py::test_the_two_programs_read_send_and_read_on_one_olm_session",
        ),
    ),
    mutant(
        "stale room ratchet",
        "matrix-nio #72: two instances on one store, each with a room's outgoing session in memory.",
        core(
            "crypto/group.py",
            "            return GroupSession.from_pickle(row.pickle, state.pickle_key), row.made_at, row.messages",
            "            kept = vars(state).setdefault('_rooms', {})\n"
            "            if row.session_id not in kept:\n"
            "                kept[row.session_id] = GroupSession.from_pickle(row.pickle, state.pickle_key)\n"
            "            return kept[row.session_id], row.made_at, row.messages",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_group.py::test_the_session_goes_on_after_a_restart_and_in_the_other_program",
        ),
    ),
    mutant(
        "rollback keeps ratchets",
        "Memory that outlives a rollback is ahead of the file (our law 3).",
        core("crypto/state.py", "        db.on_rollback(self.forget)\n", ""),
        by=(
            f"{CORE_TESTS}/crypto/test_memory.py::test_a_key_used_up_in_a_step_that_was_rolled_back_is_there_again",
        ),
    ),
    mutant(
        "a piece's failure keeps ratchets",
        "The same for a savepoint: one bad event leaves its steps in memory (our law 3).",
        core(
            "crypto/state.py",
            "        except BaseException:\n            self.forget()\n",
            "        except BaseException:\n",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_memory.py::test_the_first_message_of_a_session_breaks_and_the_next_ones_open",
        ),
    ),
    mutant(
        "one bad event stops all",
        "rust-sdk #2491: one decryption error unwound everything that came with it.",
        core(
            "crypto/drain.py",
            '        log.exception("to-device event %d of %s broke its step", row.seq, row.sender)\n',
            "        raise\n",
        ),
        by=(f"{CORE_TESTS}/crypto/test_olm.py::test_an_event_that_breaks_its_step_takes_nothing_with_it",),
    ),
    mutant(
        "keys made anew after a lost answer",
        "rust-sdk #1415, #3975: keys are generated, uploaded and only then stored; a lost answer makes other keys under"
        " the same ids, and the server refuses every later upload.",
        core(
            "crypto/keys.py",
            "        if not await self._db.write(account.prepare_upload, self._state, self._clock.now_ms()):",
            "        before = await self._db.read(rows.account)\n"
            "        if not await self._db.write(account.prepare_upload, self._state, self._clock.now_ms()):",
        ),
        core(
            "crypto/keys.py",
            '        except ServerRefused as refused:\n            if "already exists"',
            "        except Expected as lost:\n"
            "            if isinstance(lost, ServerRefused):\n"
            "                raise\n"
            "            await self._db.write(lambda txn: txn.execute('DELETE FROM key_upload'))\n"
            "            if before is None:\n"
            "                await self._db.write(lambda txn: txn.execute('DELETE FROM crypto_account'))\n"
            "            else:\n"
            "                await self._db.write(rows.put_account, before.pickle, {})\n"
            "            self._state.forget()\n"
            "            raise\n"
            '        except ServerRefused as refused:\n            if "already exists"',
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_account.py::test_an_upload_cut_off_is_repeated_byte_for_byte_after_a_restart",
            f"{CORE_TESTS}/crypto/test_account.py::test_keys_uploaded_before_a_crash_still_open_messages",
        ),
    ),
    mutant(
        "a forked store is not told",
        "rust-sdk #5496, #5588: the server's word that other keys lie under our ids is taken for a passing failure.",
        core("crypto/keys.py", 'if "already exists" not in refused.message:', "if True:"),
        by=(
            f"{CORE_TESTS}/crypto/test_account.py::test_keys_under_our_ids_that_are_never_free_stop_uploads_and_are_told_each_time",
        ),
    ),
    mutant(
        "shared although Olm failed",
        "mautrix-python #186: a device that could not be encrypted to is noted as having the key.",
        core("crypto/group.py", '"no_olm" if message is None else "shared"', '"shared"'),
        by=(
            f"{CORE_TESTS}/crypto/test_group.py::test_a_device_without_one_time_keys_is_told_once_and_gets_the_key_later",
        ),
    ),
    mutant(
        "a late key opens nothing",
        "rust-sdk #4189, #4445: the key came in the other process, and the event that waits is never tried again.",
        core(
            "store/crypto.py",
            '        ),\n    )\n    txn.execute(\n        "UPDATE event SET seal_reason = NULL',
            '        ),\n    )\n    txn.execute(\n        "UPDATE event SET seal_reason = seal_reason',
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_megolm.py::test_a_key_that_the_other_program_got_opens_events_here",
            f"{CORE_TESTS}/crypto/test_megolm.py::test_events_that_came_before_their_key_open_by_themselves_in_order",
        ),
    ),
    mutant(
        "fork after use",
        "vodozemac's random numbers continue in a forked child: parent and child make the same keys (our law 5).",
        core(
            "vault.py",
            "        child = subprocess.run(",
            "        if os.fork() == 0:\n            os._exit(0)\n        child = subprocess.run(",
        ),
        by=(f"{CORE_TESTS}/crypto/test_no_fork.py::test_no_program_forks",),
    ),
    mutant(
        "a generation that stands still",
        "A generation counter, as rust-sdk's lock has one, forgotten at one of its writers:"
        " nobody notices the other's change.",
        core("store/crypto.py", 'generation = generation + 1"', 'generation = generation"'),
        by=(
            f"{CORE_TESTS}/crypto/test_two_programs.py::test_the_account_goes_on_in_whichever_program_uses_it_next",
        ),
    ),
    mutant(
        "a wedged session stays wedged",
        "What rust-sdk #3110 left behind: a session that opens nothing any more is not replaced.",
        core(
            "crypto/drain.py",
            "            if error.is_wedged:\n",
            "            if error.is_wedged and row.seq < 0:\n",
        ),
        by=(f"{CORE_TESTS}/crypto/test_olm.py::test_a_broken_session_is_mended_by_a_new_one_and_a_dummy",),
    ),
    mutant(
        "mending without end",
        "Each undecryptable event makes a new session, until no one-time key is left.",
        core("crypto/drain.py", "UNWEDGE_EVERY_MS = 3_600_000", "UNWEDGE_EVERY_MS = 0"),
        by=(f"{CORE_TESTS}/crypto/test_olm.py::test_mending_happens_once_an_hour_at_most",),
    ),
    mutant(
        "a replay is a message",
        "One place of a ratchet opens two events: whoever reuses a place, or a server that repeats, goes unnoticed.",
        core(
            "store/crypto.py",
            '        return bool(row["event_id"] != event_id or row["sent_at"] != sent_at)\n',
            "        return False\n",
        ),
        by=(f"{CORE_TESTS}/crypto/test_megolm.py::test_the_same_ciphertext_in_another_event_is_a_replay",),
    ),
    mutant(
        "who left reads on",
        "The session is not replaced when a reader has gone (device lists that only the other program refreshed).",
        core("crypto/group.py", "if not is_worn and not has_left:", "if not is_worn:"),
        by=(f"{CORE_TESTS}/crypto/test_group.py::test_somebody_who_left_cannot_read_on",),
    ),
    mutant(
        "a locked keyring makes a new key",
        "A second pickle key shuts out everything that was sealed with the first.",
        core("vault.py", "        raise VaultError\n    if code in (0", "    if code in (0"),
        by=(f"{CORE_TESTS}/crypto/test_vault.py::test_a_keyring_that_was_emptied_or_is_locked_is_told",),
    ),
    mutant(
        "a count that is missing is zero",
        "matrix-js-sdk #5501, Synapse #20162: a count that was left out makes new keys at each answer, 20 040 in all.",
        core(
            "sync/apply.py",
            "        if block.one_time is not None:\n",
            "        block = E2ee(block.changed, block.left, block.one_time or {}, block.fallback_types)\n"
            "        if block.one_time is not None:\n",
        ),
        by=(f"{CORE_TESTS}/sync/test_apply.py::test_a_key_count_that_is_not_said_is_not_zero",),
    ),
)

SENDING: tuple[Mutant, ...] = (
    mutant(
        "encrypt, send, store",
        "The ratchet is committed after the message went out: a lost answer encrypts other words at the same place"
        " (our law 6).",
        core(
            "sending.py",
            '        except ServerRefused as refused:\n            log.warning("%s: a message was refused',
            "        except Offline:\n"
            "            await self._db.write(_as_if_never_stored, message)\n"
            "            raise\n"
            '        except ServerRefused as refused:\n            log.warning("%s: a message was refused',
        ),
        core(
            "sending.py",
            "def _words(refused",
            "def _as_if_never_stored(txn: Transaction, message: Queued) -> None:\n"
            '    txn.execute("UPDATE send_queue SET wire_type = NULL, wire_content = NULL WHERE txn_id = ?",'
            " (message.txn_id,))\n"
            "    for room_id, pickle in _before.items():\n"
            '        txn.execute("UPDATE megolm_outbound SET pickle = ? WHERE room_id = ?", (pickle, room_id))\n'
            "\n\n"
            "_before: dict[str, str] = {}\n"
            "\n\n"
            "def _words(refused",
        ),
        core(
            "sending.py",
            "    group.encrypt(txn, state, message",
            '    row = txn.one("SELECT room_id, pickle FROM megolm_outbound WHERE room_id = ?", (message.room_id,))\n'
            "    if row is not None:\n"
            "        _before[row[0]] = row[1]\n"
            "    group.encrypt(txn, state, message",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_sending.py::test_what_was_encrypted_goes_out_as_it_is_whoever_leaves_meanwhile",
        ),
    ),
    mutant(
        "the ratchet of before its step",
        "The pickle is taken before the encryption: the next message reuses the place.",
        core(
            "crypto/group.py",
            "    ciphertext = session.encrypt(dumps(payload).encode()).to_base64()\n",
            "    pickle = session.pickle(state.pickle_key)\n"
            "    ciphertext = session.encrypt(dumps(payload).encode()).to_base64()\n",
        ),
        core(
            "crypto/group.py",
            "session.session_id, session.pickle(state.pickle_key), made_at",
            "session.session_id, pickle, made_at",
        ),
        by=(f"{CORE_TESTS}/crypto/test_group.py::test_the_key_goes_out_once_and_from_its_place_on",),
    ),
    mutant(
        "a new transaction id for a retry",
        "A retry that the server cannot recognise doubles the message (the spec's transaction ids exist for this).",
        core(
            "sending.py",
            "message.wire_type or message.type, message.txn_id),",
            "message.wire_type or message.type, f\"{message.txn_id}.{__import__('secrets').token_hex(4)}\"),",
        ),
        by=(f"{CORE_TESTS}/crypto/test_sending.py::test_a_lost_answer_is_followed_by_the_same_bytes",),
    ),
    mutant(
        "a new transaction id for keys",
        "The same for keys: the receiver meets one ciphertext twice, which it must hold for a replay.",
        core(
            "crypto/outbox.py", '{message.txn_id}"', "{message.txn_id}.{__import__('secrets').token_hex(4)}\""
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_sending.py::test_keys_whose_answer_is_lost_arrive_once_and_before_the_message",
        ),
    ),
    mutant(
        "done before it is sent",
        "Keys are ticked off, then sent; a crash loses them.",
        core(
            "crypto/outbox.py",
            "            try:\n",
            "            await db.write(outbox.to_device_done, message.id, None)\n            try:\n",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_sending.py::test_keys_whose_answer_is_lost_arrive_once_and_before_the_message",
        ),
    ),
    mutant(
        "in clear before encryption was asked for",
        "A room whose state is not here yet is taken for an unencrypted one.",
        core("sending.py", "if encryption is None and await self._is_unsure(room_id):", "if False:"),
        by=(
            f"{CORE_TESTS}/crypto/test_sending.py::test_nothing_goes_out_in_clear_where_the_server_says_encrypted",
        ),
    ),
    mutant(
        "the newest keys first",
        "Ratchet messages out of order: the receiver's store of skipped keys is bounded.",
        core(
            "store/outbox.py", "WHERE done = 0 ORDER BY id LIMIT 1", "WHERE done = 0 ORDER BY id DESC LIMIT 1"
        ),
        by=(f"{CORE_TESTS}/crypto/test_sending.py::test_keys_that_wait_go_out_in_the_order_they_were_made",),
    ),
)

RECEIPTS: tuple[Mutant, ...] = (
    mutant(
        "a receipt for what is sealed",
        "MSC4089's promise is that the message can be read: none for an undecryptable one (our law 7).",
        core(
            "receipts/gate.py",
            "        case _:\n            return Reason.SEALED\n",
            "        case _:\n            pass\n",
        ),
        by=(
            f"{CORE_TESTS}/receipts/test_gate.py",
            f"{CORE_TESTS}/receipts/test_judge_and_outbox.py::test_a_sealed_message_is_never_receipted_until_it_opens",
        ),
    ),
    mutant(
        "a receipt for a stranger",
        "Confirming to who was never accepted tells spammers that somebody is there (our law 8).",
        core("receipts/gate.py", "    if not room.accepted:\n        return Reason.NOT_ACCEPTED\n", ""),
        by=(f"{CORE_TESTS}/receipts/test_gate.py",),
    ),
    mutant(
        "a receipt is not looked at again",
        "What was decided when the message opened is sent after the person was ignored or the room was set to never.",
        core("receipts/outbox.py", "reason = gate.still_owed(room, sender, chosen)", "reason = None"),
        by=(
            f"{CORE_TESTS}/receipts/test_judge_and_outbox.py::test_what_changes_until_it_is_due_takes_a_receipt_back",
        ),
    ),
    mutant(
        "a receipt is marked before it is sent",
        "Ticked off, then sent: an answer that never came loses it (our law 7).",
        core(
            "receipts/outbox.py",
            "                answers = await way.send(sender, left)\n",
            "                done: Answers = {due.row.event_id: Outcome.SENT for due in left}\n"
            "                await self._settle(sender, way.name, done, is_counted=said)\n"
            "                answers = await way.send(sender, left)\n",
        ),
        by=(
            f"{CORE_TESTS}/receipts/test_judge_and_outbox.py::test_offline_keeps_a_receipt_and_a_definite_refusal_ends_it",
        ),
    ),
    mutant(
        "a receipt from each program",
        "Both programs saw it due, and nothing makes them take turns (our law 14).",
        core(
            "receipts/outbox.py",
            '            async with netlock(self._paths, "receipts"):\n                await self._flush_all()\n',
            "            await self._flush_all()\n",
        ),
        by=(f"{CORE_TESTS}/receipts/test_two_programs.py::test_what_both_programs_saw_due_is_posted_once",),
    ),
    mutant(
        "coming back is told",
        "What waited goes out as soon as the server answers again, and tells when somebody came home.",
        core("sync/apply.py", "        planning.note_answer(txn, now_ms, chance)\n", ""),
        by=(
            f"{CORE_TESTS}/receipts/test_planning.py::test_without_an_answer_of_the_server_nothing_is_sent_and_coming_back_is_not_told",
        ),
    ),
    mutant(
        "reading in private is told",
        "A read receipt that nobody sees lets go what was held back, and so everybody sees it.",
        core("sync/apply.py", "        if is_me and not is_private:\n", "        if is_me:\n"),
        by=(f"{CORE_TESTS}/receipts/test_planning.py::test_reading_in_private_stays_private",),
    ),
    mutant(
        "receipts without end",
        "Careless Whisper: who asks often enough learns when somebody is there. Nothing counts what was told.",
        core(
            "receipts/outbox.py",
            "    if said and not is_counted:\n        planning.note_flush(txn, sender, now_ms)\n",
            "",
        ),
        by=(
            f"{CORE_TESTS}/receipts/test_judge_and_outbox.py::test_all_that_is_due_to_one_author_is_one_flush_and_the_next_one_waits",
        ),
    ),
    mutant(
        "a popup that is not recorded",
        "The notification is shown and nothing says so: the next look shows it again.",
        Edit(
            "notifier/tandem_notifier/worker.py",
            "        await self._db.write(notifications.mark_shown, event_ids, at_ms)\n",
            "",
        ),
        by=("tests/notifier/test_worker.py::test_a_direct_message_pops_up_once",),
    ),
    mutant(
        "recorded before it pops up",
        "element-x-ios #3785: the process dies in between, and nobody is ever told.",
        Edit(
            "notifier/tandem_notifier/worker.py",
            "        await self._popups.show(Popup(",
            "        await self._db.write(notifications.mark_shown, event_ids, at_ms)\n"
            "        await self._popups.show(Popup(",
        ),
        by=("tests/notifier/test_worker.py::test_what_could_not_be_shown_stays_due",),
    ),
    mutant(
        "a receipt where nobody asked for any",
        "A stock Synapse shows an unknown receipt type to the whole room (our law 10).",
        core(
            "receipts/ways.py",
            "    if server.delivery and server.receipt_type:\n",
            "    if server:\n        import dataclasses\n"
            "        server = dataclasses.replace(server, receipt_type='org.matrix.msc4089.delivery')\n",
        ),
        by=(
            f"{CORE_TESTS}/receipts/test_judge_and_outbox.py::test_a_server_without_support_gets_none_but_is_asked_afresh_first",
        ),
    ),
    mutant(
        "whoever has a session with us confirms",
        "A receipt that proves nothing can be made by anybody who was told an event's id (our section on validation).",
        core(
            "receipts/validate.py",
            "return asked is not None and proof.holds(said, asked.token, own.event_id, user_id, device_id)",
            "return asked is not None",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_receipts_believed.py::test_a_proof_with_another_token_is_not_believed",
        ),
    ),
    mutant(
        "a key that was shared later confirms what was before",
        "matrix-js-sdk, rust-sdk: who gets a session later gets it for what comes (our 4e.4).",
        core(
            "receipts/validate.py",
            "    return device.device_id in store.devices_addressed(conn, own.txn_id, device.user_id)\n",
            "    return True\n",
        ),
        by=(
            f"{CORE_TESTS}/crypto/test_receipts_believed.py::test_a_later_message_of_the_same_session_entitles_to_no_earlier_one",
        ),
    ),
    mutant(
        "every device answers",
        "Careless Whisper: who sees which devices answer learns which are online.",
        core("receipts/encrypted.py", "        elif _is_our_turn(", "        elif True or _is_our_turn("),
        by=(
            f"{CORE_TESTS}/crypto/test_receipts_between_own_devices.py::test_who_answered_goes_on_answering_at_once",
        ),
    ),
    mutant(
        "a confirmation that is sent and still owed",
        "A crash between the ciphertext and its receipt's end says it twice (our law 6).",
        core("receipts/encrypted.py", "        store.mark_sent(txn, event_id, NAME, now_ms)\n", ""),
        by=(
            f"{CORE_TESTS}/crypto/test_encrypted_receipts.py::test_a_confirmation_is_stored_before_it_is_sent_and_sent_once_whatever_breaks",
        ),
    ),
)
