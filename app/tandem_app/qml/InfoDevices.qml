// The devices of a person in the info panel: which of them have the message, and since when.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    // [{id, userId, label, line, state: has | waits | failed}]
    required property var devices
    // A person of others' has devices that a key may be sent to again.
    signal sending(string userId, string deviceId)

    spacing: 2

    Repeater {
        model: root.devices

        Column {
            id: device

            required property var modelData
            readonly property bool failed: device.modelData.state === "failed"
            readonly property bool beside: label.implicitWidth + when.implicitWidth + 40 <= root.width

            width: root.width

            Item {
                width: parent.width
                height: device.beside ? 22 : 22 + when.implicitHeight

                Icon {
                    id: glyph
                    y: 4
                    name: device.failed ? "keyOff" : device.modelData.state === "has" ? "check" : "clock"
                    size: 14
                    color: device.failed ? Theme.danger : device.modelData.state === "has" ? Theme.accent : Theme.softText
                }
                Text {
                    id: label
                    x: glyph.width + Theme.small
                    y: 3
                    width: device.beside ? implicitWidth : parent.width - x
                    text: device.modelData.label
                    textFormat: Text.PlainText
                    elide: Text.ElideRight
                    color: Theme.text
                    font.pixelSize: Theme.smallFont + 1
                    Accessible.ignored: true
                }
                Text {
                    id: when
                    x: device.beside ? parent.width - implicitWidth : label.x
                    y: device.beside ? 3 : 22
                    width: device.beside ? implicitWidth : parent.width - x
                    wrapMode: Text.Wrap
                    text: device.modelData.line
                    textFormat: Text.PlainText
                    color: device.failed ? Theme.danger : Theme.softText
                    font.pixelSize: Theme.smallFont
                    Accessible.ignored: true
                }
            }
            Loader {
                active: device.failed && device.modelData.userId !== ""
                visible: active
                sourceComponent: PushButton {
                    objectName: "sendKeyAgain"
                    kind: "plain"
                    icon: "key"
                    label: qsTr("Send key again…")
                    spoken: qsTr("Send the key again to %1").arg(device.modelData.label)
                    onClicked: root.sending(device.modelData.userId, device.modelData.id)
                }
            }
        }
    }
}
