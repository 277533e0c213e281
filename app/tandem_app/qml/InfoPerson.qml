// One person of the info panel with their devices.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    required property var person

    spacing: 6

    Text {
        visible: root.person.heading !== ""
        topPadding: Theme.small
        text: root.person.heading
        textFormat: Text.PlainText
        color: Theme.softText
        font.pixelSize: Theme.smallFont
        font.weight: Font.DemiBold
        font.capitalization: Font.AllUppercase
        font.letterSpacing: 0.6
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    Rectangle {
        width: root.width
        height: card.implicitHeight + 2 * Theme.medium
        radius: Theme.radius
        color: Theme.raised
        border.width: 1
        border.color: Theme.line
        activeFocusOnTab: true
        Accessible.role: Accessible.ListItem
        Accessible.name: root.person.spoken
        Accessible.focusable: true

        Column {
            id: card
            x: Theme.medium
            y: Theme.medium
            width: parent.width - 2 * Theme.medium
            spacing: 4

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
                text: root.person.line
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.softText
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
        FocusRing { visible: parent.activeFocus }
    }
}
