// The line between two days.
import QtQuick

Item {
    id: root

    required property string words

    height: 40
    Accessible.role: Accessible.StaticText
    Accessible.name: root.words

    Rectangle {
        anchors.centerIn: parent
        width: label.implicitWidth + 2 * Theme.medium
        height: 24
        radius: 12
        color: Theme.bubble

        Text {
            id: label
            anchors.centerIn: parent
            text: root.words
            textFormat: Text.PlainText
            color: Theme.softText
            font.pixelSize: Theme.smallFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
    }
}
