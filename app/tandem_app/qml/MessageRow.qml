// One row of a timeline: a message in its bubble, or a quiet line about the room.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property int index
    required property string key
    required property string kind
    required property string sender
    required property int hue
    required property string text
    required property string time
    required property bool own
    required property bool edited
    required property string sendState
    required property string error
    required property bool runStart
    required property bool runEnd
    required property string day
    required property bool unreadLine
    required property string mark
    required property string markCount
    required property string markWords
    required property string spoken
    required property var attachment
    // What speaks against the sender being who it says, in a sentence.
    required property string shield
    required property bool shieldGrave
    required property var shell
    property bool focused: false

    readonly property bool quiet: root.kind === "state"
    readonly property bool muted: root.kind === "notice" || root.kind === "redacted" || root.kind === "sealed"
    readonly property real columnWidth: Math.min(root.width, Theme.readableWidth)
    readonly property real columnX: (root.width - root.columnWidth) / 2
    readonly property real gutter: 52
    readonly property real mostWidth: Math.min(620, root.columnWidth - root.gutter - 2 * Theme.large
        - Math.max(0, Math.min(64, (root.columnWidth - 420) / 2)))

    objectName: "messageRow"
    height: body.y + body.height + (root.quiet ? 0 : root.runEnd ? 6 : 2)
    Accessible.role: Accessible.ListItem
    Accessible.name: root.spoken
    Accessible.focusable: true
    Accessible.focused: root.focused

    Column {
        id: above
        width: root.width

        Loader {
            width: parent.width
            active: root.day !== ""
            visible: active
            sourceComponent: DaySeparator { words: root.day }
        }
        Loader {
            width: parent.width
            active: root.unreadLine
            visible: active
            sourceComponent: UnreadLine {}
        }
    }
    Loader {
        id: body
        x: root.columnX
        y: above.height + (root.quiet ? 0 : root.runStart ? 6 : 0)
        width: root.columnWidth
        sourceComponent: root.quiet ? line : message
    }
    Component {
        id: line

        Item {
            implicitHeight: words.implicitHeight + 10

            Text {
                id: words
                anchors.centerIn: parent
                width: Math.min(implicitWidth, parent.width - 4 * Theme.large)
                horizontalAlignment: Text.AlignHCenter
                wrapMode: Text.Wrap
                text: root.text
                textFormat: Text.StyledText
                color: Theme.softText
                font.pixelSize: Theme.smallFont
                Accessible.ignored: true
            }
            FocusRing {
                visible: root.focused
                anchors.fill: words
                anchors.margins: -4
            }
        }
    }
    Component {
        id: message

        Bubble {
            row: root
        }
    }
}
