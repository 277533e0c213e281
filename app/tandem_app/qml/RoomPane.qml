// An open room: who it is, what was said, and where to write.
import QtQuick

Item {
    id: root

    required property var shell
    required property var timeline
    required property bool narrow
    required property var panels

    function focusComposer(): void {
        composer.take();
    }

    function showChosen(): void {
        composer.takeFiles();
    }

    Item {
        id: bar
        width: parent.width
        height: Theme.barHeight
        // The software renderer draws shapes beyond the clip of a list, so the bar covers what scrolls under it.
        z: 1

        Rectangle {
            anchors.fill: parent
            color: Theme.surface
        }

        IconButton {
            id: back
            objectName: "backButton"
            x: Theme.tiny
            anchors.verticalCenter: parent.verticalCenter
            visible: root.narrow
            width: root.narrow ? implicitWidth : 0
            icon: "back"
            label: qsTr("Back to the rooms")
            onClicked: root.shell.closeAll()
        }
        Avatar {
            id: avatar
            anchors.left: back.right
            anchors.leftMargin: root.narrow ? Theme.tiny : Theme.medium
            anchors.verticalCenter: parent.verticalCenter
            name: root.shell.roomName
            hue: root.shell.roomHue
            size: 36
        }
        Column {
            anchors.left: avatar.right
            anchors.right: more.left
            anchors.leftMargin: Theme.medium
            anchors.rightMargin: Theme.small
            anchors.verticalCenter: parent.verticalCenter

            Text {
                objectName: "roomTitle"
                width: parent.width
                text: root.shell.roomName
                textFormat: Text.PlainText
                elide: Text.ElideRight
                color: Theme.text
                font.pixelSize: Theme.titleFont
                font.weight: Font.DemiBold
                Accessible.role: Accessible.Heading
                Accessible.name: text
            }
            Text {
                width: parent.width
                visible: text !== ""
                text: root.shell.roomDetail
                textFormat: Text.PlainText
                elide: Text.ElideRight
                color: Theme.softText
                font.pixelSize: Theme.smallFont
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
        }
        IconButton {
            id: more
            objectName: "roomSettingsButton"
            anchors.right: parent.right
            anchors.rightMargin: Theme.small
            anchors.verticalCenter: parent.verticalCenter
            icon: "settings"
            label: qsTr("Settings of this room")
            onClicked: root.shell.openSettings(root.shell.roomId)
        }
        Rectangle {
            anchors.bottom: parent.bottom
            width: parent.width
            height: 1
            color: Theme.line
        }
    }
    Loader {
        id: identity
        anchors.top: bar.bottom
        width: parent.width
        active: root.shell.identityNew
        visible: active
        onActiveChanged: if (active) setSource("IdentityBar.qml", { "model": root.panels.make("identities") })
        height: active && item ? (item as Item).implicitHeight : 0

        Connections {
            target: identity.item
            ignoreUnknownSignals: true
            function onVerifying(): void {
                root.shell.openPage("verification");
            }
        }
    }
    Timeline {
        id: list
        anchors.top: identity.bottom
        anchors.bottom: typing.top
        width: parent.width
        shell: root.shell
        timeline: root.timeline
        onLeaving: composer.take()
    }
    Rectangle {
        anchors.top: typing.top
        anchors.bottom: parent.bottom
        width: parent.width
        color: Theme.surface
    }
    Item {
        id: typing
        anchors.bottom: composer.top
        width: parent.width
        height: 20

        Text {
            objectName: "typingLine"
            anchors.verticalCenter: parent.verticalCenter
            x: composer.textX
            width: parent.width - 2 * x
            elide: Text.ElideRight
            text: root.shell.typingWords
            textFormat: Text.PlainText
            color: Theme.softText
            font.pixelSize: Theme.smallFont
            font.italic: true
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
    }
    Composer {
        id: composer
        anchors.bottom: parent.bottom
        width: parent.width
        shell: root.shell
        panels: root.panels
        onLeftUp: list.take()
        onPaged: direction => list.pageBy(direction)
    }
    DropArea {
        id: drop
        anchors.fill: parent
        onEntered: drag => drag.accepted = drag.hasUrls
        onDropped: event => {
            if (event.hasUrls) {
                composer.attach(event.urls);
                event.acceptProposedAction();
            }
        }
    }
    Rectangle {
        anchors.fill: parent
        visible: drop.containsDrag
        color: Theme.scrim

        Text {
            anchors.centerIn: parent
            width: parent.width - 2 * Theme.huge
            horizontalAlignment: Text.AlignHCenter
            wrapMode: Text.Wrap
            text: qsTr("Drop files here to send them to %1").arg(root.shell.roomName)
            textFormat: Text.PlainText
            color: "#ffffff"
            font.pixelSize: Theme.titleFont
            font.weight: Font.DemiBold
        }
    }
    Loader {
        id: saver

        // Not by its type, which would be loaded, with its module, for every room.
        readonly property var made: item

        active: false
        source: "SaveDialog.qml"
    }
    Connections {
        target: saver.item
        ignoreUnknownSignals: true
        function onAccepted(): void {
            root.shell.files.save(saver.made.key, saver.made.selectedFile);
        }
    }
    Connections {
        target: root.shell
        function onSaveWanted(key: string, proposal: url): void {
            saver.active = true;
            saver.made.key = key;
            saver.made.selectedFile = proposal;
            saver.made.open();
        }
    }
}
