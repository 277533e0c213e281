// What the engine needs from the person in the middle of its work: the password, a yes in the browser, a kept key.
pragma ComponentBehavior: Bound

import QtQuick

Loader {
    id: root

    // A tandem_app.approval.Approval.
    required property var approval

    signal copied(string text)

    active: root.approval.kind !== ""
    visible: active
    sourceComponent: {
        switch (root.approval.kind) {
        case "password":
            return password;
        case "browser":
            return browser;
        default:
            return key;
        }
    }

    Component {
        id: password

        Column {
            spacing: Theme.medium
            Component.onCompleted: line.input.forceActiveFocus(Qt.OtherFocusReason)

            FormField {
                id: line
                input.objectName: "approvalPassword"
                width: parent.width
                label: qsTr("Your account's password, to confirm that it is you")
                secret: true
                problem: root.approval.wasWrong ? qsTr("This is not the password of this account. Try again.") : ""
                onAccepted: root.approval.give(line.text)
            }
            Flow {
                width: parent.width
                spacing: Theme.small

                PushButton {
                    objectName: "approve"
                    kind: "filled"
                    label: qsTr("Confirm")
                    onClicked: root.approval.give(line.text)
                }
                PushButton {
                    objectName: "callOff"
                    label: qsTr("Cancel")
                    onClicked: root.approval.callOff()
                }
            }
        }
    }
    Component {
        id: browser

        Column {
            spacing: Theme.medium
            Component.onCompleted: open.forceActiveFocus(Qt.OtherFocusReason)

            Remark {
                width: parent.width
                tone: "good"
                title: qsTr("Approve in the browser")
                words: qsTr("Your homeserver wants to see that it is you. Open its page, approve there, and come back.")
            }
            Flow {
                width: parent.width
                spacing: Theme.small

                PushButton {
                    id: open
                    objectName: "openPage"
                    kind: "filled"
                    label: qsTr("Open the page")
                    onClicked: Qt.openUrlExternally(root.approval.words)
                }
                PushButton {
                    objectName: "approve"
                    label: qsTr("I have approved")
                    onClicked: root.approval.give("")
                }
                PushButton {
                    objectName: "callOff"
                    label: qsTr("Cancel")
                    onClicked: root.approval.callOff()
                }
            }
        }
    }
    Component {
        id: key

        Column {
            spacing: Theme.medium
            Component.onCompleted: copy.forceActiveFocus(Qt.OtherFocusReason)

            Remark {
                width: parent.width
                tone: "warning"
                title: qsTr("Keep this recovery key")
                words: qsTr("Write it down or put it into your password manager. It is shown only now, and whoever has "
                    + "it can read your messages.")
            }
            Rectangle {
                width: parent.width
                height: words.implicitHeight + 2 * Theme.medium
                radius: Theme.radius
                color: Theme.field
                border.width: 1
                border.color: Theme.line

                TextEdit {
                    id: words
                    objectName: "recoveryKey"
                    x: Theme.medium
                    y: Theme.medium
                    width: parent.width - 2 * Theme.medium
                    text: root.approval.words
                    textFormat: TextEdit.PlainText
                    readOnly: true
                    selectByMouse: true
                    wrapMode: TextEdit.WordWrap
                    color: Theme.text
                    selectionColor: Theme.accent
                    selectedTextColor: Theme.accentText
                    font.family: "monospace"
                    font.pixelSize: Theme.titleFont
                    activeFocusOnTab: true
                    Keys.onTabPressed: event => event.accepted = false
                    Accessible.role: Accessible.StaticText
                    Accessible.name: qsTr("Recovery key: %1").arg(text)
                }
            }
            Flow {
                width: parent.width
                spacing: Theme.small

                PushButton {
                    id: copy
                    objectName: "copyKey"
                    icon: "copy"
                    label: qsTr("Copy")
                    spoken: qsTr("Copy the recovery key")
                    onClicked: root.copied(root.approval.words)
                }
                PushButton {
                    objectName: "approve"
                    kind: "filled"
                    label: qsTr("I have kept it")
                    onClicked: root.approval.give("")
                }
                PushButton {
                    objectName: "callOff"
                    label: qsTr("Cancel")
                    onClicked: root.approval.callOff()
                }
            }
        }
    }
}
