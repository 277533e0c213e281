"""Kills at random points, again and again, while a scenario is played."""

from __future__ import annotations

import os
import random
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.tandem import Tandem

KILLS = "TANDEM_INTEROP_KILLS"
"""Environment variable: a number to draw from; every scenario is played with kills then."""
kills: list[str] = []
"""Who was killed in this run, and which program."""

_CALM_S = (0.5, 2.5)
_DEAD_S = (0.0, 0.4)


class Killer:
    """Kills one of a person's programs at a drawn moment and starts it again, until it is told to stop.

    Only what the scenario has running is killed, and it runs again before the scenario may change that.
    """

    def __init__(self, tandem: Tandem, seed: int) -> None:
        self._tandem = tandem
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Kill as long as this lasts; raises what kept a program from starting again."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while not self._stop.wait(self._chance.uniform(*_CALM_S)):
            with self._tandem.guard:
                running = self._tandem.running()
                if not running:
                    continue
                link = self._chance.choice(running)
                self._tandem.kill(link)
                kills.append(f"{self._tandem.device.name}: {link}")
                self._stop.wait(self._chance.uniform(*_DEAD_S))
                try:
                    self._tandem.start(link)
                except Exception as error:
                    self._failure = error
                    return


@contextmanager
def killed(tandem: Tandem) -> Iterator[None]:
    """Kill the programs of this person all the while, if the run is to be so."""
    seed = os.environ.get(KILLS)
    if seed is None:
        yield
        return
    with Killer(tandem, int(seed) + zlib.crc32(tandem.device.name.encode())).at_work():
        yield
