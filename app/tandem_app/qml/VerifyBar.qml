// A verification that waits or goes on, above the room; it never takes the keyboard away.
import QtQuick

Rectangle {
    id: root

    required property var model

    signal looked

    objectName: "verifyBar"
    implicitHeight: visible ? Math.max(words.implicitHeight + 2 * Theme.medium, 52) : 0
    visible: root.model.barWords !== ""
    color: Theme.accentSoft
    Accessible.role: Accessible.AlertMessage
    Accessible.name: root.model.barWords

    Icon {
        id: glyph
        x: Theme.large
        anchors.verticalCenter: parent.verticalCenter
        name: "key"
        size: 20
        color: Theme.accent
    }
    Text {
        id: words
        anchors.left: glyph.right
        anchors.leftMargin: Theme.medium
        anchors.right: look.left
        anchors.rightMargin: Theme.small
        anchors.verticalCenter: parent.verticalCenter
        text: root.model.barWords
        textFormat: Text.PlainText
        wrapMode: Text.WrapAtWordBoundaryOrAnywhere
        maximumLineCount: 3
        elide: Text.ElideRight
        color: Theme.text
        font.pixelSize: Theme.normalFont
        Accessible.ignored: true
    }
    PushButton {
        id: look
        objectName: "lookAtVerification"
        anchors.right: away.left
        anchors.verticalCenter: parent.verticalCenter
        kind: "plain"
        label: qsTr("Look")
        spoken: root.model.barWords + ". " + qsTr("Look")
        onClicked: root.looked()
    }
    IconButton {
        id: away
        objectName: "putVerificationAway"
        anchors.right: parent.right
        anchors.rightMargin: Theme.small
        anchors.verticalCenter: parent.verticalCenter
        icon: "close"
        tint: Theme.text
        label: qsTr("Put this notice away")
        onClicked: root.model.putAway()
    }
}
