"""Apply one mutant to a temporary copy of the tree, and let the tests that must notice it run there.

Nothing in the shipped code knows of this. A copy holds the packages and the tests; ``PYTHONPATH`` puts it before
what is installed, for the tests and for every program they start, and the witness proves that it was so.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutations.mutants import SOUND
from tests.mutations.record import Mutant

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "app", "notifier", "resources", "demo", "homeserver")
PARTS = (*PACKAGES, "tests", "pyproject.toml")
OUTCOMES = "outcomes.json"
"""Where the witness writes what happened, in the copy's root."""
LONGEST_S = 120.0
LONGEST_TEST_S = 30
_LAST_WORDS = 2_000


class StaleAnchor(Exception):
    """A mutant's old text is not to be found exactly once: the code has moved on, and the mutant must follow."""


class Unusable(Exception):
    """A run that says nothing: not the copy's code, a test that does not exist, a broken fixture."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one run."""

    failed: tuple[str, ...]
    """Tests that failed while they ran, the first first."""
    passed: tuple[str, ...]
    seconds: float

    @property
    def caught_by(self) -> str | None:
        """The first test that noticed."""
        return self.failed[0] if self.failed else None


class Copy:
    """A copy of packages and tests that mutants are applied to, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            source, target = ROOT / part, folder / part
            if source.is_dir():
                left_out = shutil.ignore_patterns("__pycache__", ".*", "node_modules")
                shutil.copytree(source, target, ignore=left_out)
            else:
                shutil.copy2(source, target)
        (folder / "pytest.ini").write_text(_ini(), "utf-8")
        # Checked by hash, not by time: a patch of the same length within the same second must not go unseen.
        for part in (*PACKAGES, "tests"):
            compileall.compile_dir(
                folder / part, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
            )

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The copy with this mutant's edits; raises StaleAnchor, or SyntaxError for an edit that is none."""
        before: dict[Path, str] = {}
        try:
            for file, text in edited(self.folder, mutant).items():
                path = self.folder / file
                before[path] = path.read_text("utf-8")
                path.write_text(text, "utf-8")
            yield
        finally:
            for path, text in before.items():
                path.write_text(text, "utf-8")

    def run(self, tests: Sequence[str], *, stop: bool = True) -> Verdict:
        """Run these tests in the copy; by default up to the first that fails. Raises Unusable."""
        outcomes = self.folder / OUTCOMES
        outcomes.unlink(missing_ok=True)
        began = time.monotonic()
        words = ["-q", "-c", "pytest.ini", "--assert=plain", f"--timeout={LONGEST_TEST_S}"]
        words += [
            "--basetemp=temp",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "-p",
            "tests.mutations.witness",
        ]
        if stop:
            words.append("-x")
        with (self.folder / "output.txt").open("w+", encoding="utf-8") as output:
            runs = subprocess.Popen(
                [sys.executable, "-m", "pytest", *words, *tests],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                runs.wait(LONGEST_S)
            with contextlib.suppress(
                ProcessLookupError
            ):  # what a broken test leaves behind must not outlive it
                os.killpg(runs.pid, signal.SIGKILL)
            runs.wait()
            output.seek(0)
            said = output.read()[-_LAST_WORDS:]
        seconds = time.monotonic() - began
        if not outcomes.exists():
            raise Unusable(f"the tests did not come to their end:\n{said}")
        told: dict[str, Any] = json.loads(outcomes.read_text("utf-8"))
        strangers = [file for file in told["sources"] if not Path(file).is_relative_to(self.folder)]
        if strangers:
            raise Unusable(f"not the copy's code: {strangers}")
        if told["errors"] or not (told["failed"] or told["passed"]):
            raise Unusable(f"the tests did not run: {told['errors']}\n{said}")
        return Verdict(tuple(told["failed"]), tuple(told["passed"]), seconds)

    def try_mutant(self, mutant: Mutant) -> Verdict:
        """Run the mutant's tests with it. First comes what must work in spite of it; raises Unusable if that fails.

        A mutant that breaks everything shows nothing: each must look sound where its bug does not bite.
        """
        sound = [test for test in SOUND if test not in mutant.tests]
        with self.mutated(mutant):
            verdict = self.run([*sound, *mutant.tests])
        if verdict.caught_by in sound:
            raise Unusable(f"{mutant.name} breaks what must work in spite of it: {verdict.caught_by}")
        return verdict

    def environment(self) -> dict[str, str]:
        """The environment in which the copy's code is the code."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
        return kept | {
            "PYTHONPATH": os.pathsep.join(str(self.folder / part) for part in PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "QT_QPA_PLATFORM": "offscreen",
            "QT_QUICK_BACKEND": "software",
            "TANDEM_VAULT": "file",
        }


def edited(folder: Path, mutant: Mutant) -> dict[str, str]:
    """The mutant's files in this tree as it would leave them; raises StaleAnchor."""
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        text = texts.get(edit.file)
        if text is None:
            text = (folder / edit.file).read_text("utf-8")
        found = text.count(edit.old)
        if found != 1:
            raise StaleAnchor(f"{mutant.name}: found {found} times in {edit.file}: {edit.old!r}")
        texts[edit.file] = text.replace(edit.old, edit.new)
    for file, text in texts.items():
        if file.endswith(".py"):
            compile(text, file, "exec")
    return texts


def _ini() -> str:
    """The project's settings of pytest without Qt's: half a second of imports that no mutant needs."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]
    lines = [
        "[pytest]",
        "addopts = --import-mode=importlib --strict-markers -p no:pytest-qt",
        "pythonpath = .",
    ]
    for name in ("filterwarnings", "markers"):
        lines += [f"{name} =", *(f"    {value}" for value in settings[name])]
    return "\n".join(lines) + "\n"
