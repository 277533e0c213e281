"""One run of the window: paint, then start the engine; on the way out, in the other order."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QSocketNotifier, Qt, QTimer, Slot

from tandem_app.commands import Commands
from tandem_app.engine_thread import EngineThread
from tandem_app.window import MainWindow, make_application

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from PySide6.QtGui import QGuiApplication
    from PySide6.QtQuick import QQuickWindow

    from tandem_app.main import Options
    from tandem_core.paths import ProfilePaths

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    paths: ProfilePaths, options: Options, on_window: Callable[[QQuickWindow], object] | None = None
) -> int:
    """Show the window of this profile until it is closed."""
    sys.excepthook = _log_crash
    application = make_application(sys.argv[:1])
    thread = EngineThread(paths)
    commands = Commands(thread)
    window = MainWindow(paths, thread, commands)
    signals = Signals(application)
    window.shell.closed.connect(application.quit)
    try:
        window.show()
        assert window.window is not None
        if on_window is not None:
            on_window(window.window)

        def begin() -> None:
            from tandem_core import log

            log.start(paths, "app")
            thread.start()

        start = Once(begin)
        window.window.frameSwapped.connect(start.go, Qt.ConnectionType.QueuedConnection)
        # A window that is never painted (minimised from the start) still needs its engine.
        QTimer.singleShot(1500, start.go)
        if options.uri:
            QTimer.singleShot(0, lambda: window.shell.openUri(options.uri))
        status: int = application.exec()
    finally:
        thread.stop()
        window.close()
        signals.close()
    return status


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody caught goes to the log, and to the terminal if there is one."""
    logging.getLogger("tandem.app").critical("not handled: %s", kind.__name__, exc_info=(kind, error, trace))
    sys.__excepthook__(kind, error, trace)


class Once(QObject):
    """Calls something the first time it is asked to."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    @Slot()
    def go(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class Signals(QObject):
    """SIGINT, SIGTERM and SIGHUP end the window as closing it does.

    Python runs its handlers only between its own instructions, and Qt's loop may sleep for long: the wake-up
    descriptor makes the loop run some.
    """

    def __init__(self, application: QGuiApplication) -> None:
        super().__init__(application)
        self._application = application
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._notifier = QSocketNotifier(self._read.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._wake)
        self._before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, lambda *_: None)

    @Slot()
    def _wake(self) -> None:
        if any(number in _ENDING for number in os.read(self._read.fileno(), 64)):
            self._application.quit()

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._notifier.setEnabled(False)
        self._read.close()
        self._write.close()
