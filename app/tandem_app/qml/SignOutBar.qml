// Asks before devices are signed out, and for the approval that the server wants.
pragma ComponentBehavior: Bound

import QtQuick

Rectangle {
    id: root

    required property var model

    readonly property string kind: root.model.approval.kind
    readonly property bool busy: root.model.busy === "sign_out"

    signal ended

    function goOn(): void {
        if (root.kind === "password")
            root.model.approval.give(password.text);
        else if (root.kind === "browser")
            root.model.approval.give("yes");
        else
            root.model.signOut();
    }

    implicitHeight: column.implicitHeight + 2 * Theme.large
    color: Theme.sidebar
    Keys.onShortcutOverride: event => event.accepted = event.key === Qt.Key_Escape
    Keys.onEscapePressed: root.model.keep()
    Component.onDestruction: root.ended()
    onKindChanged: {
        password.text = "";
        if (root.kind === "password")
            password.input.forceActiveFocus(Qt.OtherFocusReason);
        else if (root.kind === "browser")
            page.forceActiveFocus(Qt.OtherFocusReason);
    }

    Rectangle {
        width: parent.width
        height: 1
        color: Theme.line
    }
    Column {
        id: column
        x: Math.max(Theme.large, (parent.width - width) / 2)
        y: Theme.large
        width: Math.min(640, parent.width - 2 * Theme.large)
        spacing: Theme.medium

        Remark {
            objectName: "signOutQuestion"
            width: parent.width
            tone: "warning"
            title: root.kind === "browser" ? qsTr("Approve this in the browser")
                : root.model.chosen.length === 1 ? qsTr("Sign out this device?")
                : qsTr("Sign out %1 devices?").arg(root.model.chosen.length)
            words: root.kind === "browser"
                ? qsTr("Your homeserver wants to see on a page of its own that it is you. Come back here afterwards.")
                : root.model.chosen.length === 1
                ? qsTr("%1. It gets no more messages; what it has stored stays on it.").arg(root.model.chosenNames)
                : qsTr("%1. They get no more messages; what they have stored stays on them.").arg(root.model.chosenNames)
        }
        FormField {
            id: password
            input.objectName: "approvalPassword"
            width: parent.width
            visible: root.kind === "password"
            secret: true
            label: qsTr("Your account's password")
            problem: root.model.approval.wasWrong ? qsTr("This is not the password. Try again.") : ""
            onAccepted: root.goOn()
        }
        Flow {
            width: parent.width
            spacing: Theme.small

            PushButton {
                id: page
                objectName: "openApprovalPage"
                visible: root.kind === "browser"
                label: qsTr("Open the page")
                onClicked: Qt.openUrlExternally(root.model.approval.words)
            }
            PushButton {
                objectName: "confirmSignOut"
                kind: "filled"
                danger: root.kind !== "browser"
                active: !root.busy || root.kind !== ""
                label: root.kind === "browser" ? qsTr("I have approved it")
                    : root.busy && root.kind === "" ? qsTr("Signing out…") : qsTr("Sign out")
                onClicked: root.goOn()
            }
            PushButton {
                objectName: "keepDevices"
                active: !root.busy || root.kind !== ""
                label: qsTr("Cancel")
                onClicked: root.model.keep()
            }
        }
    }
}
