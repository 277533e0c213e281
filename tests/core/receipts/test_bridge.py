"""A room's bridge says how far our messages got, and nobody else does; what it says makes no row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tandem_core.codec import dumps
from tandem_core.receipts import bridge
from tandem_core.receipts.bridge import BridgeStatus
from tandem_core.store import timeline
from tandem_core.store.bridges import Bridge
from tandem_core.sync import request
from tandem_core.sync.apply import apply
from tandem_core.sync.response import read
from tandem_core.types import Role, UserId
from tests.core.receipts.conftest import BOB, CAROL, HOUR, ME, MINUTE, NOW, ROOM, Account

BOT = "@telegrambot:example.org"
GHOST, OTHER_GHOST = "@telegram_17:example.org", "@telegram_18:example.org"
_numbers = itertools.count(1)


class Chance:
    def uniform(self, a: float, b: float) -> float:
        return a


def sync(account: Account, *events: dict[str, Any], state: Any = (), link: Role = Role.APP) -> None:
    """What the server brings of the room."""
    room = {"timeline": list(events), "required_state": list(state), "num_live": len(events)}
    answer = read({"pos": f"p{next(_numbers)}", "rooms": {ROOM: room}})
    account.write(apply, link, ME, answer, now_ms=account.now, chance=Chance())


def event(sender: str, type: str, content: Any, *, at: int | None = None, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"$e{next(_numbers)}",
        "sender": sender,
        "type": type,
        "content": content,
        "origin_server_ts": NOW if at is None else at,
        **more,
    }


def names(
    bot: object = BOT, *, by: str = BOT, kind: str = "m.bridge", key: str = "tg", **more: Any
) -> dict[str, Any]:
    content = {"bridgebot": bot, "protocol": {"id": "telegram", "displayname": "Telegram"}} | more
    return event(by, kind, content, state_key=key)


def status(
    word: str = "SUCCESS", *, by: str = BOT, about: str = "$mine", at: int | None = None, **more: Any
) -> dict[str, Any]:
    content = {"m.relates_to": {"rel_type": "m.reference", "event_id": about}, "status": word} | more
    return event(by, bridge.STATUS, content, at=at)


def said(account: Account, *event_ids: str) -> dict[str, BridgeStatus]:
    return account.read(bridge.statuses, list(event_ids or ["$mine"]))  # type: ignore[no-any-return]


def write(account: Account, event_id: str = "$mine", sender: str = ME.user_id) -> None:
    sync(account, event(sender, "m.room.message", {"msgtype": "m.text", "body": "hello"}, event_id=event_id))


@pytest.fixture
def bridged(account: Account) -> Iterator[Account]:
    """A room with a bridge, in which we wrote a message."""
    account.room(people=(BOT, GHOST, OTHER_GHOST, BOB))
    sync(account, state=[names()])
    write(account)
    return account


def test_the_bot_that_the_room_names_is_believed(bridged: Account) -> None:
    sync(bridged, status("PENDING", reason="m.foreign_network_error", message="Telegram is slow today."))
    assert said(bridged) == {
        "$mine": BridgeStatus(
            "PENDING", "m.foreign_network_error", "Telegram is slow today.", None, "Telegram", NOW
        )
    }


def test_an_account_of_the_bridge_is_believed_too(bridged: Account) -> None:
    sync(bridged, status("FAIL_PERMANENT", by=GHOST))
    assert said(bridged)["$mine"].status == "FAIL_PERMANENT"


@pytest.mark.parametrize(
    "liar",
    [
        BOB,
        "@telegrambot:elsewhere.org",
        "@telegram_17:elsewhere.org",
        "@telegram:example.org",
        "@telegram_:example.org",
        "@telegrams_17:example.org",
        "@tele_17:example.org",
        ME.user_id,
    ],
)
def test_nobody_else_is(bridged: Account, liar: str) -> None:
    sync(bridged, status(by=liar))
    assert said(bridged) == {}


def test_a_room_that_names_no_bridge_believes_nobody(account: Account) -> None:
    account.room(people=(BOT, GHOST))
    write(account)
    sync(account, status(), status(by=GHOST))
    assert said(account) == {}


@pytest.mark.parametrize("by", [BOB, "@telegrambot:elsewhere.org", ME.user_id])
def test_a_bridge_must_name_itself(account: Account, by: str) -> None:
    account.room(people=(BOT, BOB))
    sync(account, state=[names(by=by)])
    write(account)
    sync(account, status())
    assert said(account) == {}


def test_a_bridge_may_be_named_by_its_own_account_and_in_the_old_spelling(account: Account) -> None:
    account.room(people=(BOT, GHOST))
    sync(account, state=[names(by=GHOST, kind="uk.half-shot.bridge")])
    write(account)
    sync(account, status())
    assert said(account)["$mine"].network == "Telegram"


@pytest.mark.parametrize("other", [{}, {"bridgebot": None}, {"bridgebot": "telegrambot"}, {"bridgebot": 7}])
def test_a_bridge_that_is_named_no_more_is_believed_no_more(bridged: Account, other: Any) -> None:
    sync(bridged, event(BOT, "m.bridge", other, state_key="tg"))
    sync(bridged, status())
    assert said(bridged) == {}


def test_a_room_may_have_more_than_one_bridge(bridged: Account) -> None:
    sync(bridged, names("@ircbot:example.org", by="@ircbot:example.org", key="irc"))
    sync(bridged, status("PENDING", by="@irc_carol:example.org"))
    assert said(bridged)["$mine"].status == "PENDING"
    sync(bridged, status("SUCCESS", at=NOW + 1))
    assert said(bridged)["$mine"].status == "SUCCESS"


def test_the_newest_word_counts_in_whatever_order_they_come(bridged: Account) -> None:
    bridged.now += MINUTE
    words = [("PENDING", NOW + 1), ("FAIL_RETRIABLE", NOW + 3), ("SUCCESS", NOW + 2)]
    for order in itertools.permutations(words):
        bridged.run("DELETE FROM bridge_status")
        sync(bridged, *(status(word, at=at) for word, at in order))
        assert said(bridged)["$mine"].status == "FAIL_RETRIABLE"


def test_a_clock_that_is_ahead_does_not_silence_what_comes_later(bridged: Account) -> None:
    sync(bridged, status("PENDING", at=NOW + 9 * HOUR))
    bridged.now += MINUTE
    sync(bridged, status("SUCCESS", at=NOW + MINUTE))
    assert said(bridged)["$mine"].status == "SUCCESS"


@pytest.mark.parametrize(
    ("users", "kept"),
    [
        (None, None),
        ("all", None),
        ([], ()),
        ([GHOST], (UserId(GHOST),)),
        ([OTHER_GHOST, GHOST, GHOST], (UserId(GHOST), UserId(OTHER_GHOST))),
        ([BOB, CAROL, ME.user_id, BOT, 7, None, "telegram_1", "@telegram_9:elsewhere.org"], ()),
    ],
)
def test_a_bridge_speaks_for_its_own_people_and_silence_is_not_nobody(
    bridged: Account, users: object, kept: object
) -> None:
    more = {} if users is None else {"delivered_to_users": users}
    sync(bridged, status(**more))
    assert said(bridged)["$mine"].delivered_to == kept


def test_a_bridge_whose_accounts_cannot_be_told_names_nobody(account: Account) -> None:
    bot = "@gateway:example.org"
    account.room(people=(bot, BOB))
    sync(account, state=[names(bot, by=bot)])
    write(account)
    sync(account, status(by=bot, delivered_to_users=[BOB, "@gateway_bob:example.org"]))
    assert said(account)["$mine"].delivered_to is None
    sync(account, status("PENDING", by="@gateway_bob:example.org", at=NOW + 1))
    assert said(account)["$mine"].status == "SUCCESS"


def test_what_is_not_meant_for_people_is_not_kept(bridged: Account) -> None:
    sync(
        bridged,
        status(
            "FAIL_RETRIABLE",
            internal_error="token 12345",
            error="secret 777",
            message="Try\nagain\u0007 later",
        ),
    )
    assert said(bridged)["$mine"].message == "Try again later"
    assert (
        bridged.rows("SELECT * FROM bridge_status WHERE reason LIKE '%token%' OR message LIKE '%secret%'")
        == []
    )
    whole = str(bridged.rows("SELECT * FROM bridge_status"))
    assert "12345" not in whole
    assert "777" not in whole


def test_long_words_are_cut(bridged: Account) -> None:
    sync(bridged, status(message="word " * 5000, reason="r" * 5000))
    found = said(bridged)["$mine"]
    assert len(found.message or "") <= 300
    assert len(found.reason or "") <= 64


def test_only_our_own_messages_are_spoken_of(bridged: Account) -> None:
    write(bridged, "$theirs", BOB)
    sync(bridged, status(about="$theirs"))
    assert said(bridged, "$theirs") == {}
    assert bridged.rows("SELECT * FROM bridge_status") == []


def test_a_bridge_of_another_room_has_nothing_to_say(bridged: Account) -> None:
    other = "!other:example.org"
    room = {"required_state": [names()], "timeline": [status()], "num_live": 1}
    answer = read({"pos": "q", "rooms": {other: room}})
    bridged.write(apply, Role.APP, ME, answer, now_ms=NOW, chance=Chance())
    assert said(bridged) == {}


def test_a_status_that_comes_before_its_message_waits_for_it(bridged: Account) -> None:
    sync(bridged, status(about="$later"))
    assert said(bridged, "$later") == {}
    write(bridged, "$later")
    assert said(bridged, "$later")["$later"].status == "SUCCESS"


def test_statuses_of_messages_that_never_come_are_bounded(bridged: Account) -> None:
    for start in range(0, 400, 50):
        sync(bridged, *(status(about=f"$n{number}") for number in range(start, start + 50)))
    assert bridged.rows("SELECT count(*) FROM bridge_status") == [(bridge.MOST_WAITING,)]
    bridged.now += 2 * HOUR
    sync(bridged, status(about="$after"))
    assert bridged.rows("SELECT event_id FROM bridge_status") == [("$after",)]


def test_bridges_that_a_room_names_are_bounded(account: Account) -> None:
    account.room(people=(BOT,))
    sync(account, state=[names(key=f"k{number}") for number in range(50)])
    assert account.rows("SELECT count(*) FROM bridge") == [(bridge.MOST_BRIDGES,)]


def test_a_bridge_that_is_ignored_is_not_heard(bridged: Account) -> None:
    bridged.run(
        "INSERT INTO account_data VALUES ('m.ignored_user_list', ?)", dumps({"ignored_users": {BOT: {}}})
    )
    sync(bridged, status())
    assert said(bridged) == {}


def test_a_status_makes_no_row_and_no_notification(bridged: Account) -> None:
    before = [row.event_id for row in bridged.read(timeline.page, Role.APP, ROOM)]
    sync(bridged, status("FAIL_PERMANENT", message="It could not be sent."))
    assert [row.event_id for row in bridged.read(timeline.page, Role.APP, ROOM)] == before
    assert bridged.rows("SELECT * FROM notification") == []
    assert bridged.rows("SELECT last_event_id, unread FROM room WHERE conn = 'app'") == [("$mine", 0)]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"status": "SUCCESS"},
        {"status": "DONE", "m.relates_to": {"rel_type": "m.reference", "event_id": "$mine"}},
        {"status": ["SUCCESS"], "m.relates_to": {"rel_type": "m.reference", "event_id": "$mine"}},
        {"status": "SUCCESS", "m.relates_to": {"rel_type": "m.annotation", "event_id": "$mine"}},
        {"status": "SUCCESS", "m.relates_to": {"rel_type": "m.reference", "event_id": "mine"}},
        {"status": "SUCCESS", "m.relates_to": {"rel_type": "m.reference", "event_id": 7}},
        {"status": "SUCCESS", "m.relates_to": "$mine"},
    ],
)
def test_garbage_is_dropped(bridged: Account, content: Any) -> None:
    sync(bridged, event(BOT, bridge.STATUS, content))
    assert said(bridged) == {}


@pytest.mark.parametrize(
    ("bot", "user", "is_one"),
    [
        ("@telegrambot:x", "@telegram_1:x", True),
        ("@_irc_bot:x", "@_irc_nick:x", True),
        ("@irc-bot:x", "@irc_nick:x", True),
        ("@bot:x", "@_1:x", False),
        ("@abot:x", "@a_1:x", False),
        ("@robert:x", "@robert_1:x", False),
        ("@telegrambot:x", "@telegram_1:x:y", False),
    ],
)
def test_the_accounts_of_a_bridge_are_told_by_its_bots_name(bot: str, user: str, is_one: bool) -> None:
    assert bridge.is_account(Bridge(UserId(bot), ""), user) is is_one


def test_sync_is_asked_for_the_state_that_names_bridges() -> None:
    body = request.body(Role.APP, rooms=1, since=None)
    asked = body["lists"][request.LIST]["required_state"]
    assert [[kind, "*"] for kind in bridge.STATE_TYPES] == [entry for entry in asked if entry[1] == "*"]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["status", "m.relates_to", "bridgebot", "protocol", "displayname", "message"]
                ),
                st.text(max_size=5),
            ),
            st.one_of(inner, st.sampled_from(["SUCCESS", BOT, "$mine"])),
            max_size=4,
        ),
    ),
    max_leaves=8,
)
contents = st.dictionaries(
    st.sampled_from(
        ["status", "m.relates_to", "bridgebot", "protocol", "network", "message", "delivered_to_users"]
    ),
    json_values,
    max_size=6,
)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(contents, contents)
def test_no_content_can_break_the_sync(bridged: Account, words: Any, state: Any) -> None:
    sync(bridged, event(BOT, bridge.STATUS, words), event(BOT, "m.bridge", state, state_key="x"))
    for found in said(bridged).values():
        assert found.status in bridge.STATUSES
