"""The command line, as authors of other homeservers meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_homeserver import FakeHomeserver

ROOT = Path(__file__).parent.parent.parent
NAMES = ("ann", "ben", "cat", "dan")


@pytest.fixture
def fake() -> Iterator[FakeHomeserver]:
    with FakeHomeserver() as server:
        for name in NAMES:
            server.register(name, "correct:horse")
        yield server


def suite(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance", *words],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def against(fake: FakeHomeserver, *words: str) -> subprocess.CompletedProcess[str]:
    accounts = " ".join(f"{name}:correct:horse" for name in NAMES)
    return suite("--url", fake.base_url, *words, CONFORMANCE_ACCOUNTS=accounts)


def test_the_status_says_whether_a_clause_is_broken_and_the_file_says_each_point(
    fake: FakeHomeserver, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    done = against(fake, "--only", "msc4538.order", "--only", "msc4538.future-since", "--json", str(file))
    assert (done.returncode, done.stderr) == (1, "")
    points = {each["id"]: each for each in json.loads(file.read_text("utf-8"))["points"]}
    assert {id_: each["result"] for id_, each in points.items()} == {
        "msc4538.order": "holds",
        "msc4538.future-since": "does not",
    }
    assert set(points["msc4538.order"]) == {"id", "sentence", "clause", "level", "result", "detail"}
    assert against(fake, "--only", "msc4538.order").returncode == 0


def test_what_is_recorded_is_expected_the_next_time(fake: FakeHomeserver, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    only = ("--only", "msc4538.future-since")
    assert against(fake, *only, "--record", str(file)).returncode == 1
    assert against(fake, *only, "--expect", str(file)).returncode == 0
    recorded = json.loads(file.read_text("utf-8"))
    recorded["results"]["msc4538.future-since"] = "holds"
    file.write_text(json.dumps(recorded), "utf-8")
    done = against(fake, *only, "--expect", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith("msc4538.future-since: expected 'holds', came 'does not'")


def test_wrong_usage_and_an_unreachable_server_are_said_in_one_line(
    fake: FakeHomeserver, tmp_path: Path
) -> None:
    yaml = tmp_path / "registration.yaml"
    yaml.write_text("id: conformance\n", "utf-8")
    for status, done in (
        (2, suite("--url", fake.base_url, CONFORMANCE_ACCOUNTS="")),
        (2, against(fake, "--registration", str(yaml))),
        (1, suite("--url", "http://127.0.0.1:9", CONFORMANCE_ACCOUNTS="ann:x")),
    ):
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.count("\n") == 1


def test_a_registration_is_made_with_tokens_of_its_own_and_the_flags_that_are_asked_for() -> None:
    made = [
        json.loads(
            suite("registration", "--listen", "http://127.0.0.1:9", "--flag", "org.example.flag").stdout
        )
        for _ in range(2)
    ]
    assert made[0]["url"] == "http://127.0.0.1:9"
    assert made[0]["org.example.flag"] is True
    assert len({each[token] for each in made for token in ("as_token", "hs_token")}) == 4
