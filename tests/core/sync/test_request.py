"""The request body: what must be in it every time, and how the window of rooms grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem_core.sync import request
from tandem_core.types import Role, RoomId


def test_the_to_device_limit_is_never_zero_and_never_unlimited() -> None:
    for role in Role:
        limit = request.body(role, rooms=20, since="5")["extensions"]["to_device"]["limit"]
        assert 1 <= limit <= 100


def test_every_extension_is_asked_for_each_time() -> None:
    extensions = request.body(Role.APP, rooms=20, since=None)["extensions"]
    assert {name for name, said in extensions.items() if said["enabled"] is True} == {
        "to_device",
        "e2ee",
        "account_data",
        "receipts",
        "typing",
    }


def test_no_token_is_sent_where_there_is_none() -> None:
    assert "since" not in request.body(Role.APP, rooms=20, since=None)["extensions"]["to_device"]
    assert request.body(Role.APP, rooms=20, since="9")["extensions"]["to_device"]["since"] == "9"


def test_each_program_has_a_connection_of_its_own() -> None:
    ids = {request.body(role, rooms=20, since=None)["conn_id"] for role in Role}
    assert ids == {"app", "notifier"}


def test_the_open_room_is_asked_for_in_depth() -> None:
    body = request.body(Role.APP, rooms=20, since=None, watched=[RoomId("!open:x")])
    assert body["room_subscriptions"]["!open:x"]["timeline_limit"] == 50
    assert body["lists"]["all"]["timeline_limit"] == 1


def test_without_a_place_no_pos_is_sent() -> None:
    assert "pos" not in request.query(None, 0)
    assert request.query("1/s2", 30000) == {"pos": "1/s2", "timeout": "30000"}


@given(st.integers(0, 20_000))
def test_the_window_grows_to_all_rooms_in_few_bounded_steps(count: int) -> None:
    rooms, steps = request.FIRST_ROOMS, 0
    while rooms < request.ALL_ROOMS:
        wider = request.next_window(rooms, count)
        assert wider > rooms
        assert wider == request.ALL_ROOMS or wider - rooms <= 300
        rooms, steps = wider, steps + 1
    assert steps <= 4 + count // 300
