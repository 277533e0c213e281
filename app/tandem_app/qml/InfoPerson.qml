// One person of the info panel, with their devices.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    required property var person
    property bool focused: false

    Text {
        visible: root.person.heading !== ""
        width: root.width
        topPadding: Theme.medium
        bottomPadding: Theme.small
        text: root.person.heading
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.softText
        font.pixelSize: Theme.smallFont
        font.weight: Font.DemiBold
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    Rectangle {
        objectName: "infoPerson"
        width: root.width
        height: Math.max(avatar.height, card.height) + 2 * Theme.medium
        radius: Theme.radius
        color: Theme.raised
        border.width: root.focused ? Theme.focusWidth : 1
        border.color: root.focused ? Theme.accent : Theme.line
        Accessible.role: Accessible.ListItem
        Accessible.name: root.person.spoken
        Accessible.focusable: true
        Accessible.focused: root.focused

        Avatar {
            id: avatar
            x: Theme.medium
            y: Theme.medium
            name: root.person.name
            hue: root.person.hue
            size: 32
        }
        Column {
            id: card
            anchors.left: avatar.right
            anchors.leftMargin: Theme.medium
            y: Theme.medium
            width: root.width - x - Theme.medium
            spacing: 2

            Text {
                width: parent.width
                text: root.person.name
                textFormat: Text.PlainText
                elide: Text.ElideRight
                color: Theme.text
                font.pixelSize: Theme.normalFont
                font.weight: Font.DemiBold
                Accessible.ignored: true
            }
            Text {
                width: parent.width
                visible: root.person.name !== root.person.userId
                text: root.person.userId
                textFormat: Text.PlainText
                elide: Text.ElideMiddle
                color: Theme.softText
                font.pixelSize: Theme.tinyFont
                Accessible.ignored: true
            }
            Text {
                width: parent.width
                topPadding: 2
                text: root.person.line
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.text
                font.pixelSize: Theme.smallFont + 1
                Accessible.ignored: true
            }
            Item {
                width: 1
                height: 2
                visible: root.person.devices.length > 0
            }
            Repeater {
                model: root.person.devices

                Item {
                    id: device

                    required property var modelData

                    width: card.width
                    height: 24

                    Icon {
                        id: glyph
                        anchors.verticalCenter: parent.verticalCenter
                        name: device.modelData.has ? "check" : "clock"
                        size: 14
                        color: device.modelData.has ? Theme.accent : Theme.softText
                    }
                    Text {
                        anchors.left: glyph.right
                        anchors.leftMargin: Theme.small
                        anchors.right: when.left
                        anchors.rightMargin: Theme.small
                        anchors.verticalCenter: parent.verticalCenter
                        text: device.modelData.name
                        textFormat: Text.PlainText
                        elide: Text.ElideRight
                        color: Theme.text
                        font.pixelSize: Theme.smallFont + 1
                        Accessible.ignored: true
                    }
                    Text {
                        id: when
                        anchors.right: parent.right
                        anchors.verticalCenter: parent.verticalCenter
                        text: device.modelData.line
                        textFormat: Text.PlainText
                        color: Theme.softText
                        font.pixelSize: Theme.smallFont
                        Accessible.ignored: true
                    }
                }
            }
        }
    }
    Item {
        width: 1
        height: Theme.small
    }
}
