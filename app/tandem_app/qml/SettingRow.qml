// One setting: what it is, in words, and the way to change it.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    // A map with the keys of tandem_app.models.setting_rows.BLANK.
    required property var setting

    signal chosen(string key, string value, string room, string person)
    signal neverConfirm(string person)
    signal verify(string person)
    signal wanted(string page)

    readonly property string kind: root.setting.kind
    // A choice stands below its words where both do not fit side by side.
    readonly property bool stacked: root.kind === "person" || root.kind === "choice"
        && root.setting.options.reduce((sum, option) => sum + Theme.optionWidth(option.label), 4) > root.width * 0.55
    readonly property real beside: root.stacked ? 0 : control.implicitWidth + Theme.huge

    function choose(value: string): void {
        root.chosen(root.setting.key, value, root.setting.room, root.setting.person);
    }

    Item {
        width: 1
        height: root.setting.heading !== "" ? Theme.large : 0
    }
    Text {
        visible: root.setting.heading !== ""
        width: root.width
        topPadding: Theme.small
        bottomPadding: root.setting.words === "" ? Theme.small : Theme.tiny
        text: root.setting.heading
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.text
        font.pixelSize: Theme.titleFont
        font.weight: Font.DemiBold
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    Text {
        visible: root.setting.words !== ""
        width: root.width
        bottomPadding: Theme.medium
        text: root.setting.words
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.softText
        font.pixelSize: Theme.smallFont + 1
        lineHeight: 1.2
        Accessible.role: Accessible.StaticText
        Accessible.name: text
    }
    Item {
        width: root.width
        implicitHeight: (root.stacked ? words.implicitHeight + Theme.small + control.implicitHeight
            : Math.max(words.implicitHeight, control.implicitHeight)) + 2 * Theme.medium

        Rectangle {
            width: parent.width
            height: 1
            color: Theme.line
        }
        Column {
            id: words
            y: root.stacked ? Theme.medium : Math.max(Theme.medium, (parent.height - height) / 2)
            width: root.width - root.beside
            spacing: 2
            opacity: root.setting.active ? 1 : 0.5

            Text {
                width: parent.width
                text: root.setting.title
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.text
                font.pixelSize: Theme.normalFont
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            Text {
                width: parent.width
                visible: root.setting.help !== ""
                text: root.setting.help
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.softText
                font.pixelSize: Theme.smallFont + 1
                lineHeight: 1.15
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            Text {
                width: parent.width
                visible: root.setting.warning !== ""
                text: root.setting.warning
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.warning
                font.pixelSize: Theme.smallFont + 1
                font.weight: Font.DemiBold
                Accessible.role: Accessible.AlertMessage
                Accessible.name: text
            }
        }
        Loader {
            id: control
            x: root.stacked ? 0 : parent.width - width
            y: root.stacked ? words.y + words.implicitHeight + Theme.small : (parent.height - height) / 2
            sourceComponent: {
                switch (root.kind) {
                case "switch":
                case "onoff":
                    return toggle;
                case "choice":
                    return choice;
                case "number":
                    return number;
                case "exception":
                    return exception;
                case "person":
                    return person;
                case "lead":
                    return lead;
                case "trust":
                    return trust;
                default:
                    return fixed;
                }
            }
        }
    }
    Component {
        id: toggle

        Toggle {
            objectName: root.setting.key
            label: root.setting.title
            checked: root.setting.value === true
            onToggled: checked => root.choose(root.kind === "onoff" ? (checked ? "on" : "off")
                : (checked ? "true" : "false"))
        }
    }
    Component {
        id: choice

        Choice {
            objectName: root.setting.key
            label: root.setting.title
            options: root.setting.options
            value: root.setting.value
            most: root.width
            onChosen: value => root.choose(value)
        }
    }
    Component {
        id: number

        Stepper {
            objectName: root.setting.key
            label: root.setting.title
            value: Number(root.setting.value)
            least: root.setting.least
            most: root.setting.most
            active: root.setting.active
            onChosen: value => root.choose(String(value))
        }
    }
    Component {
        id: exception

        PushButton {
            objectName: "forget"
            kind: "plain"
            label: qsTr("Remove")
            spoken: qsTr("Remove the exception for %1").arg(root.setting.title)
            onClicked: root.choose("default")
        }
    }
    Component {
        id: lead

        PushButton {
            objectName: "openConfirmations"
            label: qsTr("Change…")
            spoken: qsTr("Change delivery confirmations")
            onClicked: root.wanted("confirmations")
        }
    }
    Component {
        id: trust

        Item {
            implicitWidth: verify.visible ? verify.implicitWidth : 20
            implicitHeight: verify.visible ? verify.implicitHeight : 20

            Icon {
                anchors.centerIn: parent
                visible: root.setting.value === true
                name: "check"
                size: 20
                color: Theme.good
            }
            PushButton {
                id: verify
                objectName: "verifyPerson"
                visible: root.setting.active && root.setting.value !== true
                label: qsTr("Verify…")
                spoken: qsTr("Verify %1").arg(root.setting.title)
                onClicked: root.verify(root.setting.person)
            }
        }
    }
    Component {
        id: person

        Row {
            id: line

            function submit(): void {
                root.neverConfirm(id.text);
                if (id.text.trim().startsWith("@") && id.text.includes(":"))
                    id.text = "";
            }

            width: root.width
            spacing: Theme.small

            Field {
                id: id
                input.objectName: "neverConfirmTo"
                width: line.width - add.width - line.spacing
                label: qsTr("@carol:example.org")
                spoken: qsTr("Matrix id of a person who never gets confirmations")
                onAccepted: line.submit()
            }
            PushButton {
                id: add
                objectName: "addException"
                label: qsTr("Add")
                spoken: qsTr("Never confirm to this person")
                onClicked: line.submit()
            }
        }
    }
    Component {
        id: fixed

        Text {
            text: root.setting.value
            textFormat: Text.PlainText
            color: Theme.softText
            font.pixelSize: Theme.normalFont
            Accessible.role: Accessible.StaticText
            Accessible.name: root.setting.title + ": " + text
        }
    }
}
