// A small label under what the pointer rests on; made only when it is shown.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property bool shown
    required property string text
    property bool due: false

    anchors.fill: parent
    z: 100
    onShownChanged: root.due = false
    Accessible.ignored: true

    Timer {
        interval: 600
        running: root.shown
        onTriggered: root.due = true
    }
    Loader {
        active: root.due && root.text !== ""
        sourceComponent: Rectangle {
            readonly property Item host: root.parent
            readonly property real overRight: host ? Math.max(0, host.mapToItem(null, 0, 0).x
                + host.width / 2 + width / 2 + Theme.small - (host.Window.width || 0)) : 0
            readonly property real overLeft: host ? Math.max(0, Theme.small
                - (host.mapToItem(null, 0, 0).x + host.width / 2 - width / 2)) : 0
            readonly property bool above: host
                && host.mapToItem(null, 0, 0).y + host.height + height + 6 > (host.Window.height || 0)

            x: (root.width - width) / 2 - overRight + overLeft
            y: above ? -height - 4 : root.height + 4
            width: words.implicitWidth + 2 * Theme.small
            height: words.implicitHeight + Theme.small
            radius: 6
            color: Theme.dark ? "#3a414a" : "#2a3038"

            Text {
                id: words
                anchors.centerIn: parent
                text: root.text
                textFormat: Text.PlainText
                color: "#f4f6f8"
                font.pixelSize: Theme.smallFont
                Accessible.ignored: true
            }
        }
    }
}
