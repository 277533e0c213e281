// The settings of the account, or of one room.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    signal closed
    signal wanted(string page)

    objectName: "settingsPage"
    Accessible.role: Accessible.Pane
    Accessible.name: root.model.title
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: bar.take()

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width
        title: root.model.title
        leaveName: "closeSettings"
        leaveLabel: qsTr("Back")
        onLeaving: root.closed()
    }
    Page {
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        width: parent.width

        Column {
            id: column
            width: parent.width
            bottomPadding: Theme.huge

            Remark {
                objectName: "settingsProblem"
                width: parent.width
                visible: root.model.problem !== "" && root.model.leaving !== "offline"
                words: root.model.problem
            }
            Lines {
                width: parent.width
                visible: root.model.isRoom && root.model.lines.length > 0
                lines: root.model.isRoom ? root.model.lines : []
            }
            Repeater {
                // By number: a changed value must not rebuild the row that has the keyboard.
                model: root.model.rows.length

                SettingRow {
                    required property int index

                    width: column.width
                    setting: root.model.rows[Math.min(index, root.model.rows.length - 1)]
                    onChosen: (key, value, room, person) => root.model.choose(key, value, room, person)
                    onWanted: page => root.wanted(page)
                    onVerify: person => {
                        root.model.verify(person);
                        root.wanted("verification");
                    }
                }
            }
            Loader {
                width: parent.width
                active: !root.model.isRoom
                visible: active
                sourceComponent: Column {
                    id: account
                    topPadding: Theme.huge
                    spacing: Theme.medium

                    Text {
                        width: account.width
                        text: qsTr("Account")
                        color: Theme.text
                        font.pixelSize: Theme.titleFont
                        font.weight: Font.DemiBold
                        Accessible.role: Accessible.Heading
                        Accessible.name: text
                    }
                    Lines {
                        width: account.width
                        lines: root.model.lines
                    }
                    PushButton {
                        objectName: "openEncryption"
                        icon: "key"
                        label: qsTr("Encryption…")
                        spoken: qsTr("Encryption: this device, recovery, key backup")
                        onClicked: root.wanted("encryption")
                    }
                    PushButton {
                        objectName: "openDevices"
                        label: qsTr("Devices…")
                        spoken: qsTr("Devices of your account")
                        onClicked: root.wanted("devices")
                    }
                    Remark {
                        objectName: "leaving"
                        width: account.width
                        visible: root.model.leaving !== ""
                        tone: "warning"
                        title: root.model.leaving === "offline" ? qsTr("Not signed out")
                            : qsTr("Sign out of this computer?")
                        words: root.model.leaving === "offline" ? root.model.problem
                            : qsTr("The messages and keys kept here are removed, for the window and the notifier. "
                                + "Messages that no other device of yours can read are lost for good.")
                    }
                    Flow {
                        width: account.width
                        spacing: Theme.small

                        PushButton {
                            objectName: "signOut"
                            danger: true
                            kind: root.model.leaving === "" ? "outlined" : "filled"
                            active: root.model.leaving !== "busy"
                            label: {
                                switch (root.model.leaving) {
                                case "busy":
                                    return qsTr("Signing out…");
                                case "asked":
                                    return qsTr("Sign out and remove");
                                case "offline":
                                    return qsTr("Sign out here only");
                                default:
                                    return qsTr("Sign out…");
                                }
                            }
                            onClicked: {
                                if (root.model.leaving === "")
                                    root.model.askToLeave();
                                else
                                    root.model.signOut();
                            }
                        }
                        PushButton {
                            objectName: "stay"
                            visible: root.model.leaving === "asked" || root.model.leaving === "offline"
                            label: qsTr("Stay signed in")
                            onClicked: root.model.stay()
                        }
                    }
                }
            }
        }
    }
}
