"""Settings are declared once, checked when chosen, and say where their value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import setting_list, settings
from tandem_core.errors import BadInput
from tandem_core.setting_list import SETTINGS, Scope
from tandem_core.store.database import Database
from tandem_core.types import Change, RoomId, Topic, UserId

ROOM, BOB = RoomId("!room:example.org"), UserId("@bob:example.org")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database.open(tmp_path / "tandem.db")
    yield db
    db.close()


def choose(db: Database, key: str, value: setting_list.Value, **target: object) -> None:
    db.write_now(settings.set_value, key, value, now_ms=1, **target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("receipts.direct", "on"),
        ("receipts.groups", "on"),
        ("receipts.groups_max", 20),
        ("receipts.plain", "off"),
        ("receipts.notifier", True),
        ("receipts.device_detail", "verified"),
        ("reads.mode", "public"),
        ("typing.send", True),
        ("notifications.enabled", True),
        ("notifications.hide_content", False),
        ("background.notifier", True),
        ("appearance.theme", "system"),
        ("appearance.contrast", "system"),
        ("appearance.marks", "icons"),
    ],
)
def test_a_setting_begins_with_its_default(db: Database, key: str, default: setting_list.Value) -> None:
    assert db.read_now(settings.effective, key) == settings.Effective(default, "default")


def test_every_setting_is_declared_fully() -> None:
    for setting in SETTINGS.values():
        assert setting.title
        assert setting.help.endswith(".")
        assert setting.kind != "choice" or setting.default in setting.choices
        assert setting.kind != "number" or setting.least <= setting.default <= setting.most  # type: ignore[operator]
        assert setting.scope is Scope.ACCOUNT or setting.default == "default"


def test_a_choice_is_kept_and_named_as_the_accounts(db: Database) -> None:
    choose(db, "receipts.groups_max", 8)
    assert db.read_now(settings.effective, "receipts.groups_max") == settings.Effective(8, "account")


def test_a_room_has_its_own_choice_until_it_is_set_back(db: Database) -> None:
    choose(db, "receipts.room", "never", room_id=ROOM)
    assert db.read_now(settings.get, "receipts.room", ROOM) == "never"
    assert db.read_now(settings.get, "receipts.room", RoomId("!other:example.org")) == "default"
    choose(db, "receipts.room", "default", room_id=ROOM)
    assert db.read_now(settings.effective, "receipts.room", ROOM).source == "default"


def test_a_person_has_its_own_choice(db: Database) -> None:
    choose(db, "receipts.person", "never", user_id=BOB)
    assert db.read_now(settings.effective, "receipts.person", None, BOB) == settings.Effective(
        "never", "person"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("receipts.direct", "maybe"),
        ("receipts.direct", True),
        ("receipts.groups_max", 0),
        ("receipts.groups_max", 101),
        ("receipts.groups_max", True),
        ("receipts.groups_max", "20"),
        ("receipts.notifier", 1),
        ("receipts.notifier", "true"),
        ("receipts.room", "off"),
        ("no.such.setting", "on"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(
    db: Database, key: str, value: setting_list.Value
) -> None:
    with pytest.raises(BadInput) as refused:
        choose(db, key, value, room_id=ROOM)
    assert key in refused.value.detail
    assert refused.value.advice
    assert db.read_now(lambda conn: conn.execute("SELECT count(*) FROM setting").fetchone()[0]) == 0


@pytest.mark.parametrize("key", ["receipts.room", "notifications.room", "receipts.person"])
def test_a_setting_of_a_room_or_person_needs_one(db: Database, key: str) -> None:
    with pytest.raises(BadInput, match="is chosen per"):
        choose(db, key, "never")


@pytest.mark.parametrize("stored", ["nonsense", '"maybe"', "7", "null", '["on"]', ""])
def test_a_stored_value_that_makes_no_sense_is_the_default_and_said_to_be_unsound(
    db: Database, stored: str
) -> None:
    db.write_now(
        lambda txn: txn.execute(
            "INSERT INTO setting VALUES ('account', '', 'receipts.direct', ?, 1)", (stored,)
        )
    )
    assert db.read_now(settings.effective, "receipts.direct") == settings.Effective(
        "on", "default", is_sound=False
    )


def test_all_values_show_the_account_first_and_then_each_override(db: Database) -> None:
    choose(db, "receipts.person", "never", user_id=BOB)
    choose(db, "notifications.room", "mute", room_id=ROOM)
    db.write_now(lambda txn: txn.execute("INSERT INTO setting VALUES ('room', '!x', 'old.setting', '1', 1)"))
    chosen = db.read_now(settings.all_values)
    overrides = [(c.setting.key, c.target, c.effective.value) for c in chosen if c.target]
    assert overrides == [("receipts.person", BOB, "never"), ("notifications.room", ROOM, "mute")]
    accounts = [c.setting.key for c in chosen if not c.target]
    assert accounts == [s.key for s in SETTINGS.values() if s.scope is Scope.ACCOUNT]


def test_a_choice_and_an_ignored_list_are_told_as_a_change_of_settings(db: Database) -> None:
    told: list[Change] = []
    db.listen(told.extend)
    choose(db, "typing.send", False)
    db.write_now(settings.note_account_data, "m.ignored_user_list", {})
    db.write_now(settings.note_account_data, "m.direct", {})
    assert told == [Change(Topic.SETTINGS)] * 2


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("typing.send", "off", False),
        ("typing.send", " YES ", True),
        ("typing.send", "1", True),
        ("receipts.groups_max", "42", 42),
        ("receipts.direct", "OFF", "off"),
    ],
)
def test_values_are_read_as_people_type_them(key: str, text: str, value: setting_list.Value) -> None:
    assert setting_list.declared(key).parsed(text) == value


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=40))
def test_whatever_is_typed_is_either_allowed_or_refused_in_words(key: str, text: str) -> None:
    setting = SETTINGS[key]
    try:
        value = setting_list.declared(key).parsed(text)
    except BadInput:
        return
    assert isinstance(value, type(setting.default))
    assert not setting.choices or value in setting.choices
