"""Signing in and out, with everything that can be wrong about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tandem_core import session
from tandem_core.errors import (
    BadInput,
    Expected,
    NoSlidingSync,
    NotMatrix,
    NotSignedIn,
    Offline,
    SignedOut,
    WrongPassword,
)
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.store.database import Database
from tandem_core.types import Json
from tests.core.sync.test_http import serving
from tests.core.sync_world import StillClock
from tests.support.aio import in_loop

VERSIONS: Json = {"versions": ["v1.11"], "unstable_features": {"org.matrix.simplified_msc3575": True}}


class Homeserver:
    """Knows @alice:x with the password "right"; remembers what it was asked."""

    def __init__(self) -> None:
        self.versions: Json = VERSIONS
        self.logins: list[Json] = []
        self.logouts = 0
        self.busy = 0
        self.user_id = "@alice:x"
        self.logout_status = 200

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/_matrix/client/versions":
                return web.json_response(self.versions)
            case "/_matrix/client/v3/login":
                return self._login(await request.json())
            case "/_matrix/client/v3/logout":
                self.logouts += 1
                return web.json_response({}, status=self.logout_status)
        return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)

    def _login(self, asked: Json) -> web.StreamResponse:
        if self.busy:
            self.busy -= 1
            return web.json_response({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1000}, status=429)
        self.logins.append(asked)
        if asked["password"] != "right":
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "Invalid"}, status=403)
        device = asked.get("device_id") or f"DEVICE{len(self.logins)}"
        token = f"token{len(self.logins)}"
        return web.json_response({"user_id": self.user_id, "device_id": device, "access_token": token})


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    return profile_paths()


async def _login(url: str, paths: ProfilePaths, user: str = "alice", password: str = "right") -> Any:
    return await session.login(url, user, password, device_name="Tandem", paths=paths, clock=StillClock())


@contextmanager
def _store(paths: ProfilePaths) -> Iterator[Database]:
    db = Database.open(paths.database)
    try:
        yield db
    finally:
        db.close()


@in_loop
async def test_signing_in_keeps_who_where_and_the_token(paths: ProfilePaths) -> None:
    server = Homeserver()
    async with serving(server) as url:
        me = await _login(url, paths)
    assert (me.user_id, me.device_id) == ("@alice:x", "DEVICE1")
    assert server.logins[0]["initial_device_display_name"] == "Tandem"
    with _store(paths) as db:
        kept = session.current(db)
    assert (kept.me, kept.homeserver, kept.access_token) == (me, url, "token1")
    assert paths.database.stat().st_mode & 0o077 == 0


@in_loop
async def test_a_wrong_password_is_told_as_such_and_nothing_is_kept(paths: ProfilePaths) -> None:
    async with serving(Homeserver()) as url:
        with pytest.raises(WrongPassword) as wrong:
            await _login(url, paths, password="wrong")
    assert "wrong" not in wrong.value.detail
    with _store(paths) as db, pytest.raises(NotSignedIn):
        session.current(db)


@in_loop
async def test_a_web_server_is_no_homeserver(paths: ProfilePaths) -> None:
    async def html(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>It works!</html>", content_type="text/html")

    async with serving(html) as url:
        with pytest.raises(NotMatrix):
            await _login(url, paths)


@in_loop
async def test_other_json_is_no_homeserver(paths: ProfilePaths) -> None:
    for odd in ({"hello": "world"}, {"versions": "all"}):
        server = Homeserver()
        server.versions = odd
        async with serving(server) as url:
            with pytest.raises(NotMatrix):
                await _login(url, paths)


@in_loop
async def test_a_server_without_sliding_sync_is_named(paths: ProfilePaths) -> None:
    server = Homeserver()
    server.versions = {"versions": ["v1.5"]}
    async with serving(server) as url:
        with pytest.raises(NoSlidingSync):
            await _login(url, paths)
    assert server.logins == []


@in_loop
async def test_a_server_that_is_not_there_is_offline(paths: ProfilePaths) -> None:
    async with serving(Homeserver()) as url:
        pass
    with pytest.raises(Offline):
        await _login(url, paths)


@in_loop
async def test_addresses_that_are_none_are_bad_input(paths: ProfilePaths) -> None:
    for address in (
        "",
        "http://",
        "ftp://example.org",
        "http://exa mple.org",
        "https://x:99999",
        "javascript:x",
    ):
        with pytest.raises(BadInput):
            await _login(address, paths)


@in_loop
async def test_the_names_well_known_file_leads_to_the_server(paths: ProfilePaths) -> None:
    async with serving(Homeserver()) as real:

        async def well_known(request: web.Request) -> web.StreamResponse:
            if request.path == "/.well-known/matrix/client":
                return web.json_response({"m.homeserver": {"base_url": real + "/"}})
            return web.Response(status=404, text="nothing here")

        async with serving(well_known) as name:
            await _login(name, paths)
    with _store(paths) as db:
        assert session.current(db).homeserver == real


@in_loop
async def test_a_busy_server_is_waited_for(paths: ProfilePaths) -> None:
    server = Homeserver()
    server.busy = 2
    async with serving(server) as url:
        await _login(url, paths)
    assert len(server.logins) == 1


@in_loop
async def test_after_a_soft_sign_out_the_device_and_its_keys_stay(paths: ProfilePaths) -> None:
    server = Homeserver()
    async with serving(server) as url:
        await _login(url, paths)
        with _store(paths) as db:
            _fill(db)
            db.write_now(session.mark_signed_out, True)
            with pytest.raises(SignedOut) as signed_out:
                session.current(db)
            assert signed_out.value.soft
        me = await _login(url, paths)
    assert me.device_id == "DEVICE1"
    with _store(paths) as db:
        assert session.current(db).access_token == "token2"
        assert _counts(db) == {"connection": 1, "megolm_inbound": 1, "olm_session": 1}


@in_loop
async def test_after_a_hard_sign_out_a_new_device_keeps_messages_and_their_keys_only(
    paths: ProfilePaths,
) -> None:
    server = Homeserver()
    async with serving(server) as url:
        await _login(url, paths)
        with _store(paths) as db:
            _fill(db)
            db.write_now(session.mark_signed_out, False)
        me = await _login(url, paths)
    assert me.device_id == "DEVICE2"
    with _store(paths) as db:
        assert _counts(db) == {"connection": 0, "megolm_inbound": 1, "olm_session": 0}


def _fill(db: Database) -> None:
    def fill(txn: Any) -> None:
        txn.execute("INSERT INTO connection (conn, since) VALUES ('app', '5')")
        txn.execute("INSERT INTO olm_session VALUES ('s', 'k', 'p', 1, 1, 0)")
        txn.execute("INSERT INTO megolm_inbound VALUES ('!r:x', 's', '@b:x', 'k', NULL, 'p', 0, 'olm', 1)")

    db.write_now(fill)


def _counts(db: Database) -> dict[str, int]:
    def count(conn: Any) -> dict[str, int]:
        tables = ("connection", "megolm_inbound", "olm_session")
        return {table: conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    return db.read_now(count)


@in_loop
async def test_somebody_else_cannot_take_over_a_store(paths: ProfilePaths) -> None:
    server = Homeserver()
    async with serving(server) as url:
        await _login(url, paths)
        with _store(paths) as db:
            db.write_now(session.mark_signed_out, True)
        with pytest.raises(BadInput, match="alice"):
            await _login(url, paths, user="@mallory:x")
        assert len(server.logins) == 1, "the password was not even sent"
        server.user_id = "@mallory:x"
        with pytest.raises(BadInput, match="alice"):
            await _login(url, paths, user="mallory")
    assert server.logouts == 1, "the sign-in that was made is taken back"


@in_loop
async def test_signing_in_twice_is_refused(paths: ProfilePaths) -> None:
    async with serving(Homeserver()) as url:
        await _login(url, paths)
        with pytest.raises(BadInput) as refused:
            await _login(url, paths)
    assert "already" in refused.value.title


@in_loop
async def test_signing_out_tells_the_server_and_wipes_the_files(paths: ProfilePaths) -> None:
    server = Homeserver()
    async with serving(server) as url:
        await _login(url, paths)
        paths.vault_file.write_bytes(b"key")
        await session.logout(paths)
    assert server.logouts == 1
    assert [file.name for file in paths.data.iterdir() if not file.name.endswith(".lock")] == []


@in_loop
async def test_signing_out_while_offline_keeps_everything_unless_forced(paths: ProfilePaths) -> None:
    async with serving(Homeserver()) as url:
        await _login(url, paths)
    with pytest.raises(Expected):
        await session.logout(paths, clock=StillClock())
    with _store(paths) as db:
        assert session.current(db).me.user_id == "@alice:x"
    await session.logout(paths, clock=StillClock(), force=True)
    assert not paths.database.exists()


@in_loop
async def test_signing_out_without_a_session_says_so(paths: ProfilePaths) -> None:
    with pytest.raises(NotSignedIn):
        await session.logout(paths)


def test_a_sign_out_does_not_touch_a_session_that_was_renewed(paths: ProfilePaths) -> None:
    from tandem_core.store import session as rows
    from tandem_core.types import DeviceId, Me, UserId

    paths.make()
    with _store(paths) as db:
        db.write_now(rows.set_session, Me(UserId("@a:x"), DeviceId("D")), "http://x", "new", 1)
        assert not db.write_now(session.mark_signed_out, False, "old")
        assert session.current(db).access_token == "new"
        assert db.write_now(session.mark_signed_out, False, "new")
