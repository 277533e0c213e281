"""Where programs are to die: every phase of every point, and the k-th of several requests of one share."""

from __future__ import annotations

from dataclasses import dataclass

from tests.torture.points import REQUEST_PHASES, SEND_TO_DEVICE, points

_MOST_REQUESTS = 4
"""So many requests hand out the keys of one round of traffic: two rooms, two devices, one recipient each."""


@dataclass(frozen=True, slots=True, order=True)
class Aim:
    """Where a program is to die: the phase of a point, the so-many-th time that it comes by."""

    program: str
    point: str
    phase: str
    times: int = 1
    blow: str = "KILL"
    """The signal that it is to get: KILL, or STOP."""

    @property
    def step(self) -> str:
        return f"{self.point} {self.phase}"


def aims(program: str) -> list[Aim]:
    """Every phase of every point of a program, once."""
    steps = {(point.name, phase) for point in points(program) for phase in point.phases}
    return sorted(Aim(program, name, phase) for name, phase in steps)


def later_aims(program: str) -> list[Aim]:
    """The second and each later of the requests that hand out a key; the program sends one to each device."""
    return [
        Aim(program, SEND_TO_DEVICE, phase, times)
        for phase in REQUEST_PHASES
        for times in range(2, _MOST_REQUESTS + 1)
    ]
