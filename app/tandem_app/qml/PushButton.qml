// A button with words: filled for the one thing to do, outlined for the rest, plain inside a line.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property string label
    property string spoken: root.label
    property string kind: "outlined"
    property string icon: ""
    property bool active: true
    property bool danger: false
    // Of an outlined one; louder where the ground is coloured.
    property color edge: Theme.line

    signal clicked

    readonly property color ink: root.kind === "filled"
        ? (root.danger ? Theme.dangerText : Theme.accentText) : (root.danger ? Theme.danger : Theme.accent)

    implicitWidth: row.implicitWidth + 2 * (root.kind === "plain" ? Theme.small : Theme.large)
    implicitHeight: root.kind === "plain" ? 28 : Theme.controlHeight
    activeFocusOnTab: true
    enabled: root.active
    opacity: root.active ? 1 : 0.45

    Accessible.role: Accessible.Button
    Accessible.name: root.spoken
    Accessible.focusable: true
    Accessible.onPressAction: root.clicked()
    Keys.onSpacePressed: root.clicked()
    Keys.onReturnPressed: root.clicked()
    Keys.onEnterPressed: root.clicked()

    Rectangle {
        anchors.fill: parent
        radius: Theme.radius
        color: root.kind === "filled" ? (root.danger ? Theme.danger : Theme.accent)
            : hover.hovered ? Theme.hover : "transparent"
        opacity: root.kind === "filled" && (hover.hovered || tap.pressed) ? 0.88 : 1
        border.width: root.kind === "outlined" ? 1 : 0
        border.color: root.edge
    }
    Row {
        id: row
        anchors.centerIn: parent
        spacing: 6

        Loader {
            anchors.verticalCenter: parent.verticalCenter
            active: root.icon !== ""
            visible: active
            sourceComponent: Icon {
                name: root.icon
                size: 16
                color: root.ink
            }
        }
        Text {
            anchors.verticalCenter: parent.verticalCenter
            text: root.label
            textFormat: Text.PlainText
            color: root.ink
            font.pixelSize: root.kind === "plain" ? Theme.smallFont + 1 : Theme.normalFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
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
}
