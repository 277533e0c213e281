"""D2 to D5, the ticks of D10, and the calibration: what the times of confirmations tell."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from statistics import fmean, pstdev

from tandem_core.receipts.schedule import Profile
from tandem_demo.device import wait_for
from tests.privacy import classify, draws, optimum, reference, timing
from tests.privacy.attacker import Plan, measure
from tests.privacy.classify import Estimate, accuracy
from tests.privacy.devices import collect_devices
from tests.privacy.rig import Author, lateness
from tests.privacy.run import Run
from tests.privacy.sampling import engine_delays
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

_AUTHORS = 16
"""So many that a small machine keeps up at speed."""
_MANY = 24
"""So many where only two states take turns and much is wanted."""
_DRAWN = 900
_PLAYED = 20_000
"""Observations of all states together that are drawn from the schedule alone."""
_LONG = 60
"""In fewer minutes a real server gives samples enough for contacts with the notifier or the window, and no more.

Of group members, whose confirmations come half as often, it gives enough for two states only.
"""
_LEAST = 8
"""With fewer observations of a state there is no figure."""


def places_and_programs(run: Run) -> list[Line]:
    """All states of one device, for contacts, for small groups, and for the reference."""
    until = time.monotonic() + run.seconds(0.09)
    places = [state for state in ALL if state is not WINDOW]
    flushes = 40 if run.minutes < _LONG else 150
    plain = reference.collect_reference(
        run.place("reference"), places, authors=8, flushes=flushes, seed=run.seed, until=until
    )
    is_long = run.minutes >= _LONG
    wanted: list[tuple[Profile, float, int, Sequence[State]]] = [
        (Profile.CONTACT, 0.16, _AUTHORS, ALL if is_long else (BASE, WINDOW)),
        (Profile.OTHERS, 0.08, _MANY, (BASE, IDLE) if is_long else ()),
    ]
    lines = []
    for profile, share, authors, states in wanted:
        found, direct = Collected(), profile is Profile.CONTACT
        if states:
            with timing.world(
                run.place(profile), scale=run.scale, authors=authors, direct=direct, seed=run.seed
            ) as where:
                until = time.monotonic() + run.seconds(share)
                found = timing.collect(
                    where, states, rounds=50, flushes=5, seed=run.seed, until=until, tell=run.tell
                )
                found.late_ms = lateness([where.victim])
            _note_lateness(run, found, str(profile))
        engine = _of_the_engine(run) if direct else Collected()
        lines += _lines_of(profile, found, engine, plain, run.seed)
    return lines


def active_or_idle(run: Run) -> list[Line]:
    """What is hardest to keep from anybody, on a real Synapse, with as many authors as the machine can bear."""
    ours = _idle_on_synapse(run, "active or idle", authors=_MANY, share=0.13)
    return [_measured("D2", "active or idle, 30 confirmations to a contact, on Synapse", ours, 0.55)]


def encrypted_way(run: Run) -> list[Line]:
    """The same on a stock Synapse, where confirmations travel as encrypted letters."""
    ours = _idle_on_synapse(run, "stock server", authors=_MANY, share=0.12, module=False)
    return [
        _measured("D2", "active or idle, 30 encrypted confirmations to a contact, stock server", ours, 0.55)
    ]


def _idle_on_synapse(
    run: Run, name: str, *, authors: int, share: float, module: bool = True
) -> Estimate | None:
    with timing.world(
        run.place("idle"), scale=run.scale, authors=authors, module=module, seed=run.seed
    ) as where:
        until = time.monotonic() + run.seconds(share)
        found = timing.collect(
            where, (BASE, IDLE), rounds=1000, flushes=5, seed=run.seed, until=until, tell=run.tell
        )
        found.late_ms = lateness([where.victim])
    _note_lateness(run, found, name)
    return _tell_apart(found, (BASE, IDLE), PER_OBSERVATION)


def _measured(goal: str, what: str, ours: Estimate | None, bar: float) -> Line:
    return Line(
        goal,
        what,
        "-",
        _words(ours),
        f"<= {bar}",
        None if ours is None else ours.low <= bar,
        {"ours": ours and ours.as_json()},
    )


def _of_the_engine(run: Run) -> Collected:
    """The whole engine with a server in memory: many more samples than a real server gives in the time."""
    engine = Collected()
    for state in (BASE, IDLE, WINDOW):
        cycles = max(round(4 * run.minutes), 20)
        delays = asyncio.run(
            engine_delays(run.place("engine"), state, cycles=cycles, writers=_AUTHORS, seed=run.seed)
        )
        engine.add(state, [delays])
        run.tell(f"{state.name}: {len(delays)} confirmations of the engine, server in memory")
    chance = random.Random(run.seed)
    drawn = [draws.single(Profile.CONTACT, BASE, chance) for _ in range(4000)]
    distance, likely = classify.same_source(engine.delays[BASE.name], drawn)
    run.notes.append(
        f"The engine keeps to the schedule: {len(engine.delays[BASE.name])} confirmations with a server in memory,"
        f" against the schedule's own draws: Kolmogorov-Smirnov distance {distance:.3f}, p = {likely:.2f}."
    )
    return engine


def _lines_of(
    profile: Profile, found: Collected, engine: Collected, plain: Collected, seed: int
) -> list[Line]:
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
        on_synapse = "" if ours is None else f"Synapse {_words(ours)}; "
        known = (
            "1.00 (only its window confirms)"
            if WINDOW in states
            else _words(_tell_apart(plain, states, PER_OBSERVATION))
        )
        drawn = {
            attack: accuracy(
                draws.observations(
                    profile,
                    states,
                    attack=attack,
                    size=PER_OBSERVATION,
                    count=_DRAWN // len(states),
                    seed=seed,
                )
            )
            for attack in draws.ATTACKS
        }
        best = max(optimum.accuracy(profile, states, size=PER_OBSERVATION, count=_PLAYED).values())
        told = ", ".join(f"{attack} {each.value:.2f}" for attack, each in drawn.items())
        by_draws = f"schedule: {told}; best possible {best:.3f}"
        whole = _tell_apart(engine, states, PER_OBSERVATION)
        in_memory = "" if whole is None else f"engine in memory {_words(whole)}; "
        lines.append(
            Line(
                goal,
                f"{what}, 30 confirmations to {who}",
                known,
                f"{on_synapse}{in_memory}{by_draws}",
                f"<= {bar:.2f}",
                best <= bar
                and all(each is None or each.low <= bar for each in (ours, whole, *drawn.values())),
                {
                    "best possible": best,
                    "ours": ours and ours.as_json(),
                    "engine": whole and whole.as_json(),
                    "schedule": {name: each.as_json() for name, each in drawn.items()},
                },
            )
        )
    return lines


def _ticks(delays: Sequence[float], chat: Sequence[float]) -> list[Line]:
    lines = []
    if len(delays) >= _LEAST:
        middle, late = (classify.quantile_interval(delays, share) for share in (0.5, 0.95))
        lines.append(
            Line(
                "D10",
                "how long a contact waits for the mark, p50 / p95",
                "0.1 s",
                f"{_seconds(middle)} / {_seconds(late)} of {len(delays)}",
                "<= 9 s / <= 15 s",
                middle[0] <= 9 and late[0] <= 15,
            )
        )
    if len(chat) >= _LEAST:
        late = classify.quantile_interval(chat, 0.95)
        lines.append(
            Line(
                "D10",
                "the same while the owner is visibly active, p95",
                "0.1 s",
                f"{_seconds(late)} of {len(chat)}",
                "<= 7 s",
                late[0] <= 7,
            )
        )
    return lines


def _seconds(interval: tuple[float, float, float]) -> str:
    return f"{interval[0]:.1f} s ({interval[1]:.1f}-{interval[2]:.1f})"


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
    ours = _of_devices(run, module=True)
    drawn = accuracy(
        draws.device_observations(DEVICES, size=PER_OBSERVATION_OF_DEVICES, count=_DRAWN // 3, seed=run.seed)
    )
    return [
        Line(
            "D5",
            "1, 2 or 3 devices online, 60 confirmations",
            "1.00 (each device is named)",
            f"Synapse {_words(ours)}; schedule {drawn.value:.2f}",
            "<= 0.38",
            drawn.low <= 0.38 and (ours is None or ours.low <= 0.38),
            {"ours": ours and ours.as_json(), "schedule": drawn.as_json()},
        )
    ]


def devices_of_the_encrypted_way(run: Run) -> list[Line]:
    """The same on a stock Synapse: one of the devices answers for all."""
    what = "1, 2 or 3 devices online, 60 encrypted confirmations, stock server"
    return [_measured("D5", what, _of_devices(run, module=False), 0.38)]


def _of_devices(run: Run, *, module: bool) -> Estimate | None:
    found = collect_devices(
        run.place("devices"),
        scale=run.scale,
        authors=12,
        flushes=10_000,
        seed=run.seed,
        within_s=run.seconds(0.07),
        module=module,
        tell=run.tell,
    )
    _note_lateness(run, found, "devices" if module else "devices, stock server")
    return _tell_apart(found, DEVICES, PER_OBSERVATION_OF_DEVICES)


def fortnight(run: Run) -> list[Line]:
    """What is not hidden: two weeks of a whole day's budget each."""
    return [
        _at_best(f"all of these in a fortnight, 420 confirmations to {who}", profile, 420, optimum.STEP_S)
        for profile, who in ((Profile.CONTACT, "a contact"), (Profile.OTHERS, "a group member"))
    ]


def other_timings(run: Run) -> list[Line]:
    """What the settings and a visibly active owner make of it."""
    return [
        _at_best(f"all of these, 30 confirmations, {when}", profile, PER_OBSERVATION, step_s)
        for profile, when, step_s in (
            (Profile.ACTIVE, "the owner visibly active", optimum.STEP_S),
            (Profile.QUICK, '"quick" timing', optimum.STEP_S),
            (Profile.SLOWER, '"slower" timing', optimum.COARSE_S),
        )
    ]


def _at_best(what: str, profile: Profile, size: int, step_s: float) -> Line:
    told = []
    for which, states in (("active or idle", (BASE, IDLE)), ("city", CITY), ("countries", COUNTRIES)):
        best = optimum.accuracy(profile, states, size=size, count=_PLAYED // 10, step_s=step_s)
        told.append(f"{which} {max(best.values()):.2f}")
    return Line("D4", f"{what} (best possible attacker)", "1.00", ", ".join(told), "told openly", None)


# ── Calibration ────────────────────────────────────────────────────────────────────────────────


def real_time(run: Run) -> list[Line]:
    """The notifier as it is shipped, in real time, against the harness's faster one and against the schedule.

    How long a mark takes is measured here, too: faster time makes the path from the server and back count for more.
    """
    within_s = run.seconds(0.06)

    def heard(authors: Sequence[Author], plan: Plan, within_s: float) -> list[float]:
        found = asyncio.run(measure(authors, plan, 1.0, seed=run.seed, within_s=within_s))
        return [delay for one in found for delay in one]

    with timing.world(run.place("real"), scale=1.0, authors=_AUTHORS, seed=run.seed) as where:
        where.way.be(one_way_ms=19.0)
        device = where.victim.devices[0]
        device.start_notifier()
        try:
            wait_for("the notifier", lambda: device.is_syncing("notifier"))
            with days_go_by([device]):
                shipped = heard(where.authors, Plan(10_000), within_s)
            with days_go_by([device], attended=[author.room for author in where.authors]):
                chat = heard(where.authors, Plan(10_000, pause_s=(2.5, 4.0)), within_s / 3)
        finally:
            device.stop_all()
    with timing.world(run.place("fast"), scale=run.scale, authors=_AUTHORS, seed=run.seed) as where:
        until = time.monotonic() + within_s / 2
        fast = timing.collect(where, [BASE], rounds=20, flushes=5, seed=run.seed, until=until).delays[
            BASE.name
        ]
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
        ),
        *_ticks(shipped, chat),
    ]
