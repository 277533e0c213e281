"""A clock that jumps under both programs: nothing lost, nothing put off for ever, keys renewed as they should be."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from tandem_core.store.database import Transaction
from tandem_demo.device import wait_for
from tests.faults.duo import Duo
from tests.support.proxy.scene import LINKS

pytestmark = [pytest.mark.synapse, pytest.mark.gui, pytest.mark.slow]

DAY_MS = 86_400_000
_LOOK_S = 2.0
_NEGATIVE_AGE = re.compile(r"(^|\s)[-\N{MINUS SIGN}]\d")


def _to_1970() -> int:
    return -time.time_ns() // 1_000_000 + DAY_MS


JUMPS: dict[str, Callable[[], int]] = {
    "a day ahead": lambda: DAY_MS,
    "a day back": lambda: -DAY_MS,
    "to 1970": _to_1970,
}


@pytest.fixture(autouse=True)
def right_again(duo: Duo) -> Iterator[None]:
    yield
    duo.set_clock(0)
    duo.start()
    duo.exchange()
    duo.assert_whole()


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_while_both_run_loses_and_delays_nothing(duo: Duo, jump: str) -> None:
    duo.set_clock(JUMPS[jump]())
    duo.exchange()
    wait_for("two programs that are at rest", lambda: _most_asked(duo) <= 3)
    assert not [name for name in duo.window.do("names") if _NEGATIVE_AGE.search(str(name))]
    duo.set_clock(0)
    duo.exchange()


def _most_asked(duo: Duo) -> int:
    """How often the busier of the two asks in the next moments; what was sent before still comes in bursts of five."""
    asked = len(duo.proxy.log)
    time.sleep(_LOOK_S)
    return max(sum(line.conn_id == link for line in duo.proxy.log[asked:]) for link in LINKS)


def test_programs_started_in_1970_work_and_go_on_when_the_clock_is_set_right(duo: Duo) -> None:
    duo.stop()
    duo.set_clock(_to_1970())
    duo.start()
    duo.exchange()


def test_a_key_made_by_a_clock_far_ahead_is_renewed_once_when_the_clock_is_set_right(duo: Duo) -> None:
    assert _sessions_of(duo, 8 * DAY_MS) == 1
    assert _sessions_of(duo, 0) == 1
    assert len(_all_sessions(duo)) >= 2


def test_a_key_is_not_kept_for_ever_by_a_clock_that_was_set_back(duo: Duo) -> None:
    before = _session(duo)
    assert _sessions_of(duo, _to_1970()) == 1
    assert _session(duo) != before


def test_a_list_put_off_by_a_clock_that_was_ahead_is_asked_for_now(duo: Duo) -> None:
    far = time.time_ns() // 1_000_000 + DAY_MS

    def put_off(txn: Transaction) -> None:
        txn.execute("UPDATE device_list SET wanted = wanted + 1, next_try_at = ?", (far,))

    duo.change(put_off)
    duo.write("alice")
    wait_for("the lists", lambda: not duo.alice.ask("SELECT 1 FROM device_list WHERE wanted > fetched"))


def _sessions_of(duo: Duo, clock_ms: int) -> int:
    """How many keys Alice writes three messages with, at a time that her clock makes up."""
    duo.set_clock(clock_ms)
    used = set()
    for _ in range(3):
        body = duo.write("alice", new_key=False)
        wait_for("the message", lambda body=body: _sent_with(duo, body))
        used.add(_sent_with(duo, body))
    return len(used)


def _sent_with(duo: Duo, body: str) -> str:
    rows = duo.alice.ask(
        "SELECT json_extract(wire_content, '$.session_id') FROM send_queue WHERE body = ? AND state = 'sent'",
        (body,),
    )
    return str(rows[0][0]) if rows else ""


def _session(duo: Duo) -> str:
    return str(duo.alice.ask("SELECT session_id FROM megolm_outbound WHERE room_id = ?", (duo.room,))[0][0])


def _all_sessions(duo: Duo) -> list[object]:
    return duo.alice.ask("SELECT session_id FROM megolm_inbound WHERE source = 'own'")
