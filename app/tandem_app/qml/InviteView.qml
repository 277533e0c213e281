// An invitation: who asks, into what, and two answers.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    signal closed

    objectName: "inviteView"
    Accessible.role: Accessible.Pane
    Accessible.name: root.model.title
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: accept.forceActiveFocus(Qt.OtherFocusReason)

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width
        // In a wide window the list is beside it.
        visible: root.Window.width < Theme.narrowWidth
        height: visible ? implicitHeight : 0
        title: qsTr("Invitation")
        leaveName: "closeInvite"
        leaveLabel: qsTr("Back to the rooms")
        onLeaving: root.closed()
    }
    Page {
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        width: parent.width
        columnWidth: 420
        centred: true
        spacing: Theme.small

        Avatar {
            anchors.horizontalCenter: parent?.horizontalCenter
            name: root.model.name
            hue: root.model.hue
            size: 80
        }
        Text {
            objectName: "inviteTitle"
            width: parent.width
            topPadding: Theme.small
            horizontalAlignment: Text.AlignHCenter
            text: root.model.title
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            color: Theme.text
            font.pixelSize: root.model.title.length > 60 ? Theme.titleFont : Theme.headlineFont
            font.weight: Font.DemiBold
            Accessible.role: Accessible.Heading
            Accessible.name: text
        }
        Text {
            objectName: "inviterId"
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
            topPadding: Theme.small
            horizontalAlignment: Text.AlignHCenter
            text: root.model.topic
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            maximumLineCount: 4
            elide: Text.ElideRight
            color: Theme.text
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
        Row {
            anchors.horizontalCenter: parent?.horizontalCenter
            topPadding: Theme.tiny
            spacing: 6

            Icon {
                anchors.verticalCenter: kind.verticalCenter
                visible: root.model.isEncrypted
                name: "lock"
                size: 16
                color: Theme.softText
            }
            Text {
                id: kind
                text: root.model.kindWords
                textFormat: Text.PlainText
                color: Theme.softText
                font.pixelSize: Theme.smallFont + 1
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
        }
        Remark {
            objectName: "inviteProblem"
            width: parent.width
            visible: title !== ""
            title: root.model.problemTitle
            words: root.model.problemAdvice
        }
        Row {
            anchors.horizontalCenter: parent?.horizontalCenter
            topPadding: Theme.large
            bottomPadding: Theme.small
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
                label: root.model.busy === "accept" ? qsTr("Opening the room…") : qsTr("Accept")
                active: root.model.busy === ""
                onClicked: root.model.accept()
            }
        }
        Text {
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: qsTr("Before you accept, nothing tells them that you have seen this.")
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.softText
            font.pixelSize: Theme.smallFont
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
    }
}
