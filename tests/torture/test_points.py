"""The list of crash points is read from the code, and names what runs."""

from __future__ import annotations

import re
from types import ModuleType

from tandem_core.store.database import Transaction
from tandem_core.sync import apply
from tests.torture.aims import aims
from tests.torture.points import SEND_TO_DEVICE, function_name, points, template
from tests.torture.stages import EXCUSED, STAGES

_SOURCE = """
from tandem_core.store import outbox
from tandem_core.http import path

async def work(self, room_id):
    def note(txn): ...
    await self._db.write(outbox.note_attempt, "t")
    await (await self.opened()).write(note)
    where = path("rooms", room_id, "send") + ""
    away = f"/_matrix/x/{room_id}/y?z=1"
    await self._http.retry("PUT", path("rooms", room_id, "typing"), {})
    await self._http.request("GET", away)
    sys.stdout.write("no store")
"""


def test_commits_and_requests_are_found_in_code_wherever_they_stand() -> None:
    import ast

    from tests.torture import points as module

    made = ModuleType("made")
    tree = ast.parse(_SOURCE)
    found = {point.name for point in module._Reader(made, tree).walk(tree, [], tree)}
    assert found == {
        "commit tandem_core.store.outbox.note_attempt",
        "commit made.work.<locals>.note",
        "PUT /_matrix/client/v3/rooms/{}/typing",
        "GET /_matrix/x/{}/y",
    }


def test_the_steps_that_matter_most_are_on_the_list() -> None:
    names = {point.name for point in points("notifier")}
    assert f"commit {function_name(apply.apply)}" in names
    assert SEND_TO_DEVICE in names
    assert {"POST /_matrix/client/v3/keys/upload", "popup"} <= names
    assert not [name for name in names if "?" in name]


def test_a_request_is_known_by_its_shape() -> None:
    known = ["PUT /a/{}/send/{}", "PUT /a/{}/send/t{}", "GET /a/{}"]
    assert template("PUT", "/a/%21r/send/m.x?q=1", known) == "PUT /a/{}/send/{}"
    assert template("GET", "/a/b/c", known) == "GET /a/b/c"


def test_every_stage_and_every_excuse_is_for_a_step_there_is() -> None:
    both = {aim.point for program in ("app", "notifier") for aim in aims(program)}
    for pattern in [stage.points for stage in STAGES] + [excused[1] for excused in EXCUSED]:
        for part in pattern.split("|"):
            assert any(re.search(part, name) for name in both), part


def test_the_name_of_a_transaction_is_that_of_its_function() -> None:
    def note(txn: Transaction) -> None: ...

    assert function_name(note).endswith(".<locals>.note")
