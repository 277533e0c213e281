"""The module's pure parts."""

from __future__ import annotations

import ast
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tandem_synapse
from tandem_synapse import config, content, rules, schema
from tandem_synapse.store import DeliveryRow

FAIR = rules.Confirmation("@bob:x", True, "!r", "!r", "@alice:x", True, True)


def test_a_fair_confirmation_is_kept() -> None:
    assert rules.judge(FAIR) is None


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"is_joined": False}, rules.Refusal.NOT_JOINED),
        ({"event_room_id": None}, rules.Refusal.UNKNOWN_EVENT),
        ({"event_room_id": "!other"}, rules.Refusal.UNKNOWN_EVENT),
        ({"was_joined_at_event": False}, rules.Refusal.BEFORE_JOIN),
        ({"author": "@bob:x"}, rules.Refusal.OWN_EVENT),
        ({"is_routable": False}, rules.Refusal.REMOTE_AUTHOR),
    ],
)
def test_each_unfair_one_is_refused_for_its_reason(change: dict[str, object], refusal: rules.Refusal) -> None:
    assert rules.judge(replace(FAIR, **change)) is refusal  # type: ignore[arg-type]


ids = st.sampled_from(["a", "b", "c"])
contents = st.dictionaries(
    ids, st.dictionaries(ids, st.dictionaries(ids, st.just({"ts": 1}), min_size=1), min_size=1)
)


def flat(value: dict[str, dict[str, dict[str, object]]]) -> set[tuple[str, str, str]]:
    return {
        (event, kind, user)
        for event, kinds in value.items()
        for kind, users in kinds.items()
        for user in users
    }


@given(contents, contents)
def test_merging_loses_nothing_and_leaves_its_arguments_alone(first: dict, second: dict) -> None:  # type: ignore[type-arg]
    before = (flat(first), flat(second))
    assert flat(content.merged(first, second)) == before[0] | before[1]
    assert (flat(first), flat(second)) == before


def test_delivery_receipts_of_other_servers_are_left_out() -> None:
    edu = {
        "!r": {
            "m.read": {"@u:y": {}},
            "m.delivery": {"@u:y": {}},
            "org.matrix.msc4089.delivery": {"@u:y": {}},
        }
    }
    assert content.without_delivery(edu) == {"!r": {"m.read": {"@u:y": {}}}}


def test_devices_appear_only_where_they_were_shared() -> None:
    rows = [
        DeliveryRow("!r", "$e", "@u:x", 60_000, {"PHONE": 60_000}, 1, "master", "@a:x"),
        DeliveryRow("!r", "$e", "@v:x", 0, {}, 2, "master", "@a:x"),
    ]
    users = content.by_room(rows, "m.delivery")["!r"]["$e"]["m.delivery"]
    assert users == {
        "@u:x": {"ts": 60_000, "im.tandem.devices": {"PHONE": {"ts": 60_000}}},
        "@v:x": {"ts": 0},
    }


def test_deliveries_are_taken_out_of_synapse_s_own_receipts() -> None:
    mixed = {"room_id": "!r", "content": {"$a": {"m.read": {}, "m.delivery": {}}, "$b": {"m.delivery": {}}}}
    assert content.without_strays(mixed) == {"room_id": "!r", "content": {"$a": {"m.read": {}}}}
    assert content.without_strays({"content": {"$b": {"org.matrix.msc4089.delivery": {}}}}) is None
    plain = {"room_id": "!r", "content": {"$a": {"m.read": {}}}}
    assert content.without_strays(plain) is plain


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep_days": -1}, "keep_days"),
        ({"burst_count": True}, "burst_count"),
        ({"emit_type": "m.read"}, "emit_type"),
        ({"accept_untested_synapse": "yes"}, "accept_untested_synapse"),
        ({"hold_seconds": 5}, "hold_seconds must be a list of two"),
        ({"hold_seconds": [2, 1]}, "first number of hold_seconds"),
        ({"hold_seconds": [-1, 1]}, "hold_seconds must be a number of seconds between"),
        ({"hold_seconds": [float("nan"), 1]}, "hold_seconds"),
        ({"coalesce_seconds": True}, "coalesce_seconds"),
        ({1: 2, "nonsense": 1}, "known:"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(config.ConfigError, match=words):
        config.parse(settings)


def test_the_tables_are_made_once_and_those_of_a_newer_module_are_refused() -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        assert schema.migrate(conn) == len(schema.STEPS)
        conn.execute(
            "INSERT INTO im_tandem_delivery VALUES ('$e', '@u', '!r', '@a', 0, '{}', 0, 1, 'master')"
        )
        assert schema.migrate(conn) == 0
        assert conn.execute("SELECT count(*) FROM im_tandem_delivery").fetchone() == (1,)
        conn.execute("INSERT INTO im_tandem_schema VALUES (?)", (len(schema.STEPS) + 1,))
        with pytest.raises(config.ConfigError, match="newer version"):
            schema.migrate(conn)


def test_a_worker_leaves_the_tables_to_the_main_process_and_says_so() -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        with pytest.raises(config.ConfigError, match=r"not in the database\. Start the main process first"):
            schema.check(conn)
        schema.migrate(conn)
        schema.check(conn)
        conn.execute("DELETE FROM im_tandem_schema WHERE version = ?", (len(schema.STEPS),))
        conn.commit()
        with pytest.raises(config.ConfigError, match="Start the main process first, with this version"):
            schema.check(conn)
        assert conn.execute("SELECT count(*) FROM im_tandem_delivery").fetchone() == (0,)
        conn.execute("INSERT INTO im_tandem_schema VALUES (?)", (len(schema.STEPS) + 1,))
        conn.commit()
        with pytest.raises(config.ConfigError, match="newer version"):
            schema.check(conn)


def test_receipts_of_the_first_version_are_kept_when_the_tables_are_brought_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "STEPS", schema.STEPS[:1])
            schema.migrate(conn)
        conn.execute("INSERT INTO im_tandem_delivery VALUES ('$e', '@u', '!r', '@a', 7, '{}', 3, 'master')")
        conn.commit()
        schema.migrate(conn)
        kept = conn.execute(
            "SELECT event_id, user_id, room_id, author, ts, devices, release_at, stream_id, instance_name"
            " FROM im_tandem_delivery"
        ).fetchall()
        assert kept == [("$e", "@u", "!r", "@a", 7, "{}", 7, 3, "master")]
        # A receipt that waits has no position.
        conn.execute("INSERT INTO im_tandem_delivery VALUES ('$f', '@u', '!r', '@a', 7, '{}', 7, NULL, NULL)")


def test_only_the_seams_reach_inside_synapse() -> None:
    """Other files may use what Synapse offers to modules, and nothing else."""
    for path in Path(tandem_synapse.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            inside = [name for name in names if name.split(".")[0] in ("synapse", "twisted")]
            if path.name != "seams.py":
                assert all(name == "synapse" or name.startswith("synapse.module_api") for name in inside), (
                    path.name,
                    inside,
                )
