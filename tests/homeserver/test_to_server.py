"""MSC4246 on a real Synapse, over plain HTTP: to-device messages to the server itself, and from it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tandem_demo.raw import CLIENT, Json, RawClient
from tandem_demo.synapse import SynapseError, SynapseServer
from tandem_synapse.to_server import MAX_CONTENT_BYTES
from tests.conftest import new_user
from tests.homeserver.listening import heard, importable, inbox, listening, of_type, to_server
from tests.homeserver.tables import rows
from tests.homeserver.two_servers import soon

pytestmark = pytest.mark.synapse

HERE = "@:localhost"
BURST, WAITING = 30, 3
AS_TOKEN = secrets.token_hex(16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    folder = tmp_path_factory.mktemp("listening")
    registration = folder / "service.yaml"
    registration.write_text(json.dumps(_service()), "utf-8")
    extra = {
        "app_service_config_files": [str(registration)],
        "enable_registration": True,
        "enable_registration_without_verification": True,
    }
    made = SynapseServer.create(folder, extra=extra)
    settings = {"to_server_per_second": 5, "to_server_burst_count": BURST, "to_server_waiting": WAITING}
    listening(made, settings)
    with importable():
        made.start()
    try:
        made.wait_ready()
        yield made
    finally:
        made.stop()


@pytest.fixture
def person(server: SynapseServer) -> Callable[..., RawClient]:
    def make(name: str = "user") -> RawClient:
        return RawClient(server.base_url).login(*new_user(server, name))

    return make


def _service() -> Json:
    return {
        "id": "greedy",
        "url": None,
        "as_token": AS_TOKEN,
        "hs_token": secrets.token_hex(16),
        "sender_localpart": "greedy",
        "namespaces": {"users": [{"exclusive": False, "regex": "@.*:localhost"}], "aliases": [], "rooms": []},
    }


def send(client: RawClient, type_: str, by_device: Any, **others: Any) -> tuple[int, Json]:
    return to_server(client, HERE, type_, by_device, secrets.token_hex(8), **others)


def heard_from(server: SynapseServer, client: RawClient) -> list[Json]:
    return [note["content"] for note in heard(server) if note["sender"] == client.user_id]


def test_support_is_announced(server: SynapseServer) -> None:
    _, answer = RawClient(server.base_url).request("GET", "/_matrix/client/versions")
    assert answer["unstable_features"]["org.matrix.msc4246"] is True
    assert answer["unstable_features"]["im.tandem.delivery.batch"] is True


@pytest.mark.parametrize("device", ["", "*"])
def test_a_message_to_the_server_reaches_its_handler_which_answers_as_the_server(
    person: Callable[..., RawClient], device: str
) -> None:
    alice = person("alice")
    assert send(alice, "org.example.ping", {device: {"n": 1}}) == (200, {})
    (event,) = of_type(alice, "org.example.pong")
    assert event == {
        "type": "org.example.pong",
        "sender": HERE,
        "content": {"sender": alice.user_id, "is_from_here": True, "n": 1},
    }


def test_an_answer_waits_in_the_inbox_of_each_device_until_that_one_acknowledges_it(
    server: SynapseServer,
) -> None:
    name, password = new_user(server, "alice")
    phone, laptop = (RawClient(server.base_url).login(name, password) for _ in range(2))
    assert send(phone, "org.example.ping", {"": {}})[0] == 200
    of_type(phone, "org.example.pong")
    events, token = inbox(laptop)
    assert [event["sender"] for event in events] == [HERE]
    assert inbox(laptop, token)[0] == []
    assert inbox(laptop)[0] == []
    assert len(inbox(phone)[0]) == 1


def test_the_empty_device_is_the_server_s_only_one(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice = person("alice")
    by_device = {"": {"n": "named"}, "*": {"n": "all"}, "OTHER": {"n": "other"}}
    assert send(alice, "org.example.strict", by_device)[0] == 200
    assert send(alice, "org.example.strict", {"OTHER": {"n": "other"}})[0] == 200
    assert heard_from(server, alice) == [{"n": "named"}]


def test_other_people_s_messages_in_the_same_request_reach_them(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice, bob = person("alice"), person("bob")
    others = {bob.user_id: {bob.device_id: {"n": "for Bob"}}}
    assert send(alice, "org.example.strict", {"": {"n": "for the server"}}, **others)[0] == 200
    assert [event["content"] for event in inbox(bob)[0]] == [{"n": "for Bob"}]
    assert heard_from(server, alice) == [{"n": "for the server"}]


def test_an_unknown_type_is_dropped_and_logged_by_its_type_alone(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice = person("alice")
    assert send(alice, "org.example.nobody", {"": {"word": "swordfish"}}) == (200, {})
    log = server.log_file.read_text("utf-8")
    assert "of unknown type 'org.example.nobody' to the server" in log
    assert "swordfish" not in log


def test_the_server_has_no_inbox(server: SynapseServer, person: Callable[..., RawClient]) -> None:
    alice = person("alice")
    for type_ in ("org.example.strict", "org.example.nobody"):
        assert send(alice, type_, {"*": {}})[0] == 200
    for table in ("device_inbox", "devices"):
        assert rows(server.folder, f"SELECT * FROM {table} WHERE user_id = ?", HERE) == []


@pytest.mark.parametrize(
    ("by_device", "status", "errcode"),
    [
        ({"": {"text": "x" * MAX_CONTENT_BYTES}}, 413, "M_TOO_LARGE"),
        ({"": "no object"}, 400, "M_BAD_JSON"),
        (["no object"], 400, "M_BAD_JSON"),
    ],
)
def test_what_is_too_large_or_of_no_shape_is_refused_with_all_that_came_with_it(
    server: SynapseServer, person: Callable[..., RawClient], by_device: Any, status: int, errcode: str
) -> None:
    alice, bob = person("alice"), person("bob")
    others = {bob.user_id: {bob.device_id: {}}}
    got, refusal = send(alice, "org.example.strict", by_device, **others)
    assert (got, refusal["errcode"]) == (status, errcode)
    assert inbox(bob)[0] == []
    assert heard_from(server, alice) == []


def test_too_many_messages_are_refused(server: SynapseServer, person: Callable[..., RawClient]) -> None:
    alice = person("alice")
    answers = [send(alice, "org.example.nobody", {"": {}}) for _ in range(BURST)]
    while answers[-1][0] == 200:
        answers.append(send(alice, "org.example.nobody", {"": {}}))
    assert answers[-1][1]["errcode"] == "M_LIMIT_EXCEEDED"
    assert {status for status, _ in answers[:-1]} == {200}
    # Nobody else is held up.
    assert send(person("bob"), "org.example.nobody", {"": {}})[0] == 200


def test_a_slow_handler_holds_up_no_request_and_what_waits_for_it_is_bounded(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice = person("alice")
    sent = 0
    # One is with the handler as soon as that has been woken; the others wait.
    while (answer := send(alice, "org.example.slow", {"": {"n": sent}}))[0] == 200:
        sent += 1
        assert sent <= WAITING + 1
    assert answer[1]["errcode"] == "M_LIMIT_EXCEEDED"
    assert sent >= WAITING
    # The other handlers do not wait for this one.
    assert send(alice, "org.example.ping", {"": {}})[0] == 200
    of_type(alice, "org.example.pong")
    assert not [note for note in heard(server) if note["type"] == "org.example.slow"]
    (server.folder / "go").touch()
    slow = soon(
        lambda: (
            [n["content"] for n in heard(server) if n["type"] == "org.example.slow"][sent - 1 :]
            and heard(server)
        )
    )
    numbers = [note["content"]["n"] for note in slow if note["type"] == "org.example.slow"]
    assert numbers == list(range(sent))


def test_a_handler_that_is_called_before_the_answer_gives_the_answer(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice, bob = person("alice"), person("bob")
    others = {bob.user_id: {bob.device_id: {}}}
    assert send(alice, "org.example.strict", {"": {"n": 1}})[0] == 200
    assert heard_from(server, alice) == [{"n": 1}]
    status, refusal = send(alice, "org.example.strict", {"": {"refuse": True}}, **others)
    assert (status, refusal["errcode"]) == (403, "ORG.EXAMPLE.REFUSED")
    assert inbox(bob)[0] == []


def test_a_request_that_is_sent_again_is_handled_once(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice = person("alice")
    for _ in range(2):
        assert to_server(alice, HERE, "org.example.strict", {"": {"n": 1}}, "same")[0] == 200
    assert heard_from(server, alice) == [{"n": 1}]


def test_a_handler_that_fails_is_logged_and_goes_on(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    alice = person("alice")
    for number in range(2):
        assert send(alice, "org.example.broken", {"": {"n": number}})[0] == 200
    soon(lambda: len(heard_from(server, alice)) == 2)
    assert heard_from(server, alice) == [{"n": 0}, {"n": 1}]
    soon(lambda: "The handler of 'org.example.broken' failed" in server.log_file.read_text("utf-8"))


def _by_service(server: SynapseServer, person: Callable[..., RawClient]) -> tuple[int, Json]:
    service = RawClient(server.base_url, AS_TOKEN)
    body = {"type": "m.login.application_service", "username": ""}
    return service.request("POST", f"{CLIENT}/register", body)


def _by_administrator(server: SynapseServer, person: Callable[..., RawClient]) -> tuple[int, Json]:
    name, password = f"admin-{secrets.token_hex(3)}", "a long password"
    server.register(name, password, admin=True)
    admin = RawClient(server.base_url).login(name, password)
    return admin.request("PUT", f"/_synapse/admin/v2/users/{HERE}", {"password": password})


def _by_registration(server: SynapseServer, person: Callable[..., RawClient]) -> tuple[int, Json]:
    body = {"username": "", "password": "a long password", "auth": {"type": "m.login.dummy"}}
    return RawClient(server.base_url).request("POST", f"{CLIENT}/register", body)


def _by_module(server: SynapseServer, person: Callable[..., RawClient]) -> tuple[int, Json]:
    return send(person("alice"), "org.example.register", {"": {"localpart": ""}})


@pytest.mark.parametrize("way", [_by_service, _by_administrator, _by_registration, _by_module])
def test_nobody_can_take_the_server_s_name(
    server: SynapseServer,
    person: Callable[..., RawClient],
    way: Callable[[SynapseServer, Callable[..., RawClient]], tuple[int, Json]],
) -> None:
    status, refusal = way(server, person)
    assert (status, refusal["errcode"]) == (400, "M_INVALID_USERNAME")
    assert rows(server.folder, "SELECT * FROM users WHERE name = ?", HERE) == []


def test_the_shared_secret_does_not_give_the_server_s_name_away_either(server: SynapseServer) -> None:
    with pytest.raises(SynapseError, match="M_INVALID_USERNAME"):
        server.register("", "a long password")


def test_an_application_service_cannot_speak_as_the_server(
    server: SynapseServer, person: Callable[..., RawClient]
) -> None:
    bob = person("bob")
    service = RawClient(server.base_url, AS_TOKEN)
    login = {"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": HERE}}
    status, _ = service.request("POST", f"{CLIENT}/login", login)
    assert status == 404
    messages = {"messages": {bob.user_id: {"*": {}}}}
    path = f"{CLIENT}/sendToDevice/org.example.forged/1"
    assert service.request("PUT", f"{path}?user_id={HERE}", messages)[0] == 403
    assert inbox(bob)[0] == []
