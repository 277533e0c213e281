// The settings of the account, or of one room.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    property bool asking: false

    signal closed

    objectName: "settingsPage"
    Accessible.role: Accessible.Pane
    Accessible.name: root.model.title
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: back.forceActiveFocus()

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    Item {
        id: bar
        width: parent.width
        height: Theme.barHeight

        IconButton {
            id: back
            objectName: "closeSettings"
            x: Theme.small
            anchors.verticalCenter: parent.verticalCenter
            icon: "back"
            label: qsTr("Back")
            focus: true
            onClicked: root.closed()
        }
        Text {
            anchors.left: back.right
            anchors.leftMargin: Theme.tiny
            anchors.right: parent.right
            anchors.rightMargin: Theme.large
            anchors.verticalCenter: parent.verticalCenter
            text: root.model.title
            textFormat: Text.PlainText
            elide: Text.ElideRight
            color: Theme.text
            font.pixelSize: Theme.titleFont
            font.weight: Font.DemiBold
            Accessible.role: Accessible.Heading
            Accessible.name: text
        }
        Rectangle {
            anchors.bottom: parent.bottom
            width: parent.width
            height: 1
            color: Theme.line
        }
    }
    Flickable {
        id: flick
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        width: parent.width
        contentHeight: column.implicitHeight + Theme.huge
        clip: true
        boundsBehavior: Flickable.StopAtBounds

        // What has the keyboard is kept in sight.
        function reveal(item: Item): void {
            const top = item.mapToItem(flick.contentItem, 0, 0).y;
            if (top < flick.contentY + Theme.large)
                flick.contentY = Math.max(0, top - Theme.huge * 2);
            else if (top + item.height > flick.contentY + flick.height - Theme.large)
                flick.contentY = Math.min(flick.contentHeight - flick.height, top + item.height - flick.height
                    + Theme.huge * 2);
        }
        Connections {
            target: root.Window.window
            function onActiveFocusItemChanged(): void {
                const item = root.Window.activeFocusItem;
                let parent = item;
                while (parent !== null && parent !== flick.contentItem)
                    parent = parent.parent;
                if (parent !== null && item !== null)
                    flick.reveal(item);
            }
        }

        Column {
            id: column
            anchors.horizontalCenter: parent.horizontalCenter
            width: Math.min(flick.width - 2 * Theme.large, 640)

            Column {
                width: parent.width
                topPadding: root.model.lines.length > 0 ? Theme.large : 0
                spacing: 2

                Repeater {
                    model: root.model.lines

                    Text {
                        required property string modelData

                        width: column.width
                        text: modelData
                        textFormat: Text.PlainText
                        wrapMode: Text.Wrap
                        color: Theme.softText
                        font.pixelSize: Theme.normalFont
                        Accessible.role: Accessible.StaticText
                        Accessible.name: text
                    }
                }
            }
            Text {
                objectName: "settingsProblem"
                width: parent.width
                visible: root.model.problem !== ""
                topPadding: Theme.medium
                text: root.model.problem
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.danger
                font.pixelSize: Theme.normalFont
                Accessible.role: Accessible.AlertMessage
                Accessible.name: text
            }
            Repeater {
                // By number: a changed value must not rebuild the row that has the keyboard.
                model: root.model.rows.length

                SettingRow {
                    required property int index

                    width: column.width
                    setting: root.model.rows[index] ?? root.model.rows[root.model.rows.length - 1]
                    onChanged: (key, value) => root.model.choose(key, value)
                    onForgotten: (key, room, person) => root.model.forget(key, room, person)
                }
            }
            Column {
                width: parent.width
                visible: !root.model.isRoom
                topPadding: Theme.huge
                spacing: Theme.small

                Text {
                    width: parent.width
                    visible: root.asking
                    text: qsTr("Signing out removes this device from your account and its messages and keys from "
                        + "this computer. Messages that no other device of yours can read are lost for good.")
                    textFormat: Text.PlainText
                    wrapMode: Text.Wrap
                    color: Theme.text
                    font.pixelSize: Theme.normalFont
                    lineHeight: 1.2
                    Accessible.role: Accessible.AlertMessage
                    Accessible.name: text
                }
                Row {
                    spacing: Theme.medium

                    PushButton {
                        objectName: "signOut"
                        danger: true
                        kind: root.asking ? "filled" : "outlined"
                        active: !root.model.isLeaving
                        label: root.model.isLeaving ? qsTr("Signing out…")
                            : root.asking ? qsTr("Sign out and remove") : qsTr("Sign out…")
                        onClicked: {
                            if (root.asking)
                                root.model.signOut();
                            else
                                root.asking = true;
                        }
                    }
                    PushButton {
                        objectName: "stay"
                        visible: root.asking
                        active: !root.model.isLeaving
                        label: qsTr("Stay signed in")
                        onClicked: root.asking = false
                    }
                }
            }
        }
    }
}
