// How far something is; a moving piece where nobody knows how much there is.
import QtQuick

Rectangle {
    id: root

    required property string label
    property real done: 0
    property real total: 0

    readonly property real share: root.total > 0 ? Math.min(1, root.done / root.total) : 0

    implicitHeight: 6
    radius: 3
    color: Theme.line
    Accessible.role: Accessible.ProgressBar
    Accessible.name: root.total > 0 ? qsTr("%1: %2 %").arg(root.label).arg(Math.round(root.share * 100)) : root.label

    Rectangle {
        id: part
        height: parent.height
        radius: parent.radius
        width: root.total > 0 ? parent.width * root.share : parent.width * 0.25
        color: Theme.accent

        SequentialAnimation on x {
            running: root.visible && root.total <= 0
            loops: Animation.Infinite

            NumberAnimation {
                from: 0
                to: root.width * 0.75
                duration: 1200
                easing.type: Easing.InOutQuad
            }
            NumberAnimation {
                from: root.width * 0.75
                to: 0
                duration: 1200
                easing.type: Easing.InOutQuad
            }
            onStopped: part.x = 0
        }
    }
}
