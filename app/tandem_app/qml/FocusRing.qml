// The ring around what has the keyboard.
import QtQuick

Rectangle {
    id: root

    property real inset: 0

    anchors.fill: parent
    anchors.margins: root.inset
    color: "transparent"
    radius: Theme.radius
    border.width: Theme.focusWidth
    border.color: Theme.accent
}
