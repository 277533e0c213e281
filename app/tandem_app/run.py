"""One run of the window: paint, then start the engine; on the way out, in the other order."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Slot

from tandem_app.commands import Commands
from tandem_app.engine_thread import EngineThread
from tandem_app.window import MainWindow, make_application

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from PySide6.QtQuick import QQuickWindow

    from tandem_app.main import Options
    from tandem_app.signals import Signals
    from tandem_core.paths import ProfilePaths


def run(
    paths: ProfilePaths, options: Options, on_window: Callable[[QQuickWindow], object] | None = None
) -> int:
    """Show the window of this profile until it is closed."""
    sys.excepthook = _log_crash
    application = make_application(sys.argv[:1])
    thread = EngineThread(paths)
    commands = Commands(thread)
    window = MainWindow(paths, thread, commands)
    ending: list[Signals] = []
    window.shell.closed.connect(application.quit)
    try:
        window.show()
        assert window.window is not None
        if on_window is not None:
            on_window(window.window)

        def begin() -> None:
            from tandem_app.signals import Signals
            from tandem_core import log

            log.start(paths, "app")
            ending.append(Signals(application))
            thread.start()

        start = Once(begin)
        # Not inside the frame's own signal: the frame is finished first.
        window.window.frameSwapped.connect(start.soon)
        # A window that is never painted (minimised from the start) still needs its engine.
        QTimer.singleShot(1500, start.go)
        if options.uri:
            QTimer.singleShot(0, lambda: window.shell.openUri(options.uri))
        status: int = application.exec()
    finally:
        thread.stop()
        window.close()
        for signals in ending:
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
    def soon(self) -> None:
        if self._call is not None:
            QTimer.singleShot(0, self.go)

    @Slot()
    def go(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()
