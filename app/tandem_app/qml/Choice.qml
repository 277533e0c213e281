// One of a few words: side by side where they fit, below each other where they do not. The arrow keys move it.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property string label
    required property var options
    required property string value
    // The width there is; words are never cut.
    property real most: 640

    signal chosen(string value)

    readonly property int current: root.options.findIndex(option => option.value === root.value)
    readonly property string word: root.current < 0 ? "" : root.options[root.current].label
    readonly property real lineWidth: root.options.reduce((sum, option) =>
        sum + Theme.optionWidth(option.label), 4)
    readonly property bool tall: root.lineWidth > root.most

    implicitWidth: root.tall ? root.most : root.lineWidth
    implicitHeight: root.tall ? 34 * root.options.length + 4 : Theme.controlHeight
    activeFocusOnTab: true
    Accessible.role: Accessible.Grouping
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
    Grid {
        x: 2
        y: 2
        columns: root.tall ? 1 : root.options.length

        Repeater {
            model: root.options

            Rectangle {
                id: option

                required property var modelData
                required property int index
                readonly property bool current: option.index === root.current

                objectName: root.objectName + "=" + option.modelData.value
                width: root.tall ? root.width - 4 : Theme.optionWidth(option.modelData.label)
                height: root.tall ? 34 : root.height - 4
                radius: Theme.radius - 2
                color: option.current ? Theme.selected : hover.hovered ? Theme.hover : "transparent"
                Accessible.role: Accessible.RadioButton
                Accessible.name: option.modelData.label
                Accessible.checkable: true
                Accessible.checked: option.current
                Accessible.onPressAction: root.chosen(option.modelData.value)

                Text {
                    x: root.tall ? Theme.medium : (parent.width - width) / 2
                    anchors.verticalCenter: parent.verticalCenter
                    text: option.modelData.label
                    textFormat: Text.PlainText
                    color: option.current ? Theme.text : Theme.softText
                    font.pixelSize: Theme.smallFont + 1
                    font.weight: option.current ? Font.DemiBold : Font.Normal
                    Accessible.ignored: true
                }
                Icon {
                    anchors.right: parent.right
                    anchors.rightMargin: Theme.medium
                    anchors.verticalCenter: parent.verticalCenter
                    visible: root.tall && option.current
                    name: "check"
                    size: 16
                    color: Theme.accent
                }
                HoverHandler {
                    id: hover
                    cursorShape: Qt.PointingHandCursor
                }
                TapHandler {
                    onTapped: {
                        root.forceActiveFocus(Qt.MouseFocusReason);
                        root.chosen(option.modelData.value);
                    }
                }
            }
        }
    }
    FocusRing {
        visible: root.activeFocus
        inset: -3
        radius: Theme.radius + 3
    }
}
