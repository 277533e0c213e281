// On or off.
import QtQuick

Item {
    id: root

    required property string label
    required property bool checked

    signal toggled(bool checked)

    implicitWidth: 44
    implicitHeight: 26
    activeFocusOnTab: true
    Accessible.role: Accessible.CheckBox
    Accessible.name: root.label
    Accessible.checkable: true
    Accessible.checked: root.checked
    Accessible.focusable: true
    Accessible.onPressAction: root.toggled(!root.checked)
    Accessible.onToggleAction: root.toggled(!root.checked)
    Keys.onSpacePressed: root.toggled(!root.checked)
    Keys.onReturnPressed: root.toggled(!root.checked)
    Keys.onEnterPressed: root.toggled(!root.checked)

    Rectangle {
        anchors.fill: parent
        radius: height / 2
        color: root.checked ? Theme.accent : "transparent"
        border.width: root.checked ? 0 : 2
        border.color: Theme.softText

        Rectangle {
            width: root.checked ? 18 : 14
            height: width
            radius: width / 2
            x: root.checked ? parent.width - width - 4 : 6
            anchors.verticalCenter: parent.verticalCenter
            color: root.checked ? Theme.accentText : Theme.softText
        }
    }
    FocusRing {
        visible: root.activeFocus
        inset: -4
        radius: 16
    }
    HoverHandler { cursorShape: Qt.PointingHandCursor }
    TapHandler { onTapped: root.toggled(!root.checked) }
}
