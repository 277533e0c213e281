"""Bugs of who reads to-device events: turns, tokens that are passed on, and servers of other rules."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_READERS = f"{CORE_TESTS}/sync/test_readers.py"
_LOOP = f"{CORE_TESTS}/sync/test_loop.py"

READERS: tuple[Mutant, ...] = (
    mutant(
        "an heir that goes on from its own place",
        "continuwuity deletes up to the place of whoever asks, also what came while that connection did not ask.",
        core("sync/readers.py", "    if not place.covered:\n", "    if False:\n"),
        by=(
            f"{_READERS}::test_where_only_one_may_read_the_next_one_starts_over_to_take_its_place",
            f"{_LOOP}::test_where_the_place_acknowledges_one_reads_and_its_heir_starts_over",
        ),
    ),
    mutant(
        "turns where the place acknowledges",
        "Two readers in turns at a server that looks at no token: each begins behind a place that was not asked from.",
        core(
            "sync/readers.py",
            "return self in (Rule.SINCE, Rule.SINCE_OR_POS)",
            "return self is not Rule.UNKNOWN",
        ),
        by=(f"{_LOOP}::test_where_the_place_acknowledges_one_reads_and_its_heir_starts_over",),
    ),
    mutant(
        "every server is taken for Synapse",
        "The rule is believed instead of looked at.",
        core(
            "sync/readers.py",
            "return Rule.POS if self._silent >= self._ENOUGH else None",
            "return Rule.SINCE",
        ),
        by=(f"{_READERS}::test_the_rule_is_learned_from_what_comes_again[pos]",),
    ),
    mutant(
        "a turn without an end",
        "The first program reads for ever; the other one's token never moves.",
        core("sync/turn.py", "return self.is_ours and self._clock", "return False and self._clock"),
        by=(f"{CORE_TESTS}/sync/test_turn.py::test_one_at_a_time_and_the_next_when_it_is_over",),
    ),
    mutant(
        "a new turn with an old token",
        "What the other program has acknowledged meanwhile is not known to the server to be old, and comes again.",
        core("sync/place.py", "    if token is None or token == place.since:\n", "    if True:\n"),
        by=(f"{_LOOP}::test_the_turn_ends_the_poll_without_events_and_goes_on_with_the_newer_token",),
    ),
    mutant(
        "a token that moves with silence",
        "What status shows is a token that the server has never seen.",
        core("sync/apply.py", "if block.events or poll.since is None else None", "if True else None"),
        by=(f"{_LOOP}::test_out_of_turn_the_token_is_told_once_and_then_only_rooms_are_asked_for",),
    ),
    mutant(
        "the other one's token outlives the server's past",
        "After a server was set back one program forgets its token from the future, and its next turn takes it over"
        " from the other.",
        core(
            "store/session.py",
            '    txn.execute("UPDATE connection SET since = NULL")',
            "    txn.execute(\"UPDATE connection SET since = NULL WHERE conn = 'app'\")",
        ),
        by=(f"{_LOOP}::test_a_server_that_was_set_back_makes_both_programs_forget_their_tokens",),
    ),
)
