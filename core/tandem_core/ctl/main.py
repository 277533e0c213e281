"""``tandemctl``: everything Tandem does, for scripts and terminals (DESIGN section 6).

Exit status: 0 done, 1 failed (the reason on stderr, in one line), 2 wrong usage. What a command needs is
imported when it runs, so that ``tandemctl --help`` stays quick.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from tandem_core.command_line import FAILED, WRONG_USAGE, Parser
from tandem_core.errors import BadInput, Expected
from tandem_core.paths import profile_paths

_INTERRUPTED = 130
_ASK = "ask for confirmations of it; in small groups and direct chats your settings already do"


class _Command(Protocol):
    """Adds a command: its name, the module and function that run it, and a line of help."""

    def __call__(
        self, name: str, module: str, help: str, function: str = "run"
    ) -> argparse.ArgumentParser: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(argv)
    _log(options.debug)
    try:
        command = importlib.import_module(f"tandem_core.ctl.{options.module}")
        status: int = getattr(command, options.function)(profile_paths(options.profile), options)
    except BadInput as wrong:
        return _say(wrong.sentence, WRONG_USAGE)
    except Expected as trouble:
        return _say(trouble.sentence, FAILED)
    except BrokenPipeError:
        # The reader went away (``tandemctl listen | head``); say nothing, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as bug:
        if options.debug:
            raise
        return _say(f"Something unexpected happened: {type(bug).__name__}. Run again with --debug.", FAILED)
    return status


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="tandemctl", description="Tandem from the command line.", parents=[_common(first=True)])
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, module: str, help: str, function: str = "run") -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, parents=[_common()], help=help, description=help[0].upper() + help[1:] + "."
        )
        made.set_defaults(module=module, function=function)
        return made

    _account_commands(command)
    _room_commands(command)
    _message_commands(command)
    _other_commands(command)
    return top


def _account_commands(command: _Command) -> None:
    login = command("login", "account", "sign in: one device for both programs", "login")
    login.add_argument("--homeserver", metavar="URL", required=True)
    login.add_argument("--user", metavar="USER", required=True)
    login.add_argument(
        "--password-file",
        metavar="FILE",
        required=True,
        help="a file with the password, or - for standard input",
    )
    login.add_argument("--device-name", metavar="NAME", default="Tandem", help="how others see this device")
    command("logout", "account", "sign out and remove messages and keys from this machine", "logout")
    devices = command("devices", "devices", "the account's devices: list, rename, sign out")
    devices.add_argument("--ip", action="store_true", help="with the addresses they were last seen at")
    verbs = devices.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    rename = verbs.add_parser("rename", parents=[_common()], help="give a device another name")
    rename.add_argument("device", metavar="ID")
    rename.add_argument("name", metavar="NAME")
    away = verbs.add_parser("sign-out", parents=[_common()], help="sign out other devices")
    away.add_argument("device", metavar="ID", nargs="*")
    away.add_argument("--others", action="store_true", help="all devices but this one")
    away.add_argument(
        "--password-file",
        metavar="FILE",
        help="a file with the account's password, or - for standard input, if the server asks for it",
    )
    _recovery_command(command)
    command("status", "status", "both programs: connection, to-device token, inbox, outbox")
    command("doctor", "doctor", "check store, keys and server; say what is wrong and what to do")


def _recovery_command(command: _Command) -> None:
    recovery = _waits(command("recovery", "recovery", "keep the account's keys behind a recovery key"))
    verbs = recovery.add_subparsers(title="verbs", metavar="VERB", dest="verb")

    def verb(name: str, help: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(name, parents=[_common()], help=help)
        return made

    set_up = verb("set-up", "make a recovery key, and show it once")
    unlock = verb("unlock", "get the account's keys with the recovery key or the passphrase")
    unlock.add_argument(
        "--key-file", metavar="FILE", required=True, help="a file with it, or - for standard input"
    )
    change = verb("change", "make a new recovery key; the old one opens nothing any more")
    change.add_argument(
        "--key-file",
        metavar="FILE",
        help="the old key: needed if other applications' secrets are to move, too",
    )
    reset = verb("reset", "where nothing else is left: a new identity and a new recovery key")
    reset.add_argument(
        "--password-file", metavar="FILE", help="the account's password, if the server asks for it"
    )
    delete = verb("delete", "remove recovery from the account")
    for made in (set_up, change, reset):
        made.add_argument(
            "--passphrase-file",
            metavar="FILE",
            help="make the key from a passphrase, which then opens it as well",
        )
    for made in (reset, delete):
        made.add_argument("--yes", action="store_true", help="do it, whatever follows")
    verb("later", "do not ask again what this device asks about recovery")


def _room_commands(command: _Command) -> None:
    rooms = _waits(command("rooms", "rooms", "list rooms and invitations", "list_rooms"))
    rooms.add_argument("--search", metavar="WORDS", default="", help="only rooms whose name has these words")
    create = _waits(command("create", "rooms", "create a room, encrypted unless told otherwise", "create"))
    create.add_argument("--invite", metavar="USER", action="append", default=[], help="may be repeated")
    create.add_argument("--name", metavar="NAME", help="the room's name")
    create.add_argument("--plain", action="store_true", help="without encryption")
    create.add_argument("--public", action="store_true", help="anyone may join")
    create.add_argument("--direct", action="store_true", help="a direct chat")
    for name, help in (
        ("join", "join a room by id, alias or address"),
        ("accept", "accept an invitation"),
        ("decline", "decline an invitation"),
        ("leave", "leave a room"),
    ):
        _waits(command(name, "rooms", help, name)).add_argument("room", metavar="ROOM")
    invite = command("invite", "rooms", "invite somebody", "invite")
    invite.add_argument("room", metavar="ROOM")
    invite.add_argument("user", metavar="USER")


def _message_commands(command: _Command) -> None:
    messages = _waits(command("messages", "messages", "show the newest messages of a room"))
    messages.add_argument("room", metavar="ROOM")
    messages.add_argument(
        "-n", dest="count", metavar="N", type=_count, default=20, help="how many (default 20)"
    )
    messages.add_argument(
        "--link",
        choices=("app", "notifier"),
        help="as this program has them (default: the one that synced last)",
    )
    send = _waits(command("send", "send", "send a message"))
    send.add_argument("room", metavar="ROOM")
    send.add_argument("text", metavar="TEXT", help="the text, or - for standard input")
    send.add_argument("--no-wait", action="store_true", help="only put it into the queue")
    send.add_argument("--ask", action="store_true", help=_ASK)
    send_file = _waits(command("send-file", "files", "send a file or a picture", "send"), 600.0)
    send_file.add_argument("room", metavar="ROOM")
    send_file.add_argument("file", metavar="FILE")
    send_file.add_argument("--caption", metavar="TEXT", default="", help="words that stand beside it")
    send_file.add_argument("--no-wait", action="store_true", help="only put it into the queue")
    send_file.add_argument("--ask", action="store_true", help=_ASK)
    save = command("save", "files", "save the file of a message", "save")
    save.add_argument("event", metavar="EVENT")
    save.add_argument("to", metavar="TO", help="a new file, or a folder")
    save.add_argument("--force", action="store_true", help="replace a file that is there")
    listen = command("listen", "listen", "print new messages as they can be read, until interrupted")
    listen.add_argument("--count", metavar="N", type=_count, help="end after so many messages")
    listen.add_argument("--room", metavar="ROOM", help="only of this room")
    receipts = _waits(command("receipts", "receipts", "who and which devices a message of yours reached"))
    receipts.add_argument(
        "event",
        metavar="EVENT",
        nargs="?",
        help="a message of yours; or, about what you confirm: answer, pause, resume, exceptions, log, preview",
    )
    receipts.add_argument(
        "word",
        metavar="WORD",
        nargs="?",
        help="answer: off, direct, recommended; pause: hour, tomorrow; exceptions: anew; preview: USER",
    )
    receipts.add_argument(
        "--send-key-again",
        nargs=2,
        metavar=("USER", "DEVICE"),
        help="send the message's key once more, to a device that was to have it and cannot decrypt it",
    )
    receipts.add_argument(
        "--why",
        action="store_true",
        help="why you confirmed somebody else's message EVENT, or did not, or not yet",
    )
    receipts.add_argument(
        "--log", action="store_true", help="what you confirmed in the last day, as the word log does"
    )


def _other_commands(command: _Command) -> None:
    settings = command("settings", "settings", "show and change settings")
    verbs = settings.add_subparsers(title="verbs", metavar="VERB", required=True, dest="verb")
    verbs.add_parser("list", parents=[_common()], help="every setting, its value and where it comes from")
    for verb, help in (("get", "one value"), ("set", "choose a value")):
        made = verbs.add_parser(verb, parents=[_common()], help=help)
        made.add_argument("key", metavar="KEY")
        if verb == "set":
            made.add_argument("value", metavar="VALUE")
        made.add_argument("--room", metavar="ROOM", help="for this room only")
        made.add_argument("--person", metavar="USER", help="for this person only")
    _backup_commands(command)
    _identity_commands(command)
    _verify_command(command)
    keys = command("keys", "keys", "move the keys of messages between devices by a file")
    keys.add_argument("verb", choices=("export", "import"))
    keys.add_argument("file", metavar="FILE")
    keys.add_argument(
        "--passphrase-file",
        metavar="FILE",
        required=True,
        help="a file with the passphrase, or - for standard input",
    )


def _verify_command(command: _Command) -> None:
    verify = command("verify", "verify", "verify a person, or another device of yours, in the window's place")
    verify.add_argument(
        "who", metavar="USER|DEVICE", nargs="?", help="whom to ask (default: all of your other devices)"
    )
    verify.add_argument("--wait", action="store_true", help="ask nobody: wait for a request and answer it")
    verify.add_argument("--code", action="store_true", help="give the other side a code, compare nothing")
    verify.add_argument(
        "--scan", metavar="FILE", help="a file with the other side's code, or - for standard input"
    )
    verify.add_argument(
        "--yes",
        action="store_true",
        help="answer every question with yes: for scripts that compare themselves",
    )
    verify.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=600.0, help="how long to wait (default 600)"
    )


def _backup_commands(command: _Command) -> None:
    backup = command("backup", "backup", "the key backup on the server: its state; create, restore, delete")
    verbs = backup.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    create = _waits(
        verbs.add_parser("create", parents=[_common()], help="make one, and put every key into it")
    )
    create.add_argument(
        "--replace", action="store_true", help="make a new one instead of one that cannot be used"
    )
    restore = verbs.add_parser("restore", parents=[_common()], help="get every key out of it")
    restore.add_argument(
        "--key-file",
        metavar="FILE",
        help="a file with the recovery key or the backup's own key, or - for standard input",
    )
    restore.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=3600.0, help="how long to wait (default 3600)"
    )
    verbs.add_parser("cancel", parents=[_common()], help="stop a restore")
    delete = verbs.add_parser(
        "delete", parents=[_common()], help="delete it on the server, with all keys in it"
    )
    delete.add_argument("--yes", action="store_true", help="really")


def _identity_commands(command: _Command) -> None:
    identity = command("identity", "identity", "your account's identity, and what is known of others'")
    identity.add_argument("--user", metavar="USER", help="of this person (default: your own)")
    verbs = identity.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    verbs.add_parser("status", parents=[_common()], help="the identity and its devices (the default)")
    for verb, help in (
        ("set-up", "give the account its first identity"),
        ("reset", "replace the account's identity by a new one, after a warning"),
    ):
        made = verbs.add_parser(verb, parents=[_common()], help=help)
        made.add_argument(
            "--password-file",
            metavar="FILE",
            help="a file with the account's password, or - for standard input, if the server asks for it",
        )
        if verb == "reset":
            made.add_argument("--yes", action="store_true", help="do not ask again")
    accept = verbs.add_parser("accept", parents=[_common()], help="go on with a person's changed identity")
    accept.add_argument("user_id", metavar="USER")


def _common(*, first: bool = False) -> Parser:
    """Options that are understood before and after the command's name."""

    def unless_said(default: object) -> object:
        # A command must not reset what was said before its name.
        return default if first else argparse.SUPPRESS

    common = Parser(add_help=False)
    common.add_argument(
        "--profile", metavar="NAME", default=unless_said("default"), help="the account to use"
    )
    common.add_argument("--json", action="store_true", default=unless_said(False), help="print JSON")
    common.add_argument(
        "--debug",
        action="store_true",
        default=unless_said(False),
        help="show where an unexpected error came from",
    )
    return common


def _waits(command: argparse.ArgumentParser, default_s: float = 30.0) -> argparse.ArgumentParser:
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=default_s,
        help=f"how long to wait (default {default_s:.0f})",
    )
    return command


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:10]) <= 100_000:
        return int(text)
    raise argparse.ArgumentTypeError("a number from 1 to 100000")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 < seconds <= 86_400:
        return seconds
    raise argparse.ArgumentTypeError("seconds, more than 0")


def _log(debug: bool) -> None:
    """Keep log lines off the terminal: what went wrong is said in one line."""
    logger = logging.getLogger("tandem")
    if debug:
        logging.basicConfig(level=logging.INFO)
    elif not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _say(sentence: str, status: int) -> int:
    print(f"tandemctl: {' '.join(sentence.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
