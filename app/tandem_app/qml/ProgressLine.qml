// How far something is; without a number (less than 0), that it goes on.
import QtQuick

Rectangle {
    id: root

    required property real value
    required property string label

    implicitHeight: 4
    height: 4
    radius: 2
    color: Theme.line
    Accessible.role: Accessible.ProgressBar
    Accessible.name: root.value >= 0 ? qsTr("%1 %2 percent").arg(root.label).arg(Math.round(root.value * 100)) : root.label

    Rectangle {
        width: root.value >= 0 ? parent.width * Math.min(1, root.value) : parent.width * 0.15
        height: parent.height
        radius: 2
        color: Theme.accent
    }
}
