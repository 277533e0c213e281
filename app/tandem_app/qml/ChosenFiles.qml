// Files that wait to be sent with the next message, each with its size or with why it cannot go.
pragma ComponentBehavior: Bound

import QtQuick

Flow {
    id: root

    required property var chosen

    signal emptied

    spacing: Theme.small

    Repeater {
        model: root.chosen.rows

        Rectangle {
            id: chip

            required property int index
            required property var modelData
            readonly property bool bad: chip.modelData.error !== ""

            objectName: "chosenFile"
            width: Math.min(root.width, 16 + 24 + Math.max(name.implicitWidth, what.implicitWidth) + remove.width + 12)
            height: lines.height + 14
            radius: Theme.radius
            color: chip.bad ? Theme.dangerSoft : Theme.hover
            Accessible.role: Accessible.ListItem
            Accessible.name: qsTr("%1, %2").arg(chip.modelData.name).arg(what.text)

            Icon {
                id: glyph
                x: 10
                anchors.verticalCenter: parent.verticalCenter
                name: chip.bad ? "warning" : "file"
                size: 18
                color: chip.bad ? Theme.danger : Theme.softText
            }
            Column {
                id: lines
                anchors.left: glyph.right
                anchors.leftMargin: Theme.small
                anchors.right: remove.left
                anchors.verticalCenter: parent.verticalCenter

                Text {
                    id: name
                    width: parent.width
                    elide: Text.ElideMiddle
                    text: chip.modelData.name
                    textFormat: Text.PlainText
                    color: Theme.text
                    font.pixelSize: Theme.smallFont + 1
                    Accessible.ignored: true
                }
                Text {
                    id: what
                    width: parent.width
                    wrapMode: Text.Wrap
                    text: chip.bad ? chip.modelData.error : chip.modelData.busy ? qsTr("Preparing…") : chip.modelData.size
                    textFormat: Text.PlainText
                    color: chip.bad ? Theme.danger : Theme.softText
                    font.pixelSize: Theme.smallFont
                    Accessible.ignored: true
                }
            }
            IconButton {
                id: remove
                objectName: "removeFile"
                anchors.right: parent.right
                anchors.verticalCenter: parent.verticalCenter
                width: 32
                height: 32
                icon: "close"
                iconSize: 16
                active: !chip.modelData.busy
                label: qsTr("Do not send %1").arg(chip.modelData.name)
                onClicked: {
                    root.chosen.remove(chip.index);
                    root.emptied();
                }
            }
        }
    }
}
