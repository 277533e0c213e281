// A button that shows an icon and says its label to those who cannot see it; a checkable one stays down.
import QtQuick

Item {
    id: root

    required property string icon
    required property string label
    property bool active: true
    property bool checkable: false
    property bool checked: false
    property color tint: Theme.softText
    property real iconSize: 20

    signal clicked

    implicitWidth: Theme.controlHeight
    implicitHeight: Theme.controlHeight
    activeFocusOnTab: true
    enabled: root.active
    opacity: root.active ? 1 : 0.4

    Accessible.role: Accessible.Button
    Accessible.name: root.label
    Accessible.focusable: true
    Accessible.checkable: root.checkable
    Accessible.checked: root.checked
    Accessible.onPressAction: root.clicked()
    Keys.onSpacePressed: root.clicked()
    Keys.onReturnPressed: root.clicked()
    Keys.onEnterPressed: root.clicked()

    Rectangle {
        anchors.fill: parent
        radius: Theme.radius
        color: root.checked ? Theme.selected : Theme.hover
        border.width: root.checked ? 1 : 0
        border.color: Theme.accent
        visible: root.checked || hover.hovered || tap.pressed
    }
    Icon {
        anchors.centerIn: parent
        name: root.icon
        size: root.iconSize
        color: hover.hovered ? Theme.text : root.tint
    }
    FocusRing { visible: root.activeFocus }
    HoverHandler {
        id: hover
        cursorShape: Qt.PointingHandCursor
    }
    TapHandler {
        id: tap
        onTapped: root.clicked()
    }
    Hint {
        shown: hover.hovered
        text: root.label
    }
}
