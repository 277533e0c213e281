// An invitation: who asks, into what, and two answers.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    signal closed

    objectName: "inviteView"
    Accessible.role: Accessible.Pane
    Accessible.name: qsTr("Invitation from %1").arg(root.model.inviter)
    Component.onCompleted: accept.forceActiveFocus()

    Column {
        anchors.centerIn: parent
        width: Math.min(parent.width - 2 * Theme.large, 400)
        spacing: Theme.medium

        Avatar {
            anchors.horizontalCenter: parent.horizontalCenter
            name: root.model.name
            hue: 0
            size: 72
        }
        Text {
            objectName: "inviteTitle"
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: root.model.isDirect ? qsTr("%1 wants to chat with you").arg(root.model.inviter)
                : qsTr("%1 invites you to %2").arg(root.model.inviter).arg(root.model.name)
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.headlineFont
            font.weight: Font.DemiBold
            Accessible.role: Accessible.Heading
            Accessible.name: text
        }
        Text {
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: root.model.inviterId
            textFormat: Text.PlainText
            wrapMode: Text.WrapAnywhere
            color: Theme.softText
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
        Text {
            width: parent.width
            visible: root.model.topic !== ""
            horizontalAlignment: Text.AlignHCenter
            text: root.model.topic
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
        Text {
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: qsTr("Until you accept, they learn nothing: not whether you saw this, not when you are here.")
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.softText
            font.pixelSize: Theme.smallFont + 1
            lineHeight: 1.2
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
        Text {
            objectName: "inviteProblem"
            width: parent.width
            visible: root.model.problem !== ""
            horizontalAlignment: Text.AlignHCenter
            text: root.model.problem
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.danger
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.AlertMessage
            Accessible.name: text
        }
        Row {
            anchors.horizontalCenter: parent.horizontalCenter
            topPadding: Theme.small
            spacing: Theme.medium

            PushButton {
                objectName: "decline"
                label: root.model.busy === "decline" ? qsTr("Declining…") : qsTr("Decline")
                active: root.model.busy === ""
                onClicked: root.model.decline()
            }
            PushButton {
                id: accept
                objectName: "accept"
                kind: "filled"
                label: root.model.busy === "accept" ? qsTr("Joining…") : qsTr("Accept")
                active: root.model.busy === ""
                onClicked: root.model.accept()
            }
        }
    }
}
