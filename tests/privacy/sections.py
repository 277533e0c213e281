"""The goals one after the other: each measures something, within its share of the time, and returns lines."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev

from tandem_core.receipts.schedule import PACES, Profile
from tandem_demo.device import wait_for
from tandem_demo.synapse import SynapseServer
from tests.privacy import classify, clockwork, day, draws, flood, kills, reference, silent, thirds, timing
from tests.privacy.attacker import Plan, measure
from tests.privacy.classify import Estimate, accuracy
from tests.privacy.devices import collect_devices
from tests.privacy.memory import make_home, make_server
from tests.privacy.on_synapse import on_synapse
from tests.privacy.rig import synapse
from tests.privacy.stepped import LeapingClock
from tests.privacy.table import Line
from tests.privacy.timing import (
    ALL,
    BASE,
    CITY,
    COUNTRIES,
    DEVICES,
    IDLE,
    PER_OBSERVATION,
    PER_OBSERVATION_OF_DEVICES,
    WINDOW,
    Collected,
    State,
)
from tests.privacy.upkeep import days_go_by

_AUTHORS = 30
_DRAWN = 900
"""Observations of each state that are drawn from the schedule alone."""
_LEAST = 8
"""With fewer observations of a state there is no figure."""


@dataclass
class Run:
    """What all sections share."""

    folder: Path
    seed: int
    minutes: float
    tell: Callable[[str], None]
    scale: float = 1.0
    late_ms: float = 0.0
    notes: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def place(self, name: str) -> Path:
        return self.folder / f"{next(self._numbers)}-{name}"

    def seconds(self, share: float) -> float:
        """This share of the whole time."""
        return 60 * self.minutes * share


def choose_scale(run: Run) -> None:
    """As fast as the machine's lateness allows now, for the shortest hold."""
    late = clockwork.lateness_ms(clockwork.Rate.starting_now(5.0))
    run.late_ms = classify.quantile(late, 0.95)
    shortest_s = min(PACES[profile].hold_s[0] for profile in (Profile.CONTACT, Profile.OTHERS, Profile.MERGED))
    run.scale = round(clockwork.fitting_scale(shortest_s, run.late_ms), 1)
    run.notes.append(
        f"Time runs {run.scale:g} times as fast: the machine wakes {run.late_ms:.1f} ms late (95th percentile), and the"
        f" shortest hold is {shortest_s:g} s; 5 % of it, at that speed, is"
        f" {1000 * clockwork.JITTER_SHARE * shortest_s / run.scale:.1f} ms."
    )


# ── D1 ─────────────────────────────────────────────────────────────────────────────────────────


def silent_probes(run: Run, wanted: int = 10_000) -> list[Line]:
    """Most of them on a server with our module, some on a stock one, where a confirmation would be a letter."""
    lines = []
    for words, module, most, share in (("", True, wanted, 0.16), (", stock server", False, wanted // 10, 0.03)):
        until = time.monotonic() + run.seconds(share)
        with _server(run, "silent", module=module) as server:
            count = asyncio.run(
                silent.probe(server, run.place("d1"), most, seed=run.seed, until=until, tell=run.tell)
            )
        given = count.confirmed.total() + count.letters
        _, high = classify.share_interval(given, max(count.probes, 1))
        is_sound = not given and count.kinds >= 60 and count.controls == count.controls_confirmed
        lines.append(
            Line(
                "D1",
                f"a confirmation for a silent, invalid or unwelcome probe{words}",
                "all of them",
                f"{given} of {count.probes:,} ({count.kinds} kinds; 95 %: below {100 * high:.3f} %)",
                f"0 of {most:,}, 60 kinds",
                is_sound and count.probes >= most,
                {
                    "confirmed": dict(count.confirmed),
                    "refused_by_server": dict(count.refused),
                    "controls": count.controls,
                    "controls_confirmed": count.controls_confirmed,
                    "letters": count.letters,
                },
            )
        )
    return lines


# ── D2, D3, D4, the ticks of D10 ───────────────────────────────────────────────────────────────


def places_and_programs(run: Run) -> list[Line]:
    """All states of one device, for contacts, for small groups, and for the reference."""
    until = time.monotonic() + run.seconds(0.1)
    plain = reference.collect_reference(
        run.place("reference"), [s for s in ALL if s is not WINDOW], authors=8, flushes=150, seed=run.seed, until=until
    )
    lines = []
    for profile, direct, share in ((Profile.CONTACT, True, 0.24), (Profile.OTHERS, False, 0.16)):
        until = time.monotonic() + run.seconds(share)
        with timing.world(
            run.place(profile), scale=run.scale, authors=_AUTHORS, direct=direct, seed=run.seed
        ) as where:
            found = timing.collect(
                where, ALL, rounds=50, flushes=5, seed=run.seed, until=until, tell=run.tell
            )
        _note_lateness(run, found, str(profile))
        lines += _lines_of(profile, found, plain, run.seed)
        if profile is Profile.CONTACT:
            lines += _ticks(found)
    return lines


def encrypted_way(run: Run) -> list[Line]:
    """The same on a stock Synapse, where confirmations travel as encrypted letters."""
    until = time.monotonic() + run.seconds(0.08)
    with timing.world(
        run.place("stock"), scale=run.scale, authors=_AUTHORS, module=False, seed=run.seed
    ) as where:
        found = timing.collect(
            where, (BASE, IDLE), rounds=50, flushes=5, seed=run.seed, until=until, tell=run.tell
        )
    _note_lateness(run, found, "stock server")
    ours = _tell_apart(found, (BASE, IDLE), PER_OBSERVATION)
    return [
        Line(
            "D2",
            "active or idle, 30 encrypted confirmations to a contact, stock server",
            "-",
            _words(ours),
            "<= 0.55",
            None if ours is None else ours.value <= 0.55,
            {"ours": ours and ours.as_json()},
        )
    ]


def _lines_of(profile: Profile, found: Collected, plain: Collected, seed: int) -> list[Line]:
    who = {"contact": "a contact", "others": "a group member"}[profile]
    is_contact = profile is Profile.CONTACT
    wanted: list[tuple[str, str, Sequence[State], float]] = [
        ("D2", "active or idle", (BASE, IDLE), 0.55),
        ("D3", "window open or notifier only", (BASE, WINDOW), 0.55),
        ("D4", "3 places in one city", CITY, 0.40 if is_contact else 0.38),
        ("D4", "3 countries", COUNTRIES, 0.55 if is_contact else 0.45),
    ]
    lines = []
    for goal, what, states, bar in wanted:
        ours = _tell_apart(found, states, PER_OBSERVATION)
        known = "1.00 (only its window confirms)" if WINDOW in states else _words(_tell_apart(plain, states, PER_OBSERVATION))
        drawn = {
            attack: accuracy(
                draws.observations(profile, states, attack=attack, size=PER_OBSERVATION, count=_DRAWN // len(states), seed=seed)
            )
            for attack in draws.ATTACKS
        }
        worst = max(drawn.values(), key=lambda each: each.value)
        lines.append(
            Line(
                goal,
                f"{what}, 30 confirmations to {who}",
                known,
                f"{_words(ours)}; schedule {drawn['single'].value:.2f}, dense train {drawn['train'].value:.2f}",
                f"<= {bar:.2f}",
                None if ours is None else ours.value <= bar and worst.value <= bar,
                {
                    "ours": ours and ours.as_json(),
                    "schedule": {name: each.as_json() for name, each in drawn.items()},
                },
            )
        )
    return lines


def _ticks(found: Collected) -> list[Line]:
    delays = found.delays.get(BASE.name, [])
    if len(delays) < _LEAST:
        return []
    middle, late = (classify.quantile_interval(delays, share) for share in (0.5, 0.95))
    return [
        Line(
            "D10",
            "how long a contact waits for the mark, p50 / p95",
            "0.1 s",
            f"{middle[0]:.1f} s ({middle[1]:.1f}-{middle[2]:.1f}) / {late[0]:.1f} s ({late[1]:.1f}-{late[2]:.1f})",
            "<= 9 s / <= 15 s",
            middle[0] <= 9 and late[0] <= 15,
            {"samples": len(delays)},
        )
    ]


def _tell_apart(found: Collected, states: Sequence[State], size: int) -> Estimate | None:
    classes = [found.observations(state, size) for state in states]
    return accuracy(classes) if min(map(len, classes)) >= _LEAST else None


def _words(estimate: Estimate | None) -> str:
    return "too few samples" if estimate is None else f"{estimate} of {estimate.samples}"


def _note_lateness(run: Run, found: Collected, name: str) -> None:
    if found.late_ms:
        late = classify.quantile(found.late_ms, 0.95)
        run.notes.append(
            f"{name}: the victim's own loops woke {late:.1f} ms late (95th percentile) while measuring,"
            f" {late * run.scale:.0f} ms of unscaled time."
        )


# ── D5 ─────────────────────────────────────────────────────────────────────────────────────────


def devices(run: Run) -> list[Line]:
    found = collect_devices(
        run.place("devices"),
        scale=run.scale,
        authors=12,
        flushes=10_000,
        seed=run.seed,
        within_s=run.seconds(0.08),
        tell=run.tell,
    )
    _note_lateness(run, found, "devices")
    ours = _tell_apart(found, DEVICES, PER_OBSERVATION_OF_DEVICES)
    drawn = accuracy(
        draws.device_observations(DEVICES, size=PER_OBSERVATION_OF_DEVICES, count=_DRAWN // 3, seed=run.seed)
    )
    return [
        Line(
            "D5",
            "1, 2 or 3 devices online, 60 confirmations",
            "1.00 (each device is named)",
            f"{_words(ours)}; schedule {drawn.value:.2f}",
            "<= 0.38",
            None if ours is None else ours.value <= 0.38 and drawn.value <= 0.38,
            {"ours": ours and ours.as_json(), "schedule": drawn.as_json()},
        )
    ]


# ── D6, D7, D8 ─────────────────────────────────────────────────────────────────────────────────


def days(run: Run, *, in_memory: int = 8, authors: int = 4) -> list[Line]:
    """One day on Synapse, more with a server in memory; come-backs in both."""
    with _server(run, "days") as server:
        real_side = on_synapse(server, run.place("day"), authors)
        real = [asyncio.run(day.live(real_side, day.pattern(random.Random(run.seed)), tell=run.tell))]
        back_side = on_synapse(server, run.place("back"), 2)
        real_back = asyncio.run(day.come_backs(back_side, 6, seed=run.seed))
        crowd_side = on_synapse(server, run.place("crowd"), 5, direct=False)
        crowd = [asyncio.run(day.live(crowd_side, [(0, day.DAY_MINUTES)], every=10))]

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
    most, at_once = day.busiest([*real, *many, *crowd]), max(day.in_all(real), day.in_all(crowd), day.in_all(many))
    return [
        Line(
            "D6",
            "online or offline, each minute of a day, from one visible message a minute that nobody reads",
            "1.00",
            f"{value:.2f} ({low:.2f}-{high:.2f}); {len(real)} day on Synapse, {len(many)} in memory",
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
    messages = min(wanted, round(run.seconds(0.12) * rate))
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


def fortnight(run: Run) -> list[Line]:
    """What is not hidden: two weeks of a whole day's budget each, from the schedule's own draws."""
    lines = []
    for profile, who in ((Profile.CONTACT, "a contact"), (Profile.OTHERS, "a group member")):
        told = []
        for what, states in (("active or idle", (BASE, IDLE)), ("city", CITY), ("countries", COUNTRIES)):
            seen = (
                draws.observations(profile, states, attack=attack, size=420, count=150, seed=run.seed)
                for attack in draws.ATTACKS
            )
            worst = max((accuracy(each) for each in seen), key=lambda each: each.value)
            told.append(f"{what} {worst.value:.2f}")
        lines.append(
            Line(
                "D4",
                f"all of these in a fortnight, 420 confirmations to {who} (schedule, best attack)",
                "1.00",
                ", ".join(told),
                "told openly",
                None,
            )
        )
    return lines


# ── Calibration ────────────────────────────────────────────────────────────────────────────────


def real_time(run: Run) -> list[Line]:
    """The notifier as it is shipped, in real time, against the harness's faster one and against the schedule."""
    plan, within_s = Plan(10_000), run.seconds(0.08)
    with timing.world(run.place("real"), scale=1.0, authors=_AUTHORS, seed=run.seed) as where:
        where.way.be(one_way_ms=19.0)
        device = where.victim.devices[0]
        device.start_notifier()
        try:
            wait_for("the notifier", lambda: device.is_syncing("notifier"))
            with days_go_by([device]):
                shipped = [
                    delay
                    for one in asyncio.run(measure(where.authors, plan, 1.0, seed=run.seed, within_s=within_s))
                    for delay in one
                ]
        finally:
            device.stop_all()
    with timing.world(run.place("fast"), scale=run.scale, authors=_AUTHORS, seed=run.seed) as where:
        until = time.monotonic() + within_s / 2
        fast = timing.collect(where, [BASE], rounds=20, flushes=5, seed=run.seed, until=until).delays[BASE.name]
    chance = random.Random(run.seed)
    drawn = [draws.single(Profile.CONTACT, BASE, chance) for _ in range(4000)]
    path_s = fmean(shipped) - fmean(drawn)
    distance, likely = classify.same_source(shipped, fast)
    run.notes.append(
        f"Calibration: {len(shipped)} confirmations of the shipped notifier in real time, {len(fast)} at speed"
        f" {run.scale:g}: Kolmogorov-Smirnov distance {distance:.3f}, p = {likely:.2f}. Mean {fmean(shipped):.2f} and"
        f" {fmean(fast):.2f} s, spread {pstdev(shipped):.2f} and {pstdev(fast):.2f} s; the schedule alone"
        f" {fmean(drawn):.2f} and {pstdev(drawn):.2f} s; the path adds {path_s:.2f} s in real time."
    )
    return [
        Line(
            "-",
            "is faster time like real time (shipped notifier)",
            "-",
            f"distance {distance:.3f}, p = {likely:.2f}",
            "p > 0.01",
            likely > 0.01,
            {"real": len(shipped), "fast": len(fast)},
        )
    ]


@contextmanager
def _server(run: Run, name: str, *, module: bool = True) -> Iterator[SynapseServer]:
    server = synapse(run.place(f"{name}-synapse"), module=module)
    with server.running():
        yield server


SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[Run], list[Line]]]] = {
    "third parties": (("D11", "D12"), third_parties),
    "silent probes": (("D1",), silent_probes),
    "places and programs": (("D2", "D3", "D4", "D10"), places_and_programs),
    "encrypted way": (("D2",), encrypted_way),
    "devices": (("D5",), devices),
    "days": (("D6", "D7", "D8"), days),
    "silent flood": (("D9",), silent_flood),
    "misfortunes": (("D10",), misfortunes),
    "hostile receipts": (("D13",), hostile_receipts),
    "fortnight": (("D4",), fortnight),
    "real time": (("calibration",), real_time),
}


def commit() -> str:
    """Which version was measured; with a plus if the tree was changed."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def as_json(run: Run, lines: Sequence[Line]) -> str:
    told = {
        "commit": commit(),
        "seed": run.seed,
        "scale": run.scale,
        "notes": run.notes,
        "lines": [line.as_json() for line in lines],
    }
    return json.dumps(told, indent=1) + "\n"
