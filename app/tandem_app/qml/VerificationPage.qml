// A verification: who asks, what both sides compare, and the answers.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    readonly property string phase: root.model.phase
    readonly property bool over: root.phase === "done" || root.phase === "cancelled" || root.phase === ""

    signal closed

    objectName: "verificationPage"
    Accessible.role: Accessible.Pane
    Accessible.name: root.model.title
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: {
        root.model.open();
        bar.take();
    }
    Component.onDestruction: root.model.close()
    // What had the keyboard may be gone with the step before; an answer is never given by a key that was meant for it.
    onPhaseChanged: bar.take()

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width
        title: qsTr("Verification")
        leaveName: "closeVerification"
        leaveLabel: qsTr("Back")
        onLeaving: root.closed()
    }
    Page {
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        width: parent.width
        columnWidth: 480
        centred: true
        spacing: Theme.medium

        Rectangle {
            anchors.horizontalCenter: parent?.horizontalCenter
            width: 64
            height: 64
            radius: 32
            color: root.model.dangerous ? Theme.dangerSoft : Theme.accentSoft

            Icon {
                anchors.centerIn: parent
                name: root.model.icon
                size: 28
                color: root.model.dangerous ? Theme.danger : Theme.accent
            }
        }
        Text {
            objectName: "verificationTitle"
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: root.model.title
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            maximumLineCount: 4
            elide: Text.ElideRight
            color: Theme.text
            font.pixelSize: Theme.headlineFont
            font.weight: Font.DemiBold
            Accessible.role: Accessible.Heading
            Accessible.name: text
        }
        Text {
            objectName: "verificationAdvice"
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            text: root.model.advice
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.softText
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
        Remark {
            objectName: "verificationProblem"
            width: parent.width
            visible: root.model.problem !== ""
            words: root.model.problem
        }
        Loader {
            width: parent.width
            active: root.phase === "compare"
            visible: active
            sourceComponent: emoji
        }
        Loader {
            width: parent.width
            active: root.phase === "ready"
            visible: active
            sourceComponent: ways
        }
        Flow {
            anchors.horizontalCenter: parent?.horizontalCenter
            topPadding: Theme.small
            spacing: Theme.medium

            PushButton {
                objectName: "declineVerification"
                visible: !root.over && root.phase !== "compare" && root.phase !== "shown"
                active: !root.model.busy
                label: root.phase === "asked_us" ? qsTr("Decline") : qsTr("Cancel")
                onClicked: root.model.cancel()
            }
            PushButton {
                objectName: "agreeVerification"
                visible: root.phase === "asked_us"
                kind: "filled"
                active: !root.model.busy
                label: qsTr("Take part")
                onClicked: root.model.agree()
            }
            PushButton {
                objectName: "mismatch"
                visible: root.phase === "compare" || root.phase === "shown"
                danger: true
                active: !root.model.busy
                label: root.phase === "shown" ? qsTr("No, it did not work") : qsTr("They do not match")
                onClicked: root.model.mismatch()
            }
            PushButton {
                objectName: "confirmVerification"
                visible: root.phase === "compare" || root.phase === "shown"
                kind: "filled"
                active: !root.model.busy
                label: root.phase === "shown" ? qsTr("Yes, it worked") : qsTr("They match")
                onClicked: root.model.confirm()
            }
            PushButton {
                objectName: "endVerification"
                visible: root.over
                kind: "filled"
                label: qsTr("Close")
                onClicked: root.closed()
            }
        }
    }
    Component {
        id: emoji

        Column {
            width: parent?.width ?? 0
            spacing: Theme.large

            Flow {
                id: row

                readonly property int cell: 92
                readonly property int across: Math.max(1, Math.min(4, Math.floor((parent.width + spacing) / (cell + spacing))))

                anchors.horizontalCenter: parent.horizontalCenter
                width: across * (cell + spacing) - spacing
                spacing: Theme.small

                Repeater {
                    model: root.model.emoji

                    Column {
                        id: one

                        required property var modelData

                        objectName: "verificationEmoji"
                        width: row.cell
                        spacing: Theme.tiny
                        Accessible.role: Accessible.StaticText
                        Accessible.name: one.modelData.name

                        Text {
                            width: parent.width
                            horizontalAlignment: Text.AlignHCenter
                            text: one.modelData.symbol
                            textFormat: Text.PlainText
                            color: Theme.text
                            font.pixelSize: 38
                            Accessible.ignored: true
                        }
                        Text {
                            width: parent.width
                            horizontalAlignment: Text.AlignHCenter
                            text: one.modelData.name
                            textFormat: Text.PlainText
                            wrapMode: Text.Wrap
                            color: Theme.text
                            font.pixelSize: Theme.smallFont + 1
                            Accessible.ignored: true
                        }
                    }
                }
            }
            Text {
                objectName: "verificationNumbers"
                width: parent.width
                horizontalAlignment: Text.AlignHCenter
                text: qsTr("or these numbers: %1").arg(root.model.numbers)
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.softText
                font.pixelSize: Theme.normalFont
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
        }
    }
    Component {
        id: ways

        Column {
            width: parent?.width ?? 0
            spacing: Theme.large

            PushButton {
                objectName: "compareEmoji"
                anchors.horizontalCenter: parent.horizontalCenter
                visible: root.model.canCompare
                kind: "filled"
                active: !root.model.busy
                label: qsTr("Compare emoji")
                onClicked: root.model.compare()
            }
            QrPicture {
                anchors.horizontalCenter: parent.horizontalCenter
                visible: rows.length > 0
                rows: root.model.picture
            }
            CopyField {
                objectName: "ownCode"
                width: parent.width
                visible: root.model.textCode !== ""
                label: qsTr("Your code, for the other side to read or paste")
                value: root.model.textCode
            }
            FormField {
                id: theirs
                width: parent.width
                visible: root.model.canScan
                input.objectName: "theirCode"
                input.maximumLength: 4096
                label: qsTr("The other side's code")
                hint: qsTr("Paste it here")
                onAccepted: root.model.scan(theirs.text)
            }
            PushButton {
                objectName: "useCode"
                anchors.horizontalCenter: parent.horizontalCenter
                visible: root.model.canScan && theirs.text !== ""
                active: !root.model.busy
                label: qsTr("Use this code")
                onClicked: root.model.scan(theirs.text)
            }
        }
    }
}
