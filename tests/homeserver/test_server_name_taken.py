"""A homeserver where an account has the server's own name (MSC4246): it keeps it, and the administrator is told."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from tandem_demo.raw import CLIENT, RawClient
from tandem_demo.synapse import SynapseServer
from tests.conftest import new_user
from tests.homeserver.listening import heard, importable, inbox, listening, to_server

pytestmark = pytest.mark.synapse

HERE = "@:localhost"


def test_an_account_with_the_server_s_name_is_reported_and_left_as_it_is_until_it_is_closed(
    tmp_path: Path,
) -> None:
    token = secrets.token_hex(16)
    server = _with_service(tmp_path, token, sender_localpart="greedy")
    try:
        server.start()
        server.wait_ready()
        # Without the module a service takes the name; this is what its refusal elsewhere is for.
        body = {"type": "m.login.application_service", "username": ""}
        account = RawClient(server.base_url, token).ok("POST", f"{CLIENT}/register", body)
        assert account["user_id"] == HERE
        taker = RawClient(server.base_url, account["access_token"], HERE, account["device_id"])
        server.stop()
        listening(server)
        with importable():
            server.start()
            server.wait_ready()
            assert f"{HERE}, and there is an account of this name" in server.log_file.read_text("utf-8")
            assert not _features(server)
            alice = RawClient(server.base_url).login(*new_user(server, "alice"))
            assert to_server(alice, HERE, "org.example.strict", {"*": {"for": "the account"}}, "1")[0] == 200
            assert [event["content"] for event in inbox(taker)[0]] == [{"for": "the account"}]
            assert heard(server) == []
            admin = _administrator(server)
            admin.ok("POST", f"/_synapse/admin/v1/deactivate/{HERE}", {})
            server.restart()
        assert _features(server) == {"org.matrix.msc4246", "im.tandem.delivery.batch"}
        assert to_server(alice, HERE, "org.example.strict", {"*": {"for": "the server"}}, "2")[0] == 200
        assert [note["content"] for note in heard(server)] == [{"for": "the server"}]
        # From now on nobody opens the account again.
        reopened = {"deactivated": False, "password": "a long password"}
        status, refusal = admin.request("PUT", f"/_synapse/admin/v2/users/{HERE}", reopened)
        assert (status, refusal["errcode"]) == (400, "M_INVALID_USERNAME")
    finally:
        server.stop()


def test_an_application_service_that_speaks_as_the_server_is_reported(tmp_path: Path) -> None:
    server = _with_service(tmp_path, secrets.token_hex(16), sender_localpart="")
    listening(server)
    try:
        with importable():
            server.start()
            server.wait_ready()
        assert f"{HERE}, and an application service has it" in server.log_file.read_text("utf-8")
        assert not _features(server)
    finally:
        server.stop()


def _with_service(folder: Path, token: str, *, sender_localpart: str) -> SynapseServer:
    service = {
        "id": "greedy",
        "url": None,
        "as_token": token,
        "hs_token": secrets.token_hex(16),
        "sender_localpart": sender_localpart,
        "namespaces": {"users": [{"exclusive": True, "regex": "@:localhost"}], "aliases": [], "rooms": []},
    }
    (folder / "service.yaml").write_text(json.dumps(service), "utf-8")
    extra = {"app_service_config_files": [str(folder / "service.yaml")]}
    return SynapseServer.create(folder / "synapse", with_module=False, extra=extra)


def _features(server: SynapseServer) -> set[str]:
    _, answer = RawClient(server.base_url).request("GET", "/_matrix/client/versions")
    ours = ("org.matrix.msc4246", "im.tandem.delivery.batch")
    return {name for name in ours if answer["unstable_features"].get(name)}


def _administrator(server: SynapseServer) -> RawClient:
    server.register("root", "a long password", admin=True)
    return RawClient(server.base_url).login("root", "a long password")
