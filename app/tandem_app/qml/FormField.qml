// A line of a form: its name above, where to type, and below what is wrong with it.
import QtQuick

Column {
    id: root

    required property string label
    property string hint: ""
    property string problem: ""
    property bool secret: false
    property alias text: input.text
    property alias input: input

    signal accepted

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
        height: Theme.controlHeight + 2
        radius: Theme.radius
        color: Theme.field
        opacity: root.enabled ? 1 : 0.6
        border.width: input.activeFocus ? Theme.focusWidth : 1
        border.color: root.problem !== "" ? Theme.danger : input.activeFocus ? Theme.accent : Theme.line

        TextInput {
            id: input
            anchors.left: parent.left
            anchors.right: parent.right
            anchors.leftMargin: Theme.medium
            anchors.rightMargin: Theme.medium
            anchors.verticalCenter: parent.verticalCenter
            clip: true
            activeFocusOnTab: true
            selectByMouse: true
            color: Theme.text
            selectionColor: Theme.accent
            selectedTextColor: Theme.accentText
            echoMode: root.secret ? TextInput.Password : TextInput.Normal
            inputMethodHints: root.secret ? Qt.ImhSensitiveData | Qt.ImhNoPredictiveText | Qt.ImhNoAutoUppercase
                : Qt.ImhNoAutoUppercase
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.EditableText
            Accessible.name: root.label
            Accessible.description: root.problem
            onAccepted: root.accepted()

            Text {
                anchors.fill: parent
                verticalAlignment: Text.AlignVCenter
                visible: input.text === "" && input.preeditText === ""
                text: root.hint
                textFormat: Text.PlainText
                elide: Text.ElideRight
                color: Theme.softText
                font.pixelSize: Theme.normalFont
                Accessible.ignored: true
            }
        }
    }
    Text {
        width: root.width
        visible: root.problem !== ""
        text: root.problem
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.danger
        font.pixelSize: Theme.smallFont + 1
        Accessible.role: Accessible.AlertMessage
        Accessible.name: text
    }
}
