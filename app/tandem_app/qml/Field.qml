// A line to type in, with an icon, a placeholder and a way to clear it.
pragma ComponentBehavior: Bound

import QtQuick

Rectangle {
    id: root

    required property string label
    property string spoken: root.label
    property string icon: ""
    property alias text: input.text
    property alias input: input

    signal accepted
    signal edited(string text)

    implicitHeight: Theme.controlHeight
    radius: Theme.radius
    color: Theme.field
    border.width: input.activeFocus ? Theme.focusWidth : 1
    border.color: input.activeFocus ? Theme.accent : Theme.line

    Icon {
        id: glyph
        x: Theme.small + 2
        anchors.verticalCenter: parent.verticalCenter
        visible: root.icon !== ""
        name: root.icon === "" ? "search" : root.icon
        size: 16
        color: Theme.softText
    }
    TextInput {
        id: input
        anchors.left: root.icon === "" ? parent.left : glyph.right
        anchors.right: clear.visible ? clear.left : parent.right
        anchors.leftMargin: Theme.small
        anchors.rightMargin: Theme.small
        anchors.verticalCenter: parent.verticalCenter
        clip: true
        activeFocusOnTab: true
        selectByMouse: true
        color: Theme.text
        selectionColor: Theme.accent
        selectedTextColor: Theme.accentText
        font.pixelSize: Theme.normalFont
        Accessible.role: Accessible.EditableText
        Accessible.name: root.spoken
        onTextEdited: root.edited(text)
        onAccepted: root.accepted()

        Text {
            anchors.fill: parent
            verticalAlignment: Text.AlignVCenter
            visible: input.text === "" && input.preeditText === ""
            text: root.label
            textFormat: Text.PlainText
            elide: Text.ElideRight
            color: Theme.softText
            font.pixelSize: Theme.normalFont
            Accessible.ignored: true
        }
    }
    Loader {
        id: clear
        anchors.right: parent.right
        anchors.rightMargin: 2
        anchors.verticalCenter: parent.verticalCenter
        width: 28
        height: 28
        active: input.text !== ""
        visible: active
        sourceComponent: IconButton {
            icon: "close"
            iconSize: 14
            label: qsTr("Clear")
            onClicked: {
                input.clear();
                root.edited("");
                input.forceActiveFocus();
            }
        }
    }
}
