"""Alice's real window, run under a driver that types, presses keys and takes pictures as a person would.

``python -m tandem_demo.window`` is the window process: the product's own ``main``, unchanged, plus a reader
on stdin. ``WindowDriver`` is the demo's side. One JSON object a line each way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tandem_core.uri import Address, Kind, to_uri
from tandem_demo.device import DemoFailed, Device, wait_for


class WindowDriver:
    """Opens, drives and closes the window of one device."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def open(self) -> None:
        """Start the window and wait until it is painted and its connection syncs."""
        self._device.start("window", [sys.executable, "-m", "tandem_demo.window"])
        self.do("wait_painted")
        wait_for("the window's own sync connection", lambda: self._device.is_syncing("app"))

    def do(self, verb: str, **words: Any) -> Any:
        """Have the window do something; returns its answer."""
        child = self._child()
        if child.stdin is None or child.stdout is None:
            raise DemoFailed("the window has no driver")
        child.stdin.write(json.dumps({"do": verb, **words}) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            raise DemoFailed(f"the window ended while asked to {verb}")
        answer = json.loads(line)
        if "error" in answer:
            raise DemoFailed(f"the window could not {verb}: {answer['error']}")
        return answer.get("value")

    def open_room(self, room_id: str) -> None:
        """Open a room as a link does: a second ``tandem`` hands the address to the window that runs."""
        uri = to_uri(Address(Kind.ROOM, room_id))
        done = subprocess.run(
            [str(Path(sys.executable).parent / "tandem"), uri],
            env=self._device.environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"tandem {uri}: {done.stderr.strip()}")

    def shot(self, path: Path) -> None:
        """Save a picture of the window as it is now."""
        self.do("shot", path=str(path))

    def close(self) -> None:
        """Close the window as a person does, by its close button; its process ends by itself."""
        child = self._child()
        self.do("close")
        try:
            child.wait(20)
        except subprocess.TimeoutExpired as error:
            raise DemoFailed("the window's process did not end after its window was closed") from error
        self._device.stop("window")

    def _child(self) -> subprocess.Popen[str]:
        child = self._device.running.get("window")
        if child is None:
            raise DemoFailed("the window is not open")
        return child


class Reader:
    """Inside the window's process: obeys stdin on the Qt thread."""

    def __init__(self, window: Any) -> None:
        from PySide6.QtCore import QSocketNotifier

        self._window = window
        self._rest = b""
        self._painted = False
        self._asked = False
        window.frameSwapped.connect(self._on_frame)
        os.set_blocking(sys.stdin.fileno(), False)
        self._stdin = QSocketNotifier(sys.stdin.fileno(), QSocketNotifier.Type.Read)
        self._stdin.activated.connect(self._read)

    def _on_frame(self) -> None:
        self._painted = True
        if self._asked:
            self._asked = False
            _answer({"value": True})

    def _read(self) -> None:
        chunk = os.read(sys.stdin.fileno(), 65536)
        if not chunk:
            self._stdin.setEnabled(False)
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            order = json.loads(line)
            verb = order.pop("do")
            if verb == "wait_painted" and not self._painted:
                self._asked = True
                continue
            try:
                _answer({"value": getattr(self, f"do_{verb}")(**order)})
            except Exception as error:  # the demo's side raises it again, in its own process
                _answer({"error": f"{type(error).__name__}: {error}"})

    def do_wait_painted(self) -> bool:
        return True

    def do_shot(self, path: str) -> bool:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return bool(self._window.grabWindow().save(path))

    def do_type(self, text: str) -> bool:
        """Key by key, into whatever has the focus."""
        from PySide6.QtTest import QTest

        for letter in text:
            QTest.keyClick(self._window, letter)  # type: ignore[call-overload]  # the stub knows no letters
        return True

    def do_key(self, name: str, *, control: bool = False) -> bool:
        from PySide6.QtCore import Qt
        from PySide6.QtTest import QTest

        modifier = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
        QTest.keyClick(self._window, getattr(Qt.Key, f"Key_{name}"), modifier)
        return True

    def do_has_focus(self, name: str) -> bool:
        """Whether the keyboard goes to the item of this object name."""
        item = self._window.activeFocusItem()
        return item is not None and item.objectName() == name

    def do_names(self) -> list[str]:
        """What a screen reader would read out: the accessible names of all that is on the screen."""
        from PySide6.QtGui import QAccessible

        names: list[str] = []
        pending = [self._window.contentItem()]
        while pending:
            item = pending.pop()
            if not item.isVisible():
                continue
            # The stub does not say so, but an item without accessible properties has no interface.
            interface: Any = QAccessible.queryAccessibleInterface(item)
            name = "" if interface is None else str(interface.text(QAccessible.Text.Name))
            if name:
                names.append(name)
            pending += item.childItems()
        return names

    def do_close(self) -> bool:
        return bool(self._window.close())


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the product's window with a reader beside it."""
    from tandem_app.main import main as tandem

    readers: list[Reader] = []
    return tandem([], on_window=lambda window: readers.append(Reader(window)))


if __name__ == "__main__":
    sys.exit(main())
