// One device of the account: its name, to be written anew in its place, and what can be done with it.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    // A map as tandem_app.models.device_rows makes it.
    required property var device
    property bool chosen: false
    property bool editing: false
    property bool busy: false

    signal verifying
    signal renaming
    signal renamed(string name)
    signal cancelled
    signal choosing

    // The buttons stand below the words where both do not fit side by side.
    readonly property bool stacked: root.width < 520

    onEditingChanged: {
        if (!root.editing)
            rename.forceActiveFocus(Qt.OtherFocusReason);
    }

    Item {
        width: 1
        height: root.device.heading !== "" ? Theme.large : 0
    }
    Text {
        visible: root.device.heading !== ""
        width: root.width
        topPadding: Theme.small
        bottomPadding: Theme.small
        text: root.device.heading
        textFormat: Text.PlainText
        color: Theme.text
        font.pixelSize: Theme.titleFont
        font.weight: Font.DemiBold
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    Rectangle {
        width: root.width
        implicitHeight: (root.stacked && !root.editing ? words.height + buttons.height + Theme.small
            : Math.max(words.height, buttons.height)) + 2 * Theme.medium
        color: root.chosen ? Theme.dangerSoft : "transparent"

        Rectangle {
            width: parent.width
            height: 1
            color: Theme.line
        }
        Column {
            id: words
            objectName: "deviceRow"
            x: root.chosen ? Theme.small : 0
            y: Theme.medium
            width: (root.stacked || root.editing ? parent.width : buttons.x - Theme.medium) - x
            spacing: 3
            Accessible.role: Accessible.StaticText
            Accessible.name: root.device.spoken

            Text {
                width: parent.width
                visible: !root.editing
                text: root.device.name
                textFormat: Text.PlainText
                wrapMode: Text.WrapAtWordBoundaryOrAnywhere
                maximumLineCount: 2
                elide: Text.ElideRight
                color: Theme.text
                font.pixelSize: Theme.normalFont
                font.weight: Font.DemiBold
                Accessible.ignored: true
            }
            Loader {
                width: parent.width
                active: root.editing
                visible: active
                sourceComponent: editor
            }
            Row {
                width: parent.width
                spacing: 6

                Icon {
                    id: mark
                    anchors.verticalCenter: parent.verticalCenter
                    name: root.device.trust === "verified" ? "check" : root.device.trust === "none" ? "lock" : "warning"
                    size: 14
                    color: trust.color
                }
                Text {
                    id: trust
                    width: parent.width - mark.width - parent.spacing
                    text: root.device.trustWords
                    textFormat: Text.PlainText
                    elide: Text.ElideRight
                    color: root.device.trust === "verified" ? Theme.good : root.device.trust === "unverified"
                        ? Theme.warning : Theme.softText
                    font.pixelSize: Theme.smallFont + 1
                    Accessible.ignored: true
                }
            }
            Text {
                width: parent.width
                text: root.device.seen
                textFormat: Text.PlainText
                wrapMode: Text.WrapAtWordBoundaryOrAnywhere
                color: Theme.softText
                font.pixelSize: Theme.smallFont + 1
                Accessible.ignored: true
            }
        }
        Row {
            id: buttons
            x: root.stacked ? words.x - Theme.small : parent.width - width
            y: root.stacked ? words.y + words.height + Theme.small : Math.max(Theme.medium, (parent.height - height) / 2)
            visible: !root.editing

            PushButton {
                objectName: "verifyDevice"
                kind: "plain"
                visible: root.device.canVerify
                active: !root.busy
                label: qsTr("Verify…")
                spoken: root.device.isThis ? qsTr("Verify this device with another one")
                    : qsTr("Verify %1").arg(root.device.name)
                onClicked: root.verifying()
            }
            PushButton {
                id: rename
                objectName: "renameDevice"
                kind: "plain"
                active: !root.busy
                label: qsTr("Rename")
                spoken: qsTr("Rename %1").arg(root.device.name)
                onClicked: root.renaming()
            }
            PushButton {
                objectName: "signOutDevice"
                kind: "plain"
                visible: !root.device.isThis
                active: !root.busy
                danger: !root.chosen
                label: root.chosen ? qsTr("Keep") : qsTr("Sign out…")
                spoken: root.chosen ? qsTr("Keep %1 signed in").arg(root.device.name)
                    : qsTr("Sign out %1").arg(root.device.name)
                onClicked: root.choosing()
            }
        }
    }
    Component {
        id: editor

        Flow {
            id: line

            width: root.width
            spacing: Theme.small
            Keys.onShortcutOverride: event => event.accepted = event.key === Qt.Key_Escape
            Keys.onEscapePressed: root.cancelled()
            Component.onCompleted: {
                name.text = root.device.name;
                name.input.forceActiveFocus(Qt.OtherFocusReason);
                name.input.selectAll();
            }

            Field {
                id: name
                input.objectName: "deviceName"
                input.maximumLength: 100
                width: line.width < 420 ? line.width : line.width - save.width - leave.width - 2 * line.spacing
                label: qsTr("Name of this device")
                spoken: qsTr("New name of %1; people you write with can read it").arg(root.device.name)
                onAccepted: root.renamed(name.text)
            }
            PushButton {
                id: save
                objectName: "saveName"
                kind: "filled"
                active: !root.busy
                label: qsTr("Save")
                onClicked: root.renamed(name.text)
            }
            PushButton {
                id: leave
                objectName: "keepName"
                label: qsTr("Cancel")
                onClicked: root.cancelled()
            }
        }
    }
}
