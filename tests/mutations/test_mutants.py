"""The suite is itself tested: every historical bug, brought back in a copy of the code, is noticed by a test."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.mutations.mutants import MUTANTS, SOUND
from tests.mutations.pool import Pool
from tests.mutations.record import Edit, Mutant
from tests.mutations.run import ROOT, Copy, StaleAnchor, Unusable, edited

_NAMES = [mutant.name for mutant in MUTANTS]
_A_FEW = 24


def _chosen() -> Sequence[Mutant]:
    """All mutants; with several workers (``make test``) a few, drawn anew for each run. ``make mutants`` tries all."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return MUTANTS if run is None else random.Random(run).sample(MUTANTS, _A_FEW)


_CHOSEN = _chosen()


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Tries the mutants that were chosen on the command line, in the order in which the tests ask for them."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    asked = [
        item.callspec.params["mutant"] for item in items if item.name.startswith("test_a_historical_bug")
    ]
    wanted = list(dict.fromkeys(asked))
    with Pool(tmp_path_factory.mktemp("mutants"), wanted) as made:
        yield made


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy") / "tree")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_a_mutant_the_same_tests_pass(pool: Pool) -> None:
    assert len(pool.baseline().passed) >= len(SOUND)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", _CHOSEN, ids=[mutant.name for mutant in _CHOSEN])
def test_a_historical_bug_is_noticed(pool: Pool, mutant: Mutant) -> None:
    verdict = pool.verdict(mutant)
    assert verdict.caught_by is not None, f"survived: {mutant.source}"
    assert verdict.caught_by.startswith(mutant.tests), "noticed by a test that was not named"


@pytest.mark.parametrize("mutant", MUTANTS, ids=_NAMES)
def test_a_mutant_still_fits_the_code_and_changes_it(mutant: Mutant) -> None:
    changed = edited(ROOT, mutant)
    assert changed
    assert all(text != (ROOT / file).read_text("utf-8") for file, text in changed.items())


def test_names_and_tests_are_told_apart() -> None:
    assert len(set(_NAMES)) == len(_NAMES)
    for mutant in MUTANTS:
        assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests)


def test_an_anchor_that_is_not_found_once_fails_loudly() -> None:
    for old in ("no such text", "import"):
        mutant = Mutant("stale", "", (Edit("core/tandem_core/netlock.py", old, "x"),), ())
        with pytest.raises(StaleAnchor, match="netlock"):
            edited(ROOT, mutant)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_mutant_that_changes_nothing_survives_and_one_that_breaks_everything_says_nothing(
    copy: Copy,
) -> None:
    file = "core/tandem_core/netlock.py"
    before = (copy.folder / file).read_text("utf-8")
    test = ("tests/core/sync/test_engine.py::test_a_role_is_taken_once_and_given_back",)
    harmless = Mutant(
        "harmless",
        "",
        (Edit(file, "_FIRST_WAIT_S, _MOST_WAIT_S = 0.01, 0.2", "_FIRST_WAIT_S, _MOST_WAIT_S = 0.02, 0.2"),),
        test,
    )
    assert copy.try_mutant(harmless).caught_by is None
    broken = Mutant(
        "broken",
        "",
        (Edit("core/tandem_core/store/inbox.py", "    fresh = 0\n", "    raise OSError\n"),),
        test,
    )
    with pytest.raises(Unusable, match="must work in spite"):
        copy.try_mutant(broken)
    with pytest.raises(Unusable):
        copy.run(["tests/core/sync/test_engine.py::test_that_nobody_wrote"])
    assert (copy.folder / file).read_text("utf-8") == before


def test_a_program_that_a_test_starts_runs_the_mutants_code(copy: Copy, tandem_home: Path) -> None:
    edit = Edit(
        "core/tandem_core/errors.py", 'title = "Nobody is signed in"', 'title = "A mutant is signed in"'
    )
    program = Path(sys.executable).with_name("tandem-notifier")
    with copy.mutated(Mutant("told", "", (edit,), ())):
        said = subprocess.run(
            [program, "run"], env=copy.environment(), cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert said.stderr.startswith("tandem-notifier: A mutant is signed in.")
    assert said.returncode == 1
