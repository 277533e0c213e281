// What keeps Tandem from working as it should, above the room; it never takes the keyboard away.
import QtQuick

Rectangle {
    id: root

    required property var model

    signal closed

    objectName: "errorBanner"
    implicitHeight: visible ? words.implicitHeight + 2 * Theme.medium : 0
    visible: root.model.title !== ""
    color: Theme.warningSoft
    Accessible.role: Accessible.AlertMessage
    Accessible.name: root.model.title + ". " + root.model.advice

    Icon {
        id: glyph
        x: Theme.large
        anchors.verticalCenter: parent.verticalCenter
        name: "warning"
        size: 20
        color: Theme.warning
    }
    Column {
        id: words
        anchors.left: glyph.right
        anchors.leftMargin: Theme.medium
        anchors.right: dismiss.left
        anchors.verticalCenter: parent.verticalCenter
        spacing: 2

        Text {
            width: parent.width
            text: root.model.title
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.normalFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
        Text {
            width: parent.width
            text: root.model.advice
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.softText
            font.pixelSize: Theme.smallFont + 1
            Accessible.ignored: true
        }
    }
    IconButton {
        id: dismiss
        objectName: "dismissBanner"
        anchors.right: parent.right
        anchors.rightMargin: Theme.small
        anchors.verticalCenter: parent.verticalCenter
        icon: "close"
        label: qsTr("Put this notice away")
        onClicked: root.model.dismiss()
    }
}
