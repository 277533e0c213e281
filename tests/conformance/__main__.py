"""``python -m tests.conformance --url URL``: which clauses of six Matrix proposals a homeserver keeps.

Exit status: 0 when nothing that was tried is against a clause (with --expect: when all is as expected), 1 otherwise,
2 for wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import aiohttp

from . import report
from .bench import Bench
from .matrix import Homeserver, Unexpected
from .points import NotTried, Outcome, Result
from .service import Service, read_registration, registration
from .suite import chosen, run


def main() -> int:
    """Run the suite, or write a registration for it."""
    if sys.argv[1:2] == ["registration"]:
        return _registration(sys.argv[2:])
    options = _options()
    try:
        return asyncio.run(_run(options))
    except (ValueError, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except (NotTried, Unexpected) as error:
        print(f"conformance: this is no homeserver that can be tried: {error}", file=sys.stderr)
        return 1


def _registration(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="conformance registration", description="Write a registration to install in the homeserver."
    )
    parser.add_argument("--listen", required=True, metavar="URL", help="where the suite is to listen for it")
    parser.add_argument("--flag", action="append", default=[], help="set this key to true, too (repeatable)")
    options = parser.parse_args(words)
    print(json.dumps(registration(options.listen, options.flag), indent=1))
    return 0


def _options() -> argparse.Namespace:
    environ = os.environ
    parser = argparse.ArgumentParser(
        prog="conformance",
        description=__doc__,
        epilog="Secrets and accounts are better given in the environment: CONFORMANCE_SECRET, CONFORMANCE_ACCOUNTS "
        "(user:password, separated by spaces), CONFORMANCE_SECOND_SECRET, CONFORMANCE_SECOND_ACCOUNTS. "
        "The other options can be, too: CONFORMANCE_URL, CONFORMANCE_SECOND_URL, CONFORMANCE_REGISTRATION, "
        "CONFORMANCE_ECHO_TYPE.",
    )
    parser.add_argument("--url", default=environ.get("CONFORMANCE_URL"), help="the homeserver")
    parser.add_argument(
        "--secret", default=environ.get("CONFORMANCE_SECRET", ""), help="its registration shared secret"
    )
    parser.add_argument(
        "--account", action="append", metavar="USER:PASSWORD", help="or accounts (repeatable)"
    )
    parser.add_argument(
        "--second-url", default=environ.get("CONFORMANCE_SECOND_URL"), help="another homeserver"
    )
    parser.add_argument("--second-secret", default=environ.get("CONFORMANCE_SECOND_SECRET", ""))
    parser.add_argument("--second-account", action="append", metavar="USER:PASSWORD")
    parser.add_argument(
        "--registration",
        type=Path,
        default=environ.get("CONFORMANCE_REGISTRATION"),
        metavar="FILE",
        help="the registration that is installed in the homeserver (see: conformance registration --help)",
    )
    parser.add_argument(
        "--echo-type",
        default=environ.get("CONFORMANCE_ECHO_TYPE", ""),
        metavar="TYPE",
        help="a to-device type that both servers answer with an echo from @:server",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=40,
        metavar="SECONDS",
        help="how long to wait for what should come (40)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="so many points at a time; needs the secret (1)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only these: an id, msc4089, or a pattern"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes here, too")
    parser.add_argument("--expect", type=Path, metavar="FILE", help="compare with what is recorded here")
    parser.add_argument("--record", type=Path, metavar="FILE", help="record the outcomes here as expected")
    options = parser.parse_args()
    if not options.url:
        parser.error("--url (or CONFORMANCE_URL) is needed")
    if options.jobs < 1 or (options.jobs > 1 and not options.secret):
        parser.error("--jobs needs a number above 0, and above 1 the registration shared secret")
    if not chosen(options.only):
        parser.error(f"no point is named like {options.only}")
    return options


async def _run(options: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        )
        server = _server(session, options.url, options.secret, options.account, "CONFORMANCE_ACCOUNTS")
        second = None
        if options.second_url:
            second = _server(
                session,
                options.second_url,
                options.second_secret,
                options.second_account,
                "CONFORMANCE_SECOND_ACCOUNTS",
            )
        for one in (server, second):
            if one is not None:
                await one.features()
        service = None
        if options.registration is not None:
            registered = read_registration(Path(options.registration))
            service = await stack.enter_async_context(Service(registered))
        bench = Bench(server, second, service, options.patience, options.echo_type)
        outcomes = await run(
            bench, chosen(options.only), lambda one: print(report.line(one), flush=True), options.jobs
        )
        about = {"server": await server.software(), "second": await second.software() if second else ""}
    return _tell(options, outcomes, about)


def _server(
    session: aiohttp.ClientSession, url: str, secret: str, given: list[str] | None, variable: str
) -> Homeserver:
    accounts = [word.partition(":")[::2] for word in given or os.environ.get(variable, "").split()]
    if not secret and not accounts:
        raise ValueError(f"{url}: a registration shared secret or accounts are needed")
    return Homeserver(url, session, shared_secret=secret, accounts=accounts)


def _tell(options: argparse.Namespace, outcomes: list[Outcome], about: dict[str, str]) -> int:
    for words in report.lines(outcomes):
        print(words)
    if options.json is not None:
        told = report.as_json(outcomes, about)
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if options.record is not None:
        old = report.Expectation(about["server"], about["second"], {})
        if options.record.exists():
            old = report.Expectation.read(options.record)
        old.renewed(outcomes).write(options.record)
    if options.expect is None:
        return int(any(one.result is Result.DOES_NOT for one in outcomes))
    differences = report.Expectation.read(options.expect).differences(outcomes)
    for words in differences:
        print(words, file=sys.stderr)
    return int(bool(differences))


if __name__ == "__main__":
    raise SystemExit(main())
