// The words of one message: who, what, when, and how far it got.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    // A MessageRow; the two types cannot name each other.
    required property var row
    readonly property bool own: root.row.own
    readonly property bool named: !root.own && root.row.runStart
    readonly property bool bare: root.row.kind === "redacted"

    implicitHeight: bubble.height + (failed.active ? failed.height + 2 : 0)

    Avatar {
        x: Theme.large
        anchors.top: bubble.top
        visible: root.named
        name: root.row.sender
        hue: root.row.hue
        size: 36
    }
    Rectangle {
        id: bubble

        readonly property real pad: 12
        readonly property real widest: root.row.mostWidth - 2 * pad
        // The time stands beside the last line where it fits, else on a line of its own.
        readonly property bool beside: words.text !== "" && words.lastLine + meta.width + 14 <= bubble.widest
            && !words.rightToLeft

        x: root.own ? root.width - width - Theme.large : root.row.gutter + Theme.large - 4
        width: Math.max(words.width + words.shift, beside ? Math.min(widest, words.lastLine + meta.width + 14) : meta.width,
            attached.active ? attached.width : 0,
            who.visible ? Math.min(who.implicitWidth, widest) : 0, 24) + 2 * pad
        height: words.y + words.height + (beside ? 0 : meta.height + 1) + 8
        radius: Theme.bubbleRadius
        topLeftRadius: !root.own && !root.row.runStart ? 5 : radius
        bottomLeftRadius: !root.own && !root.row.runEnd ? 5 : radius
        topRightRadius: root.own && !root.row.runStart ? 5 : radius
        bottomRightRadius: root.own && !root.row.runEnd ? 5 : radius
        color: root.bare ? "transparent" : root.own ? Theme.ownBubble : Theme.bubble
        border.width: root.bare || Theme.strong ? 1 : 0
        border.color: Theme.line

        Text {
            id: who
            x: bubble.pad
            y: 7
            width: bubble.width - 2 * bubble.pad
            visible: root.named
            text: root.row.sender
            textFormat: Text.PlainText
            elide: Text.ElideRight
            color: Theme.personColour(root.row.hue)
            font.pixelSize: Theme.smallFont + 1
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
        Loader {
            id: glyph
            x: bubble.pad
            anchors.verticalCenter: words.verticalCenter
            active: root.row.kind === "sealed" || root.bare
            sourceComponent: Icon {
                name: root.bare ? "trash" : "key"
                size: 16
                color: Theme.softText
            }
        }
        Loader {
            id: attached
            x: bubble.pad
            y: 7 + (who.visible ? who.height + 2 : 0)
            active: root.row.attachment.name !== undefined
            sourceComponent: AttachmentView {
                row: root.row
                most: bubble.widest
            }
        }
        Text {
            id: words

            property real lastLine: 0
            property bool rightToLeft: false
            readonly property real shift: glyph.active ? 24 : 0
            readonly property real most: bubble.widest - shift

            x: bubble.pad + shift
            y: attached.y + (attached.active ? attached.height + (text !== "" ? 6 : 2) : 0)
            width: text !== "" ? Math.min(Math.ceil(implicitWidth), most) : 0
            height: text !== "" ? implicitHeight : 0
            wrapMode: Text.Wrap
            text: root.row.kind === "emote" ? "<i>* " + root.row.sender + "</i> " + root.row.text : root.row.text
            textFormat: Text.StyledText
            color: root.row.muted ? Theme.softText : Theme.text
            linkColor: Theme.link
            font.pixelSize: Theme.normalFont
            font.italic: root.row.kind === "sealed" || root.bare
            lineHeight: 1.1
            onLineLaidOut: line => {
                if (line.isLast) {
                    lastLine = line.implicitWidth + shift;
                    rightToLeft = line.x > 1;
                }
            }
            onLinkActivated: link => root.row.shell.openLink(link)
            Accessible.ignored: true

            HoverHandler {
                enabled: words.hoveredLink !== ""
                cursorShape: Qt.PointingHandCursor
            }
        }
        Row {
            id: meta
            anchors.right: parent.right
            anchors.bottom: parent.bottom
            anchors.rightMargin: bubble.pad - 2
            anchors.bottomMargin: 6
            spacing: 4

            Loader {
                anchors.verticalCenter: parent.verticalCenter
                active: root.row.shield !== "" && !root.bare
                visible: active
                sourceComponent: Shield {
                    words: root.row.shield
                    grave: root.row.shieldGrave
                }
            }
            Text {
                anchors.verticalCenter: parent.verticalCenter
                visible: root.row.edited && !root.bare
                text: qsTr("edited")
                textFormat: Text.PlainText
                color: Theme.softText
                font.pixelSize: Theme.tinyFont
                Accessible.ignored: true
            }
            Text {
                anchors.verticalCenter: parent.verticalCenter
                text: root.row.time
                textFormat: Text.PlainText
                color: Theme.softText
                font.pixelSize: Theme.tinyFont
                Accessible.ignored: true
            }
            Loader {
                anchors.verticalCenter: parent.verticalCenter
                active: root.row.mark !== ""
                visible: active
                sourceComponent: DeliveryMark {
                    state_: root.row.mark
                    count: root.row.markCount
                    words: root.row.markWords
                    onOpened: root.row.shell.showInfo(root.row.key)
                }
            }
        }
        FocusRing {
            visible: root.row.focused
            anchors.margins: -3
            radius: Theme.bubbleRadius + 3
        }
    }
    Loader {
        id: failed
        anchors.top: bubble.bottom
        anchors.topMargin: 2
        anchors.right: bubble.right
        active: root.row.sendState === "failed"
        visible: active
        sourceComponent: Row {
            spacing: Theme.tiny

            Text {
                anchors.verticalCenter: parent.verticalCenter
                width: Math.min(implicitWidth, Math.max(80, root.width - 240))
                elide: Text.ElideRight
                text: root.row.error !== "" ? qsTr("Not sent: %1").arg(root.row.error) : qsTr("Not sent")
                textFormat: Text.PlainText
                color: Theme.danger
                font.pixelSize: Theme.smallFont
                Accessible.role: Accessible.AlertMessage
                Accessible.name: text
            }
            PushButton {
                objectName: "retryButton"
                kind: "plain"
                icon: "retry"
                label: qsTr("Try again")
                onClicked: root.row.shell.retry(root.row.key)
            }
            PushButton {
                objectName: "discardButton"
                kind: "plain"
                icon: "trash"
                danger: true
                label: qsTr("Delete")
                onClicked: root.row.shell.discard(root.row.key)
            }
        }
    }
}
