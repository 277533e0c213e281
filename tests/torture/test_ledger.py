"""The ledger notices what it is there for: each fault is planted in copies of honest books."""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import pytest
import vodozemac

from tandem_core.store.database import Database
from tests.torture import indices, ledger

ME, DEVICE, ROOM = "@alice:x", "DEV", "!room:x"
_SERVER = """
CREATE TABLE device_inbox (user_id TEXT, device_id TEXT, stream_id BIGINT, message_json TEXT, instance_name TEXT);
CREATE TABLE e2e_one_time_keys_json (
  user_id TEXT, device_id TEXT, algorithm TEXT, key_id TEXT, ts_added_ms BIGINT, key_json TEXT);
CREATE TABLE events (event_id TEXT, room_id TEXT, type TEXT, stream_ordering INTEGER);
CREATE TABLE rejections (event_id TEXT);
CREATE TABLE event_json (event_id TEXT, json TEXT);
CREATE TABLE im_tandem_delivery (event_id TEXT, user_id TEXT, author TEXT, devices TEXT, stream_id INTEGER);
"""
Books = tuple[Path, Path, Path]


def _letter(number: int, session: vodozemac.Session) -> str:
    sealed = session.encrypt(f"letter {number}".encode())
    kind, body = sealed.to_parts()
    content = {
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": "bob",
        "ciphertext": {"alice": {"type": kind, "body": base64.b64encode(body).decode().rstrip("=")}},
    }
    return json.dumps({"type": "m.room.encrypted", "sender": "@bob:x", "content": content})


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A server's database, a store and a file of notifications that agree.

    On three letters, two messages of Bob's, and two receipts: Alice has one of these, Bob one of hers.
    """
    session = _session()
    group = vodozemac.GroupSession()
    server, store, popups = tmp_path / "server.db", tmp_path / "store.db", tmp_path / "popups"
    with sqlite3.connect(server) as conn:
        conn.executescript(_SERVER)
    ledger.watch(server)
    Database.open(store).close()
    letters = [_letter(number, session) for number in range(3)]
    with sqlite3.connect(server) as conn, sqlite3.connect(store) as mine:
        mine.execute(
            "INSERT INTO session (id, homeserver, user_id, device_id, access_token, state, signed_in_at, token_made_at)"
            " VALUES (1, 'http://x', ?, ?, 't', 'signed_in', 1, 1)",
            (ME, DEVICE),
        )
        mine.execute("INSERT INTO connection (conn, pos, since, synced_at) VALUES ('app', 'p', '12', 1)")
        mine.execute("INSERT INTO room (conn, room_id, membership) VALUES ('app', ?, 'join')", (ROOM,))
        for number, text in enumerate(letters):
            conn.execute("INSERT INTO device_inbox VALUES (?, ?, ?, ?, '')", (ME, DEVICE, 10 + number, text))
            event = json.loads(text)
            digest = ledger._digest([event["type"], event["sender"], event["content"]])
            mine.execute(
                "INSERT INTO inbox (digest, conn, type, sender, received_at, state)"
                " VALUES (?, 'app', ?, '@bob:x', 1, 1)",
                (digest, event["type"]),
            )
        for number in (1, 2):
            _say(conn, mine, f"$e{number}", group, number)
        conn.execute(
            "INSERT INTO e2e_one_time_keys_json VALUES (?, ?, 's', 'AAA', 1, '{\"key\": \"one\"}')",
            (ME, DEVICE),
        )
        popups.write_text(json.dumps({"event_id": "$e1", "events": ["$e1"]}) + "\n", "utf-8")
        mine.execute("INSERT INTO notification VALUES ('$e1', ?, 'shown', NULL, 1, 1)", (ROOM,))
        _confirm(conn, mine)
    return server, store, popups


def _confirm(conn: sqlite3.Connection, mine: sqlite3.Connection) -> None:
    conn.executemany(
        "INSERT INTO im_tandem_delivery (event_id, user_id, author, devices, stream_id) VALUES (?, ?, ?, ?, 1)",
        [("$e1", ME, "@bob:x", "{}"), ("$a1", "@bob:x", ME, "{}")],
    )
    mine.execute(
        "INSERT INTO receipt_owed (event_id, room_id, sender, opened_by, decided_at, due_at, share, state, transport)"
        " VALUES ('$e1', ?, '@bob:x', 'app', 1, 1, 'user', 'sent', 'server')",
        (ROOM,),
    )
    mine.execute(
        "INSERT INTO event (event_id, room_id, sender, type, sent_at, received_at, content, seal, kind, body)"
        " VALUES ('$a1', ?, ?, 'm.room.message', 1, 1, '{}', 'plain', 'text', 'x')",
        (ROOM, ME),
    )
    mine.execute(
        "INSERT INTO delivery (event_id, user_id, outcome, ts, heard_at, via)"
        " VALUES ('$a1', '@bob:x', 'delivered', 1, 1, 'server')"
    )


def _session() -> vodozemac.Session:
    bob, alice = vodozemac.Account(), vodozemac.Account()
    alice.generate_one_time_keys(1)
    return bob.create_outbound_session(alice.curve25519_key, next(iter(alice.one_time_keys.values())))


def _say(
    conn: sqlite3.Connection,
    mine: sqlite3.Connection,
    event_id: str,
    group: vodozemac.GroupSession,
    place: int,
) -> None:
    sealed = base64.b64encode(group.encrypt(event_id.encode()).to_bytes()).decode().rstrip("=")
    content = {"session_id": group.session_id, "ciphertext": sealed}
    conn.execute("INSERT INTO events VALUES (?, ?, 'm.room.encrypted', ?)", (event_id, ROOM, place))
    conn.execute("INSERT INTO event_json VALUES (?, ?)", (event_id, json.dumps({"content": content})))
    mine.execute(
        "INSERT INTO event (event_id, room_id, sender, type, sent_at, received_at, content, seal, kind, body)"
        " VALUES (?, ?, '@bob:x', 'm.room.encrypted', 1, 1, '{}', 'opened', 'text', 'x')",
        (event_id, ROOM),
    )
    mine.execute(
        "INSERT INTO timeline (conn, room_id, ord, event_id, shown, origin) VALUES ('app', ?, ?, ?, 1, 'live')",
        (ROOM, place, event_id),
    )


def _compare(books: Books) -> ledger.Findings:
    server, store, popups = books
    return ledger.compare(server, {"alice": store}, {"alice": popups})


def test_honest_books_agree(books: Books) -> None:
    found = _compare(books)
    assert (found.wrong(), found.letters, found.events, found.repeated_popups) == ([], 3, 2, 0)
    assert found.receipts == 1


@pytest.mark.parametrize(
    ("sql", "where", "words"),
    [
        ("DELETE FROM inbox WHERE seq = 2", "store", ["never came in", "a token has passed 11"]),
        ("UPDATE inbox SET state = 2, error = 'no_session' WHERE seq = 2", "store", ["at 11: no_session"]),
        ("UPDATE inbox SET state = 0 WHERE seq = 2", "store", ["at 11: waits"]),
        ("UPDATE inbox SET seq = 9 WHERE seq = 1", "store", ["not in the server's order"]),
        ("DELETE FROM timeline WHERE event_id = '$e2'", "store", ["$e2 is missing"]),
        (
            "UPDATE event SET seal = 'sealed', seal_reason = 'no_key' WHERE event_id = '$e2'",
            "store",
            ["$e2 is sealed"],
        ),
        (
            "UPDATE event SET seal = 'sealed', seal_reason = 'no_key'",
            "store",
            ["$e1 is sealed", "$e2 is sealed", "@alice:x confirms $e1 and has not opened it"],
        ),
        ("UPDATE receipt_owed SET event_id = '$e2'", "store", ["the receipt for $e2 never came"]),
        (
            "UPDATE delivery SET user_id = '@carol:x'",
            "store",
            ["believes that @carol:x has $a1"],
        ),
        (
            "INSERT INTO im_tandem_delivery SELECT * FROM im_tandem_delivery WHERE event_id = '$e1'",
            "server",
            ["the receipt of @alice:x for $e1 was written twice"],
        ),
        (
            "UPDATE im_tandem_delivery SET devices = '{}' WHERE event_id = '$e1'",
            "server",
            ["the receipt of @alice:x for $e1 was written twice"],
        ),
        ("UPDATE notification SET event_id = '$e2'", "store", ["$e2 is noted as notified and was never shown"]),
        ("UPDATE notification SET state = 'due'", "store", ["$e1 still waits"]),
        (
            "INSERT INTO e2e_one_time_keys_json VALUES ('@alice:x', 'DEV', 's', 'AAA', 2, '{\"key\": \"two\"}')",
            "server",
            ["s:AAA has had two keys"],
        ),
        (
            "UPDATE event_json SET json = (SELECT json FROM event_json WHERE event_id = '$e1')",
            "server",
            ["index 0 of a room's session was used twice"],
        ),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_and_nothing_else(
    books: Books, sql: str, where: str, words: list[str]
) -> None:
    with sqlite3.connect(books[0] if where == "server" else books[1]) as conn:
        conn.execute(sql)
    wrong = _compare(books).wrong()
    assert len(wrong) == len(words)
    assert all(any(part in told for told in wrong) for part in words), wrong


def test_a_ratchet_that_sealed_two_letters_at_one_index_is_found(books: Books) -> None:
    """A fork: the same pickled session encrypts twice."""
    pickled = _session().pickle(b"k" * 32)
    with sqlite3.connect(books[0]) as conn:
        for number in (1, 2):
            fork = vodozemac.Session.from_pickle(pickled, b"k" * 32)
            letter = _letter(number, fork)
            conn.execute("INSERT INTO device_inbox VALUES ('@carol:x', 'C', 1, ?, '')", (letter,))
    assert _compare(books).wrong() == ["index 0 of an Olm session with @carol:x was used twice"]


def test_what_a_server_that_forgot_accepts_again_is_counted_apart(books: Books) -> None:
    """Killed, it has forgotten the transaction id, and counts its places anew."""
    server, store, popups = books
    with sqlite3.connect(server) as conn:
        conn.execute("DELETE FROM device_inbox")
        again = conn.execute("SELECT letter FROM ledger_letters WHERE place = 10").fetchone()
    held = ledger.Ledger(server)
    held.note_start()
    with sqlite3.connect(server) as conn:
        conn.execute("INSERT INTO device_inbox VALUES (?, ?, 1, ?, '')", (ME, DEVICE, *again))
    found = held.compare({"alice": store}, {"alice": popups})
    assert (found.wrong(), found.letters, found.repeated_letters) == ([], 3, 1)


def test_each_page_of_the_book_is_read_once_and_what_is_new_is_found(books: Books) -> None:
    server, store, _ = books
    held = ledger.Ledger(server)
    assert held.compare({"alice": store}).wrong() == []
    with sqlite3.connect(server) as conn:
        letter = _letter(7, _session())
        conn.execute("INSERT INTO device_inbox VALUES (?, ?, 12, ?, '')", (ME, DEVICE, letter))
        conn.execute("INSERT INTO events VALUES ('$e3', ?, 'm.room.encrypted', 3)", (ROOM,))
        sealed = conn.execute("SELECT json FROM event_json WHERE event_id = '$e1'").fetchone()
        conn.execute("INSERT INTO event_json VALUES ('$e3', ?)", sealed)
    found = held.compare({"alice": store})
    assert [words.partition(": ")[2] for words in found.lost] == [
        "the to-device event at 12 never came in",
        "$e3 is missing",
    ]
    assert len(found.ahead) == len(found.reused) == 1
    assert held.compare({"alice": store}).wrong() == found.wrong()


def test_a_device_is_behind_until_it_has_all(books: Books) -> None:
    server, store, _ = books
    held = ledger.Ledger(server)
    with sqlite3.connect(store) as conn:
        conn.execute("UPDATE inbox SET state = 0 WHERE seq = 3")
        conn.execute("UPDATE event SET seal = 'sealed' WHERE event_id = '$e2'")
    assert held.behind(store) == (1, 1)
    with sqlite3.connect(store) as conn:
        conn.execute("UPDATE inbox SET state = 1")
    assert held.behind(store) == (0, 1)
    with sqlite3.connect(store) as conn:
        conn.execute("UPDATE event SET seal = 'opened'")
    assert held.behind(store) == (0, 0)
    with sqlite3.connect(server) as conn:
        conn.execute(
            "INSERT INTO device_inbox VALUES (?, ?, 13, ?, '')", (ME, DEVICE, _letter(7, _session()))
        )
    assert held.behind(store) == (1, 0)


def test_a_notification_shown_again_is_counted_apart(books: Books) -> None:
    with books[2].open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event_id": "$e1", "events": ["$e1"]}) + "\n")
        file.write(json.dumps({"event_id": "$e2", "events": ["$e1", "$e2"]}) + "\n")
    found = _compare(books)
    assert (found.wrong(), found.repeated_popups) == ([], 1)


@pytest.mark.parametrize("count", [1, 130])
def test_indices_are_read_off_the_wire(count: int) -> None:
    group = vodozemac.GroupSession()
    sealed = [base64.b64encode(group.encrypt(b"x").to_bytes()).decode() for _ in range(count)]
    assert [indices.megolm_index(text) for text in sealed] == list(range(count))


def test_a_receipt_that_the_author_never_hears_of_is_found_by_the_comparison_after(books: Books) -> None:
    server, store, _ = books
    held = ledger.Ledger(server)
    with sqlite3.connect(store) as conn:
        conn.execute("DELETE FROM delivery")
    assert held.compare({"alice": store}).wrong() == []
    assert held.compare({"alice": store}).wrong() == ["alice: was not told that @bob:x has $a1"]


@pytest.mark.parametrize(
    "sql", ["UPDATE im_tandem_delivery SET stream_id = NULL", "DELETE FROM im_tandem_delivery"]
)
def test_a_receipt_that_the_server_holds_or_has_forgotten_is_not_due(books: Books, sql: str) -> None:
    server, store, _ = books
    held = ledger.Ledger(server)
    with sqlite3.connect(store) as conn:
        conn.execute("DELETE FROM delivery")
    assert held.compare({"alice": store}).wrong() == []
    with sqlite3.connect(server) as conn:
        conn.execute(sql)
    assert held.compare({"alice": store}).wrong() == []


def test_a_second_device_of_the_reader_is_no_second_receipt(books: Books) -> None:
    with sqlite3.connect(books[0]) as conn:
        conn.execute("""UPDATE im_tandem_delivery SET devices = '{"DEV": 60000}' WHERE event_id = '$e1'""")
    assert _compare(books).wrong() == []
