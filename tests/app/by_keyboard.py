"""Going through a page by the keyboard alone, and hearing what a screen reader would say of it."""

from __future__ import annotations

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtQuick import QQuickItem

from tests.app.glass import Glass, is_visible, says, walk

_MANY = 80


def reads(glass: Glass, words: str) -> None:
    """Wait until these words are part of something on the screen that a screen reader says."""
    glass.wait(lambda: any(words in said for said in glass.sayings()), words)


def heard(glass: Glass, words: str) -> bool:
    """Whether these words are part of something on the screen now."""
    return any(words in said for said in glass.sayings())


def tab_to(glass: Glass, name: str) -> QQuickItem:
    """Press Tab until the item of this object name has the keyboard."""
    for _ in range(_MANY):
        if glass.focus() == name:
            item = glass.window.activeFocusItem()
            assert item is not None
            return item
        glass.press(Qt.Key.Key_Tab)
    raise AssertionError(f"Tab never comes to {name}")


def tab_round(glass: Glass, page: QQuickItem) -> list[str]:
    """The object names that Tab comes to inside a page, from where it is until it is there again."""
    start = glass.window.activeFocusItem()
    names = []
    for _ in range(_MANY):
        here = glass.window.activeFocusItem()
        if here in list(walk(page)):
            names.append(here.objectName())
        glass.press(Qt.Key.Key_Tab)
        if glass.window.activeFocusItem() is start:
            return names
    raise AssertionError("Tab never comes back")


def controls(page: QQuickItem) -> list[QQuickItem]:
    """Everything in a page that takes the keyboard."""
    return [item for item in walk(page) if is_visible(item) and item.activeFocusOnTab()]


def silent(page: QQuickItem) -> list[str]:
    """Controls that have no name or no role for a screen reader; empty where all is well."""
    found = []
    for item in controls(page):
        role = QAccessible.queryAccessibleInterface(item).role()
        if role == QAccessible.Role.NoRole or not says(item).strip():
            found.append(item.objectName() or item.metaObject().className())
    return found


def is_checked(item: QQuickItem) -> bool:
    """What a screen reader is told of a switch."""
    return bool(QAccessible.queryAccessibleInterface(item).state().checked)


def sticks_out(glass: Glass, page: QQuickItem) -> list[str]:
    """Controls of a page that are cut at its left or right edge."""
    left = page.mapToScene(QPointF(0, 0)).x()
    found = []
    for item in controls(page):
        x = item.mapToScene(QPointF(0, 0)).x()
        if x < left or x + item.width() > left + page.width():
            found.append(says(item))
    return found
