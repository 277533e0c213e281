"""Look at the window and use it as a person does: find by name, read accessible names, click and type."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QAccessible, QGuiApplication, QImage
from PySide6.QtQuick import QQuickItem, QQuickWindow
from PySide6.QtTest import QTest

from tandem_app.window import MainWindow

_PATIENCE_S = 20.0


class Glass:
    """The shown window, seen from outside."""

    def __init__(self, main: MainWindow, application: QGuiApplication) -> None:
        assert main.window is not None
        self.main = main
        self.window: QQuickWindow = main.window
        self.application = application
        self._closed = False

    def settle(self, turns: int = 4) -> None:
        """Let the window do what is due and paint."""
        for _ in range(turns):
            self.application.processEvents()
            self.window.grabWindow()

    def wait(self, claim: Callable[[], object], what: str = "") -> None:
        """Wait until a claim holds; fails when patience ends."""
        end = time.monotonic() + _PATIENCE_S
        while not claim():
            assert time.monotonic() < end, f"still not so: {what or claim}"
            QTest.qWait(10)
        self.settle(2)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.main.engine_thread.stop()
            self.main.close()
            self.application.processEvents()

    # Finding.

    def items(self, name: str) -> list[QQuickItem]:
        """All visible items of this object name, from top to bottom."""
        found = [item for item in walk(self.window.contentItem()) if item.objectName() == name]
        visible = [item for item in found if is_visible(item)]
        return sorted(visible, key=lambda item: item.mapToScene(QPointF(0, 0)).y())

    def item(self, name: str) -> QQuickItem:
        """The one visible item of this object name."""
        found = self.items(name)
        assert len(found) == 1, f"{name}: {len(found)} items"
        return found[0]

    def named(self, accessible: str) -> QQuickItem:
        """The one visible item that says this to a screen reader."""
        found = [
            item for item in walk(self.window.contentItem()) if is_visible(item) and says(item) == accessible
        ]
        assert len(found) == 1, f"{accessible}: {len(found)} items"
        return found[0]

    def sayings(self) -> list[str]:
        """Everything on the screen that says something to a screen reader."""
        return [
            words for item in walk(self.window.contentItem()) if is_visible(item) and (words := says(item))
        ]

    def rooms(self) -> list[str]:
        """What the rows of the room list say, top to bottom."""
        return [says(item) for item in self.items("roomRow")]

    def messages(self) -> list[str]:
        """What the rows of the timeline on the screen say, top to bottom."""
        view = self.item("timeline")
        top = view.mapToScene(QPointF(0, 0)).y()
        return [
            says(item)
            for item in self.items("messageRow")
            if top - item.height() < item.mapToScene(QPointF(0, 0)).y() < top + view.height()
        ]

    def marks(self) -> list[str]:
        """What the delivery marks on the screen say, top to bottom."""
        return [says(item) for item in self.items("deliveryMark")]

    def focus(self) -> str:
        """The object name of what has the keyboard."""
        item = self.window.activeFocusItem()
        return item.objectName() if item is not None else ""

    # Doing.

    def click(self, item: QQuickItem) -> None:
        centre = item.mapToScene(QPointF(item.width() / 2, item.height() / 2)).toPoint()
        self.click_at(centre)

    def click_at(self, point: QPoint) -> None:
        QTest.mouseClick(self.window, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, point)
        self.settle()

    def type(self, text: str) -> None:
        for letter in text:
            QTest.keyClick(self.window, letter)
        self.settle()

    def press(
        self, key: Qt.Key, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier, times: int = 1
    ) -> None:
        for _ in range(times):
            QTest.keyClick(self.window, key, modifiers)
        self.settle()

    def picture(self) -> QImage:
        self.settle()
        return self.window.grabWindow()


def walk(item: QQuickItem) -> Iterator[QQuickItem]:
    """An item and all below it; delegates of a list are no QObject children."""
    yield item
    for child in item.childItems():
        yield from walk(child)


def is_visible(item: QQuickItem) -> bool:
    return item.isVisible() and item.width() > 0 and item.height() > 0


def says(item: QQuickItem) -> str:
    """The accessible name of an item; empty if it has none."""
    interface = QAccessible.queryAccessibleInterface(item)
    return interface.text(QAccessible.Text.Name) if interface is not None else ""
