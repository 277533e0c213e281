"""Access tokens that run out, under real processes: one refresh for all of them, and deaths on the way."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tandem_core.paths import ProfilePaths, profile_paths
from tests.core.sync_world import NOW
from tests.core.token_server import signed_in_rig
from tests.support.aio import in_loop


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    return profile_paths()


_REQUESTS = """
import asyncio, os, sys
from tandem_core import tokens
from tandem_core.paths import profile_paths
from tandem_core.store import session as rows
from tandem_core.store.database import Database

async def then_die(work):
    await work
    os._exit(9)

async def main():
    paths = profile_paths()
    db = Database.open(paths.database)
    http = tokens.renewing_http(paths, db, db.read_now(rows.session))
    {before}
    print("ready", flush=True)
    sys.stdin.readline()
    for answer in await asyncio.gather(*(http.request("GET", f"/{{n}}") for n in range(5))):
        print(answer["token"], flush=True)
    await http.close()
    db.close()

asyncio.run(main())
"""


async def _process(before: str = "") -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _REQUESTS.format(before=before),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


@in_loop
async def test_two_processes_that_ask_at_the_same_moment_make_one_refresh(paths: ProfilePaths) -> None:
    async with signed_in_rig(paths) as rig:
        rig.server.chain[0].expires_at = NOW - 1
        programs = [await _process(), await _process()]
        said = await asyncio.gather(*(program.communicate(b"go\n") for program in programs))
        assert [out.split() for out, _ in said] == [[b"access2"] * 5] * 2
        assert rig.server.refreshes == ["refresh1"]


_DEATHS = {
    "before the question": "http._exchange = (lambda real: lambda m, p, *a:"
    " os._exit(9) if p.endswith('refresh') else real(m, p, *a))(http._exchange)",
    "before the commit": "rows.renew = lambda *a: os._exit(9)",
    "inside the commit": "rows.renew = (lambda real: lambda *a: (real(*a), os._exit(9)))(rows.renew)",
    "after the commit": "db.write = (lambda real: lambda *a: then_die(real(*a)))(db.write)",
}


@pytest.mark.parametrize("where", _DEATHS)
def test_a_program_that_dies_on_the_way_leaves_a_session_that_goes_on(
    paths: ProfilePaths, where: str
) -> None:
    @in_loop
    async def go() -> None:
        async with signed_in_rig(paths) as rig:
            rig.server.chain[0].expires_at = NOW - 1
            first = await _process(_DEATHS[where])
            await first.communicate(b"go\n")
            assert first.returncode == 9
            rig.server.chain[0].expires_at = NOW - 1
            second = await _process()
            said, _ = await second.communicate(b"go\n")
            assert set(said.split()) == {rig.session().access_token.encode()}  # type: ignore[union-attr]
            assert set(rig.server.refreshes) == {"refresh1"}

    go()
