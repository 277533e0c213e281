"""The rules of a homeserver that Tandem relies on, held by a real Synapse and by our fake alike."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer
from tests.support.fake.push_rules import push_rules
from tests.support.fake_homeserver import FakeHomeserver

Json = dict[str, Any]
_numbers = itertools.count(1)
E2EE = {"enabled": True}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as server:
        yield server


@pytest.fixture(params=["fake", pytest.param("synapse", marks=pytest.mark.synapse)])
def server(request: pytest.FixtureRequest) -> Any:
    """The server under test."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def person(server: SynapseServer | FakeHomeserver) -> Callable[..., RawClient]:
    """Makes fresh people on the server under test."""

    def make(name: str = "user", device_id: str | None = None) -> RawClient:
        localpart, password = f"{name}-{next(_numbers)}-{secrets.token_hex(3)}", secrets.token_urlsafe(9)
        server.register(localpart, password)
        return RawClient(server.base_url).login(localpart, password, device_id)

    return make


Person = Callable[..., RawClient]


def poke(sender: RawClient, to: RawClient, *numbers: int, txn_id: str | None = None) -> None:
    for number in numbers:
        sender.send_to_device("im.test", {to.user_id: {to.device_id: {"n": number}}}, txn_id)


def fetch(me: RawClient, since: Any = None, *, conn: str = "a", pos: str | None = None, **more: Any) -> Json:
    """The to-device block of one request."""
    wanted = {"enabled": True, **({} if since is None else {"since": since}), **more}
    status, answer = me.sliding_sync({"conn_id": conn, "extensions": {"to_device": wanted}}, pos=pos)
    assert status == 200, answer
    return dict(answer["extensions"]["to_device"])


def numbers(block: Json) -> list[int]:
    return [event["content"]["n"] for event in block["events"]]


def follow(me: RawClient, *, conn: str = "a", pos: str | None = None, wait_ms: int = 0, **body: Any) -> Json:
    """A request for all rooms, five events each."""
    lists = {
        "all": {"ranges": [[0, 99]], "required_state": [["m.room.member", "$LAZY"]], "timeline_limit": 5}
    }
    status, answer = me.sliding_sync({"conn_id": conn, "lists": lists, **body}, pos=pos, timeout_ms=wait_ms)
    assert status == 200, answer
    return answer


def bodies(room: Json) -> list[str]:
    return [
        event["content"].get("body", "") for event in room["timeline"] if event["type"] == "m.room.message"
    ]


def test_to_device_events_stay_until_a_later_since_acknowledges_them_for_the_whole_device(
    person: Person,
) -> None:
    me, other = person(), person()
    poke(other, me, 1, 2)
    block = fetch(me, conn="a")
    assert numbers(block) == numbers(fetch(me, conn="b")) == [1, 2]
    assert numbers(fetch(me, "0", conn="a")) == [1, 2]
    assert numbers(fetch(me, block["next_batch"], conn="a")) == []
    assert numbers(fetch(me, conn="b")) == []
    assert numbers(fetch(me, "0", conn="b")) == []


def test_an_empty_to_device_block_has_a_token_too(person: Person) -> None:
    block = fetch(person())
    assert block["events"] == []
    assert block["next_batch"].isdigit()


def test_a_backlog_comes_in_pages_of_a_hundred_in_order(person: Person) -> None:
    me, other = person(), person()
    poke(other, me, *range(250))
    since, pages = None, []
    for _ in range(4):
        block = fetch(me, since, limit=100)
        since = block["next_batch"]
        pages.append(numbers(block))
    assert [len(page) for page in pages] == [100, 100, 50, 0]
    assert [number for page in pages for number in page] == list(range(250))


def test_a_token_from_the_future_is_echoed_and_starves_until_it_is_left_out(person: Person) -> None:
    me, other = person(), person()
    future = str(int(fetch(me)["next_batch"]) + 1_000_000)
    poke(other, me, 1)
    assert fetch(me, future) == {"events": [], "next_batch": future}
    poke(other, me, 2)
    assert fetch(me, future) == {"events": [], "next_batch": future}
    assert numbers(fetch(me)) == [1, 2]


def test_a_token_from_the_future_deletes_unread_what_came_until_the_count_passes_it(person: Person) -> None:
    me, other = person(), person()
    future = int(fetch(me)["next_batch"]) + 3
    heard: list[int] = []
    for number in itertools.count(1):
        poke(other, me, number)
        if heard := numbers(fetch(me, str(future))):
            break
    assert heard == [number]
    assert number > 1
    assert numbers(fetch(me)) == heard


@pytest.mark.parametrize(
    ("since", "errcode"), [("abc", "M_INVALID_PARAM"), ("1.5", "M_INVALID_PARAM"), (5, "M_BAD_JSON")]
)
def test_a_malformed_token_is_refused(person: Person, since: Any, errcode: str) -> None:
    body = {"extensions": {"to_device": {"enabled": True, "since": since}}}
    status, answer = person().sliding_sync(body)
    assert (status, answer["errcode"]) == (400, errcode)


def test_limit_zero_moves_the_token_past_what_nobody_saw(person: Person) -> None:
    me, other = person(), person()
    poke(other, me, 1)
    block = fetch(me, limit=0)
    assert block["events"] == []
    assert numbers(fetch(me, block["next_batch"])) == []
    assert numbers(fetch(me)) == []


def test_two_connections_hear_everything_independently(person: Person) -> None:
    me = person()
    room = me.create_room()
    me.say(room, "one")
    first, second = follow(me, conn="a"), follow(me, conn="b")
    assert first["rooms"][room]["initial"] is second["rooms"][room]["initial"] is True
    me.say(room, "two")
    for conn, pos in (("a", first["pos"]), ("b", second["pos"])):
        news = follow(me, conn=conn, pos=pos)["rooms"][room]
        assert not news.get("initial")
        assert bodies(news) == ["two"]


def test_a_place_of_another_connection_is_unknown(person: Person) -> None:
    me = person()
    me.create_room()
    pos = follow(me, conn="a")["pos"]
    status, answer = me.sliding_sync({"conn_id": "b"}, pos=pos)
    assert (status, answer["errcode"]) == (400, "M_UNKNOWN_POS")


def test_a_request_without_a_place_ends_the_old_one_and_keeps_to_device_events(person: Person) -> None:
    me, other = person(), person()
    me.create_room()
    pos, since = follow(me)["pos"], fetch(me)["next_batch"]
    poke(other, me, 1)
    follow(me)
    status, answer = me.sliding_sync({"conn_id": "a"}, pos=pos)
    assert (status, answer["errcode"]) == (400, "M_UNKNOWN_POS")
    assert numbers(fetch(me, since)) == [1]


def test_a_malformed_place_is_refused(person: Person) -> None:
    status, answer = person().sliding_sync({}, pos="nonsense")
    assert (status, answer["errcode"]) == (400, "M_UNKNOWN")


def test_a_request_can_be_repeated_from_the_same_place(person: Person) -> None:
    me = person()
    room = me.create_room()
    pos = follow(me)["pos"]
    me.say(room, "again")
    assert (
        bodies(follow(me, pos=pos)["rooms"][room]) == bodies(follow(me, pos=pos)["rooms"][room]) == ["again"]
    )


def test_an_answer_has_lists_only_when_lists_were_asked_for(person: Person) -> None:
    me = person()
    me.create_room()
    assert "lists" not in me.sliding_sync({})[1]
    assert follow(me)["lists"]["all"]["count"] == 1


@pytest.mark.parametrize("limit", [None, "5"])
def test_a_limit_that_is_no_number_is_refused(person: Person, limit: Any) -> None:
    body = {"extensions": {"to_device": {"enabled": True, "limit": limit}}}
    status, answer = person().sliding_sync(body)
    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


def test_a_new_account_has_the_predefined_push_rules_in_their_order(person: Person) -> None:
    me = person()
    extensions = {"account_data": {"enabled": True}}
    told = follow(me, extensions=extensions)["extensions"]["account_data"]["global"]
    [rules] = [data["content"]["global"] for data in told if data["type"] == "m.push_rules"]
    expected = push_rules(me.user_id)["global"]
    for kind in ("override", "content", "room", "sender", "underride"):
        # A server may add rules of its own; those of the spec are named so.
        of_the_spec = [rule for rule in rules[kind] if rule["rule_id"].startswith(".m.rule.")]
        assert of_the_spec == expected[kind]


def test_only_members_see_who_is_joined(person: Person) -> None:
    me, other, outsider = person("me"), person("other"), person()
    room = me.create_room(invite=[other.user_id, outsider.user_id])
    other.join(room)
    where = f"{CLIENT}/rooms/{quote(room)}/joined_members"
    joined = me.ok("GET", where)["joined"]
    assert {who: about["display_name"] for who, about in joined.items()} == {
        one.user_id: one.user_id[1:].partition(":")[0] for one in (me, other)
    }
    assert outsider.request("GET", where)[0] == 403


def test_nobody_uninvited_joins_or_speaks_in_a_private_room(person: Person) -> None:
    me, outsider = person(), person()
    room = me.create_room()
    for method, path in (
        ("POST", f"join/{quote(room)}"),
        ("PUT", f"rooms/{quote(room)}/send/m.room.message/1"),
    ):
        status, answer = outsider.request(method, f"{CLIENT}/{path}", {"body": "?", "msgtype": "m.text"})
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


def test_the_same_transaction_makes_one_event(person: Person) -> None:
    me = person()
    room = me.create_room()
    pos = follow(me)["pos"]
    first = me.send(room, {"msgtype": "m.text", "body": "first"}, txn_id="t1")
    assert me.send(room, {"msgtype": "m.text", "body": "second"}, txn_id="t1") == first
    assert bodies(follow(me, pos=pos)["rooms"][room]) == ["first"]


def test_the_same_transaction_makes_one_to_device_message_of_the_first_content(person: Person) -> None:
    me, other = person(), person()
    poke(other, me, 1, 2, txn_id="t1")
    assert numbers(fetch(me)) == [1]


def key(text: str) -> Json:
    return {"key": text, "signatures": {}}


def test_one_time_keys_go_once_and_then_the_fallback_key_goes_again_and_again(person: Person) -> None:
    me, other = person(), person()
    me.upload_keys(
        {
            "one_time_keys": {"signed_curve25519:A": key("one"), "signed_curve25519:B": key("two")},
            "fallback_keys": {"signed_curve25519:F": {**key("last"), "fallback": True}},
        }
    )
    wanted = {"one_time_keys": {me.user_id: {me.device_id: "signed_curve25519"}}}

    def claim() -> str:
        answer = other.ok("POST", f"{CLIENT}/keys/claim", wanted)
        return str(next(iter(answer["one_time_keys"][me.user_id][me.device_id].values()))["key"])

    def own() -> Json:
        return dict(follow(me, extensions={"e2ee": E2EE})["extensions"]["e2ee"])

    assert own()["device_unused_fallback_key_types"] == ["signed_curve25519"]
    assert own()["device_one_time_keys_count"]["signed_curve25519"] == 2
    assert {claim(), claim()} == {"one", "two"}
    assert own()["device_one_time_keys_count"].get("signed_curve25519", 0) == 0
    assert [claim(), claim()] == ["last", "last"]
    assert own()["device_unused_fallback_key_types"] == []


def test_another_key_under_the_same_id_is_refused_with_all_that_came_along(person: Person) -> None:
    me = person()
    me.upload_keys({"one_time_keys": {"signed_curve25519:A": key("one")}})
    body = {
        "one_time_keys": {"signed_curve25519:B": key("new"), "signed_curve25519:A": key("two")},
        "fallback_keys": {"signed_curve25519:F": {**key("last"), "fallback": True}},
    }
    status, answer = me.request("POST", f"{CLIENT}/keys/upload", body)
    assert status == 400
    assert "already exists" in answer["error"]
    told = follow(me, extensions={"e2ee": E2EE})["extensions"]["e2ee"]
    assert told["device_one_time_keys_count"]["signed_curve25519"] == 1
    assert told["device_unused_fallback_key_types"] == []
    me.upload_keys({"one_time_keys": {"signed_curve25519:A": key("one")}})  # the same again is no collision


def test_changed_devices_are_told_only_to_a_request_with_a_place(person: Person) -> None:
    me, other = person(), person()
    room = me.create_room(invite=[other.user_id])
    other.join(room)
    first = follow(me, extensions={"e2ee": E2EE})
    assert "device_lists" not in first["extensions"]["e2ee"]
    keys = {
        "user_id": other.user_id,
        "device_id": other.device_id,
        "algorithms": [],
        "keys": {},
        "signatures": {},
    }
    other.upload_keys({"device_keys": keys})
    later = follow(me, pos=first["pos"], extensions={"e2ee": E2EE})
    assert other.user_id in later["extensions"]["e2ee"]["device_lists"]["changed"]


def test_read_receipts_reach_others_and_private_ones_do_not(person: Person) -> None:
    me, other = person(), person()
    room = me.create_room(invite=[other.user_id])
    other.join(room)
    one, two = me.say(room, "one"), me.say(room, "two")
    extensions = {"receipts": {"enabled": True}}
    pos = follow(me, extensions=extensions)["pos"]
    assert other.receipt(room, "m.read", one)[0] == 200
    assert other.receipt(room, "m.read.private", two)[0] == 200
    told = follow(me, pos=pos, extensions=extensions)["extensions"]["receipts"]["rooms"][room]["content"]
    assert list(told) == [one]
    assert list(told[one]["m.read"]) == [other.user_id]
    assert other.receipt(room, "im.nonsense", one)[0] == 400


def test_a_redaction_is_an_event_and_empties_its_target(person: Person) -> None:
    me = person()
    room = me.create_room()
    event_id = me.say(room, "secret")
    pos = follow(me)["pos"]
    me.ok("PUT", f"{CLIENT}/rooms/{quote(room)}/redact/{quote(event_id)}/r1", {"reason": "slip"})
    [event] = follow(me, pos=pos)["rooms"][room]["timeline"]
    assert event["type"] == "m.room.redaction"
    assert event_id in (event.get("redacts"), event["content"].get("redacts"))
    again = follow(me)["rooms"][room]["timeline"]
    assert next(one for one in again if one["event_id"] == event_id)["content"] == {}


def test_a_long_absence_gives_a_limited_timeline_whose_hole_messages_fills(person: Person) -> None:
    me = person()
    room = me.create_room()
    pos = follow(me)["pos"]
    for number in range(9):
        me.say(room, f"m{number}")
    told = follow(me, pos=pos)["rooms"][room]
    assert told["limited"] is True
    assert bodies(told) == [f"m{number}" for number in range(4, 9)]
    where = f"{CLIENT}/rooms/{quote(room)}/messages?dir=b&limit=4&from={quote(told['prev_batch'])}"
    page = me.ok("GET", where)
    assert [event["content"]["body"] for event in page["chunk"]] == ["m3", "m2", "m1", "m0"]
    assert page["end"]


def test_an_invitation_brings_stripped_state_and_a_join_makes_the_room_initial(person: Person) -> None:
    me, other = person(), person()
    pos = follow(me)["pos"]
    room = other.create_room(name="Garden", invite=[me.user_id])
    told = follow(me, pos=pos)
    stripped = told["rooms"][room]["invite_state"]
    assert {"m.room.name", "m.room.member"} <= {event["type"] for event in stripped}
    assert all(set(event) == {"type", "state_key", "sender", "content"} for event in stripped)
    me.join(room)
    assert follow(me, pos=told["pos"])["rooms"][room]["initial"] is True


def test_typing_is_told_and_taken_back(person: Person) -> None:
    me, other = person(), person()
    room = me.create_room(invite=[other.user_id])
    other.join(room)
    extensions = {"typing": {"enabled": True}}
    pos = follow(me, extensions=extensions)["pos"]
    for is_typing, people in ((True, [other.user_id]), (False, [])):
        where = f"{CLIENT}/rooms/{quote(room)}/typing/{quote(other.user_id)}"
        other.ok("PUT", where, {"typing": is_typing, "timeout": 30_000})
        told = follow(me, pos=pos, wait_ms=10_000, extensions=extensions)
        pos = told["pos"]
        assert told["extensions"]["typing"]["rooms"][room]["content"]["user_ids"] == people


def test_after_a_logout_the_token_is_unknown_for_good(person: Person) -> None:
    me = person()
    me.ok("POST", f"{CLIENT}/logout", {})
    status, answer = me.sliding_sync({})
    assert (status, answer["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert not answer.get("soft_logout")


def test_other_devices_go_with_the_password_only_and_a_new_name_is_everybodys(
    server: SynapseServer | FakeHomeserver,
) -> None:
    localpart, password = f"owner-{next(_numbers)}-{secrets.token_hex(3)}", secrets.token_urlsafe(9)
    server.register(localpart, password)
    me, phone, tablet = (RawClient(server.base_url).login(localpart, password) for _ in range(3))
    me.ok("PUT", f"{CLIENT}/devices/{phone.device_id}", {"display_name": "Pocket"})
    assert me.request("PUT", f"{CLIENT}/devices/NOSUCH", {"display_name": "x"})[0] == 404
    listed = {
        one["device_id"]: one["display_name"] for one in phone.ok("GET", f"{CLIENT}/devices")["devices"]
    }
    assert set(listed) == {me.device_id, phone.device_id, tablet.device_id}
    assert listed[phone.device_id] == "Pocket"
    wish: Json = {"devices": [phone.device_id, tablet.device_id, "NOSUCH"]}
    status, wanted = me.request("POST", f"{CLIENT}/delete_devices", wish)
    assert status == 401
    assert {"stages": ["m.login.password"]} in wanted["flows"]
    auth = {
        "type": "m.login.password",
        "session": wanted["session"],
        "identifier": {"type": "m.id.user", "user": me.user_id},
    }
    status, refused = me.request(
        "POST", f"{CLIENT}/delete_devices", {**wish, "auth": auth | {"password": "wrong"}}
    )
    assert (status, refused["errcode"]) == (401, "M_FORBIDDEN")
    assert refused["flows"] == wanted["flows"]
    assert phone.request("GET", f"{CLIENT}/account/whoami")[0] == 200
    me.ok("POST", f"{CLIENT}/delete_devices", {**wish, "auth": auth | {"password": password}})
    for gone in (phone, tablet):
        status, answer = gone.request("GET", f"{CLIENT}/account/whoami")
        assert (status, answer["errcode"], bool(answer.get("soft_logout"))) == (401, "M_UNKNOWN_TOKEN", False)
    assert [one["device_id"] for one in me.ok("GET", f"{CLIENT}/devices")["devices"]] == [me.device_id]


def test_a_to_device_event_alone_wakes_a_long_poll(person: Person) -> None:
    me, other = person(), person()
    extensions = {"to_device": {"enabled": True}}
    pos = me.sliding_sync({"conn_id": "a", "extensions": extensions})[1]["pos"]
    answers: list[Json] = []
    asked = threading.Thread(
        target=lambda: answers.append(
            me.sliding_sync({"conn_id": "a", "extensions": extensions}, pos=pos, timeout_ms=60_000)[1]
        )
    )
    asked.start()
    poke(other, me, 7)
    asked.join(50)
    assert not asked.is_alive(), "the poll slept on"
    assert numbers(answers[0]["extensions"]["to_device"]) == [7]
