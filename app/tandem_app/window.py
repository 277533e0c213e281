"""The window and all that belongs to it, put together: models, watch, engine, QML."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QUrl, Slot
from PySide6.QtGui import QGuiApplication, QWindow
from PySide6.QtQml import QQmlApplicationEngine
from PySide6.QtQuick import QQuickWindow

from tandem_app.actions import Shell
from tandem_app.garbage import GarbageCollector
from tandem_app.models.room_list import RoomListModel
from tandem_app.models.timeline import TimelineModel
from tandem_app.panels import Panels
from tandem_app.reader import Reader
from tandem_app.shields import Shields
from tandem_app.store_source import StoreSource
from tandem_app.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tandem_app.commands import Commands
    from tandem_app.engine_thread import EngineThread
    from tandem_core.errors import Expected
    from tandem_core.paths import ProfilePaths
    from tandem_core.types import Json

QML = Path(__file__).parent / "qml"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class MainWindow(QObject):
    """One window over one profile's store. ``show`` paints it from the store; ``start`` brings the engine."""

    def __init__(
        self,
        paths: ProfilePaths,
        thread: EngineThread,
        commands: Commands,
        *,
        clock_ms: Callable[[], int] = now_ms,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.paths = paths
        self.garbage = GarbageCollector(self)
        self.engine_thread = thread
        self.reader = Reader(paths.database)
        self.source = StoreSource(self.reader, clock_ms)
        self.rooms = RoomListModel(clock_ms, self)
        self.timeline = TimelineModel(self.source, clock_ms, self)
        self.watch = Watch(self.reader, self.source, self.rooms, self.timeline, self)
        self.shields = Shields(thread, self.timeline, self)
        self.commands = commands
        self.shell = Shell(self.source, self.watch, self.rooms, self.timeline, commands, self)
        self.panels = Panels(thread, self.reader, self.shell, clock_ms, self)
        self.qml = QQmlApplicationEngine()
        self.window: QQuickWindow | None = None
        thread.session.connect(self._follow_session)
        thread.status.connect(self.shell.set_status)
        thread.trouble.connect(self._show_trouble)
        thread.changed.connect(self.watch.take)
        thread.knocked.connect(self.knock)
        commands.failed.connect(self.panels.show_failure)
        self.watch.settings_changed.connect(self._wear)
        self.watch.settings_changed.connect(self.panels.look)

    def show(self) -> None:
        """Load the first screen and fill it from the store."""
        state = self.source.session_state()
        if state is not None:
            self._begin(state)
        self.qml.setInitialProperties(
            {"shell": self.shell, "rooms": self.rooms, "timeline": self.timeline, "panels": self.panels}
        )
        self.qml.load(QUrl.fromLocalFile(str(QML / "Main.qml")))
        roots = self.qml.rootObjects()
        if not roots:
            raise RuntimeError("the window's QML could not be loaded")
        window = roots[0]
        assert isinstance(window, QQuickWindow)
        self.window = window

    def close(self) -> None:
        """Take the window down; the engine is the caller's to stop."""
        self.watch.stop()
        if self.window is not None:
            self.window.close()
        # QML goes first: its bindings must not see the models go.
        self.qml.deleteLater()
        QCoreApplication.sendPostedEvents(self.qml, QEvent.Type.DeferredDelete)
        self.window = None
        self.reader.close()
        self.garbage.close()

    def _begin(self, state: str) -> None:
        """Somebody is signed in, or was: show what the store has."""
        self._wear()
        self.shell.set_session(state)
        self.watch.start()

    @Slot(str)
    def _follow_session(self, state: str) -> None:
        """The engine says who is signed in; the store may be another file now."""
        if state == "stopped":
            return
        self.shell.set_trouble("", "")
        if state == "signed_in":
            if self.shell.session_state != "signed_in":
                self.reader.close()
                self._begin(state)
            self.commands.show_again()
            self.watch.read_rooms()
            return
        self.reader.close()
        self.shell.set_session(state)

    @Slot()
    def _wear(self) -> None:
        self.shell.set_theme(self.source.theme(), self.source.contrast(), self.source.mark_style())

    @Slot(object)
    def _show_trouble(self, error: Expected) -> None:
        """The engine cannot work; where rooms are shown, the banner says so, else it fills the window."""
        self.shell.set_trouble(error.title, error.advice)

    @Slot(object)
    def knock(self, message: Json) -> None:
        """Another process asked the window to come forward, and perhaps to open something."""
        uri, token = message.get("uri"), message.get("token")
        if isinstance(token, str) and token:
            # Qt hands this to the compositor with the next request to be activated.
            os.environ["XDG_ACTIVATION_TOKEN"] = token
        self.raise_()
        if isinstance(uri, str) and uri:
            self.shell.openUri(uri)

    @Slot()
    def raise_(self) -> None:
        """Bring the window to the front."""
        if self.window is not None:
            if self.window.visibility() == QWindow.Visibility.Minimized:
                self.window.showNormal()
            self.window.show()
            self.window.raise_()
            self.window.requestActivate()


def make_application(arguments: list[str]) -> QGuiApplication:
    """The Qt application; without a GPU the software renderer is the fast one."""
    application = QGuiApplication(arguments)
    application.setApplicationName("tandem")
    application.setApplicationDisplayName("Tandem")
    application.setDesktopFileName("im.tandem.Tandem")
    application.setQuitOnLastWindowClosed(False)
    return application
