"""One run of the window: paint, then start the engine; on the way out, in the other order."""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from tandem_app.commands import Commands
from tandem_app.engine_thread import EngineThread
from tandem_app.window import MainWindow, make_application
from tandem_core.paths import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from PySide6.QtQuick import QQuickWindow

    from tandem_app.activation import Activation
    from tandem_app.first_look import FirstLook
    from tandem_app.main import Options
    from tandem_app.signals import Signals
    from tandem_core.paths import ProfilePaths

_UNPAINTED_MS = 1500
_LOOK_MS = 5000
_DESKTOP_MS = 1000


def run(
    paths: ProfilePaths,
    options: Options,
    on_window: Callable[[QQuickWindow], object] | None = None,
    look: FirstLook | None = None,
) -> int:
    """Show the window of this profile until it is closed; ``look`` may be bringing the very first rooms."""
    sys.excepthook = _log_crash
    application = make_application(sys.argv[:1])
    thread = EngineThread(paths)
    commands = Commands(thread)
    window = MainWindow(paths, thread, commands)
    ending: list[Signals | Activation] = []
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
            if look is not None:
                look.give_up()
            thread.start()
            QTimer.singleShot(_DESKTOP_MS, meet_desktop)

        def meet_desktop() -> None:
            from tandem_core.session_bus import bus_address

            address = bus_address()
            # The desktop knows one Tandem: that of the default profile.
            if address is not None and paths.profile == DEFAULT_PROFILE:
                from tandem_app.activation import Activation

                ending.append(Activation(application, address, window.knock))

        start = Once(begin)
        if look is None:
            # Not inside the frame's own signal: the frame is finished first.
            window.window.frameSwapped.connect(start.soon)
            # A window that is never painted (minimised from the start) still needs its engine.
            QTimer.singleShot(_UNPAINTED_MS, start.go)
        else:
            # The first rooms are on their way: the engine's imports wait until they are painted.
            def show_rooms() -> None:
                assert window.window is not None
                window.watch.start()
                window.window.frameSwapped.connect(start.soon)
                window.window.update()
                QTimer.singleShot(_UNPAINTED_MS, start.go)

            seen = Once(show_rooms)
            look.when_over(seen.over.emit)
            QTimer.singleShot(_LOOK_MS, start.go)
        if options.uri:
            QTimer.singleShot(0, lambda: window.shell.openUri(options.uri))
        status: int = application.exec()
    finally:
        for one in reversed(ending):
            one.close()
        thread.stop()
        window.close()
        # What only cycles hold goes with the process: a collection on the way out would destroy Qt's objects
        # in any order, and some wait for each other then.
        gc.freeze()
    return status


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody caught goes to the log, and to the terminal if there is one."""
    logging.getLogger("tandem.app").critical("not handled: %s", kind.__name__, exc_info=(kind, error, trace))
    sys.__excepthook__(kind, error, trace)


class Once(QObject):
    """Calls something the first time it is asked to, in the Qt thread."""

    over = Signal()
    """To be emitted in other threads: the same as ``soon``."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call
        self.over.connect(self.soon)

    @Slot()
    def soon(self) -> None:
        if self._call is not None:
            QTimer.singleShot(0, self.go)

    @Slot()
    def go(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()
