// One of a few words, side by side; the arrow keys move it.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property string label
    required property var options
    required property string value

    signal chosen(string value)

    readonly property int current: root.options.findIndex(option => option.value === root.value)
    readonly property string word: root.current < 0 ? "" : root.options[root.current].label

    implicitWidth: row.implicitWidth + 4
    implicitHeight: 32
    activeFocusOnTab: true
    Accessible.role: Accessible.ComboBox
    Accessible.name: root.label + ": " + root.word
    Accessible.focusable: true
    Keys.onLeftPressed: root.step(-1)
    Keys.onRightPressed: root.step(1)
    Keys.onUpPressed: root.step(-1)
    Keys.onDownPressed: root.step(1)

    function step(by: int): void {
        const next = Math.max(0, Math.min(root.options.length - 1, root.current + by));
        if (next !== root.current)
            root.chosen(root.options[next].value);
    }

    Rectangle {
        anchors.fill: parent
        radius: Theme.radius
        color: Theme.bubble
    }
    Row {
        id: row
        x: 2
        anchors.verticalCenter: parent.verticalCenter

        Repeater {
            model: root.options

            Rectangle {
                id: option

                required property var modelData
                required property int index

                width: words.implicitWidth + 2 * Theme.medium
                height: root.height - 4
                radius: Theme.radius - 2
                color: option.index === root.current ? Theme.raised : "transparent"
                border.width: option.index === root.current ? 1 : 0
                border.color: Theme.line

                Text {
                    id: words
                    anchors.centerIn: parent
                    text: option.modelData.label
                    textFormat: Text.PlainText
                    color: option.index === root.current ? Theme.text : Theme.softText
                    font.pixelSize: Theme.smallFont + 1
                    font.weight: option.index === root.current ? Font.DemiBold : Font.Normal
                    Accessible.ignored: true
                }
                HoverHandler { cursorShape: Qt.PointingHandCursor }
                TapHandler { onTapped: root.chosen(option.modelData.value) }
            }
        }
    }
    FocusRing {
        visible: root.activeFocus
        inset: -3
    }
}
