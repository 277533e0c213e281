"""Access tokens that run out: the next one is there in time, asked for once, and never lost or used too early."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import session, tokens
from tandem_core.ctl import doctor
from tandem_core.ctl.main import parser
from tandem_core.errors import DiskFull, Expected, Offline, RateLimited, SignedOut
from tandem_core.netlock import open_lock, try_lock
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.store import session as rows
from tandem_core.store.database import Database
from tandem_core.sync.loop import SyncLoop
from tandem_core.types import DeviceId, Me, Role
from tests.core.sync.test_http import serving
from tests.core.sync_world import NOW, StillClock
from tests.core.token_server import LIFE_MS, ME, Link, TokenServer, answering, signed_in_rig
from tests.support.aio import in_loop


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    return profile_paths()


@in_loop
async def test_signing_in_asks_for_a_refresh_token_and_keeps_it_privately(paths: ProfilePaths) -> None:
    clock = StillClock()
    server = TokenServer(clock.now_ms)
    async with serving(server) as url:
        await session.login(url, "alice", "right", device_name="T", paths=paths, clock=clock)
    assert server.signed_in[0]["refresh_token"] is True
    with contextlib.closing(Database.open(paths.database)) as db:
        kept = session.current(db)
    assert (kept.access_token, kept.refresh_token) == ("access1", "refresh1")
    assert (kept.token_made_at, kept.token_expires_at) == (NOW, NOW + LIFE_MS)
    assert "access1" not in repr(kept)
    assert "refresh1" not in repr(kept)
    assert paths.database.stat().st_mode & 0o077 == 0


@in_loop
async def test_a_token_is_renewed_before_it_runs_out_and_kept_before_it_is_used(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        kept: list[str | None] = []
        rig.server.before_answer = lambda token, path: kept.append(rig.session().access_token)
        http = rig.program()
        await http.request("GET", "/early")
        rig.later(LIFE_MS / 1000 - 60)
        await http.request("GET", "/in-time")
    assert [(token, path) for token, path, _ in rig.server.served] == [
        ("access1", "/early"),
        ("access2", "/in-time"),
    ]
    assert kept == ["access1", "access2"], "what the server saw in use was in the store already"
    assert rig.server.refused == []
    assert rig.server.refreshes == ["refresh1"]


@pytest.mark.parametrize("delegated", [False, True])
def test_a_request_with_a_token_that_ran_out_is_repeated_as_it_was(
    paths: ProfilePaths, delegated: bool
) -> None:
    @in_loop
    async def go() -> None:
        async with signed_in_rig(paths) as rig:
            rig.server.is_delegated = delegated
            rig.server.chain[0].expires_at = NOW - 1  # by the server's clock, not by ours
            answer = await rig.program().request("PUT", "/send/t1", {"body": "hello"})
            assert answer == {"token": "access2"}
            assert rig.server.refused == [("access1", not delegated)]
            assert rig.server.served == [("access2", "/send/t1", {"body": "hello"})]
            kept = rig.session()
            assert (kept.access_token, kept.refresh_token, kept.token_made_at) == ("access2", "refresh2", NOW)

    go()


@in_loop
async def test_many_requests_of_both_programs_at_the_same_moment_make_one_refresh(
    paths: ProfilePaths,
) -> None:
    async with signed_in_rig(paths) as rig:
        doors = [rig.program(), rig.program(), rig.program()]
        rig.later(LIFE_MS / 1000 + 1)
        answers = await asyncio.gather(
            *(door.request("GET", f"/{n}") for n, door in enumerate(doors * 4)),
        )
        assert answers == [{"token": "access2"}] * 12
        assert rig.server.refreshes == ["refresh1"]


@in_loop
async def test_a_program_that_slept_over_several_renewals_takes_the_newest_token(
    paths: ProfilePaths,
) -> None:
    async with signed_in_rig(paths) as rig:
        busy, sleeper = rig.program(), rig.program()
        await sleeper.request("GET", "/first")
        for _ in range(3):
            rig.later(LIFE_MS / 1000 - 30)
            await busy.request("GET", "/busy")
        assert len(rig.server.refreshes) == 3
        # Its token is not even known to the server any more: that is no sign-out.
        assert await sleeper.request("GET", "/after") == {"token": "access4"}
        assert len(rig.server.refreshes) == 3
        assert rig.session().state is rows.SessionState.SIGNED_IN


@in_loop
async def test_an_answer_that_was_lost_is_asked_for_again(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        rig.server.lose_answer = 1
        http = rig.program()
        rig.later(LIFE_MS / 1000 - 30)
        assert await http.request("GET", "/x") == {"token": "access1"}
        rig.later(60)
        assert await http.request("GET", "/x") == {"token": "access3"}
        assert rig.server.refreshes == ["refresh1", "refresh1"]


@pytest.mark.parametrize(
    ("status", "value", "error"),
    [
        (500, {"errcode": "M_UNKNOWN"}, Offline),
        (502, "<html>bad gateway</html>", Offline),
        (403, "<html>portal</html>", Offline),
        (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1000}, RateLimited),
        (400, {"errcode": "M_BAD_JSON"}, Offline),
        (200, {}, Offline),
        (200, {"access_token": 7, "refresh_token": "r"}, Offline),
        (200, {"access_token": ""}, Offline),
        (200, [], Offline),
        (401, {"errcode": "M_UNAUTHORIZED", "flows": [], "session": "s"}, Offline),
    ],
)
def test_trouble_with_a_refresh_is_never_a_sign_out(
    paths: ProfilePaths, status: int, value: Any, error: type[Expected]
) -> None:
    @in_loop
    async def go() -> None:
        async with signed_in_rig(paths) as rig:
            http = rig.program()
            rig.later(LIFE_MS / 1000 + 1)
            before = rig.session()
            rig.server.on_refresh = [answering(status, value)] * 2  # ahead, and when the token is refused
            with pytest.raises(error):
                await http.request("GET", "/x")
            assert rig.session() == before
            rig.server.on_refresh = []
            assert await http.request("GET", "/x") == {"token": "access2"}

    go()


@in_loop
async def test_a_refresh_that_takes_too_long_is_no_sign_out(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_TIMEOUT_S", 0.05)

    async def hang(_: web.Request) -> web.StreamResponse | None:
        await asyncio.sleep(0.3)
        return None

    async with signed_in_rig(paths) as rig:
        http = rig.program()
        rig.later(LIFE_MS / 1000 + 1)
        rig.server.on_refresh = [hang, hang]
        with pytest.raises(Offline):
            await http.request("GET", "/x")
        assert rig.session().state is rows.SessionState.SIGNED_IN


@pytest.mark.parametrize(
    ("status", "errcode"), [(401, "M_UNKNOWN_TOKEN"), (403, "M_FORBIDDEN"), (403, "M_UNKNOWN_TOKEN")]
)
def test_a_definite_refusal_ends_softly_for_all_and_is_asked_for_once(
    paths: ProfilePaths, status: int, errcode: str
) -> None:
    @in_loop
    async def go() -> None:
        async with signed_in_rig(paths) as rig:
            rig.later(LIFE_MS / 1000 + 1)
            rig.server.on_refresh = [answering(status, {"errcode": errcode, "error": "no"})] * 9
            for door in (rig.program(), rig.program()):
                with pytest.raises(SignedOut) as ended:
                    await door.request("GET", "/x")
                assert ended.value.soft
            assert rig.server.refreshes == ["refresh1"]
            kept = rig.session()
            assert (kept.access_token, kept.refresh_token) == ("access1", None)

    go()


@in_loop
async def test_while_the_access_token_lives_a_refusal_of_the_next_one_ends_nothing(
    paths: ProfilePaths,
) -> None:
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        rig.server.on_refresh = [answering(403, {"errcode": "M_FORBIDDEN"})]
        rig.later(LIFE_MS / 1000 - 30)
        assert await http.request("GET", "/x") == {"token": "access1"}
        assert await http.request("GET", "/y") == {"token": "access1"}
        assert len(rig.server.refreshes) == 1


@in_loop
async def test_while_the_access_token_lives_trouble_with_the_next_one_delays_nothing_for_long(
    paths: ProfilePaths,
) -> None:
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        rig.server.on_refresh = [answering(503, "busy")] * 2
        rig.later(LIFE_MS / 1000 - 50)
        for _ in range(5):  # one try, and a pause before the next
            assert await http.request("GET", "/x") == {"token": "access1"}
        assert len(rig.server.refreshes) == 1
        rig.later(5)
        assert await http.request("GET", "/x") == {"token": "access1"}
        rig.later(30)
        assert await http.request("GET", "/x") == {"token": "access2"}


@in_loop
async def test_a_device_that_was_removed_is_told_as_such(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        rig.server.chain = []
        with pytest.raises(SignedOut) as ended:
            await http.request("GET", "/x")
        assert not ended.value.soft


@in_loop
async def test_a_pair_that_cannot_be_kept_is_not_used(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        rig.later(LIFE_MS / 1000 + 1)
        real = rows.renew

        def full(*_: Any) -> bool:
            raise DiskFull

        monkeypatch.setattr(rows, "renew", full)
        with pytest.raises(DiskFull):
            await http.request("GET", "/x")
        assert rig.server.served == []
        monkeypatch.setattr(rows, "renew", real)
        rig.later(60)
        assert await http.request("GET", "/x") == {"token": f"access{len(rig.server.refreshes) + 1}"}
        assert set(rig.server.refreshes) == {"refresh1"}


@in_loop
async def test_giving_up_a_request_does_not_give_up_the_answer_to_a_refresh(paths: ProfilePaths) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse | None:
        arrived.set()
        await go_on.wait()
        return None

    async with signed_in_rig(paths) as rig:
        rig.server.on_refresh = [slow]
        http = rig.program()
        rig.later(LIFE_MS / 1000 + 1)
        asked = asyncio.ensure_future(http.request("GET", "/x"))
        await arrived.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        go_on.set()
        assert await http.request("GET", "/y") == {"token": "access2"}
        assert rig.server.refreshes == ["refresh1"]


@in_loop
async def test_who_holds_the_lock_for_ever_keeps_nobody_whose_token_is_good(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_COURTESY_S", 0.05)
    monkeypatch.setattr(tokens, "_PATIENCE_S", 0.05)
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        held = open_lock(rig.paths.lock("net-token"))
        assert try_lock(held)
        try:
            rig.later(LIFE_MS / 1000 - 30)
            assert await http.request("GET", "/x") == {"token": "access1"}
            rig.later(60)
            with pytest.raises(Offline):
                await http.request("GET", "/x")
        finally:
            os.close(held)
        monkeypatch.undo()
        assert await http.request("GET", "/x") == {"token": "access2"}


@in_loop
async def test_a_session_that_somebody_signed_in_anew_meanwhile_is_not_overwritten(
    paths: ProfilePaths,
) -> None:
    async with signed_in_rig(paths) as rig:

        async def sign_in(_: web.Request) -> web.StreamResponse | None:
            rig.db.write_now(rows.set_session, ME, rig.url, "mine", NOW, refresh_token="other")
            rig.server.chain = [Link("mine", "other", NOW + 10 * LIFE_MS)]
            return web.json_response({"access_token": "late", "refresh_token": "late"})

        rig.server.on_refresh = [sign_in]
        http = rig.program()
        rig.later(LIFE_MS / 1000 + 1)
        assert await http.request("GET", "/x") == {"token": "mine"}
        kept = rig.session()
        assert (kept.access_token, kept.refresh_token) == ("mine", "other")


@in_loop
async def test_another_devices_token_is_never_taken(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        other = Me(ME.user_id, DeviceId("TWO"))
        rig.db.write_now(rows.set_session, other, rig.url, rig.server.begin().access, NOW)
        with pytest.raises(SignedOut):
            await http.request("GET", "/x")
        assert rig.server.served == []


@in_loop
async def test_a_refresh_token_stays_good_where_no_new_one_is_given(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        rig.server.on_refresh = [answering(200, {"access_token": "access1"})]
        http = rig.program()
        rig.later(LIFE_MS / 1000 - 10)
        await http.request("GET", "/x")
        kept = rig.session()
        assert (kept.refresh_token, kept.token_expires_at) == ("refresh1", None)


@in_loop
async def test_the_long_poll_goes_on_from_its_place_with_the_next_token(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        queries: list[str] = []
        serve = rig.server.__call__

        async def sync(request: web.Request) -> web.StreamResponse:
            answer = await serve(request)
            if "sync" not in request.path or answer.status != 200:
                return answer
            queries.append(request.query_string)
            return web.json_response({"pos": f"{len(queries)}/s{len(queries)}"})

        async with serving(sync) as url:
            http.base_url = url
            loop = SyncLoop(
                rig.db, http, ME, Role.APP, clock=rig.clock, chance=random.Random(7), long_poll_ms=0
            )
            await loop.step()
            rig.later(LIFE_MS / 1000 + 1)
            await loop.step()
        assert "pos=1" in queries[1]
        assert rig.db.read_now(rows.connection, Role.APP).pos == "2/s2"
        assert rig.session().access_token == "access2"


@in_loop
async def test_signing_out_with_a_token_that_ran_out_signs_out_at_the_server(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        rig.later(LIFE_MS / 1000 + 1)
        await session.logout(paths, clock=rig.clock)
        assert [path for _, path, _ in rig.server.served] == ["/_matrix/client/v3/logout"]
        assert not paths.database.exists()


@in_loop
async def test_no_token_is_ever_written_to_the_log(
    paths: ProfilePaths, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with signed_in_rig(paths) as rig:
        http = rig.program()
        rig.later(LIFE_MS / 1000 - 30)
        await http.request("GET", "/x")
        rig.later(LIFE_MS / 1000)
        rig.server.on_refresh = [answering(500, {}), answering(401, {"errcode": "M_UNKNOWN_TOKEN"})]
        for _ in range(2):
            with contextlib.suppress(Expected):
                await http.request("GET", "/x")
    said = "\n".join(record.getMessage() + str(record.exc_info) for record in caplog.records)
    assert "renewed" in said
    for number in range(1, 4):
        assert f"access{number}" not in said
        assert f"refresh{number}" not in said


@in_loop
async def test_doctor_says_whether_the_session_goes_on_by_itself(
    paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_VAULT", "file")

    async def said() -> tuple[bool, str]:
        options = parser().parse_args(["doctor", "--json"])
        await asyncio.to_thread(doctor.run, paths, options)
        findings = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
        [found] = [one for one in findings if one["what"] == "session"]
        return found["ok"], found["detail"]

    async with signed_in_rig(paths, life_ms=10**12) as rig:
        assert await said() == (True, "is renewed by itself")
        rig.db.write_now(rows.forget_refresh_token, "refresh1")
        ok, detail = await said()
        assert not ok
        assert "renewed by the server no more" in detail


_A_TIME = st.integers(0, 2**45)


@given(_A_TIME, st.integers(0, 2**40), _A_TIME)
def test_no_token_is_renewed_in_its_first_three_quarters_and_each_before_its_end(
    made_at: int, life_ms: int, now_ms: int
) -> None:
    kept = rows.Session(ME, "", "a", rows.SessionState.SIGNED_IN, "r", made_at, made_at + life_ms)
    if now_ms < made_at + life_ms * 3 // 4:
        assert not tokens.is_due(kept, now_ms)
    if now_ms >= made_at + life_ms and life_ms >= 1000:
        assert tokens.is_due(kept, now_ms)


@given(st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.none())))
def test_whatever_a_server_says_of_its_tokens_is_a_text_and_a_time_or_nothing(value: Any) -> None:
    refresh, life = tokens.read_expiry({"refresh_token": value, "expires_in_ms": value})
    assert refresh is None or (isinstance(refresh, str) and refresh)
    assert life is None or (type(life) is int and 0 <= life < 2**53)
