"""Law 1 in the middle of a run: a token is sent when its events are kept, not when they were read off the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_core.store import inbox
from tandem_core.sync import loop as module
from tests.core.sync.test_loop import Server, _loop, _run, answer
from tests.core.sync_world import Account, olm
from tests.support.aio import in_loop


@in_loop
async def test_a_failure_in_mid_run_acknowledges_only_what_was_kept(
    alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = module.apply, 0

    def apply(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        made = whole(*args, **kwargs)
        if calls == 2:
            raise OSError(28, "no space left")
        return made

    monkeypatch.setattr(module, "apply", apply)
    second = answer("2", olm("b"), next_batch="6")
    server = Server(
        answer("1", olm("a"), next_batch="5"), second, second, answer("3", olm("c"), next_batch="7")
    )
    await _run(_loop(alice, server), server)
    assert server.sinces() == [None, "5", "5", "6", "7"]
    assert alice.read(inbox.depth) == 3
