// What stands where there is nothing to list: an icon, a title and a sentence that helps.
import QtQuick

Item {
    id: root

    required property string icon
    required property string title
    property string words: ""

    implicitHeight: column.implicitHeight
    Accessible.role: Accessible.StaticText
    Accessible.name: root.words === "" ? root.title : root.title + ". " + root.words

    Column {
        id: column
        anchors.centerIn: parent
        width: Math.min(root.width - 2 * Theme.large, 340)
        spacing: Theme.small

        Rectangle {
            anchors.horizontalCenter: parent.horizontalCenter
            width: 64
            height: 64
            radius: 32
            color: Theme.accentSoft

            Icon {
                anchors.centerIn: parent
                name: root.icon
                size: 28
                color: Theme.accent
            }
        }
        Item {
            width: 1
            height: Theme.tiny
        }
        Text {
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: root.title
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.titleFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
        Text {
            width: parent.width
            visible: root.words !== ""
            horizontalAlignment: Text.AlignHCenter
            text: root.words
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.softText
            font.pixelSize: Theme.normalFont
            lineHeight: 1.25
            Accessible.ignored: true
        }
    }
}
