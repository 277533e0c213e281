// What became of a message: who has it, on which devices, since when.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    signal closed

    objectName: "messageInfo"
    Accessible.role: Accessible.Pane
    Accessible.name: qsTr("Message info")
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: closeButton.forceActiveFocus()

    Rectangle {
        anchors.fill: parent
        color: Theme.sidebar
    }
    Rectangle {
        width: 1
        height: parent.height
        color: Theme.line
    }
    Item {
        id: bar
        width: parent.width
        height: Theme.barHeight

        Text {
            anchors.left: parent.left
            anchors.leftMargin: Theme.large
            anchors.verticalCenter: parent.verticalCenter
            text: qsTr("Message info")
            color: Theme.text
            font.pixelSize: Theme.titleFont
            font.weight: Font.DemiBold
            Accessible.role: Accessible.Heading
            Accessible.name: text
        }
        IconButton {
            id: closeButton
            objectName: "closeInfo"
            anchors.right: parent.right
            anchors.rightMargin: Theme.small
            anchors.verticalCenter: parent.verticalCenter
            icon: "close"
            label: qsTr("Close message info")
            focus: true
            onClicked: root.closed()
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
        contentHeight: column.implicitHeight + 2 * Theme.large
        clip: true
        boundsBehavior: Flickable.StopAtBounds

        Column {
            id: column
            x: Theme.large
            y: Theme.large
            width: flick.width - 2 * Theme.large
            spacing: Theme.medium

            Text {
                objectName: "infoSummary"
                width: parent.width
                text: root.model.summary
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.text
                font.pixelSize: Theme.titleFont
                font.weight: Font.DemiBold
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            Column {
                width: parent.width
                spacing: 2

                Repeater {
                    model: root.model.facts

                    Text {
                        required property string modelData

                        width: parent.width
                        text: modelData
                        textFormat: Text.PlainText
                        wrapMode: Text.Wrap
                        color: Theme.softText
                        font.pixelSize: Theme.smallFont + 1
                        Accessible.role: Accessible.StaticText
                        Accessible.name: text
                    }
                }
            }
            Repeater {
                model: root.model.people

                InfoPerson {
                    required property var modelData

                    width: column.width
                    person: modelData
                }
            }
            PushButton {
                objectName: "copyInfo"
                visible: root.model.people.length > 0
                label: qsTr("Copy as text")
                onClicked: root.model.copy()
            }
            Text {
                width: parent.width
                text: qsTr("No confirmation means only that none came: the person may be offline, or their app "
                    + "may not send any.")
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.softText
                font.pixelSize: Theme.smallFont
                lineHeight: 1.2
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
        }
    }
}
