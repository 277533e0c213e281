"""``tandem-appservice``: an application service that hosts many accounts.

Exit status: 0 done, 1 failed (the reason on stderr in one line), 2 wrong usage, 70 a fault of Tandem's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from tandem_appservice import registration as registrations
from tandem_appservice.queue import Account, Queue
from tandem_core import log
from tandem_core.command_line import DONE, FAILED, OUR_FAULT, WRONG_USAGE, Parser
from tandem_core.errors import BadInput, Expected
from tandem_core.paths import ProfilePaths
from tandem_core.role import take_role
from tandem_core.types import Json, Role


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(argv)
    command: Callable[[ProfilePaths, argparse.Namespace], None] = options.run
    try:
        command(registrations.service_paths(), options)
    except BadInput as wrong:
        return _fail(wrong.sentence, WRONG_USAGE)
    except Expected as trouble:
        return _fail(trouble.sentence, FAILED)
    except KeyboardInterrupt:
        return DONE
    except Exception as fault:
        logging.getLogger("tandem.appservice").critical("unexpected end", exc_info=fault)
        words = f"Something unexpected happened: {type(fault).__name__}. The log file has more."
        return _fail(words, OUR_FAULT)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="tandem-appservice", description="Hosts Matrix accounts as an application service.")
    parser.set_defaults(json=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[ProfilePaths, argparse.Namespace], None], words: str) -> Parser:
        made: Parser = commands.add_parser(name, help=words, description=words)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print one JSON value")
        return made

    register = command(
        "registration", _registration, "Write the file that tells the homeserver of this service."
    )
    register.add_argument("--homeserver", required=True, metavar="URL", help="where this service reaches it")
    register.add_argument("--server-name", required=True, help="the part after the colon of its user ids")
    register.add_argument("--url", default="http://127.0.0.1:29340", help="where it reaches this service")
    register.add_argument(
        "--users", action="append", metavar="REGEX", help="user ids to be hosted (@_tandem_.* unless given)"
    )
    register.add_argument(
        "--inclusive", action="store_true", help="these users may also exist and sync without this service"
    )
    register.add_argument(
        "--aliases", action="append", default=[], metavar="REGEX", help="aliases of interest"
    )
    register.add_argument(
        "--rooms", action="append", default=[], metavar="REGEX", help="room ids of interest"
    )
    register.add_argument("--id", default="tandem", help="the service's name on the homeserver")
    register.add_argument("--sender", default="_tandem", help="localpart of the service's own user")
    register.add_argument("--output", type=Path, metavar="FILE", help="write a copy for the homeserver there")
    register.add_argument(
        "--replace", action="store_true", help="make new tokens in place of those there are"
    )

    adding = command("add-account", _add, "Host a user of the namespace from now on.")
    adding.add_argument("user", metavar="USER", help="localpart or user id")
    adding.add_argument("--profile", help="the profile that keeps it (made from the name unless given)")

    removing = command("remove-account", _remove, "Host a user no more; the profile stays as it is.")
    removing.add_argument("user", metavar="USER", help="localpart or user id")
    removing.add_argument(
        "--forget", action="store_true", help="hand it nothing any more, not even to-device events"
    )

    running = command("run", _run, "Take transactions until SIGTERM.")
    running.add_argument(
        "--listen", metavar="HOST:PORT", help="where (from the registration's URL unless given)"
    )
    running.add_argument(
        "--notify-command", metavar="COMMAND", help="run for each notification, with JSON on standard input"
    )
    running.add_argument("--notify-text", action="store_true", help="give the command what the message says")
    running.add_argument(
        "--max-body", type=int, metavar="BYTES", help="the biggest transaction that is taken"
    )
    running.add_argument("--debug", action="store_true", help="log to the terminal as well, in detail")

    command("status", _status, "Tell what runs and what waits.")
    return parser


def _registration(paths: ProfilePaths, options: argparse.Namespace) -> None:
    file = registrations.file_of(paths)
    if file.exists() and not options.replace:
        raise BadInput(
            f"{file}",
            title="There is a registration already",
            advice="--replace makes a new one, which the homeserver must be given again.",
        )
    name = options.server_name
    made = registrations.make(
        homeserver=options.homeserver,
        server_name=name,
        url=options.url,
        namespaces=registrations.Namespaces(
            users=tuple(options.users or (f"@_tandem_.*:{name.replace('.', chr(92) + '.')}",)),
            exclusive=not options.inclusive,
            aliases=tuple(options.aliases),
            rooms=tuple(options.rooms),
        ),
        id=options.id,
        sender_localpart=options.sender,
    )
    paths.make()
    registrations.write(made, file)
    copy = file
    if options.output is not None:
        copy = options.output.absolute()
        registrations.write(made, copy)
    if options.json:
        _show({"file": str(copy), "experimental_features": registrations.FEATURES})
        return
    print(f"# Written to {copy}; only its owner can read it, so give it to the homeserver's user.")
    print("# Add this to homeserver.yaml and restart the homeserver:")
    print(registrations.for_homeserver(copy), end="")


def _add(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_appservice import accounts

    made = registrations.load(paths)
    with _queue(paths) as queue:
        account = asyncio.run(accounts.add(made, queue, options.user, profile=options.profile))
    words = f"{account.user_id} is hosted as device {account.device_id}, in the profile {account.profile}."
    _tell_account(account, words, as_json=options.json)


def _remove(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_appservice import accounts

    made = registrations.load(paths)
    with _queue(paths) as queue:
        account = accounts.release(made, queue, options.user, forget=options.forget)
    words = f"{account.user_id} is hosted no more; its profile {account.profile} stays."
    _tell_account(account, words, as_json=options.json)


def _tell_account(account: Account, words: str, *, as_json: bool) -> None:
    if as_json:
        _show({"user_id": account.user_id, "device_id": account.device_id, "profile": account.profile})
    else:
        print(words)


def _run(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_appservice import host, notify
    from tandem_appservice.server import MOST_BODY

    made = registrations.load(paths)
    address, port = _address(options.listen, made.url)
    words = shlex.split(options.notify_command) if options.notify_command else []
    paths.make()
    log.start(paths, "appservice", to_terminal=options.debug, debug=options.debug)
    for handler in logging.getLogger().handlers:
        handler.addFilter(host.NameAccount())
    host.allow_many_files()
    with take_role(paths, Role.NOTIFIER), _queue(paths) as queue:
        wanted = host.Options(
            address,
            port,
            notify.Command(words) if words else notify.to_log,
            with_text=options.notify_text,
            most_body=options.max_body or MOST_BODY,
        )
        asyncio.run(host.serve(made, queue, wanted))


def _status(paths: ProfilePaths, options: argparse.Namespace) -> None:
    from tandem_appservice import status

    made = registrations.load(paths)
    with _queue(paths) as queue:
        value = status.status(paths, made, queue)
    if options.json:
        _show(value)
    else:
        print("\n".join(status.lines(value)))


def _queue(paths: ProfilePaths) -> closing[Queue]:
    paths.make()
    return closing(Queue.open(paths.data / "service.db"))


def _address(listen: str | None, url: str) -> tuple[str, int]:
    """Where to listen; raises BadInput."""
    try:
        parts = urlsplit(f"//{listen}" if listen else url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise BadInput(f"{listen or url!r} is no host and port", advice="Write --listen 127.0.0.1:29340.")
    return host, port


def _show(value: Json) -> None:
    print(json.dumps(value))


def _fail(sentence: str, status: int) -> int:
    print(f"tandem-appservice: {sentence}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
