// A few short sentences below each other.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    required property var lines

    spacing: 3

    Repeater {
        model: root.lines

        Text {
            required property string modelData

            width: root.width
            text: modelData
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            color: Theme.softText
            font.pixelSize: Theme.smallFont + 1
            lineHeight: 1.15
            Accessible.role: Accessible.StaticText
            Accessible.name: text
        }
    }
}
