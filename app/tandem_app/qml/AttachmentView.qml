// What a message has attached: a picture in its own proportions, or a file with name, size and what can be done with it.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    // A MessageRow; the two types cannot name each other.
    required property var row
    required property real most

    readonly property var about: root.row.attachment
    readonly property var files: root.row.shell.files
    // Asked anew with every revision; a row that is reused asks for its own.
    readonly property var now: {
        root.files.revision;
        return root.files.look(root.row.key);
    }
    readonly property bool uploading: root.about.progress >= 0
    readonly property bool busy: root.uploading || root.now.state === "fetching" || root.now.state === "saving"
    readonly property bool failed: root.now.state === "failed"
    readonly property bool pictured: root.about.isPicture && root.about.isThere && !(root.failed && root.now.picture === "")
    readonly property real progress: root.uploading ? root.about.progress : root.now.progress
    readonly property string words: root.failed ? root.now.words
        : root.uploading ? qsTr("Sending…")
        : root.now.state === "saving" ? qsTr("Saving…")
        : root.now.state === "fetching" ? qsTr("Fetching…")
        : root.now.state === "saved" ? root.now.words
        : !root.about.isThere ? qsTr("The file is missing") : ""

    implicitWidth: root.pictured ? frame.width : card.width
    implicitHeight: root.pictured ? frame.height : card.height

    function begin(): void {
        if (root.about.isPicture && root.about.isThere)
            root.files.want(root.row.key, root.about.local);
    }
    function stop(): void {
        if (root.uploading)
            root.row.shell.discard(root.row.key);
        else
            root.files.cancel(root.row.key);
    }

    Component.onCompleted: root.begin()
    Connections {
        target: root.row
        function onKeyChanged(): void {
            root.begin();
        }
        function onAttachmentChanged(): void {
            if (root.row.attachment.name !== undefined)
                root.begin();
        }
    }

    Item {
        id: frame

        readonly property real ratio: root.about.ratio > 0 ? root.about.ratio : 0.66
        readonly property real wanted: Math.min(root.most, 420, root.about.width > 0 ? Math.max(root.about.width, 160) : 320)

        visible: root.pictured
        width: Math.max(Math.min(root.most, 120), Math.min(wanted, 340 / ratio))
        height: Math.max(48, Math.min(340, width * ratio))
        Accessible.role: Accessible.Graphic
        Accessible.name: root.about.size !== "" ? qsTr("Picture %1, %2").arg(root.about.name).arg(root.about.size)
            : qsTr("Picture %1").arg(root.about.name)
        Accessible.onPressAction: root.row.shell.openFile(root.row.key)

        Rectangle {
            anchors.fill: parent
            radius: Theme.radius
            color: Theme.hover
            border.width: 1
            border.color: Theme.line
            visible: picture.status !== Image.Ready
        }
        Image {
            id: picture
            anchors.fill: parent
            source: root.pictured ? root.now.picture : ""
            asynchronous: true
            fillMode: Image.PreserveAspectFit
            sourceSize.width: 840
            smooth: true
            mipmap: true
        }
        Column {
            anchors.centerIn: parent
            width: parent.width - 2 * Theme.small
            spacing: Theme.tiny
            visible: root.now.picture === ""

            Icon {
                anchors.horizontalCenter: parent.horizontalCenter
                name: "image"
                size: 24
                color: Theme.softText
            }
            PushButton {
                anchors.horizontalCenter: parent.horizontalCenter
                objectName: "fetchButton"
                visible: root.now.state === "" && !root.uploading && parent.width > implicitWidth
                kind: "plain"
                icon: "down"
                label: root.about.size !== "" ? qsTr("Show (%1)").arg(root.about.size) : qsTr("Show")
                spoken: qsTr("Show %1").arg(root.about.name)
                onClicked: root.files.fetch(root.row.key)
            }
        }
        TapHandler {
            enabled: root.now.picture !== ""
            onTapped: root.row.shell.openFile(root.row.key)
        }
        HoverHandler {
            enabled: root.now.picture !== ""
            cursorShape: Qt.PointingHandCursor
        }
    }
    // Over the picture: nothing below may move when it comes and goes.
    Rectangle {
        anchors.bottom: frame.bottom
        width: frame.width
        height: 36
        visible: root.pictured && (root.busy || root.failed)
        radius: Theme.radius
        color: Theme.raised

        Column {
            anchors.left: parent.left
            anchors.leftMargin: Theme.small
            anchors.right: stopUnder.visible ? stopUnder.left : parent.right
            anchors.verticalCenter: parent.verticalCenter
            spacing: Theme.tiny

            Text {
                width: parent.width
                elide: Text.ElideRight
                text: root.words
                textFormat: Text.PlainText
                color: root.failed ? Theme.danger : Theme.softText
                font.pixelSize: Theme.smallFont
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            ProgressLine {
                width: parent.width
                visible: root.busy
                value: root.progress
                label: root.words
            }
        }
        IconButton {
            id: stopUnder
            objectName: "stopButton"
            anchors.right: parent.right
            anchors.verticalCenter: parent.verticalCenter
            visible: root.busy
            width: 28
            height: 28
            icon: "close"
            iconSize: 16
            label: qsTr("Stop %1").arg(root.about.name)
            onClicked: root.stop()
        }
    }
    Item {
        id: card
        visible: !root.pictured
        width: Math.min(root.most, Math.max(220, 28 + Math.max(name.implicitWidth, state.implicitWidth) + 12
            + buttons.width))
        height: Math.max(44, names.height + 4)

        Icon {
            id: glyph
            anchors.verticalCenter: parent.verticalCenter
            name: root.about.isPicture ? "image" : "file"
            size: 22
            color: Theme.softText
        }
        Column {
            id: names
            anchors.left: glyph.right
            anchors.leftMargin: Theme.small
            anchors.right: buttons.left
            anchors.rightMargin: Theme.tiny
            anchors.verticalCenter: parent.verticalCenter
            spacing: 2

            Text {
                id: name
                objectName: "fileName"
                width: parent.width
                // The end says what kind of file it claims to be.
                elide: Text.ElideMiddle
                text: root.about.name
                textFormat: Text.PlainText
                color: Theme.text
                font.pixelSize: Theme.normalFont
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            Text {
                id: state
                objectName: "fileState"
                width: parent.width
                visible: text !== ""
                wrapMode: Text.Wrap
                text: root.words === "" ? root.about.size
                    : root.about.size === "" || root.failed ? root.words
                    : qsTr("%1 · %2").arg(root.about.size).arg(root.words)
                textFormat: Text.PlainText
                color: root.failed ? Theme.danger : Theme.softText
                font.pixelSize: Theme.smallFont
                Accessible.role: root.failed ? Accessible.AlertMessage : Accessible.StaticText
                Accessible.name: text
            }
            ProgressLine {
                width: parent.width
                visible: root.busy
                value: root.progress
                label: root.words
            }
        }
        Row {
            id: buttons
            anchors.right: parent.right
            anchors.verticalCenter: parent.verticalCenter

            IconButton {
                objectName: "againButton"
                visible: root.failed
                icon: "retry"
                label: qsTr("Try again: %1").arg(root.about.name)
                onClicked: root.files.again(root.row.key)
            }
            IconButton {
                objectName: "stopButton"
                visible: root.busy
                icon: "close"
                label: qsTr("Stop %1").arg(root.about.name)
                onClicked: root.stop()
            }
            IconButton {
                objectName: "saveButton"
                visible: !root.busy && root.about.canSave
                icon: "save"
                label: qsTr("Save %1 as…").arg(root.about.name)
                onClicked: root.files.askSave(root.row.key)
            }
        }
    }
}
