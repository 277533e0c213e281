// One setting: what it is, in words, and the way to change it.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    required property var setting

    signal changed(string key, string value)
    signal forgotten(string key, string room, string person)

    // Words beside a control where both fit, above it where they do not.
    readonly property bool stacked: root.setting.kind === "choice" && root.width < 560
    readonly property real beside: control.item && !root.stacked ? (control.item as Item).width + Theme.large : 0

    spacing: 0

    Text {
        visible: root.setting.heading !== ""
        width: parent.width
        topPadding: Theme.huge
        bottomPadding: root.setting.words === "" ? Theme.small : 2
        text: root.setting.heading
        textFormat: Text.PlainText
        color: Theme.text
        font.pixelSize: Theme.titleFont
        font.weight: Font.DemiBold
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    Text {
        visible: root.setting.words !== ""
        width: parent.width
        bottomPadding: Theme.small
        text: root.setting.words
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: Theme.softText
        font.pixelSize: Theme.smallFont + 1
        Accessible.role: Accessible.StaticText
        Accessible.name: text
    }
    Item {
        width: parent.width
        height: Math.max(words.implicitHeight, root.stacked ? 0 : control.height) + 2 * Theme.medium
            + (root.stacked ? control.height + Theme.small : 0)

        Rectangle {
            width: parent.width
            height: 1
            color: Theme.line
        }
        Column {
            id: words
            y: Theme.medium
            width: parent.width - root.beside
            spacing: 2

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
        }
        Loader {
            id: control
            anchors.right: root.stacked ? undefined : parent.right
            y: root.stacked ? words.y + words.height + Theme.small : Theme.medium
            sourceComponent: {
                switch (root.setting.kind) {
                case "switch":
                case "onoff":
                    return toggle;
                case "choice":
                    return choice;
                case "number":
                    return number;
                case "exception":
                    return exception;
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
            onToggled: checked => root.changed(root.setting.key, root.setting.kind === "onoff"
                ? (checked ? "on" : "off") : (checked ? "true" : "false"))
        }
    }
    Component {
        id: choice

        Choice {
            objectName: root.setting.key
            label: root.setting.title
            options: root.setting.options
            value: root.setting.value
            onChosen: value => root.changed(root.setting.key, value)
        }
    }
    Component {
        id: number

        Stepper {
            objectName: root.setting.key
            label: root.setting.title
            value: root.setting.value
            least: root.setting.least
            most: root.setting.most
            onChosen: value => root.changed(root.setting.key, String(value))
        }
    }
    Component {
        id: exception

        PushButton {
            objectName: "forget"
            kind: "plain"
            label: qsTr("Remove")
            onClicked: root.forgotten(root.setting.key, root.setting.room, root.setting.person)
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
