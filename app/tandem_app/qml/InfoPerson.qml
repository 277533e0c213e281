// One person of the info panel with their devices, or our own other devices.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    // A map of tandem_app.models.info_rows.
    required property var person
    property bool focused: false

    signal sending(string userId, string deviceId)

    Rectangle {
        objectName: "infoPerson"
        width: root.width
        height: Math.max(root.person.kind === "person" ? avatar.height : 0, card.height) + 2 * Theme.medium
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
            visible: root.person.kind === "person"
            x: Theme.medium
            y: Theme.medium
            name: root.person.name
            hue: root.person.hue
            size: 32
        }
        Column {
            id: card
            x: root.person.kind === "person" ? avatar.x + avatar.width + Theme.medium : Theme.medium
            y: Theme.medium
            width: root.width - x - Theme.medium
            spacing: 2

            Text {
                width: parent.width
                visible: text !== ""
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
                visible: text !== "" && root.person.name !== text
                text: root.person.userId
                textFormat: Text.PlainText
                elide: Text.ElideMiddle
                color: Theme.softText
                font.pixelSize: Theme.tinyFont
                Accessible.ignored: true
            }
            Text {
                width: parent.width
                visible: text !== ""
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
            InfoDevices {
                width: parent.width
                devices: root.person.devices
                onSending: (userId, deviceId) => root.sending(userId, deviceId)
            }
        }
    }
    Item {
        width: 1
        height: Theme.small
    }
}
