"""``tandem-notifier``: the daemon, its state, and its start at login.

Exit status: 0 done, 1 failed (the reason on stderr in one line), 2 wrong usage, 70 a fault of Tandem's own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

from tandem_core.command_line import DONE, FAILED, OUR_FAULT, WRONG_USAGE, Parser
from tandem_core.errors import BadInput, Expected, StoreTooNew
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.types import Json, Role


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(argv)
    commands = {"run": _run, "status": _status, "install": _install, "uninstall": _uninstall}
    try:
        commands[options.command](profile_paths(options.profile), options)
    except BadInput as wrong:
        return _fail(wrong.sentence, WRONG_USAGE)
    except Expected as trouble:
        return _fail(trouble.sentence, FAILED)
    except KeyboardInterrupt:
        return DONE
    except BaseExceptionGroup as group:
        if argv is None and isinstance(_innermost(group), StoreTooNew):
            return _start_anew()
        return _fail_with(group, options.debug)
    except Exception as fault:
        return _fail_with(fault, options.debug)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="tandem-notifier", description="Receives messages while Tandem's window is closed.")
    parser.add_argument("command", choices=("run", "status", "install", "uninstall"))
    parser.add_argument("--profile", default="default", help="which account")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    parser.add_argument("--debug", action="store_true", help="log to the terminal as well, in detail")
    return parser


def _run(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_core import log
    from tandem_notifier import daemon

    paths.make()
    log.start(paths, "notifier", to_terminal=options.debug, debug=options.debug)
    daemon.run(paths, _tell)


def _status(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_core.role import is_running
    from tandem_core.store.database import Database
    from tandem_core.store.session import ProgramState, program
    from tandem_notifier.autostart import Autostart

    runs = is_running(paths, Role.NOTIFIER)
    how = Autostart(paths, _program()).how()
    state: Json = {"running": runs, "state": str(ProgramState.STOPPED), "detail": "", "pid": None}
    if paths.database.exists():
        db = Database.open(paths.database)
        try:
            row = db.read_now(program, Role.NOTIFIER)
        finally:
            db.close()
        if row is not None and (runs or row.state is ProgramState.SIGNED_OUT):
            state |= {"state": str(row.state), "detail": row.detail}
        if row is not None and runs:
            state |= {
                "pid": row.pid,
                "version": row.version,
                "started_at": row.started_at,
                "seen_at": row.seen_at,
            }
    state["autostart"] = str(how) if how else None
    if options.json:
        print(json.dumps(state))
        return
    detail = f" ({state['detail']})" if state["detail"] else ""
    what = f"It runs: {state['state']}{detail}" if runs else f"It does not run{detail}"
    starts = {"systemd": "starts at login (systemd)", "xdg": "starts at login (autostart)"}
    print(f"{what}, and {starts.get(state['autostart'] or '', 'does not start at login')}.")


def _install(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_notifier.autostart import Autostart, How

    how = Autostart(paths, _program()).install()
    if options.json:
        print(json.dumps({"autostart": str(how)}))
    elif how is How.SYSTEMD:
        print(
            "The notifier starts at login from now on, and runs now (systemctl --user status tandem-notifier)."
        )
    else:
        print("The notifier starts at your next login. To start it now: tandem-notifier run")


def _uninstall(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_notifier.autostart import Autostart

    was = Autostart(paths, _program()).uninstall()
    if options.json:
        print(json.dumps({"autostart": None, "was_installed": was}))
    else:
        print(
            "The notifier no longer starts at login."
            if was
            else "The notifier was not set to start at login."
        )


def _program() -> str:
    from tandem_notifier.open_room import find_program

    found = find_program("tandem-notifier")
    if found is None:
        raise Expected(
            title="The program tandem-notifier is not installed",
            advice="Install the distribution tandem-notifier.",
        )
    return found


def _tell(sentence: str) -> None:
    print(f"tandem-notifier: {sentence}", file=sys.stderr, flush=True)


def _fail(sentence: str, status: int) -> int:
    _tell(sentence)
    return status


def _fail_with(fault: BaseException, is_debug: bool) -> int:
    inner = _innermost(fault)
    if isinstance(inner, Expected):
        return _fail(inner.sentence, FAILED)
    logging.getLogger("tandem.notifier").critical("unexpected end", exc_info=fault)
    if is_debug:
        raise fault
    return _fail(f"Something unexpected happened: {type(inner).__name__}. The log file has more.", OUR_FAULT)


def _start_anew() -> int:
    """Become the program that is installed now: a newer one has changed the store while this one ran.

    If it is this one again, it finds the store too new at its start, says so and ends.
    """
    logging.getLogger("tandem.notifier").warning("a newer Tandem has changed the store; starting anew")
    logging.shutdown()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # no shell is wanted
    except OSError as error:
        return _fail(StoreTooNew(error.strerror or "").sentence, FAILED)


def _innermost(fault: BaseException) -> BaseException:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


if __name__ == "__main__":
    raise SystemExit(main())
