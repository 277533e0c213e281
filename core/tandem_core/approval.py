"""Ask for what the server does only for the person itself (spec, "User-Interactive Authentication API")."""

from __future__ import annotations

from typing import Protocol

from tandem_core.errors import Cancelled, NeedsApproval, ServerRefused
from tandem_core.http import Http, path, quote
from tandem_core.types import Json, Me

PASSWORD = "m.login.password"  # noqa: S105  # the name of a stage
_WITHOUT_ASKING = ("m.login.dummy",)
_BY_OWN_PAGE = ("m.oauth", "org.matrix.cross_signing_reset")
"""Stages whose page the server names itself (MSC4312, and its unstable name)."""
_MOST_STAGES = 12


class Approver(Protocol):
    """Whoever can speak to the person: a dialogue, a terminal."""

    async def password(self, *, was_wrong: bool) -> str | None:
        """The account's password, or None if the person would rather not."""
        ...

    async def in_browser(self, url: str) -> bool:
        """Have the person approve on this page; returns once they say so, False if they would rather not."""
        ...


class CannotApprove(ServerRefused):
    title = "Your homeserver wants a confirmation that Tandem does not know"
    advice = "Do this on the account page of your homeserver."


async def request(http: Http, me: Me, method: str, path_: str, body: Json, approver: Approver) -> Json:
    """Ask, and go through the stages that the server wants; returns the answer of the 200.

    Raises Cancelled, CannotApprove, and what ``Http.request`` raises. The password goes nowhere else.
    """
    auth: Json | None = None
    given: str | None = None
    for _ in range(_MOST_STAGES):
        try:
            return await http.request(method, path_, body if auth is None else {**body, "auth": auth})
        except NeedsApproval as wanted:
            stage = next_stage(wanted)
            if stage in _WITHOUT_ASKING:
                auth = {"type": stage, "session": wanted.session}
            elif stage == PASSWORD:
                given = await approver.password(was_wrong=given is not None)
                if given is None:
                    raise Cancelled from None
                auth = {
                    "type": stage,
                    "session": wanted.session,
                    "identifier": {"type": "m.id.user", "user": me.user_id},
                    "password": given,
                }
            else:
                if not await approver.in_browser(_page(http, wanted, stage)):
                    raise Cancelled from None
                auth = {"session": wanted.session}
    raise CannotApprove(401, "M_UNAUTHORIZED", "it asks again and again")


def next_stage(wanted: NeedsApproval) -> str:
    """The stage to go through now, of the flow that asks least of the person; raises CannotApprove."""
    left = [
        [stage for stage in flow if stage not in wanted.completed]
        for flow in wanted.flows
        if set(wanted.completed) <= set(flow)
    ]
    left = [stages for stages in left if stages]
    if not left or wanted.session is None:
        raise CannotApprove(401, wanted.errcode, wanted.message)
    return min(left, key=_effort)[0]


def _effort(stages: list[str]) -> tuple[int, int]:
    """Least first: nothing to do, the password, the browser."""
    asks = [stage for stage in stages if stage not in _WITHOUT_ASKING]
    return sum(stage != PASSWORD for stage in asks), len(asks)


def _page(http: Http, wanted: NeedsApproval, stage: str) -> str:
    """Where the person approves: the page that the server names, or its fallback page."""
    params = wanted.params.get(stage)
    url = params.get("url") if isinstance(params, dict) and stage in _BY_OWN_PAGE else None
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return url
    return f"{http.base_url}{path('auth', stage, 'fallback', 'web')}?session={quote(wanted.session or '')}"
