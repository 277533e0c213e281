"""``tandemctl receipts answer``, ``pause``, ``resume``, ``exceptions``, ``log``, ``preview``: the panel as words."""

from __future__ import annotations

import argparse

from tandem_core import settings
from tandem_core.clock import SystemClock
from tandem_core.command_line import DONE
from tandem_core.ctl import world
from tandem_core.ctl.output import local_time, show, show_json, table
from tandem_core.errors import BadInput
from tandem_core.paths import ProfilePaths
from tandem_core.receipts import first_question, pause
from tandem_core.receipts.preview import preview
from tandem_core.store import receipt_log, shared_settings
from tandem_core.types import Change, Topic, UserId

VERBS = ("answer", "pause", "resume", "exceptions", "log", "preview")
DAY_MS = 86_400_000


def run(paths: ProfilePaths, options: argparse.Namespace) -> int:
    verb, word = options.event, options.word
    if word is not None and verb in ("resume", "log"):
        raise BadInput(f"{verb} takes no further word")
    with world.opened(paths) as here:
        match verb:
            case "answer":
                _answer(here, options, word)
            case "pause":
                _pause(here, options, word or "hour")
            case "resume":
                here.db.write_now(pause.resume, SystemClock().now_ms())
                world.ring(here, Change(Topic.SETTINGS))
                _say_pause(here, options)
            case "exceptions":
                _exceptions(here, options, word)
            case "log":
                _log(here, options)
            case _:
                _preview(here, options, word)
    return DONE


def _answer(here: world.World, options: argparse.Namespace, word: str | None) -> None:
    said = next((one for one in first_question.Answer if one == word), None)
    if said is None:
        raise BadInput("what is the answer?", advice="It is off, direct or recommended.")
    here.db.write_now(first_question.answer, said, SystemClock().now_ms())
    world.ring(here, Change(Topic.SETTINGS))
    confirms = here.db.read_now(settings.confirms)
    if options.json:
        show_json({"confirms": confirms})


def _pause(here: world.World, options: argparse.Namespace, how: str) -> None:
    now_ms = SystemClock().now_ms()
    here.db.write_now(pause.pause, pause.end_of(how, now_ms), now_ms)
    world.ring(here, Change(Topic.SETTINGS))
    _say_pause(here, options)


def _say_pause(here: world.World, options: argparse.Namespace) -> None:
    until = here.db.read_now(pause.paused_until, SystemClock().now_ms())
    if options.json:
        show_json({"paused_until": until})
    else:
        show([f"No confirmations until {local_time(until)}" if until else "Confirmations are not paused"])


def _exceptions(here: world.World, options: argparse.Namespace, word: str | None) -> None:
    if word == "anew":
        here.db.write_now(shared_settings.begin_exceptions_anew)
        world.ring(here, Change(Topic.SETTINGS))
    elif word is not None:
        raise BadInput(f"exceptions cannot be {word!r}", advice="It is anew, or nothing: a list.")
    chosen = [
        one
        for one in here.db.read_now(settings.all_values)
        if one.setting.key in ("receipts.room", "receipts.person")
    ]
    are_known = here.db.read_now(shared_settings.exceptions_are_known)
    if options.json:
        entries = [
            {"scope": str(one.setting.scope), "target": one.target, "value": one.effective.value}
            for one in chosen
        ]
        show_json({"exceptions": entries, "are_known": are_known})
        return
    show(table([(str(one.setting.scope), one.target, str(one.effective.value)) for one in chosen]))
    if not are_known:
        words = (
            "This device cannot read the exceptions that your other devices share, so it confirms nothing."
            " Verify it; or give them up: tandemctl receipts exceptions anew."
        )
        show([words])


def _log(here: world.World, options: argparse.Namespace) -> None:
    rows = here.db.read_now(receipt_log.confirmed_since, SystemClock().now_ms() - DAY_MS)
    if options.json:
        show_json(
            [
                {
                    "event_id": row.event_id,
                    "room_id": row.room_id,
                    "sender": row.sender,
                    "at": row.done_at,
                    "share": row.share,
                    "transport": row.transport,
                }
                for row in rows
            ]
        )
    else:
        show(table([(local_time(row.done_at), row.sender, row.room_id, row.event_id) for row in rows]))


def _preview(here: world.World, options: argparse.Namespace, word: str | None) -> None:
    if word is None or not word.startswith("@") or ":" not in word:
        raise BadInput(
            "whom is it to be previewed for?", advice="tandemctl receipts preview @user:example.org"
        )
    seen = here.db.read_now(preview, here.session.me, here.link, UserId(word), SystemClock().now_ms())
    if options.json:
        show_json(
            [
                {"room_id": one.room_id, "share": one.share and str(one.share), "text": one.words}
                for one in seen
            ]
        )
    else:
        show(table([(one.room_id, one.words) for one in seen]) or ["You share no room."])
