// Long text that is to be taken elsewhere: shown, selectable, with a button that copies all of it.
import QtQuick

Column {
    id: root

    required property string label
    required property string value

    spacing: Theme.tiny

    Text {
        width: root.width
        text: root.label
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.softText
        font.pixelSize: Theme.smallFont + 1
        Accessible.ignored: true
    }
    Rectangle {
        width: root.width
        height: text.implicitHeight + 2 * Theme.small
        radius: Theme.radius
        color: Theme.field
        border.width: text.activeFocus ? Theme.focusWidth : 1
        border.color: text.activeFocus ? Theme.accent : Theme.line

        TextEdit {
            id: text
            x: Theme.small
            y: Theme.small
            width: parent.width - 2 * Theme.small
            readOnly: true
            selectByMouse: true
            activeFocusOnTab: true
            text: root.value
            textFormat: TextEdit.PlainText
            wrapMode: TextEdit.WrapAnywhere
            color: Theme.text
            selectionColor: Theme.accent
            selectedTextColor: Theme.accentText
            font.pixelSize: Theme.smallFont + 1
            font.family: "monospace"
            Accessible.role: Accessible.EditableText
            Accessible.readOnly: true
            Accessible.name: root.label
        }
    }
    PushButton {
        objectName: "copyValue"
        kind: "plain"
        icon: "copy"
        label: qsTr("Copy")
        onClicked: {
            text.selectAll();
            text.copy();
            text.deselect();
        }
    }
}
