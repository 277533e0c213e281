// Delivery confirmations: who learns that messages arrived, what that comes to, what was sent, and a pause.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    readonly property var told: root.model.told
    readonly property var people: root.told.people ?? []

    signal closed

    objectName: "confirmationsPage"
    Accessible.role: Accessible.Pane
    Accessible.name: bar.title
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: {
        root.model.open("");
        bar.take();
    }
    Component.onDestruction: root.model.close()

    component Heading: Text {
        width: parent ? parent.width : 0
        topPadding: Theme.huge
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.text
        font.pixelSize: Theme.titleFont
        font.weight: Font.DemiBold
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    component Words: Text {
        width: parent ? parent.width : 0
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.softText
        font.pixelSize: Theme.smallFont + 1
        lineHeight: 1.2
        Accessible.role: Accessible.StaticText
        Accessible.name: text
    }

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width
        title: qsTr("Delivery confirmations")
        leaveName: "closeConfirmations"
        leaveLabel: qsTr("Back to the settings")
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
                objectName: "confirmationsProblem"
                width: parent.width
                visible: root.model.problem !== ""
                words: root.model.problem
            }
            Column {
                width: parent.width
                visible: root.told.unread !== undefined && root.told.unread !== ""
                spacing: Theme.small
                bottomPadding: Theme.large

                Remark {
                    objectName: "exceptionsUnread"
                    width: parent.width
                    tone: "warning"
                    words: root.told.unread ?? ""
                }
                PushButton {
                    objectName: "beginAnew"
                    label: qsTr("Begin anew")
                    spoken: qsTr("Begin anew with the exceptions of this device")
                    onClicked: {
                        bar.take();
                        root.model.beginAnew();
                    }
                }
            }
            Words {
                objectName: "confirmationsStanding"
                color: Theme.text
                font.pixelSize: Theme.normalFont
                text: root.told.standing ?? ""
            }
            Repeater {
                // By number: a changed value must not rebuild the row that has the keyboard.
                model: root.model.rows.length

                SettingRow {
                    required property int index

                    width: column.width
                    setting: root.model.rows[Math.min(index, root.model.rows.length - 1)]
                    onChosen: (key, value, room, person) => root.model.choose(key, value, room, person)
                    onNeverConfirm: person => root.model.neverConfirm(person)
                }
            }
            Heading { text: qsTr("What others see") }
            Words {
                topPadding: Theme.tiny
                bottomPadding: Theme.small
                text: root.people.length === 0
                    ? qsTr("Nobody: there is no room yet in which you have written.")
                    : qsTr("If they wrote now, and you did not answer: at most 30 updates a day, and none after 5 until "
                        + "you read or write. Your homeserver learns of each confirmation, as it does of read receipts. "
                        + "Whoever writes to you all day, and whom you keep reading, learns your rough hours.")
            }
            Flow {
                width: parent.width
                spacing: Theme.small
                bottomPadding: Theme.medium

                Repeater {
                    // By number, as above.
                    model: root.people.length

                    PushButton {
                        id: chip

                        required property int index
                        readonly property var person: root.people[Math.min(chip.index, root.people.length - 1)]
                        readonly property bool isChosen: chip.person.id === root.told.person

                        objectName: "previewAs"
                        width: Math.min(chip.implicitWidth, column.width)
                        clip: true
                        kind: chip.isChosen ? "filled" : "outlined"
                        label: chip.person.name
                        spoken: chip.isChosen ? qsTr("%1 is shown").arg(chip.person.name)
                            : qsTr("What %1 sees").arg(chip.person.name)
                        onClicked: root.model.previewAs(chip.person.id)
                    }
                }
            }
            Repeater {
                model: root.told.seen ?? []

                Item {
                    id: seen

                    required property var modelData

                    width: column.width
                    implicitHeight: said.implicitHeight + 2 * Theme.small
                    Accessible.role: Accessible.StaticText
                    Accessible.name: seen.modelData.room + ": " + seen.modelData.words

                    Icon {
                        y: Theme.small
                        name: seen.modelData.tells ? "check" : "minus"
                        size: 16
                        color: seen.modelData.tells ? Theme.accent : Theme.softText
                    }
                    Column {
                        id: said
                        x: 16 + Theme.small
                        y: Theme.small
                        width: parent.width - x

                        Text {
                            width: parent.width
                            text: seen.modelData.room
                            textFormat: Text.PlainText
                            elide: Text.ElideRight
                            color: Theme.text
                            font.pixelSize: Theme.normalFont
                            Accessible.ignored: true
                        }
                        Words {
                            text: seen.modelData.words
                            Accessible.ignored: true
                        }
                    }
                }
            }
            Heading { text: qsTr("The last 24 hours") }
            Words {
                objectName: "confirmationsSent"
                topPadding: Theme.tiny
                bottomPadding: Theme.small
                text: root.told.paused === undefined || root.told.paused === "" ? (root.told.sentence ?? "")
                    : root.told.sentence + " " + qsTr("Paused until %1.").arg(root.told.paused)
            }
            Flow {
                width: parent.width
                spacing: Theme.small

                PushButton {
                    objectName: "showLog"
                    visible: root.told.hasLog === true
                    label: root.told.showsLog === true ? qsTr("Hide the log") : qsTr("Show the log")
                    onClicked: root.model.toggleLog()
                }
                PushButton {
                    id: pause

                    readonly property bool isOn: root.told.paused !== undefined && root.told.paused !== ""

                    // One button, so that the keyboard stays where it is.
                    objectName: "pause"
                    kind: pause.isOn ? "filled" : "outlined"
                    label: pause.isOn ? qsTr("Go on now") : qsTr("Pause for an hour")
                    spoken: pause.isOn ? qsTr("Go on with confirmations now") : qsTr("Pause confirmations for an hour")
                    onClicked: {
                        if (pause.isOn)
                            root.model.resume();
                        else
                            root.model.pause("hour");
                    }
                }
                PushButton {
                    objectName: "pauseTomorrow"
                    visible: !pause.isOn
                    label: qsTr("Pause until tomorrow")
                    spoken: qsTr("Pause confirmations until 6 o'clock tomorrow")
                    onClicked: {
                        pause.forceActiveFocus(Qt.OtherFocusReason);
                        root.model.pause("tomorrow");
                    }
                }
            }
            Lines {
                objectName: "confirmationsLog"
                width: parent.width
                topPadding: Theme.medium
                visible: root.told.showsLog === true
                lines: root.told.log ?? []
            }
        }
    }
}
