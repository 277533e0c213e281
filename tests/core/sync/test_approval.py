"""What the server does only for the person itself: its stages, by the rules of the specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tandem_core import approval
from tandem_core.errors import Cancelled, NeedsApproval, ServerRefused
from tandem_core.http import Http
from tandem_core.types import DeviceId, Me, UserId
from tests.core.sync.test_http import serving
from tests.support.aio import in_loop

ME = Me(UserId("@a:example.org"), DeviceId("ONE"))


class Person:
    """Gives these passwords one after the other, and approves in the browser if told so."""

    def __init__(self, *passwords: str | None, approves: bool = True) -> None:
        self.passwords = list(passwords)
        self.approves = approves
        self.told: list[Any] = []

    async def password(self, *, was_wrong: bool) -> str | None:
        self.told.append(was_wrong)
        return self.passwords.pop(0)

    async def in_browser(self, url: str) -> bool:
        self.told.append(url)
        return self.approves


async def _ask(person: Person, judge: Callable[[Any], tuple[int, dict[str, Any]]]) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        status, value = judge(await request.json())
        return web.json_response(value, status=status)

    async with serving(answer) as url:
        http = Http(url, token="t0ken")
        try:
            return await approval.request(http, ME, "POST", "/x", {"wish": 1}, person)
        finally:
            await http.close()


def _wants(*flows: list[str], **more: Any) -> tuple[int, dict[str, Any]]:
    return 401, {"session": "s", "flows": [{"stages": flow} for flow in flows], "params": {}, **more}


@in_loop
async def test_what_needs_no_approval_asks_nobody() -> None:
    person = Person()
    assert await _ask(person, lambda body: (200, {"got": body})) == {"got": {"wish": 1}}
    assert person.told == []


@in_loop
async def test_the_password_goes_with_the_session_and_the_same_wish() -> None:
    def judge(body: Any) -> tuple[int, dict[str, Any]]:
        if "auth" not in body:
            return _wants(["m.login.sso"], ["m.login.password"])
        if body["auth"]["password"] != "right":
            return _wants(["m.login.password"], errcode="M_FORBIDDEN", error="Invalid password")
        return 200, body

    person = Person("wrong", "right")
    assert await _ask(person, judge) == {
        "wish": 1,
        "auth": {
            "type": "m.login.password",
            "session": "s",
            "identifier": {"type": "m.id.user", "user": ME.user_id},
            "password": "right",
        },
    }
    assert person.told == [False, True]


@in_loop
async def test_whoever_gives_no_password_changes_nothing() -> None:
    with pytest.raises(Cancelled):
        await _ask(Person(None), lambda _: _wants(["m.login.password"]))


@in_loop
async def test_single_sign_on_is_approved_on_the_servers_page() -> None:
    def judge(body: Any) -> tuple[int, dict[str, Any]]:
        return (200, body) if "auth" in body else _wants(["m.login.sso"], session="s/1")

    person = Person()
    assert (await _ask(person, judge))["auth"] == {"session": "s/1"}
    assert person.told[0].endswith("/_matrix/client/v3/auth/m.login.sso/fallback/web?session=s%2F1")
    with pytest.raises(Cancelled):
        await _ask(Person(approves=False), judge)


@pytest.mark.parametrize("stage", ["m.oauth", "org.matrix.cross_signing_reset"])
def test_oauth_is_approved_on_the_page_that_the_server_names(stage: str) -> None:
    @in_loop
    async def go() -> None:
        def judge(body: Any) -> tuple[int, dict[str, Any]]:
            params = {stage: {"url": "https://account.example.org/reset"}}
            return (200, {}) if "auth" in body else _wants([stage], params=params)

        person = Person()
        await _ask(person, judge)
        assert person.told == ["https://account.example.org/reset"]

    go()


@in_loop
async def test_a_page_that_is_no_web_page_is_not_opened() -> None:
    def judge(body: Any) -> tuple[int, dict[str, Any]]:
        params = {"m.oauth": {"url": "file:///etc/passwd"}}
        return (200, {}) if "auth" in body else _wants(["m.oauth"], params=params)

    person = Person()
    await _ask(person, judge)
    assert person.told[0].startswith("http://127.0.0.1:")


@in_loop
async def test_two_stages_are_gone_through_in_order() -> None:
    seen = []

    def judge(body: Any) -> tuple[int, dict[str, Any]]:
        seen.append(body.get("auth", {}).get("type"))
        done = [stage for stage in seen if stage]
        return (200, {}) if len(done) == 2 else _wants(["m.login.dummy", "m.login.password"], completed=done)

    await _ask(Person("right"), judge)
    assert seen == [None, "m.login.dummy", "m.login.password"]


@in_loop
async def test_a_server_that_asks_for_ever_is_given_up() -> None:
    with pytest.raises(approval.CannotApprove):
        await _ask(Person(), lambda _: _wants(["m.login.sso"]))


@pytest.mark.parametrize(
    "answer",
    [
        {"flows": []},
        {"flows": [{"stages": []}], "session": "s"},
        {"flows": [7, {"stages": "x"}], "session": "s"},
    ],
)
def test_questions_that_nobody_can_answer_are_refusals(answer: dict[str, Any]) -> None:
    @in_loop
    async def go() -> None:
        with pytest.raises(ServerRefused):
            await _ask(Person("x"), lambda _: (401, answer))

    go()


def test_the_flow_that_asks_least_is_taken() -> None:
    wanted = NeedsApproval(
        {
            "session": "s",
            "flows": [
                {"stages": ["m.login.sso"]},
                {"stages": ["m.login.email.identity", "m.login.password"]},
                {"stages": ["m.login.password"]},
            ],
        }
    )
    assert approval.next_stage(wanted) == approval.PASSWORD
