"""MSC4246 between servers: two real Synapses, and a small one that sends what it likes and hears what it is sent."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseServer
from tests.homeserver.listening import heard, importable, listening, of_type, to_server
from tests.homeserver.remote_server import RemoteServer
from tests.homeserver.tables import confirmed, rows
from tests.homeserver.two_servers import TwoServers, soon

pytestmark = pytest.mark.synapse

BURST = 40


@dataclass
class Three:
    """``there`` runs our module behind the second one, ``here`` before it."""

    here: SynapseServer
    there: SynapseServer
    small: RemoteServer
    alice: RawClient
    """On ``here``."""
    two: TwoServers

    def send_edu(self, *edus: Json) -> None:
        """The small server sends one transaction of m.direct_to_device units to ``here``."""
        self.small.send_edus(self.here, [{"edu_type": "m.direct_to_device", "content": edu} for edu in edus])


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    folder = tmp_path_factory.mktemp("three")
    two = TwoServers(folder)
    _let_plain_http_federate(two.here)
    settings = {"to_server_per_second": 5, "to_server_burst_count": BURST}
    listening(two.here, settings, second_first=False)
    listening(two.there, second_first=True)
    (folder / "small").mkdir()
    with RemoteServer(folder / "small") as small, importable(), two:
        yield Three(two.here, two.there, small, two.person(two.here, "alice"), two)


def _let_plain_http_federate(server: SynapseServer) -> None:
    path = server.folder / "homeserver.yaml"
    config = json.loads(path.read_text("utf-8"))
    config["listeners"][0]["resources"][0]["names"] = ["client", "federation"]
    path.write_text(json.dumps(config), "utf-8")


def address(server: SynapseServer) -> str:
    return f"@:{server.server_name}"


def edu(three: Three, content: Any, **others: Any) -> Json:
    return {
        "sender": three.small.user_id,
        "type": "org.example.strict",
        "message_id": secrets.token_hex(8),
        "messages": {address(three.here): {"": content}},
        **others,
    }


def heard_here(three: Three, key: str) -> list[Json]:
    """The contents that the second module on ``here`` has handled and that have this key."""
    return [note["content"] for note in heard(three.here) if key in note["content"]]


@pytest.mark.parametrize("device", ["", "*"])
def test_a_message_reaches_another_server_which_answers_by_its_own_address(three: Three, device: str) -> None:
    bob = three.two.person(three.here, "bob")
    sent = to_server(bob, address(three.there), "org.example.ping", {device: {"n": 1}}, secrets.token_hex(8))
    assert sent == (200, {})
    (event,) = of_type(bob, "org.example.pong")
    assert event["sender"] == address(three.there)
    assert event["content"] == {"sender": bob.user_id, "is_from_here": False, "n": 1}


def test_all_devices_of_another_server_are_sent_as_its_only_one(three: Three) -> None:
    by_device = {"*": {"n": 1}}
    assert to_server(three.alice, f"@:{three.small.name}", "org.example.any", by_device, "small")[0] == 200
    transactions = three.small.hear(lambda each: "org.example.any" in json.dumps(each.get("edus", [])))
    edus = [unit["content"] for each in transactions for unit in each.get("edus", [])]
    (found,) = [unit for unit in edus if unit.get("type") == "org.example.any"]
    assert found["sender"] == three.alice.user_id
    assert found["messages"] == {f"@:{three.small.name}": {"": {"n": 1}}}


def test_a_server_sends_to_people_elsewhere(three: Three) -> None:
    three.send_edu(edu(three, {"n": "to you"}, type="org.example.ping"))
    transactions = three.small.hear(lambda each: "org.example.pong" in json.dumps(each.get("edus", [])))
    edus = [unit["content"] for each in transactions for unit in each.get("edus", [])]
    (found,) = [unit for unit in edus if unit.get("type") == "org.example.pong"]
    assert found["sender"] == address(three.here)
    assert found["messages"] == {
        three.small.user_id: {"*": {"sender": three.small.user_id, "is_from_here": False, "n": "to you"}}
    }


def test_a_message_that_another_server_sends_again_is_handled_once(three: Three) -> None:
    repeated = edu(three, {"repeated": 1})
    three.send_edu(repeated, repeated)
    three.send_edu(repeated)
    three.send_edu(edu(three, {"repeated": 2}))
    assert heard_here(three, "repeated") == [{"repeated": 1}, {"repeated": 2}]


def test_people_s_messages_in_the_same_unit_reach_them(three: Three) -> None:
    bob = three.two.person(three.here, "bob")
    messages = {address(three.here): {"*": {"mixed": 1}}, bob.user_id: {bob.device_id: {"for": "Bob"}}}
    three.send_edu(edu(three, None, messages=messages))
    (event,) = of_type(bob, "org.example.strict")
    assert (event["sender"], event["content"]) == (three.small.user_id, {"for": "Bob"})
    assert heard_here(three, "mixed") == [{"mixed": 1}]


def test_no_transaction_fails_for_a_message_to_the_server(three: Three) -> None:
    """One that failed would be sent again, with all that stands in it, until it is taken."""
    three.send_edu(
        edu(three, {"refuse": True}),
        edu(three, "no object"),
        edu(three, {}, messages={address(three.here): "no object"}),
        edu(three, {"odd": "x" * 65_536}),
        edu(three, {"odd": 1}, type="org.example.nobody"),
        edu(three, {"odd": 2}, type="org.example.register"),
        edu(three, {"odd": 3}, sender=f"@mallory:{three.there.server_name}"),
        edu(three, {"odd": 4}),
    )
    assert heard_here(three, "odd") == [{"odd": 4}]


def test_a_server_that_sends_too_much_is_not_listened_to(three: Three, tmp_path: Path) -> None:
    with RemoteServer(tmp_path) as loud:
        sent = 0
        # All at once: what is forgiven with time meanwhile is much less.
        while len(heard_here(three, "flood")) == sent:
            more = [edu(three, {"flood": sent + each}, sender=loud.user_id) for each in range(BURST)]
            loud.send_edus(three.here, [{"edu_type": "m.direct_to_device", "content": each} for each in more])
            sent += BURST
        assert f"from {loud.name} (429)" in three.here.log_file.read_text("utf-8")
    # Another server is listened to.
    three.send_edu(edu(three, {"after": "the flood"}))
    assert heard_here(three, "after") == [{"after": "the flood"}]


def test_a_batch_of_receipts_is_taken_from_a_person_s_own_server_only(three: Three) -> None:
    carol = three.two.person(three.there, "carol")
    room = three.two.room(three.alice, carol)
    event = three.two.say(three.alice, room, "hello", carol)
    batch = {"rooms": {room: [event]}}
    assert to_server(carol, address(three.here), "im.tandem.delivery.batch", {"": batch}, "batch")[0] == 200
    words = "Dropped a batch of receipts from another server"
    soon(lambda: words in three.here.log_file.read_text("utf-8"))
    assert confirmed(three.here.folder, event) == set()


def test_a_batch_here_becomes_events_that_wait_for_the_author_on_another_server(three: Three) -> None:
    carol = three.two.person(three.there, "carol")
    settings = f"{CLIENT}/user/{quote(carol.user_id)}/account_data/im.tandem.delivery_settings"
    carol.ok("PUT", settings, {"durable": True})
    room = three.two.room(carol, three.alice)
    events = [three.two.say(carol, room, text, three.alice) for text in ("one", "two")]
    batch = {"rooms": {room: events}}
    assert (
        to_server(three.alice, address(three.here), "im.tandem.delivery.batch", {"": batch}, "out")[0] == 200
    )
    found: set[str] = set()

    def all_there() -> bool:
        for event in of_type(carol, "im.tandem.delivery"):
            assert event["sender"] == address(three.there)
            found.update(event["content"]["rooms"][room])
        return found == set(events)

    soon(all_there)


def test_no_server_has_an_inbox(three: Three) -> None:
    for server in (three.here, three.there):
        assert rows(server.folder, "SELECT * FROM device_inbox WHERE user_id LIKE '@:%'") == []
