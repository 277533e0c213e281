"""Two Tandems on different homeservers: the author's decides which way a confirmation takes, and the mark is the same.

Real programs on two real Synapses that federate. The reader's has the module, the author's may be a stock one.
"""

from __future__ import annotations

import secrets
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tandem_demo.device import wait_for
from tandem_demo.traffic import Pen
from tests.e2e.scene import direct_chat, event_of, listen, requests, signed_in
from tests.homeserver.two_servers import TwoServers

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]


@pytest.mark.parametrize(("authors_has_module", "way"), [(True, "server"), (False, "olm")])
def test_an_author_on_another_homeserver_is_told_whatever_that_can_do(
    tmp_path: Path, authors_has_module: bool, way: str
) -> None:
    servers = TwoServers(tmp_path / "servers", here_module=authors_has_module)
    listen(servers.here)
    with ExitStack() as stack:
        stack.enter_context(servers)
        alice = signed_in(servers.here, tmp_path, "alice")
        bob = signed_in(servers.there, tmp_path, "bob")
        for device in (alice, bob):
            stack.callback(device.stop_all)
            device.ctl("identity", "set-up")
            device.ctl("settings", "set", "receipts.timing", "quick")
            device.start_notifier()
        room = direct_chat(alice, bob)
        pen = Pen(alice, stack)

        def written(words: str) -> str:
            body = f"{words} {secrets.token_hex(4)}"
            pen.write(room, body)
            return event_of(bob, body)

        def told(event_id: str) -> list[str]:
            question = (
                "SELECT via FROM delivery WHERE event_id = ? AND user_id <> (SELECT user_id FROM session)"
            )
            return [row[0] for row in alice.ask(question, (event_id,))]

        first = written("Which way does it take")
        assert wait_for("Alice's mark", lambda: told(first)) == [way]
        assert alice.ctl("receipts", first)["people_delivered"] == 1

        # Bob's program dies with the word unsaid, and Alice is away when it is said.
        second = written("And now")
        bob.stop("notifier", signal.SIGKILL)
        alice.stop_all()
        bob.start_notifier()
        question = "SELECT 1 FROM receipt_owed WHERE event_id = ? AND state = 'sent'"
        wait_for("Bob's word", lambda: bob.ask(question, (second,)))
        alice.start_notifier()
        assert wait_for("Alice's mark", lambda: told(second)) == [way]
        for device in (alice, bob):
            assert device.ask("SELECT type, error FROM inbox WHERE state = 2") == []
        servers.here.stop()
        if not authors_has_module:
            assert [line for line in requests(servers.here) if "msc4089.delivery" in line] == []
