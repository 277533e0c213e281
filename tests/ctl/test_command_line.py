"""tandemctl without a server: usage, exit status, one line for what is wrong, and what the store alone can tell."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tandem_core.clock import SystemClock
from tandem_core.ctl.main import main
from tandem_core.ctl.output import clean, local_time, table
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import take_role
from tandem_core.store import account_data, members, receipts, rooms, session
from tandem_core.store.database import Database, Transaction
from tandem_core.store.shared_settings import DELIVERY_EXCEPTIONS, standing
from tandem_core.types import DeviceId, EventId, Me, Role, RoomId, UserId

ME = Me(UserId("@alice:example.org"), DeviceId("ALICE1"))
ROOM = RoomId("!room:example.org")
NOBODY_ANSWERS = "http://127.0.0.1:1"


class Run:
    """Runs a command in this process; remembers its status and words."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        try:
            status = main(words)
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def value(self, *words: str) -> Any:
        status, out, err = self(*words, "--json")
        assert (status, err) == (0, "")
        assert out.count("\n") == 1
        return json.loads(out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


@pytest.fixture
def signed_in(tandem_home: Path) -> ProfilePaths:
    """Alice is signed in at a server that does not answer, and is in one room."""
    paths = profile_paths()
    paths.make()
    db = Database.open(paths.database)

    def fill(txn: Transaction) -> None:
        session.set_session(txn, ME, NOBODY_ANSWERS, "secret-token", 1)
        session.set_pos(txn, Role.APP, "pos", 1000)
        fields = {
            "membership": "join",
            "name": "Family",
            "canonical_alias": "#family:example.org",
            "joined_count": 2,
        }
        rooms.set_room(txn, Role.APP, ROOM, fields)
        members.set_member(txn, Role.APP, ROOM, ME.user_id, {"membership": "join", "displayname": "Alice"}, 1)

    db.write_now(fill)
    db.close()
    return paths


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dance"],
        ["send"],
        ["send", "!room:example.org"],
        ["messages", "!r", "-n", "0"],
        ["messages", "!r", "-n", "many"],
        ["send", "!r", "x", "--timeout", "-1"],
        ["login", "--homeserver", "http://x"],
        ["login", "--homeserver", "http://x", "--user", "u", "--password", "p"],
        ["settings"],
        ["settings", "set", "typing.send"],
        ["keys", "burn", "file", "--passphrase-file", "f"],
        ["backup", "burn"],
        ["backup", "create", "--timeout", "never"],
        ["--profile", "../x", "status"],
    ],
)
def test_wrong_usage_is_said_in_one_line_with_status_2(tandem_home: Path, run: Run, words: list[str]) -> None:
    status, out, err = run(*words)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("tandemctl")


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["rooms"],
        ["messages", "!r"],
        ["send", "!r", "x"],
        ["listen"],
        ["receipts", "$e"],
        ["settings", "list"],
        ["settings", "set", "typing.send", "off"],
        ["create"],
        ["backup"],
        ["backup", "restore"],
        ["logout"],
    ],
)
def test_nobody_signed_in_is_said_in_one_line_and_makes_nothing(
    tandem_home: Path, run: Run, words: list[str]
) -> None:
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert err == "tandemctl: Nobody is signed in. Sign in first: tandem, or tandemctl login.\n"
    assert list(tandem_home.iterdir()) == []


def test_help_names_every_command_and_is_light(tmp_path: Path) -> None:
    code = (
        "import sys; from tandem_core.ctl.main import parser; print(parser().format_help());"
        "heavy = {'aiohttp', 'nio', 'vodozemac', 'sqlite_utils', 'keyring', 'sqlite3', 'asyncio'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    account = ["login", "logout", "status", "settings", "doctor"]
    for name in [*account, "rooms", "messages", "send", "create", "join", "listen", "receipts"]:
        assert f"\n    {name} " in done.stdout


def test_status_of_an_account_does_not_load_what_it_does_not_use(signed_in: ProfilePaths) -> None:
    code = (
        "import sys; from tandem_core.ctl.main import main; status = main(['status', '--json']);"
        "heavy = {'aiohttp', 'nio', 'vodozemac', 'sqlite_utils', 'keyring'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_status_tells_of_both_programs_and_what_waits(signed_in: ProfilePaths, run: Run) -> None:
    value = run.value("status")
    assert (value["user_id"], value["device_id"]) == (ME.user_id, ME.device_id)
    assert value["programs"]["app"] == {
        "running": False,
        "pid": None,
        "state": "stopped",
        "detail": "",
        "pos": True,
        "since": None,
        "synced_at": 1000,
    }
    assert value["programs"]["notifier"]["pos"] is False
    assert (value["inbox"], value["outbox"], value["owed_receipts"]) == (
        0,
        {"messages": 0, "to_device": 0},
        0,
    )
    with take_role(signed_in, Role.NOTIFIER):
        assert run.value("status")["programs"]["notifier"]["running"] is True
    assert "secret-token" not in run("status")[1]


def test_settings_are_listed_read_and_chosen(signed_in: ProfilePaths, run: Run) -> None:
    assert run("settings", "get", "receipts.groups_max") == (0, "20\n", "")
    assert run("settings", "set", "receipts.groups_max", "7") == (0, "", "")
    got = run.value("settings", "get", "receipts.groups_max")
    assert (got["value"], got["source"], got["default"]) == (7, "account", 20)
    run("settings", "set", "typing.send", "off")
    listed = {line["key"]: line["value"] for line in run.value("settings", "list")}
    assert listed["typing.send"] is False
    assert listed["receipts.direct"] == "on"


def test_the_question_about_confirmations_is_answered_without_a_window(
    signed_in: ProfilePaths, run: Run
) -> None:
    assert run.value("settings", "get", "receipts.answered")["value"] is False
    assert run.value("receipts", "answer", "direct") == {"confirms": True}
    assert run.value("settings", "get", "receipts.groups")["value"] == "off"
    assert run.value("receipts", "answer", "off") == {"confirms": False}


def test_confirmations_are_paused_and_resumed(signed_in: ProfilePaths, run: Run) -> None:
    before = time.time_ns() // 1_000_000
    until = run.value("receipts", "pause")["paused_until"]
    assert 3_600_000 <= until - before < 3_700_000
    assert run.value("receipts", "pause", "tomorrow")["paused_until"] > before
    assert run("receipts", "pause")[1].startswith("No confirmations until ")
    assert run("receipts", "resume") == (0, "Confirmations are not paused\n", "")


def test_exceptions_are_listed_and_what_cannot_be_read_is_given_up_by_hand(
    signed_in: ProfilePaths, run: Run
) -> None:
    run("settings", "set", "receipts.person", "never", "--person", "@bob:example.org")
    assert run.value("receipts", "exceptions") == {
        "exceptions": [{"scope": "person", "target": "@bob:example.org", "value": "never"}],
        "are_known": True,
    }
    with closing(Database.open(signed_in.database)) as db:
        db.write_now(account_data.put, DELIVERY_EXCEPTIONS, {"algorithm": "another"})
    assert "cannot read the exceptions" in run("receipts", "exceptions")[1]
    run("receipts", "exceptions", "anew")
    with closing(Database.open(signed_in.database)) as db:
        assert db.read_now(standing).anew is True


def test_the_doctor_says_whether_anything_is_confirmed(signed_in: ProfilePaths, run: Run) -> None:
    def says() -> tuple[bool, str]:
        found = json.loads(run("doctor", "--json")[1])["findings"]
        [one] = [each for each in found if each["what"] == "confirmations"]
        return one["ok"], one["detail"]

    assert says() == (True, "nothing is confirmed until you choose")
    run("receipts", "answer", "recommended")
    assert says() == (True, "on")
    with closing(Database.open(signed_in.database)) as db:
        db.write_now(account_data.put, DELIVERY_EXCEPTIONS, {"algorithm": "another"})
    assert says()[0] is False


def test_what_was_confirmed_and_what_a_person_sees_can_be_asked(signed_in: ProfilePaths, run: Run) -> None:
    assert run.value("receipts", "log") == []
    assert run.value("receipts", "preview", "@nobody:example.org") == []
    assert run("receipts", "preview", "@nobody:example.org")[1] == "You share no room.\n"


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (["answer"], "off, direct or recommended"),
        (["answer", "maybe"], "off, direct or recommended"),
        (["pause", "forever"], "hour or tomorrow"),
        (["resume", "now"], "no further word"),
        (["exceptions", "gone"], "anew"),
        (["preview", "bob"], "@user:example.org"),
        (["$event", "twice"], "one word too many"),
    ],
)
def test_words_about_confirmations_that_make_no_sense_are_refused(
    signed_in: ProfilePaths, run: Run, words: list[str], about: str
) -> None:
    status, out, err = run("receipts", *words)
    assert (status, out) == (2, "")
    assert about in err


@pytest.mark.parametrize("name", [ROOM, "#family:example.org", "Family", "matrix:r/family:example.org"])
def test_a_room_is_found_by_id_alias_name_or_address(signed_in: ProfilePaths, run: Run, name: str) -> None:
    got = run.value("settings", "set", "receipts.room", "never", "--room", name)
    assert (got["target"], got["value"]) == (ROOM, "never")


def test_a_person_can_be_excepted(signed_in: ProfilePaths, run: Run) -> None:
    run("settings", "set", "receipts.person", "never", "--person", "@bob:example.org")
    assert run.value("settings", "get", "receipts.person", "--person", "@bob:example.org")["value"] == "never"


@pytest.mark.parametrize(
    ("words", "status", "about"),
    [
        (["set", "receipts.direct", "maybe"], 2, "It is one of on, off."),
        (["set", "receipts.groups_max", "101"], 2, "a whole number from 1 to 100"),
        (["get", "no.such"], 2, "no.such"),
        (["set", "receipts.room", "on"], 2, "--room"),
        (["set", "receipts.person", "never", "--person", "bob"], 2, "no user id"),
        (["set", "typing.send", "on", "--room", "Family"], 2, "not chosen per room"),
        (["set", "receipts.room", "on", "--room", "!other:example.org"], 1, "There is no such room"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    signed_in: ProfilePaths, run: Run, words: list[str], status: int, about: str
) -> None:
    got, out, err = run("settings", *words)
    assert (got, out) == (status, "")
    assert about in err
    assert err.count("\n") == 1


def test_without_the_server_the_stored_rooms_are_shown_and_that_is_said(
    signed_in: ProfilePaths, run: Run
) -> None:
    status, out, err = run("rooms", "--json")
    assert status == 0
    assert [room["name"] for room in json.loads(out)] == ["Family"]
    assert err == "tandemctl: The server cannot be reached; this is what is stored.\n"


@pytest.mark.parametrize("words", [["send", "Family", "hello"], ["send-file", "Family", __file__]])
def test_confirmations_are_not_asked_for_where_nobody_gives_them(
    signed_in: ProfilePaths, run: Run, words: list[str]
) -> None:
    status, out, err = run(*words, "--ask")
    assert (status, out) == (2, "")
    assert "Confirmations cannot be asked for in this room" in err
    assert run.value("status")["outbox"]["messages"] == 0


def test_a_message_that_cannot_be_sent_now_stays_in_the_queue(signed_in: ProfilePaths, run: Run) -> None:
    status, out, err = run("send", "Family", "hello", "--timeout", "0.5")
    assert (status, out) == (1, "")
    assert "waits in the queue" in err
    assert run.value("status")["outbox"]["messages"] == 1
    queued = run.value("send", "Family", "more", "--no-wait")
    assert (queued["state"], queued["event_id"], queued["room_id"]) == ("queued", None, ROOM)
    assert run.value("status")["outbox"]["messages"] == 2


def test_an_empty_message_is_refused(signed_in: ProfilePaths, run: Run) -> None:
    assert run("send", "Family", "  ")[0] == 2


@pytest.mark.parametrize(
    ("soft", "about"), [(True, "your messages and keys are kept"), (False, "as a new device")]
)
def test_being_signed_out_is_said_with_what_to_do(
    signed_in: ProfilePaths, run: Run, soft: bool, about: str
) -> None:
    db = Database.open(signed_in.database)
    db.write_now(session.mark_signed_out, soft)
    db.close()
    status, _, err = run("send", "Family", "hello")
    assert status == 1
    assert about in err


def test_the_backup_of_a_server_that_does_not_answer_is_said_in_one_line(
    signed_in: ProfilePaths, run: Run
) -> None:
    status, out, err = run("backup")
    assert (status, out) == (1, "")
    assert "No connection to your homeserver" in err
    assert err.count("\n") == 1


def test_a_backup_is_not_deleted_by_a_slip(signed_in: ProfilePaths, run: Run) -> None:
    status, out, err = run("backup", "delete")
    assert (status, out) == (2, "")
    assert "--yes" in err


def test_the_doctor_finds_a_server_that_does_not_answer_and_files_that_others_can_read(
    signed_in: ProfilePaths, run: Run
) -> None:
    signed_in.database.chmod(0o644)
    status, out, err = run("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out)["findings"]}
    assert status == 1
    assert "permissions" in err
    assert str(signed_in.database) in findings["permissions"]["detail"]
    assert findings["store"]["ok"] is True
    assert findings["server"]["ok"] is False
    assert findings["device keys"]["ok"] is False
    assert all(f["ok"] or f["advice"] for f in findings.values())


def test_the_doctor_says_that_a_store_is_damaged_or_newer(signed_in: ProfilePaths, run: Run) -> None:
    import sqlite3

    conn = sqlite3.connect(signed_in.database)
    conn.execute("PRAGMA user_version=999")
    conn.close()
    assert "newer Tandem" in run("doctor")[1]
    assert "newer Tandem" in run("status")[2]
    for file in signed_in.data.glob("tandem.db-*"):
        file.unlink()
    signed_in.database.write_bytes(b"this is no database" * 500)
    assert "damaged" in run("doctor")[1]


def test_the_doctor_without_an_account_says_how_to_begin(tandem_home: Path, run: Run) -> None:
    status, out, _ = run("doctor")
    assert status == 1
    assert "Run tandemctl login." in out


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_password_file_that_holds_no_password_is_refused(
    tandem_home: Path, tmp_path: Path, run: Run, content: bytes | None
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    status, _, err = run(
        "login", "--homeserver", NOBODY_ANSWERS, "--user", "alice", "--password-file", str(file)
    )
    assert status == 2
    assert "password" in err


def test_a_server_that_cannot_be_reached_is_said_at_login(
    tandem_home: Path, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "password"
    file.write_text("swordfish\n")
    status, _, err = run(
        "login", "--homeserver", NOBODY_ANSWERS, "--user", "alice", "--password-file", str(file)
    )
    assert status == 1
    assert "No connection" in err
    assert "swordfish" not in err


def test_an_unexpected_error_is_one_line_unless_asked_for_more(
    tandem_home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr("tandem_core.ctl.status.run", broken)
    status, _, err = run("status")
    assert status == 1
    assert err.count("\n") == 1
    assert "ZeroDivisionError" in err
    assert "secret words" not in err
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "status"])


def test_a_reader_that_goes_away_ends_a_command_quietly(signed_in: ProfilePaths) -> None:
    code = "from tandem_core.ctl.main import main; import sys; sys.exit(main(['settings', 'list']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
        child.wait(30)


def test_control_characters_of_strangers_do_not_reach_the_terminal() -> None:
    assert clean("a\x1b[2Jb\nc\u202ed") == "a\N{REPLACEMENT CHARACTER}[2Jb\nc\N{REPLACEMENT CHARACTER}d"
    assert table([("a\nb", "x"), ("long cell", "y")]) == ["a b        x", "long cell  y"]
    assert table([]) == []


@pytest.mark.parametrize(("ms", "text"), [(None, "-"), (10**30, "?")])
def test_times_that_are_none_are_said_so(ms: int | None, text: str) -> None:
    assert local_time(ms) == text


def test_receipts_tell_what_was_confirmed_and_why_something_was_not(
    signed_in: ProfilePaths, run: Run
) -> None:
    now_ms, bob = SystemClock().now_ms(), UserId("@bob:example.org")
    db = Database.open(signed_in.database)

    def fill(txn: Transaction) -> None:
        about: Any = {"opened_by": Role.APP, "now_ms": now_ms}
        receipts.refuse(txn, EventId("$no"), ROOM, bob, reason="paused", **about)
        for name in ("$yes", "$later"):
            receipts.owe(txn, EventId(name), ROOM, bob, due_at=now_ms, share="user", **about)
        receipts.mark_sent(txn, EventId("$yes"), "server", now_ms)

    db.write_now(fill)
    db.close()
    [told] = run.value("receipts", "--log")
    assert (told["event_id"], told["sender"], told["at"]) == ("$yes", bob, now_ms)
    assert "$yes" in run("receipts", "--log")[1]
    assert run("receipts", "--why", "$no")[1] == (
        "It is not confirmed. It came while you had paused confirmations.\n"
    )
    assert run.value("receipts", "--why", "$no")["reason"] == "paused"
    assert run("receipts", "--why", "$yes")[1].count("\n") == 2
    assert run.value("receipts", "--why", "$later")["state"] == "owed"


def test_receipts_want_an_event_that_is_known(signed_in: ProfilePaths, run: Run) -> None:
    assert run("receipts")[0] == 2
    assert run("receipts", "--why", "$unknown")[0] == 2
    assert run("receipts", "--log") == run("receipts", "log") == (0, "", "")
