"""The product's window with a stop-watch: says when enough rooms are painted, and when a message is.

``python -m bench.probe ROOMS [stay]``; one JSON object a line on stdout, times on the monotonic clock.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, QSocketNotifier, Slot


class Probe(QObject):
    """Looks at the models after every frame that was shown."""

    def __init__(self, window: Any, rooms: int, stay: bool) -> None:
        super().__init__()
        self._window = window
        self._rooms = rooms
        self._stay = stay
        self._body: str | None = None
        self._told = False
        window.frameSwapped.connect(self.look)
        if stay:
            self._stdin = QSocketNotifier(sys.stdin.fileno(), QSocketNotifier.Type.Read)
            self._stdin.activated.connect(self.obey)

    @Slot()
    def look(self) -> None:
        now = time.monotonic()
        if not self._told and self._window.property("rooms").rowCount() >= self._rooms:
            self._told = True
            _say({"rooms": now, "rss_kib": _rss_kib()})
            if not self._stay:
                QCoreApplication.quit()
        if self._body is not None and self._newest() == self._body:
            self._body = None
            _say({"painted": now})

    @Slot()
    def obey(self) -> None:
        """``open ROOM``, ``await BODY``, ``memory`` or ``quit``."""
        verb, _, word = sys.stdin.readline().strip().partition(" ")
        match verb:
            case "open":
                self._window.property("shell").openRoom(word)
            case "await":
                self._body = word
            case "memory":
                _say({"rss_kib": _rss_kib(), "messages": self._window.property("timeline").rowCount()})
            case _:
                QCoreApplication.quit()

    def _newest(self) -> str:
        model = self._window.property("timeline")
        names = {bytes(name.data()).decode(): role for role, name in model.roleNames().items()}
        return str(model.data(model.index(0, 0), names["text"])) if model.rowCount() else ""


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _rss_kib() -> int:
    with open(f"/proc/{os.getpid()}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def main() -> int:
    from tandem_app.main import main as tandem

    probes: list[Probe] = []
    rooms, stay = int(sys.argv[1]), sys.argv[2:] == ["stay"]
    return tandem([], on_window=lambda window: probes.append(Probe(window, rooms, stay)))


if __name__ == "__main__":
    sys.exit(main())
