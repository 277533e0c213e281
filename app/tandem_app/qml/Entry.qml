// One secret to type in, and two ways on.
import QtQuick

Column {
    id: root

    required property string fieldName
    required property string label
    required property string go
    required property string going
    property bool busy: false
    property bool mayBeEmpty: false
    readonly property alias text: line.text

    signal done(string text)
    signal leaving

    function submit(): void {
        if (!root.busy && (root.mayBeEmpty || line.text !== ""))
            root.done(line.text);
    }

    spacing: Theme.medium
    Component.onCompleted: line.input.forceActiveFocus(Qt.OtherFocusReason)

    FormField {
        id: line
        input.objectName: root.fieldName
        width: root.width
        enabled: !root.busy
        label: root.label
        secret: true
        onAccepted: root.submit()
    }
    Flow {
        width: root.width
        spacing: Theme.small

        PushButton {
            objectName: "go"
            kind: "filled"
            active: !root.busy && (root.mayBeEmpty || line.text !== "")
            label: root.busy ? root.going : root.go
            onClicked: root.submit()
        }
        PushButton {
            objectName: "leave"
            active: !root.busy
            label: qsTr("Cancel")
            onClicked: root.leaving()
        }
    }
}
