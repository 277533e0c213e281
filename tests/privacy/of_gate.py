"""D1, D6 to D9, D11 to D13, and what is lost: what is confirmed at all, when in the day, and to whom."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.privacy import classify, day, flood, kills, silent, thirds, timing
from tests.privacy.memory import make_home, make_server
from tests.privacy.on_synapse import on_synapse
from tests.privacy.run import Run, server
from tests.privacy.silent_in_memory import probe_in_memory
from tests.privacy.stepped import LeapingClock
from tests.privacy.table import Line


def silent_probes(run: Run, wanted: int = 10_000) -> list[Line]:
    """Most of them on a server with our module, some on a stock one, where a confirmation would be a letter."""
    lines = []
    for words, module, most, share in (
        ("", True, wanted, 0.12),
        (", stock server", False, wanted // 10, 0.02),
    ):
        with server(run, "silent", module=module) as here:
            count = asyncio.run(
                silent.probe(
                    here, run.place("d1"), most, seed=run.seed, within_s=run.seconds(share), tell=run.tell
                )
            )
        more = silent.Count()
        if module:
            until = time.monotonic() + run.seconds(0.05)
            left = max(most - count.probes, most // 2)
            more = asyncio.run(probe_in_memory(run.place("d1"), left, seed=run.seed, until=until))
            run.tell(f"{more.probes} more with a server in memory")
        probes = count.probes + more.probes
        given = count.confirmed.total() + count.letters + more.confirmed.total()
        _, high = classify.share_interval(given, max(probes, 1))
        are_answered = all(each.controls == each.controls_confirmed for each in (count, more))
        is_sound = not given and count.kinds >= 60 and are_answered
        lines.append(
            Line(
                "D1",
                f"a confirmation for a silent, invalid or unwelcome probe{words}",
                "all of them",
                f"{given} of {probes:,} ({count.kinds} kinds, {count.probes:,} on Synapse); below {100 * high:.3f} %",
                f"0 of {most:,}, 60 kinds",
                is_sound and probes >= most,
                {
                    "confirmed": dict(count.confirmed + more.confirmed),
                    "on_synapse": count.probes,
                    "refused_by_server": dict(count.refused),
                    "controls": count.controls,
                    "controls_confirmed": count.controls_confirmed,
                    "letters": count.letters,
                },
            )
        )
    return lines


# ── D6, D7, D8 ─────────────────────────────────────────────────────────────────────────────────


def days(run: Run, *, authors: int = 4) -> list[Line]:
    """One day on Synapse, more with a server in memory; come-backs in both."""
    in_memory = max(4, round(run.minutes / 4))
    with server(run, "days") as here:
        real_side = on_synapse(here, run.place("day"), authors)
        pace = 1 if run.minutes >= 40 else 3
        online = day.pattern(random.Random(run.seed))
        real = [asyncio.run(day.live(real_side, online, every=pace, sync_every=pace, tell=run.tell))]
        back_side = on_synapse(here, run.place("back"), 2)
        real_back = asyncio.run(day.come_backs(back_side, 6, seed=run.seed))
        crowd_side = on_synapse(here, run.place("crowd"), 5, direct=False)
        crowd = [
            asyncio.run(day.live(crowd_side, [(0, day.DAY_MINUTES)], every=10, sync_every=min(2 * pace, 4)))
        ]

    def make(folder: Path) -> day.InMemory:
        memory = make_server(LeapingClock(), authors)
        return day.InMemory(memory, make_home(memory, folder))

    many = asyncio.run(day.days_in_memory(make, run.place("memory"), in_memory, seed=run.seed))
    run.tell(f"{in_memory} days with a server in memory")
    alone = make_server(LeapingClock(), 2)
    back = asyncio.run(
        day.come_backs(day.InMemory(alone, make_home(alone, run.place("memory-back"))), 60, seed=run.seed)
    )
    value, low, high = day.online_accuracy([*real, *many], seed=run.seed)
    edges = day.edge_errors([*real, *many])
    nearest = min(edges, default=None)
    every_back = sorted([*real_back, *back])
    most, at_once = (
        day.busiest([*real, *many, *crowd]),
        max(day.in_all(real), day.in_all(crowd), day.in_all(many)),
    )
    return [
        Line(
            "D6",
            "online or offline, each minute of a day, from one visible message a minute that nobody reads",
            "1.00",
            f"{value:.2f} ({low:.2f}-{high:.2f}); a day on Synapse (a message every {pace} min), {len(many)} in memory",
            "<= 0.60",
            value <= 0.60,
            {"flushes_on_synapse": day.in_all(real)},
        ),
        Line(
            "D6",
            "when the victim came online, where it is seen at all: error",
            "0 min",
            "never seen"
            if nearest is None
            else f"median {day.typical(edges):.0f} min, least {nearest:.1f} min, {len(edges)} of"
            f" {sum(len(d.online) * len(d.confirmed) for d in [*real, *many])} seen",
            "median >= 8 min",
            nearest is None or (day.typical(edges) or 0) >= 8,
            {"minutes": [round(edge, 1) for edge in edges]},
        ),
        Line(
            "D7",
            "the moment of coming back, a message waiting, nobody attending",
            "0 s",
            f"median {day.typical(every_back):.0f} s, least {every_back[0]:.0f} s of {len(every_back)}"
            f" ({len(real_back)} on Synapse)",
            "median >= 300 s, never < 60 s",
            (day.typical(every_back) or 0) >= 300 and every_back[0] >= 60,
        ),
        Line(
            "D8",
            "confirmations that one sender, and 5 together, cause in a day",
            "unbounded",
            f"{most} to one, {at_once} to all",
            "<= 30, <= 240",
            most <= 30 and at_once <= 240,
        ),
    ]


# ── D9, D10, D11, D12 ──────────────────────────────────────────────────────────────────────────


def silent_flood(run: Run, events: int = 3600) -> list[Line]:
    cost = asyncio.run(flood.flood(run.place("flood"), events, seed=run.seed))
    return [
        Line(
            "D9",
            "an hour of one silent probe a second: what receipts add",
            "3,600 confirmations",
            f"{cost.receipts} confirmations of {cost.events:,}; {100 * cost.share:+.2f} % of a core"
            f" ({100 * cost.low:+.2f} to {100 * cost.high:+.2f})",
            "0, < 1 %",
            cost.receipts == 0 and cost.share < 0.01,
            {"with_gate_ms": 1000 * cost.with_gate_s, "without_ms": 1000 * cost.without_s},
        )
    ]


def misfortunes(run: Run, wanted: int = 10_000) -> list[Line]:
    rate = 14  # a second, which two cores can take
    messages = min(wanted, round(run.seconds(0.1) * rate))
    with timing.world(run.place("kills"), scale=run.scale, authors=16, seed=run.seed) as where:
        where.way.be(one_way_ms=19.0)
        toll = asyncio.run(kills.storm(where, messages, seed=run.seed, tell=run.tell))
    return [
        Line(
            "D10",
            "confirmations lost, or given for what did not arrive, while programs are killed",
            "-",
            f"{len(toll.lost)} lost, {len(toll.false)} false of {toll.sent:,}; {toll.deeds.total()} misfortunes",
            "0, 0 of 10,000",
            None if toll.sent < wanted and not (toll.lost or toll.false) else not (toll.lost or toll.false),
            {"deeds": dict(toll.deeds), "lost": toll.lost[:20], "false": toll.false[:20]},
        )
    ]


def third_parties(run: Run) -> list[Line]:
    seen = asyncio.run(thirds.look(run.place("thirds"), tell=run.tell))
    return [
        Line(
            "D11",
            "what other members see, here and on a stock server",
            "all of it (stock Synapse)",
            f"{len(seen.seen)} in {seen.looked} views; the author was told of {seen.confirmed}",
            "0",
            not seen.seen and seen.confirmed > 0,
            {"seen": seen.seen},
        ),
        Line(
            "D12",
            "presence that a confirmation changes",
            "active now (stock endpoint)",
            f"{len(seen.presence)} changes in {seen.presence_looked}",
            "none",
            not seen.presence and seen.presence_looked > 0,
            {"changes": seen.presence},
        ),
    ]


def hostile_receipts(run: Run) -> list[Line]:
    """The generator of hostile receipts, as the tests have it, in a process of its own."""
    from tests.core.crypto import test_hostile_receipts as hostile

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", str(hostile.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    run.tell(done.stdout.strip().splitlines()[-1])
    return [
        Line(
            "D13",
            "false, repeated and unknown confirmations that are believed or answered",
            "-",
            f"{'0' if done.returncode == 0 else 'some'} of {hostile.COUNT:,}",
            "0 of 5,000",
            done.returncode == 0 and hostile.COUNT >= 5000,
        )
    ]
