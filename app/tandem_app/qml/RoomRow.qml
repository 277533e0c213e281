// One room: avatar, name and time, what was said last, and what is unread.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property int index
    required property string roomId
    required property string name
    required property int hue
    required property string preview
    required property string time
    required property bool unread
    required property string badge
    required property bool highlighted
    required property bool invite
    required property string spoken
    property bool selected: false
    property bool focused: false

    signal opened

    objectName: "roomRow"
    height: 64
    Accessible.role: Accessible.ListItem
    Accessible.name: root.spoken
    Accessible.selected: root.selected
    Accessible.focusable: true
    Accessible.focused: root.focused
    Accessible.onPressAction: root.opened()

    Rectangle {
        anchors.fill: parent
        anchors.leftMargin: 6
        anchors.rightMargin: 6
        anchors.topMargin: 1
        anchors.bottomMargin: 1
        radius: Theme.radius
        color: root.selected ? Theme.selected : hover.hovered ? Theme.hover : "transparent"
        border.width: root.focused ? Theme.focusWidth : 0
        border.color: Theme.accent
    }
    Avatar {
        id: avatar
        x: 14
        anchors.verticalCenter: parent.verticalCenter
        name: root.name
        hue: root.hue
        size: 42
    }
    Text {
        id: title
        anchors.left: avatar.right
        anchors.leftMargin: Theme.medium
        anchors.right: when.left
        anchors.rightMargin: Theme.small
        y: 13
        text: root.name
        textFormat: Text.PlainText
        elide: Text.ElideRight
        maximumLineCount: 1
        color: Theme.text
        font.pixelSize: Theme.normalFont
        font.weight: root.unread ? Font.Bold : Font.Medium
        Accessible.ignored: true
    }
    Text {
        id: when
        anchors.right: parent.right
        anchors.rightMargin: Theme.large
        anchors.baseline: title.baseline
        text: root.time
        textFormat: Text.PlainText
        color: root.unread && !root.selected ? Theme.accent : Theme.softText
        font.pixelSize: Theme.tinyFont
        font.weight: root.unread ? Font.DemiBold : Font.Normal
        Accessible.ignored: true
    }
    Text {
        anchors.left: title.left
        anchors.right: mark.visible ? mark.left : when.right
        anchors.rightMargin: mark.visible ? Theme.small : 0
        y: 35
        text: root.preview
        textFormat: Text.PlainText
        elide: Text.ElideRight
        maximumLineCount: 1
        color: root.unread ? Theme.text : Theme.softText
        font.pixelSize: Theme.smallFont + 1
        Accessible.ignored: true
    }
    Loader {
        id: mark
        anchors.right: when.right
        y: 34
        active: root.badge !== "" || root.invite
        visible: active
        sourceComponent: Rectangle {
            width: Math.max(height, count.implicitWidth + 12)
            height: 19
            radius: height / 2
            color: root.highlighted || root.invite ? Theme.highlight : Theme.accent

            Text {
                id: count
                anchors.centerIn: parent
                text: root.invite ? qsTr("Invite") : root.badge
                textFormat: Text.PlainText
                color: root.highlighted || root.invite ? Theme.highlightText : Theme.accentText
                font.pixelSize: Theme.tinyFont
                font.weight: Font.Bold
                Accessible.ignored: true
            }
        }
    }
    HoverHandler { id: hover }
    TapHandler { onTapped: root.opened() }
}
