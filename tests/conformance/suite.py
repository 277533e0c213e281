"""All points, and how one is tried."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Sequence

from .account_data import ACCOUNT_DATA
from .bench import Bench
from .delivery_receipts import RECEIPTS
from .federated_receipts import FEDERATED
from .matrix import Unexpected
from .points import Broken, NotTried, Outcome, Point, Result, Table, Unsupported
from .service_receipts import SERVICE_RECEIPTS
from .service_to_device import SERVICE_TO_DEVICE
from .to_device import TO_DEVICE
from .to_server import TO_SERVER

TABLES: tuple[Table, ...] = (
    TO_DEVICE,
    RECEIPTS,
    FEDERATED,
    SERVICE_RECEIPTS,
    ACCOUNT_DATA,
    SERVICE_TO_DEVICE,
    TO_SERVER,
)
_STEPS = 8
"""A point waits for several things, each as long as the patience allows."""


def chosen(names: Sequence[str] = ()) -> list[Point]:
    """The points that one of these names: an id, a proposal (``msc4089``) or a pattern (``msc4089.fed*``); or all."""
    return [
        point
        for table in TABLES
        for point in table.points
        if not names or any(_is_named(point.id, name) for name in names)
    ]


def _is_named(id_: str, name: str) -> bool:
    return id_.partition(".")[0] == name or fnmatch.fnmatchcase(id_, name)


async def run(
    bench: Bench, points: Sequence[Point], tell: Callable[[Outcome], None] = lambda _: None, jobs: int = 1
) -> list[Outcome]:
    """Try them, ``jobs`` at a time where they may run side by side; none stops another. The order stays theirs."""
    places = asyncio.Semaphore(jobs)

    async def attempt(point: Point) -> Outcome:
        async with places:
            result, detail = await _try(bench, point)
            outcome = Outcome(point, result, " ".join(detail.split()))
            tell(outcome)
            if jobs == 1:
                await _tidy(bench)
            return outcome

    together = [point for point in points if not point.is_alone]
    outcomes = list(await asyncio.gather(*map(attempt, together)))
    outcomes += [await attempt(point) for point in points if point.is_alone]
    await _tidy(bench)
    return sorted(outcomes, key=lambda outcome: points.index(outcome.point))


async def _try(bench: Bench, point: Point) -> tuple[Result, str]:
    try:
        async with asyncio.timeout(_STEPS * bench.patience_s + 60):
            return Result.HOLDS, await point.body(bench)
    except Broken as words:
        return Result.DOES_NOT, str(words)
    except Unsupported as words:
        return Result.NOT_SUPPORTED, str(words)
    except NotTried as words:
        return Result.NOT_TRIED, str(words)
    except Unexpected as words:
        return Result.NOT_TRIED, f"could not be prepared: {words}"
    except TimeoutError:
        return Result.NOT_TRIED, "it took too long"
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        return Result.DOES_NOT, f"an answer has not the form that the specification gives: {error!r}"


async def _tidy(bench: Bench) -> None:
    for server in (bench.server, bench.second):
        if server is not None:
            try:
                await server.tidy()
            except NotTried:
                continue  # a server that does not answer shows in the next point
