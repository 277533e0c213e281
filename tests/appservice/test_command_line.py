"""``tandem-appservice`` as a person types it: the registration, accounts, and what the status tells."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tandem_appservice import registration
from tandem_appservice.main import main
from tandem_appservice.queue import Queue
from tandem_appservice.transaction import read
from tandem_core.paths import profile_paths
from tandem_core.role import take_role
from tandem_core.store import session
from tandem_core.store.database import Database
from tandem_core.sync.request import SYNC_PATH
from tandem_core.types import DeviceId, Json, Me, Role, UserId
from tests.appservice.world import for_device, of_room
from tests.core.sync.test_http import serving
from tests.core.sync_world import member, message, olm

BOB = "@_tandem_bob:example.org"
pytestmark = pytest.mark.usefixtures("tandem_home")


def _register(*more: str, homeserver: str = "http://127.0.0.1:9") -> int:
    words = ["--homeserver", homeserver, "--server-name", "example.org", *more]
    return main(["registration", *words])


class Homeserver:
    """Registers and signs in users for whoever has the service's token."""

    def __init__(self) -> None:
        self.users: set[str] = set()
        self.logins: list[Json] = []
        self.keys: list[Json] = []
        """To-device events that wait for the one device there is."""

    def _sync(self, asked: Json) -> Json:
        if asked["extensions"]["to_device"].get("since") == "1":
            self.keys = []
        block = {"events": self.keys, "next_batch": "1" if self.keys else "0"}
        return {"pos": "1", "lists": {"all": {"count": 0}}, "extensions": {"to_device": block}}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == SYNC_PATH:
            return web.json_response(self._sync(await request.json()))
        token = registration.load(registration.service_paths()).as_token
        assert request.headers["Authorization"] == f"Bearer {token}"
        body = await request.json()
        if request.path.endswith("/register"):
            assert body["type"] == "m.login.application_service"
            if body["username"] in self.users:
                return web.json_response({"errcode": "M_USER_IN_USE", "error": ""}, status=400)
            self.users.add(body["username"])
            return web.json_response({"user_id": f"@{body['username']}:example.org"})
        assert request.path.endswith("/login")
        self.logins.append(body)
        number = len(self.logins)
        answer = {
            "user_id": body["identifier"]["user"],
            "device_id": f"D{number}",
            "access_token": f"t{number}",
        }
        return web.json_response(answer)


def _with_server(server: Homeserver, *commands: list[str]) -> list[int]:
    """Run commands against this homeserver, which is registered first unless it is already."""

    @asynccontextmanager
    async def registered() -> Any:
        async with serving(server) as url:
            file = registration.file_of(registration.service_paths())
            if file.exists():
                said = json.loads(file.read_text("utf-8"))
                said[registration.OWN_KEY]["homeserver"] = url
                file.write_text(json.dumps(said), "utf-8")
            else:
                assert await asyncio.to_thread(_register, homeserver=url) == 0
            yield

    async def go() -> list[int]:
        async with registered():
            return [await asyncio.to_thread(main, command) for command in commands]

    return asyncio.run(go())


def _status(capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_registration_is_private_and_synapse_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from synapse.config.appservice import load_appservices

    copy = tmp_path / "tandem.yaml"
    assert _register("--output", str(copy), "--aliases", "#x_.*:example\\.org") == 0
    kept = registration.file_of(registration.service_paths())
    assert [stat.S_IMODE(file.stat().st_mode) for file in (copy, kept)] == [0o600, 0o600]
    assert copy.read_text("utf-8") == kept.read_text("utf-8")
    (service,) = load_appservices("example.org", [str(copy)])
    assert service.supports_ephemeral
    assert service.msc3202_transaction_extensions
    assert not service.is_rate_limited()
    assert service.is_user_in_namespace(BOB)
    assert service.is_exclusive_user(BOB)
    assert not service.is_user_in_namespace("@bob:example.org")
    said = json.loads(copy.read_text("utf-8"))
    assert said["im.tandem.lossless_to_device"] is True
    assert said["im.tandem.account_data"] is True
    out = capsys.readouterr().out
    assert str(copy) in out
    assert "msc2409_to_device_messages_enabled: true" in out
    assert "msc3202_transaction_extensions: true" in out
    assert said["as_token"] not in out
    assert said["hs_token"] not in out


def test_a_second_registration_is_refused_unless_it_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert _register() == 0
    file = registration.file_of(registration.service_paths())
    before = file.read_text("utf-8")
    assert _register() == 2
    assert "--replace" in capsys.readouterr().err
    assert file.read_text("utf-8") == before
    assert _register("--replace", "--inclusive") == 0
    made = registration.load(registration.service_paths())
    assert made.as_token not in before
    assert not made.namespaces.exclusive


@pytest.mark.parametrize(
    "words",
    [
        ["--users", "@(:"],
        ["--url", "29340"],
        ["--url", "ftp://x"],
        ["--sender", "Big Letters"],
    ],
)
def test_what_no_homeserver_would_take_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _register(*words) == 2
    assert capsys.readouterr().err.startswith("tandem-appservice: ")
    assert not registration.file_of(registration.service_paths()).exists()


@pytest.mark.parametrize("command", [["status"], ["run"], ["add-account", "x"], ["remove-account", "x"]])
def test_without_a_registration_it_is_said_what_to_do(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 1
    assert "tandem-appservice registration" in capsys.readouterr().err


def test_an_account_is_made_signed_in_and_hosted_as_one_device(capsys: pytest.CaptureFixture[str]) -> None:
    server = Homeserver()
    add = ["add-account", "--json", "_tandem_bob"]
    assert _with_server(server, add, add) == [0, 0]
    assert len(server.logins) == 1
    assert server.users == {"_tandem_bob"}
    status = _status(capsys)
    (account,) = status["accounts"]
    assert (account["user_id"], account["device_id"], account["state"]) == (BOB, "D1", "stopped")
    assert (status["running"], status["to_device"], status["last_transaction"]) == (False, "unknown", None)
    paths = profile_paths(account["profile"])
    db = Database.open(paths.database)
    kept = db.read_now(session.session)
    db.close()
    assert kept is not None
    assert (kept.me.user_id, kept.access_token) == (BOB, "t1")


def test_an_account_that_exists_already_is_hosted_all_the_same() -> None:
    server = Homeserver()
    server.users.add("_tandem_bob")
    assert _with_server(server, ["add-account", BOB]) == [0]


def test_a_profile_that_was_kept_in_sync_goes_on_with_its_device(capsys: pytest.CaptureFixture[str]) -> None:
    paths = profile_paths("office")
    paths.make()
    db = Database.open(paths.database)
    db.write_now(session.set_session, Me(UserId(BOB), DeviceId("OLD")), "http://127.0.0.1:9", "t0", 1)
    db.close()
    server = Homeserver()
    server.keys = [olm("came before anybody was hosted")]
    assert _with_server(server, ["add-account", "_tandem_bob", "--profile", "office"]) == [0]
    assert server.logins == []
    (account,) = _status(capsys)["accounts"]
    assert (account["device_id"], account["inbox"]) == ("OLD", 1)
    # What is in the store is acknowledged; and the profile of somebody else is not touched.
    assert server.keys == []
    assert _with_server(server, ["add-account", "_tandem_eve", "--profile", "office"]) == [2]


@pytest.mark.parametrize("user", ["@_tandem_bob:elsewhere.org", "carol", "@carol:example.org"])
def test_nobody_outside_the_namespace_is_hosted(user: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = Homeserver()
    assert _with_server(server, ["add-account", user]) == [2]
    assert server.users == set()
    assert _status(capsys)["accounts"] == []


def test_an_account_that_is_removed_takes_first_what_was_kept_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _with_server(Homeserver(), ["add-account", "_tandem_bob"]) == [0]
    queue = Queue.open(registration.service_paths().data / "service.db")
    queue.settle_homes(BOB, [])
    events = [of_room(member(BOB)), of_room(message("a"))]
    keys = [for_device(olm("k"), BOB, "D1")]
    queue.accept(read("1", {"events": events, "to_device": keys}), 1_800_000_000_000)
    queue.close()
    status = _status(capsys)
    assert status["accounts"][0]["waiting"] == 3
    assert (status["to_device"], status["last_transaction"]["txn_id"]) == ("stock", "1")
    assert main(["remove-account", "_tandem_bob"]) == 0
    (account,) = _status(capsys)["accounts"]
    assert (account["hosted"], account["waiting"]) == (False, 0)
    db = Database.open(profile_paths("as.tandem_bob").database)
    counts = db.read_now(
        lambda conn: [conn.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("inbox", "timeline")]
    )
    db.close()
    assert counts == [1, 2]
    assert main(["remove-account", "_tandem_bob"]) == 2
    assert main(["remove-account", "_tandem_bob", "--forget"]) == 0
    assert _status(capsys)["accounts"] == []


def test_a_profile_that_another_program_keeps_in_sync_is_not_taken_from_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _with_server(Homeserver(), ["add-account", "_tandem_bob"]) == [0]
    assert main(["remove-account", "_tandem_bob"]) == 0
    with take_role(profile_paths("as.tandem_bob"), Role.NOTIFIER):
        assert _with_server(Homeserver(), ["add-account", "_tandem_bob"]) == [1]
    assert "already runs" in capsys.readouterr().err
    assert not _status(capsys)["accounts"][0]["hosted"]
    assert _with_server(Homeserver(), ["add-account", "_tandem_bob"]) == [0]
    assert _status(capsys)["accounts"][0]["hosted"]


def test_the_status_is_told_in_words_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert _with_server(Homeserver(), ["add-account", "_tandem_bob"]) == [0]
    capsys.readouterr()
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "It does not run" in out
    assert f"{BOB} (as.tandem_bob): stopped" in out


@pytest.mark.parametrize("words", [[], ["dance"], ["add-account"], ["run", "--listen"]])
def test_wrong_words_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_an_address_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert _register() == 0
    assert main(["run", "--listen", "nowhere"]) == 2
    assert "--listen" in capsys.readouterr().err
