"""The account's own devices: what is shown of them, their names, and signing others out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import own_devices
from tandem_core.ctl import devices as command
from tandem_core.ctl.approver import TerminalApprover
from tandem_core.ctl.main import parser
from tandem_core.errors import BadInput, Cancelled, NotSignedIn, Offline, WrongPassword
from tandem_core.http import Http
from tandem_core.own_devices import ManagedElsewhere, UnknownDevice
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.store import devices as rows
from tandem_core.store import session as sessions
from tandem_core.store.database import Database
from tandem_core.trust import DeviceTrust
from tandem_core.types import DeviceId, Me, UserId
from tests.core.sync.test_http import serving
from tests.core.sync_world import NOW
from tests.support.aio import in_loop

ME = Me(UserId("@alice:x"), DeviceId("HERE"))
PHONE, OLD = DeviceId("PHONE"), DeviceId("OLD")


@dataclass
class Account:
    """The server's side: devices, and the password before any of them goes. Synapse's rules and words."""

    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    password: str = "right"
    sso: bool = False
    approved: bool = False
    answer: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
    wishes: list[Any] = field(default_factory=list)
    """Bodies of requests to sign out."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        odd = self.answer(request)
        if odd is not None:
            return odd
        parts = request.path.split("/")[4:]
        match [request.method, *parts]:
            case ["GET", "devices"]:
                return web.json_response({"devices": list(self.devices.values())})
            case ["PUT", "devices", device_id]:
                if device_id not in self.devices:
                    return _no(404, "M_NOT_FOUND")
                self.devices[device_id]["display_name"] = body["display_name"]
                return web.json_response({})
            case ["POST", "delete_devices"]:
                self.wishes.append(body)
                return self._delete(body)
        return _no(404, "M_UNRECOGNIZED")

    def _delete(self, body: Any) -> web.StreamResponse:
        auth = body.get("auth", {})
        stage = "m.login.sso" if self.sso else "m.login.password"
        wanted = {"session": "s", "flows": [{"stages": [stage]}], "params": {}}
        if not auth:
            return web.json_response(wanted, status=401)
        if not (self.approved if self.sso else auth.get("password") == self.password):
            refused = {"errcode": "M_FORBIDDEN", "error": "Invalid password"}
            return web.json_response(wanted | refused, status=401)
        for device_id in body["devices"]:
            self.devices.pop(device_id, None)
        return web.json_response({})

    def add(self, device_id: str, name: str | None = None, at: Any = NOW, ip: Any = "10.0.0.7") -> None:
        self.devices[device_id] = {
            "device_id": device_id,
            "display_name": name,
            "last_seen_ts": at,
            "last_seen_ip": ip,
            "user_id": ME.user_id,
        }


def _no(status: int, errcode: str) -> web.StreamResponse:
    return web.json_response({"errcode": errcode, "error": "no"}, status=status)


class Person:
    """Gives these passwords one after the other; in the browser, does this."""

    def __init__(self, *passwords: str | None, approves: Callable[[], bool] = lambda: False) -> None:
        self.passwords = list(passwords)
        self.approves = approves
        self.was_wrong: list[bool] = []

    async def password(self, *, was_wrong: bool) -> str | None:
        self.was_wrong.append(was_wrong)
        return self.passwords.pop(0)

    async def in_browser(self, url: str) -> bool:
        return self.approves()


@dataclass
class Rig:
    server: Account
    http: Http
    db: Database
    paths: ProfilePaths

    async def list(self) -> list[own_devices.OwnDevice]:
        return await own_devices.fetch(self.http, self.db, ME)

    async def sign_out(self, person: Person, *device_ids: DeviceId) -> None:
        await own_devices.sign_out(self.http, self.db, ME, device_ids, person)

    def living(self) -> set[str]:
        found = self.db.read_now(rows.devices_of, [ME.user_id])
        return {device.device_id for device in found}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    return profile_paths()


@contextlib.asynccontextmanager
async def _rig(paths: ProfilePaths) -> AsyncIterator[Rig]:
    """Alice with this device, a phone that is known here, and an old one without keys."""
    server = Account()
    server.add("HERE", "Tandem", NOW - 60_000)
    server.add(PHONE, "Alice's phone", NOW)
    server.add(OLD, None, NOW - 10**10)
    async with serving(server) as url:
        paths.make()
        db = Database.open(paths.database)
        db.write_now(sessions.set_session, ME, url, "token", NOW)
        db.write_now(rows.track, [ME.user_id])
        listed = [
            (rows.Device(ME.user_id, DeviceId(name), f"c{name}", f"e{name}", name), list[str]())
            for name in ("HERE", PHONE)
        ]
        db.write_now(rows.put_list, ME.user_id, listed, 1, NOW)
        http = Http(url, token="token")
        try:
            yield Rig(server, http, db, paths)
        finally:
            await http.close()
            db.close()


@in_loop
async def test_this_device_comes_first_and_the_others_by_when_they_were_seen(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        found = await rig.list()
    assert [device.device_id for device in found] == ["HERE", PHONE, OLD]
    assert [device.is_this for device in found] == [True, False, False]
    assert [device.label for device in found] == ["Tandem", "Alice's phone", OLD]
    assert found[1].last_seen_at == NOW
    assert found[1].last_seen_ip == "10.0.0.7"
    assert "10.0.0.7" not in repr(found), "an address is shown where somebody asks for it"


@in_loop
async def test_trust_is_what_the_store_knows_of_the_devices_keys(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        assert [device.trust for device in await rig.list()] == [
            DeviceTrust.UNSIGNED,
            DeviceTrust.UNSIGNED,
            None,
        ]


@pytest.mark.parametrize(
    "value", [{}, {"devices": None}, {"devices": {"a": 1}}, {"devices": "none"}, {"devices": 7}]
)
def test_an_answer_without_a_list_is_no_empty_list(paths: ProfilePaths, value: Any) -> None:
    @in_loop
    async def go() -> None:
        async with _rig(paths) as rig:
            rig.server.answer = lambda _: web.json_response(value)
            with pytest.raises(Offline):
                await rig.list()

    go()


_JUNK = st.one_of(
    st.none(), st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.text()), st.just("x" * 9999)
)


@given(
    st.one_of(
        _JUNK,
        st.fixed_dictionaries(
            {},
            optional={
                "device_id": _JUNK,
                "display_name": _JUNK,
                "last_seen_ts": _JUNK,
                "last_seen_ip": _JUNK,
            },
        ),
    )
)
def test_whatever_a_server_says_of_a_device_can_be_shown_or_is_left_out(entry: Any) -> None:
    device = own_devices.read(entry, ME, {})
    if device is None:
        return
    assert device.device_id
    assert device.label
    assert len(device.name) <= 255
    assert "\n" not in device.name
    assert device.last_seen_at is None or 0 < device.last_seen_at < 2**53


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  My\tphone \n", "My phone"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("\x1b[31mred", "[31mred"),
        ("👩‍💻 laptop", "👩‍💻 laptop"),
        ("\u2066\u2069", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_a_name_is_one_line_that_steers_nothing(name: object, shown: str) -> None:
    assert own_devices.clean_name(name) == shown


@in_loop
async def test_a_new_name_is_the_servers_and_the_stores(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        assert await own_devices.rename(rig.http, rig.db, ME, PHONE, "  Old   phone ") == "Old phone"
        assert rig.server.devices[PHONE]["display_name"] == "Old phone"
        assert rig.db.read_now(rows.device_name, ME.user_id, PHONE) == "Old phone"


@in_loop
async def test_names_that_cannot_be_are_told_and_nobody_is_asked(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        for name in ("", "   ", "\u202e", "x" * 101):
            with pytest.raises(BadInput):
                await own_devices.rename(rig.http, rig.db, ME, PHONE, name)
        assert rig.server.devices[PHONE]["display_name"] == "Alice's phone"
        with pytest.raises(UnknownDevice):
            await own_devices.rename(rig.http, rig.db, ME, DeviceId("GONE?"), "name")


@in_loop
async def test_the_right_password_signs_out_several_at_once_and_the_store_follows(
    paths: ProfilePaths,
) -> None:
    async with _rig(paths) as rig:
        person = Person("right")
        await rig.sign_out(person, PHONE, OLD)
        assert list(rig.server.devices) == ["HERE"]
        assert rig.living() == {"HERE"}
        assert rig.db.read_now(rows.outdated, NOW) == {ME.user_id: 2}, "the list is asked for again"
        assert [wish["devices"] for wish in rig.server.wishes] == [[OLD, PHONE]] * 2
        assert person.was_wrong == [False]


@in_loop
async def test_a_wrong_password_is_asked_for_again_and_giving_up_changes_nothing(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        person = Person("wrong", "wronger", None)
        with pytest.raises(Cancelled):
            await rig.sign_out(person, PHONE)
        assert person.was_wrong == [False, True, True]
        assert PHONE in rig.server.devices
        assert rig.living() == {"HERE", PHONE}
        await rig.sign_out(Person("wrong", "right"), PHONE)
        assert PHONE not in rig.server.devices


@in_loop
async def test_single_sign_on_is_approved_in_the_browser(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        rig.server.sso = True
        with pytest.raises(Cancelled):
            await rig.sign_out(Person(), PHONE)

        def approve() -> bool:
            rig.server.approved = True
            return True

        await rig.sign_out(Person(approves=approve), PHONE)
        assert PHONE not in rig.server.devices


@in_loop
async def test_all_others_are_signed_out_and_this_one_stays(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        gone = await own_devices.sign_out_others(rig.http, rig.db, ME, Person("right"))
        assert {device.device_id for device in gone} == {PHONE, OLD}
        assert list(rig.server.devices) == ["HERE"]
        assert await own_devices.sign_out_others(rig.http, rig.db, ME, Person()) == []


@in_loop
async def test_this_device_is_never_signed_out_this_way(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        with pytest.raises(BadInput, match="HERE"):
            await rig.sign_out(Person("right"), PHONE, ME.device_id)
        assert rig.server.wishes == []


@in_loop
async def test_a_server_that_does_it_elsewhere_is_named_as_such(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        rig.server.answer = lambda request: (
            _no(404, "M_UNRECOGNIZED") if request.path.endswith("delete_devices") else None
        )
        with pytest.raises(ManagedElsewhere):
            await rig.sign_out(Person("right"), PHONE)


@in_loop
async def test_trouble_on_the_way_leaves_the_store_as_it_is(paths: ProfilePaths) -> None:
    async with _rig(paths) as rig:
        rig.server.answer = lambda _: web.Response(status=502, text="away")
        for act in (
            rig.list(),
            rig.sign_out(Person("right"), PHONE),
            own_devices.rename(rig.http, rig.db, ME, PHONE, "x"),
        ):
            with pytest.raises(Offline):
                await act
        assert rig.living() == {"HERE", PHONE}
        assert rig.db.read_now(rows.device_name, ME.user_id, PHONE) == PHONE


# ── tandemctl devices ──────────────────────────────────────────────────────────────────────────


def _run(paths: ProfilePaths, *words: str) -> int:
    options: argparse.Namespace = parser().parse_args(["devices", *words])
    return command.run(paths, options)


async def _ctl(paths: ProfilePaths, *words: str) -> int:
    return await asyncio.to_thread(_run, paths, *words)


@in_loop
async def test_the_command_lists_without_addresses_unless_asked(
    paths: ProfilePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    async with _rig(paths):
        assert await _ctl(paths) == 0
        told = capsys.readouterr().out
        assert [line.split()[0] for line in told.splitlines()] == ["*", PHONE, OLD]
        assert "Alice's phone" in told
        assert "10.0.0.7" not in told
        assert await _ctl(paths, "--json", "--ip") == 0
        value = json.loads(capsys.readouterr().out)
        assert value[0] == {
            "device_id": "HERE",
            "name": "Tandem",
            "last_seen_at": NOW - 60_000,
            "last_seen_ip": "10.0.0.7",
            "is_this": True,
            "trust": "unsigned",
        }


@in_loop
async def test_the_command_renames_and_signs_out_with_a_password_from_a_file(
    paths: ProfilePaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "password"
    async with _rig(paths) as rig:
        assert await _ctl(paths, "rename", PHONE, "Pocket") == 0
        assert rig.server.devices[PHONE]["display_name"] == "Pocket"
        secret.write_text("wrong\n")
        with pytest.raises(WrongPassword):
            await _ctl(paths, "sign-out", PHONE, "--password-file", str(secret))
        with pytest.raises(BadInput):
            await _ctl(paths, "sign-out", PHONE)
        with pytest.raises(UnknownDevice):
            await _ctl(paths, "sign-out", "PHONY", "--password-file", str(secret))
        assert PHONE in rig.server.devices
        secret.write_text("right\n")
        assert await _ctl(paths, "--json", "sign-out", PHONE, "--password-file", str(secret)) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"signed_out": [PHONE]}
        assert await _ctl(paths, "sign-out", "--others", "--password-file", str(secret)) == 0
        assert list(rig.server.devices) == ["HERE"]


@in_loop
async def test_the_command_wants_names_or_all_others_and_not_both(paths: ProfilePaths) -> None:
    async with _rig(paths):
        for words in ((), (PHONE, "--others")):
            with pytest.raises(BadInput):
                await _ctl(paths, "sign-out", *words)


@in_loop
async def test_a_page_is_approved_with_enter_and_refused_by_an_end_of_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    approver = TerminalApprover(None)
    for said, approved in (("\n", True), ("", False)):
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        assert await approver.in_browser("https://x/page") is approved
    assert "https://x/page" in capsys.readouterr().err


def test_nobody_who_is_signed_out_is_asked(paths: ProfilePaths) -> None:
    with pytest.raises(NotSignedIn):
        _run(paths)
