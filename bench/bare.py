"""The floor: a Qt Quick window that imports PySide6 alone and says when its first frame is shown."""

from __future__ import annotations

import sys
import time

from PySide6.QtCore import QUrl
from PySide6.QtGui import QGuiApplication
from PySide6.QtQml import QQmlApplicationEngine

QML = b"""import QtQuick
Window { visible: true; width: 1120; height: 740; Text { anchors.centerIn: parent; text: "Tandem" } }
"""


def main() -> int:
    application = QGuiApplication(sys.argv[:1])
    engine = QQmlApplicationEngine()
    engine.loadData(QML, QUrl("bare.qml"))

    def shown() -> None:
        sys.stdout.write('{"rooms": %r}\n' % time.monotonic())  # noqa: UP031
        sys.stdout.flush()
        application.quit()

    engine.rootObjects()[0].frameSwapped.connect(shown)
    return application.exec()


if __name__ == "__main__":
    sys.exit(main())
