// The devices of the account: names, when they were seen, whether they are verified, and signing out others.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    readonly property bool empty: root.model.rows.length === 0

    signal closed
    signal wanted(string page)

    objectName: "devicesPage"
    Accessible.role: Accessible.Pane
    Accessible.name: qsTr("Devices")
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: {
        root.model.open();
        bar.take();
    }
    Component.onDestruction: root.model.close()

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width
        title: qsTr("Devices")
        leaveName: "closeDevices"
        leaveLabel: qsTr("Back to the settings")
        onLeaving: root.closed()
    }
    Loader {
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        width: parent.width
        active: root.empty
        sourceComponent: Item {
            EmptyState {
                id: nothing
                y: Math.max(Theme.huge, (parent.height - height) / 2 - Theme.huge)
                width: parent.width
                icon: root.model.state === "offline" ? "offline" : "clock"
                title: root.model.state === "offline" ? qsTr("Your devices cannot be listed")
                    : qsTr("Asking your homeserver…")
                words: root.model.state === "offline"
                    ? qsTr("Your homeserver keeps it. Tandem asks again when it can be reached.") : ""
            }
            PushButton {
                objectName: "retryDevices"
                anchors.top: nothing.bottom
                anchors.topMargin: Theme.large
                anchors.horizontalCenter: parent.horizontalCenter
                visible: root.model.state === "offline"
                icon: "retry"
                label: qsTr("Try again")
                onClicked: root.model.reload()
            }
        }
    }
    Page {
        anchors.top: bar.bottom
        anchors.bottom: foot.top
        width: parent.width
        visible: !root.empty

        Column {
            id: column
            width: parent.width
            bottomPadding: Theme.huge

            Remark {
                objectName: "devicesProblem"
                width: parent.width
                visible: root.model.problem !== ""
                words: root.model.problem
            }
            Remark {
                objectName: "devicesNews"
                width: parent.width
                visible: root.model.news !== ""
                tone: "good"
                words: root.model.news
            }
            Remark {
                objectName: "devicesOld"
                width: parent.width
                visible: root.model.state === "offline"
                tone: "warning"
                words: qsTr("Your homeserver cannot be reached. This list may be out of date.")
            }
            Repeater {
                // By number: a changed value must not rebuild the row that has the keyboard.
                model: root.model.rows.length

                DeviceRow {
                    id: line

                    required property int index

                    width: column.width
                    device: root.model.rows[Math.min(index, root.model.rows.length - 1)]
                    chosen: root.model.chosen.includes(line.device.id)
                    editing: root.model.editing === line.device.id
                    busy: root.model.busy !== ""
                    onVerifying: {
                        root.model.verify(line.device.isThis ? "" : line.device.id);
                        root.wanted("verification");
                    }
                    onRenaming: root.model.edit(line.device.id)
                    onRenamed: name => root.model.rename(name)
                    onCancelled: root.model.edit("")
                    onChoosing: root.model.choose(line.device.id)
                }
            }
            Flow {
                width: parent.width
                topPadding: Theme.huge
                spacing: Theme.small

                PushButton {
                    objectName: "signOutOthers"
                    visible: root.model.others > 0
                    active: root.model.busy === ""
                    danger: true
                    label: qsTr("Sign out all others…")
                    onClicked: root.model.chooseOthers()
                }
                PushButton {
                    objectName: "addresses"
                    label: root.model.showsAddresses ? qsTr("Hide addresses") : qsTr("Show addresses")
                    onClicked: root.model.toggleAddresses()
                }
            }
        }
    }
    Loader {
        id: foot
        anchors.bottom: parent.bottom
        width: parent.width
        active: root.model.chosen.length > 0 && !root.empty
        height: active && item ? (item as Item).implicitHeight : 0
        sourceComponent: SignOutBar {
            model: root.model
            onEnded: bar.take()
        }
    }
}
