// Where reading stopped last time.
import QtQuick

Item {
    id: root

    height: 32
    Accessible.role: Accessible.StaticText
    Accessible.name: label.text

    Rectangle {
        anchors.verticalCenter: parent.verticalCenter
        anchors.left: parent.left
        anchors.right: label.left
        anchors.leftMargin: Theme.large
        anchors.rightMargin: Theme.small
        height: 1
        color: Theme.highlight
        opacity: 0.5
    }
    Text {
        id: label
        anchors.centerIn: parent
        text: qsTr("New messages")
        textFormat: Text.PlainText
        color: Theme.highlight
        font.pixelSize: Theme.smallFont
        font.weight: Font.DemiBold
        Accessible.ignored: true
    }
    Rectangle {
        anchors.verticalCenter: parent.verticalCenter
        anchors.left: label.right
        anchors.right: parent.right
        anchors.leftMargin: Theme.small
        anchors.rightMargin: Theme.large
        height: 1
        color: Theme.highlight
        opacity: 0.5
    }
}
