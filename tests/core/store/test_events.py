"""Edits and redactions, whatever comes first, in clear and encrypted; and rows of state."""

from __future__ import annotations

import itertools

import pytest

from tandem_core.store import rooms, timeline
from tandem_core.types import Json, Seal
from tests.core.sync_world import (
    APP,
    BOB,
    CAROL,
    NOTIFIER,
    NOW,
    ROOM,
    Account,
    edit,
    member,
    message,
    redaction,
    sealed,
    state,
)

_ME = "@alice:example.org"


def _row(alice: Account, event_id: str) -> timeline.Row:
    (row,) = [row for row in alice.read(timeline.page, APP, ROOM, limit=100) if row.event_id == event_id]
    assert isinstance(row, timeline.Row)
    return row


def test_the_newest_edit_wins_whatever_the_order(alice: Account) -> None:
    pieces = [message("one"), edit("$one", "two", ts=NOW + 1), edit("$one", "three", ts=NOW + 2)]
    for number, order in enumerate(itertools.permutations(pieces)):
        room = f"!r{number}:x"
        renamed = [
            {
                **piece,
                "event_id": f"{piece['event_id']}-{number}",
                "content": _retarget(piece["content"], number),
            }
            for piece in order
        ]
        alice.sync_room(room_id=room, timeline=renamed)
        (row,) = alice.read(timeline.page, APP, room)
        assert (row.body, row.edited) == ("three", True)


def _retarget(content: Json, number: int) -> Json:
    relates = content.get("m.relates_to")
    if relates is None:
        return content
    return {**content, "m.relates_to": {**relates, "event_id": f"{relates['event_id']}-{number}"}}


def test_an_edit_by_somebody_else_changes_nothing(alice: Account) -> None:
    alice.join(APP, message("one"), edit("$one", "forged", CAROL))
    row = _row(alice, "$one")
    assert (row.body, row.edited) == ("one", False)


def test_an_edit_makes_no_row_and_is_not_unread(alice: Account) -> None:
    alice.join(APP, message("one"))
    alice.sync_room(timeline=[edit("$one", "two")])
    assert alice.bodies() == ["two"]
    assert alice.read(rooms.room, APP, ROOM).unread == 0


def test_an_edit_in_clear_of_an_encrypted_message_changes_nothing(alice: Account) -> None:
    alice.join(APP, sealed("one"))
    alice.write(timeline.set_opened, "$one", "m.room.message", {"msgtype": "m.text", "body": "true"}, NOW)
    alice.sync_room(timeline=[edit("$one", "server's words")])
    assert alice.bodies() == ["true"]


def test_an_encrypted_edit_shows_nothing_until_it_is_opened_and_then_changes_the_message(
    alice: Account,
) -> None:
    relation = {"rel_type": "m.replace", "event_id": "$one"}
    alice.join(APP, sealed("one"), sealed("fix", **{"m.relates_to": relation}))
    alice.write(timeline.set_opened, "$one", "m.room.message", {"msgtype": "m.text", "body": "teh"}, NOW)
    assert alice.bodies() == ["teh"]
    new = {"msgtype": "m.text", "body": "* the", "m.new_content": {"msgtype": "m.text", "body": "the"}}
    alice.write(timeline.set_opened, "$fix", "m.room.message", new, NOW)
    assert alice.bodies() == ["the"]


def test_an_edit_opened_before_its_message_is_applied_when_that_opens(alice: Account) -> None:
    relation = {"rel_type": "m.replace", "event_id": "$one"}
    alice.join(APP, sealed("one"), sealed("fix", **{"m.relates_to": relation}))
    new = {"msgtype": "m.text", "body": "* the", "m.new_content": {"msgtype": "m.text", "body": "the"}}
    alice.write(timeline.set_opened, "$fix", "m.room.message", new, NOW)
    alice.write(timeline.set_opened, "$one", "m.room.message", {"msgtype": "m.text", "body": "teh"}, NOW)
    assert alice.bodies() == ["the"]


@pytest.mark.parametrize("first", ["message", "redaction"])
def test_a_redaction_takes_the_words_away_whatever_comes_first(alice: Account, first: str) -> None:
    pieces = [message("secret"), redaction("$secret")]
    alice.join(APP, *(pieces if first == "message" else reversed(pieces)))
    row = _row(alice, "$secret")
    assert (row.kind, row.body, row.redacted) == ("redacted", "", True)
    assert "secret" not in str(
        alice.rows("SELECT content, body, html FROM event WHERE event_id = '$secret'")[0]
    )


def test_a_redaction_takes_opened_words_and_those_of_edits_away(alice: Account) -> None:
    alice.join(APP, sealed("one"), message("plain"), edit("$plain", "hidden"))
    alice.write(timeline.set_opened, "$one", "m.room.message", {"msgtype": "m.text", "body": "hidden"}, NOW)
    alice.sync_room(timeline=[redaction("$one"), redaction("$plain")])
    stored = alice.rows("SELECT content, opened_content, body, html FROM event")
    assert "hidden" not in str(stored)


def test_a_redacted_edit_gives_the_old_words_back(alice: Account) -> None:
    alice.join(APP, message("one"), edit("$one", "two"))
    alice.sync_room(timeline=[redaction("$edit-two")])
    row = _row(alice, "$one")
    assert (row.body, row.edited) == ("one", False)


def test_a_redacted_event_is_not_opened_again(alice: Account) -> None:
    alice.join(APP, sealed("one"), redaction("$one"))
    alice.write(timeline.set_opened, "$one", "m.room.message", {"msgtype": "m.text", "body": "late key"}, NOW)
    assert alice.bodies() == [""]
    assert alice.read(timeline.sealed) == []


def test_an_event_that_the_server_sends_redacted_says_nothing(alice: Account) -> None:
    gone = message("x") | {"content": {}, "unsigned": {"redacted_because": {"event_id": "$r"}}}
    alice.join(APP, gone)
    assert _row(alice, "$x").kind == "redacted"


def test_a_redaction_of_the_send_queues_copy_goes_with_it(alice: Account) -> None:
    alice.join(APP, message("mine", "@alice:example.org"))
    alice.write(
        lambda txn: txn.execute(
            "INSERT INTO send_queue (txn_id, room_id, type, content, body, state, event_id, made_at)"
            " VALUES ('t', ?, 'm.room.message', '{\"body\":\"mine\"}', 'mine', 'sent', '$mine', 1)",
            (ROOM,),
        )
    )
    alice.sync_room(timeline=[redaction("$mine")])
    assert "mine" not in str(alice.rows("SELECT content, body FROM send_queue"))


def test_somebodys_encrypted_event_cannot_redact(alice: Account) -> None:
    alice.join(APP, message("one"), sealed("evil", CAROL))
    alice.write(timeline.set_opened, "$evil", "m.room.redaction", {"redacts": "$one"}, NOW)
    assert _row(alice, "$one").body == "one"


def test_a_redaction_in_another_room_does_nothing(alice: Account) -> None:
    alice.join(APP, message("one"))
    alice.sync_room(room_id="!other:x", timeline=[redaction("$one")])
    assert alice.bodies() == ["one"]


def test_a_room_version_11_redaction_names_its_target_in_the_content(alice: Account) -> None:
    alice.join(APP, message("one"))
    new_style = redaction("$one") | {"content": {"redacts": "$one"}}
    del new_style["redacts"]
    alice.sync_room(timeline=[new_style])
    assert _row(alice, "$one").redacted


def test_a_reason_for_a_sealed_event_is_kept_and_a_final_one_refuses_it(alice: Account) -> None:
    alice.join(APP, sealed("one"), sealed("two"))
    alice.write(timeline.set_sealed_reason, "$one", "no_key", False)
    alice.write(timeline.set_sealed_reason, "$two", "replay", True)
    assert _row(alice, "$one").seal_reason == "no_key"
    assert alice.read(timeline.get, "$two").seal is Seal.REFUSED
    assert [event.event_id for event in alice.read(timeline.sealed)] == ["$one"]


def test_opening_says_so_on_both_connections(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link, sealed("one"))
    alice.write(timeline.set_opened, "$one", "m.reaction", {}, NOW)
    assert alice.rows("SELECT shown FROM timeline WHERE event_id = '$one'") == [(0,), (0,)]


def test_memberships_make_rows_and_other_state_does_not(alice: Account) -> None:
    alice.join(
        APP,
        member(CAROL, "Carol", "invite", sender=BOB),
        member(CAROL, "Carol"),
        state("m.room.power_levels", {}),
        state("m.room.name", {"name": "Kitchen"}),
    )
    assert alice.bodies() == ["Bob invited Carol", "Carol joined", "Bob named the room Kitchen"]


def test_a_lone_surrogate_in_opened_words_is_mended_and_kept(alice: Account) -> None:
    from tandem_core.codec import parse

    alice.join(APP, sealed("one"))
    content = parse('{"msgtype":"m.text","body":"half \\ud83d end"}')
    alice.write(timeline.set_opened, "$one", "m.room.message", content, NOW)
    assert alice.bodies() == ["half � end"]


def test_what_we_sent_takes_the_servers_time_and_what_others_sent_keeps_its_own(alice: Account) -> None:
    """After a kill between sending and noting it, our own copy is made later than the server's."""
    alice.join(APP, message("ours", _ME), message("theirs", BOB))
    alice.write(
        lambda txn: txn.execute(
            "INSERT INTO send_queue (txn_id, room_id, type, content, body, state, event_id, made_at)"
            " VALUES ('t', ?, 'm.room.message', '{}', 'ours', 'sent', '$ours', 1)",
            (ROOM,),
        )
    )
    before = {name: _row(alice, f"${name}").sent_at for name in ("ours", "theirs")}
    later = {"origin_server_ts": 123_000}
    again = [message("ours", _ME) | later, message("theirs", BOB) | later]
    alice.sync_room(timeline=again)
    assert _row(alice, "$ours").sent_at == 123_000 != before["ours"]
    assert _row(alice, "$theirs").sent_at == before["theirs"]
