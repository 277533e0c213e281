"""One response, one transaction: all of it or nothing; odd pieces are skipped, tokens never lead."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tandem_core.store import account_data, inbox, members, reads, rooms, session, timeline
from tandem_core.sync import apply as apply_module
from tandem_core.sync.apply import apply
from tandem_core.sync.response import read
from tandem_core.types import Topic
from tests.core.sync_world import (
    APP,
    BOB,
    CAROL,
    ME,
    NOTIFIER,
    NOW,
    ROOM,
    Account,
    member,
    message,
    olm,
    sealed,
    state,
)


def _to_device(*events: Any, next_batch: str = "7") -> dict[str, Any]:
    return {"extensions": {"to_device": {"events": list(events), "next_batch": next_batch}}}


def test_events_tokens_and_place_are_kept_together(alice: Account) -> None:
    applied = alice.apply({"pos": "2/s2", **_to_device(olm("a"))})
    assert applied.to_device == 1
    assert alice.read(session.connection, APP) == session.Connection("2/s2", "7", alice.now, covered=True)
    assert alice.read(inbox.depth) == 1


def test_a_failure_in_the_middle_leaves_token_place_and_inbox_untouched(
    alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.apply({"pos": "1/s1", **_to_device(olm("a"), next_batch="1")})

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(apply_module.sessions, "set_pos", fail)
    before = alice.rows("SELECT * FROM connection")
    with pytest.raises(Exception, match="full"):
        alice.apply(
            {"pos": "2/s2", "rooms": {ROOM: {"initial": True}}, **_to_device(olm("b"), next_batch="2")}
        )
    assert alice.rows("SELECT * FROM connection") == before
    assert alice.read(inbox.depth) == 1
    assert alice.read(rooms.room, APP, ROOM) is None


def test_news_that_came_another_way_leave_the_place_where_it_was(alice: Account) -> None:
    alice.apply({"pos": "2/s2", **_to_device(olm("a"))})
    news = replace(read({"pos": "x", "rooms": {ROOM: {"timeline": [message("hello")]}}}), pos=None)
    alice.write(apply, APP, ME, news, now_ms=alice.now + 5, chance=alice.chance)
    assert alice.bodies() == ["hello"]
    assert alice.read(session.connection, APP) == session.Connection("2/s2", "7", alice.now + 5, covered=True)


def test_without_a_to_device_block_the_token_stays(alice: Account) -> None:
    alice.apply(_to_device(next_batch="7"))
    alice.apply({"extensions": {}})
    assert alice.read(session.token, APP) == "7"


def test_each_connection_has_its_own_token_and_place(alice: Account) -> None:
    alice.apply({"pos": "1/s1", **_to_device(olm("a"), next_batch="7")})
    alice.apply({"pos": "9/s9", **_to_device(olm("a"), next_batch="6")}, NOTIFIER)
    assert (alice.read(session.token, APP), alice.read(session.token, NOTIFIER)) == ("7", "6")
    assert alice.read(inbox.depth) == 1


def test_a_piece_that_makes_the_code_fail_is_skipped_and_the_rest_is_kept(
    alice: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = timeline.append_live

    def fail_once(txn: Any, link: Any, room_id: str, *args: Any, **kwargs: Any) -> Any:
        made = whole(txn, link, room_id, *args, **kwargs)  # type: ignore[arg-type]
        if room_id == "!bad:x":
            raise KeyError("a bug")
        return made

    monkeypatch.setattr(apply_module.timeline, "append_live", fail_once)
    applied = alice.apply(
        {
            "rooms": {"!bad:x": {"timeline": [message("lost")]}, ROOM: {"timeline": [message("kept")]}},
            **_to_device(olm("a")),
        }
    )
    assert applied.skipped == 1
    assert alice.bodies() == ["kept"]
    assert alice.read(timeline.get, "$lost") is None
    assert alice.read(inbox.depth) == 1
    assert "!bad:x" in caplog.text
    assert "lost" not in caplog.text.replace("lost(", ""), "a log line names ids, never words"


def test_only_readable_new_events_are_judged(alice: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    monkeypatch.setattr(
        apply_module.judge, "judge", lambda txn, me, role, event, **_: judged.append(event.event_id)
    )
    alice.join(APP, message("history"))
    alice.sync_room(timeline=[message("plain"), sealed("sealed")])
    assert judged == ["$plain"]


def test_an_event_opened_as_history_is_judged_when_it_turns_out_to_be_live(
    alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Any] = []
    monkeypatch.setattr(apply_module.judge, "judge", lambda txn, me, role, event, **_: judged.append(event))
    alice.join(APP, sealed("s"))
    alice.write(timeline.set_opened, "$s", "m.room.message", {"msgtype": "m.text", "body": "hi"}, NOW)
    alice.join(NOTIFIER)
    alice.sync_room(NOTIFIER, timeline=[sealed("s")])
    (event,) = judged
    assert (event.event_id, event.body, event.origin) == ("$s", "hi", "live")


def test_a_judge_that_fails_loses_no_event(
    alice: Account, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(apply_module.judge, "judge", fail)
    alice.join(APP)
    alice.sync_room(timeline=[message("a"), message("b")])
    assert alice.bodies() == ["a", "b"]
    assert "$a" in caplog.text


def test_device_changes_outdate_lists_and_key_counts_are_noted(alice: Account) -> None:
    from tandem_core.store import devices

    alice.write(devices.track, [BOB])
    before = alice.read(devices.outdated, NOW)
    alice.apply(
        {"extensions": {"e2ee": {"device_lists": {"changed": [BOB]}, "device_one_time_keys_count": {}}}}
    )
    assert alice.read(devices.outdated, NOW)[BOB] > before[BOB]
    count = alice.read(devices.key_count)
    assert count is not None
    assert count.one_time == 0, "an algorithm that is not named has none"


@pytest.mark.parametrize(
    "said", [{}, {"device_one_time_keys_count": None}, {"device_one_time_keys_count": 5}]
)
def test_a_key_count_that_is_not_said_is_not_zero(alice: Account, said: dict[str, Any]) -> None:
    from tandem_core.store import devices

    alice.apply({"extensions": {"e2ee": {"device_one_time_keys_count": {"signed_curve25519": 40}}}})
    alice.apply({"extensions": {"e2ee": said}})
    count = alice.read(devices.key_count)
    assert count is not None
    assert count.one_time == 40


def test_a_limited_piece_makes_the_member_list_incomplete(alice: Account) -> None:
    alice.join(APP, message("a"))
    alice.write(rooms.set_room, APP, ROOM, {"members_complete": 1})
    alice.sync_room(timeline=[message("b")])
    assert alice.read(members.is_complete, APP, ROOM)
    alice.sync_room(timeline=[message("z")], limited=True, prev_batch="t")
    assert not alice.read(members.is_complete, APP, ROOM)


def test_one_connections_state_never_touches_the_others(alice: Account) -> None:
    for link in (APP, NOTIFIER):
        alice.join(link)
    alice.sync_room(
        APP, timeline=[member(BOB, "Bob", "leave"), state("m.room.join_rules", {"join_rule": "public"})]
    )
    rules = dict(alice.rows("SELECT conn, join_rule FROM room"))
    assert rules == {"app": "public", "notifier": "invite"}
    there = {person.user_id: person.membership for person in alice.read(members.members, NOTIFIER, ROOM)}
    assert there[BOB] == "join"


def test_gap_filled_state_changes_nothing(alice: Account) -> None:
    alice.join(APP, message("a"))
    alice.sync_room(timeline=[message("z")], limited=True, prev_batch="t")
    (gap,) = alice.read(timeline.gaps, APP)
    old = state("m.room.join_rules", {"join_rule": "public"})
    alice.write(timeline.fill_gap, APP, ROOM, gap.ord, [old], None, now_ms=NOW)
    assert alice.one("SELECT join_rule FROM room") == "invite"


def test_state_in_the_timeline_counts_and_its_last_word_wins(alice: Account) -> None:
    alice.join(APP)
    alice.sync_room(
        timeline=[state("m.room.topic", {"topic": "one"}), state("m.room.topic", {"topic": "two"})]
    )
    assert alice.read(rooms.room, APP, ROOM).topic == "two"


def test_read_receipts_move_markers_and_threads_do_not(alice: Account) -> None:
    alice.join(APP, message("a"), message("b"))
    content = {
        "$a": {
            "m.read": {BOB: {"ts": NOW}},
            "m.read.private": {ME.user_id: {"ts": NOW, "thread_id": "main"}},
        },
        "$b": {"m.read": {CAROL: {"ts": NOW, "thread_id": "$thread"}}},
        "$c": "odd",
        "$d": {"m.read": {"@x:x": "odd"}},
    }
    alice.apply({"extensions": {"receipts": {"rooms": {ROOM: {"type": "m.receipt", "content": content}}}}})
    markers = {marker.user_id: marker for marker in alice.read(reads.markers, ROOM)}
    assert set(markers) == {BOB, ME.user_id}
    assert markers[ME.user_id].is_private


def test_delivery_receipts_reach_the_one_who_wrote(alice: Account) -> None:
    alice.join(APP, message("mine", ME.user_id))
    content = {"$mine": {"org.matrix.msc4089.delivery": {BOB: {"ts": NOW}}}}
    alice.apply({"extensions": {"receipts": {"rooms": {ROOM: {"content": content}}}}})
    assert alice.rows("SELECT event_id, user_id, outcome FROM delivery") == [("$mine", BOB, "delivered")]


def test_those_who_type_are_known_and_we_are_not_among_them(alice: Account) -> None:
    alice.apply(
        {"extensions": {"typing": {"rooms": {ROOM: {"content": {"user_ids": [BOB, ME.user_id, 5]}}}}}}
    )
    assert alice.rows("SELECT room_id, user_ids FROM typing") == [(ROOM, f'["{BOB}"]')]


def test_account_data_is_kept_global_and_per_room(alice: Account) -> None:
    alice.apply(
        {
            "extensions": {
                "account_data": {
                    "global": [{"type": "m.push_rules", "content": {"global": {}}}, {"type": "odd"}],
                    "rooms": {ROOM: [{"type": "m.tag", "content": {"tags": {}}}]},
                }
            }
        }
    )
    assert alice.read(account_data.get, "m.push_rules") == {"global": {}}
    assert alice.read(account_data.get_room, ROOM, "m.tag") == {"tags": {}}


def test_a_transaction_says_what_it_changed(alice: Account) -> None:
    said: list[Any] = []
    alice.db.listen(said.append)
    alice.join(APP, message("a"))
    topics = {change.topic for changes in said for change in changes if change.room_id == ROOM}
    assert {Topic.ROOMS, Topic.TIMELINE} <= topics


def test_garbage_in_every_place_keeps_the_token_moving(alice: Account) -> None:
    """What the codec lets through may still be nonsense; nothing of it may stop the sync."""
    chance = random.Random(11)
    junk: list[Any] = [None, True, -1, 2**70, 1.5, "", "\x00", "x" * 300, [], {}, {"a": [1]}, [{}]]

    def some() -> Any:
        return chance.choice(junk)

    kinds = ["m.room.message", "m.room.member", "m.room.encrypted", "m.room.redaction", "m.room.name", "m.reaction",
             "m.room.encryption", "m.room.power_levels", "m.sticker", "m.poll.start",
             "io.element.functional_members"]  # fmt: skip
    for number in range(150):
        content = {key: some() for key in ("membership", "body", "msgtype", "formatted_body", "format", "redacts",
                                           "name", "url", "algorithm", "session_id", "m.relates_to",
                                           "m.new_content", "displayname", "avatar_url", "m.poll",
                                           "service_members")}  # fmt: skip
        content["m.relates_to"] = chance.choice(
            [some(), {"rel_type": some(), "event_id": some()}, {"m.in_reply_to": some()}]
        )
        event = {
            "event_id": f"$e{number % 100}",
            "type": chance.choice(kinds),
            "sender": chance.choice([BOB, "", "odd"]),
            "content": content,
            "origin_server_ts": some(),
            "unsigned": chance.choice([some(), {"transaction_id": some(), "redacted_because": some()}]),
        }
        if chance.random() < 0.4:
            event["state_key"] = chance.choice(["", BOB, ME.user_id])
        said = {
            key: some()
            for key in (
                "name",
                "avatar",
                "heroes",
                "is_dm",
                "joined_count",
                "bump_stamp",
                "limited",
                "prev_batch",
                "num_live",
                "initial",
            )
        }
        answer = {
            "pos": f"{number}",
            "rooms": {
                ROOM: said | {"timeline": [event], "required_state": [event]},
                "odd": {},
                "!i:x": {"invite_state": [event]},
            },
            "extensions": {
                "to_device": {"events": [some(), olm(str(number)), {"type": "x", "sender": "y", "content": some()}],
                              "next_batch": str(number)},
                "receipts": {
                    "rooms": {ROOM: {"content": {"$e1": {"m.read": {BOB: {"ts": some()}}, "m.delivery": some()}}}}
                },
                "typing": {"rooms": {ROOM: {"content": {"user_ids": [some()]}}}},
                "account_data": {"global": [{"type": "m.direct", "content": {BOB: some()}}]},
            },
        }  # fmt: skip
        applied = alice.write(apply, APP, ME, read(answer), now_ms=NOW, chance=alice.chance)
        assert applied.skipped < 20
    assert alice.read(session.token, APP) == "149"
    assert alice.one("SELECT count(*) FROM inbox WHERE type = 'm.room.encrypted'") == 150
