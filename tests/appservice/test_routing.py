"""A room's events go to the hosted accounts that are in it, and to nobody else."""

from __future__ import annotations

from tandem_appservice.routing import Hosted, Kind, Routed, route
from tandem_appservice.transaction import read
from tandem_core.types import Json
from tests.appservice.world import for_device, of_room
from tests.core.sync_world import BOB, CAROL, ME, ROOM, member, message, olm

OTHER = "!other:example.org"
HOSTED = {
    ME.user_id: Hosted(ME.user_id, ME.device_id, True),
    CAROL: Hosted(CAROL, "CAROL1", True),
}


def _route(*events: Json, homes: dict[str, set[str]], in_order: bool = True, **body: object) -> Routed:
    return route(read("1", {"events": list(events), **body}), HOSTED, homes, in_order=in_order)


def _who(routed: Routed) -> list[tuple[str, set[str]]]:
    return [(piece.content.get("event_id", piece.kind), set(piece.users)) for piece in routed.pieces]


def test_an_event_is_for_the_accounts_in_its_room() -> None:
    homes = {ROOM: {ME.user_id}, OTHER: {ME.user_id, CAROL}}
    routed = _route(of_room(message("a")), of_room(message("b"), OTHER), homes=homes)
    assert _who(routed) == [("$a", {ME.user_id}), ("$b", {ME.user_id, CAROL})]


def test_who_joins_gets_what_follows_and_who_leaves_gets_the_leaving_as_the_last() -> None:
    homes: dict[str, set[str]] = {}
    routed = _route(
        of_room(message("before")),
        of_room(member(ME.user_id)),
        of_room(message("there")),
        of_room(member(ME.user_id, membership="leave")),
        of_room(message("after")),
        homes=homes,
    )
    assert [event for event, _ in _who(routed)][1] == "$there"
    assert len(routed.pieces) == 3
    assert routed.ignored_events == 2
    assert homes == {ROOM: set()}


def test_an_invited_account_gets_its_invitation_and_nothing_of_the_room() -> None:
    routed = _route(
        of_room(member(ME.user_id, membership="invite", sender=BOB)), of_room(message("secret")), homes={}
    )
    assert [users for _, users in _who(routed)] == [{ME.user_id}]


def test_other_peoples_memberships_change_no_home() -> None:
    homes = {ROOM: {ME.user_id}}
    assert _who(_route(of_room(member(BOB, membership="leave")), homes=homes))[0][1] == {ME.user_id}
    assert homes == {ROOM: {ME.user_id}}


def test_a_transaction_that_comes_late_takes_nobody_out_of_a_room_and_asks_for_its_state() -> None:
    homes = {ROOM: {ME.user_id}}
    late = of_room(member(ME.user_id, membership="leave"))
    routed = _route(late, homes=homes, in_order=False)
    assert homes == {ROOM: {ME.user_id}}
    assert [piece.kind for piece in routed.pieces] == [Kind.EVENT, Kind.LOOK_AGAIN]


def test_to_device_events_and_key_counts_are_for_one_device_of_one_account() -> None:
    routed = _route(
        homes={},
        to_device=[
            for_device(olm("a")),
            for_device(olm("b"), device_id="ANOTHER"),
            for_device(olm("c"), user_id="@stranger:example.org"),
        ],
        device_one_time_keys_count={
            ME.user_id: {ME.device_id: {"signed_curve25519": 3}, "ANOTHER": {"signed_curve25519": 0}}
        },
    )
    assert [(piece.kind, set(piece.users)) for piece in routed.pieces] == [
        (Kind.TO_DEVICE, {ME.user_id}),
        (Kind.E2EE, {ME.user_id}),
    ]
    assert (routed.ignored_devices, routed.ignored_users) == (1, 1)


def test_device_lists_are_for_everybody_and_account_data_for_its_owner() -> None:
    event = {"type": "m.direct", "content": {}}
    routed = _route(
        homes={},
        device_lists={"changed": [BOB]},
        account_data={CAROL: {"events": [event]}, BOB: {"events": [event]}},
    )
    assert [set(piece.users) for piece in routed.pieces] == [{ME.user_id, CAROL}, {CAROL}]
    assert routed.ignored_users == 1


def test_an_account_whose_rooms_are_not_known_yet_gets_every_event() -> None:
    hosted = {ME.user_id: Hosted(ME.user_id, ME.device_id, False)}
    routed = route(read("1", {"events": [of_room(message("a"))]}), hosted, {})
    assert _who(routed) == [("$a", {ME.user_id})]
