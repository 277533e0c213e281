// How far our own message got. Each state has its own shape; colour only adds to it.
import QtQuick
import QtQuick.Shapes

Item {
    id: root

    required property string state_
    required property string count
    required property string words

    signal opened

    // What is drawn with a pen, on a grid of 24.
    readonly property var paths: ({
        "queued": "M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0 -16",
        "sending": "M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0 -16 M12 8L12 12L15 14",
        "sent": "M4 12.5L9.5 18L20 6.5",
        "untracked": "M4 9.5L9.5 15L20 3.5 M3.4 21L5 21 M8.7 21L10.3 21 M14 21L15.6 21 M19.3 21L20.9 21",
        "delivered_some": "M1.5 12.5L6.5 18L16 6.5 M11.5 17L12.5 18L16 14",
        "delivered_all": "M1.5 12.5L6.5 18L16 6.5 M11.5 17L12.5 18L22.5 6.5",
        "read_some": "M2 12C6 5.5 18 5.5 22 12C18 18.5 6 18.5 2 12Z M12 9a3 3 0 1 0 0 6a3 3 0 1 0 0 -6",
        "read_all": "M1 12C5.5 4.5 18.5 4.5 23 12C18.5 19.5 5.5 19.5 1 12Z M12 8.6a3.4 3.4 0 1 0 0 6.8a3.4 3.4 0 1 0 0 -6.8",
        "trouble": "M1.5 12.5L6.5 18L16 6.5 M11.5 17L12.5 18L22.5 6.5",
        "trouble_some": "M1.5 12.5L6.5 18L16 6.5 M11.5 17L12.5 18L16 14",
        "trouble_sent": "M4 12.5L9.5 18L20 6.5",
        "failed": "M12 4L21.5 20L2.5 20Z M12 10L12 14 M12 17L12 17.2"
    })
    // A key with a slash: something cannot be decrypted. Alone, or beside the ticks.
    readonly property var keys: ({
        "nobody": "M7.5 8a4 4 0 1 0 0 8a4 4 0 1 0 0 -8 M11.5 12L21.5 12 M21 12L21 16 M17 12L17 15.5 M4 21.5L20 2.5",
        "trouble": root.besideKey,
        "trouble_some": root.besideKey,
        "trouble_sent": root.besideKey
    })
    readonly property string besideKey: "M35.5 8a4 4 0 1 0 0 8a4 4 0 1 0 0 -8 M39.5 12L49.5 12 M49 12L49 16 M45 12L45 15.5 M32 21.5L48 2.5"
    readonly property bool troubled: root.state_.startsWith("trouble")
    readonly property bool barred: root.troubled || root.state_ === "nobody"
    readonly property bool grave: root.barred || root.state_ === "failed"
    readonly property color ink: root.grave ? Theme.danger
        : root.state_.startsWith("delivered") || root.state_.startsWith("read") ? Theme.accent : Theme.softText
    readonly property real drawn: Theme.spelled ? 0 : root.troubled ? 35 : 16
    // What is written instead, where words are wanted.
    readonly property var names: ({
        "queued": qsTr("Waiting"), "sending": qsTr("Sending"), "sent": qsTr("Sent"),
        "untracked": qsTr("Sent, not tracked"), "delivered_some": qsTr("Delivered"), "delivered_all": qsTr("Delivered"),
        "read_some": qsTr("Read"), "read_all": qsTr("Read"), "trouble": qsTr("Not decrypted by all"),
        "trouble_some": qsTr("Not decrypted by all"),
        "trouble_sent": qsTr("Not decrypted by all"), "nobody": qsTr("Cannot be decrypted"),
        "failed": qsTr("Not sent")
    })
    readonly property string label: !Theme.spelled ? root.count
        : root.count === "" ? root.names[root.state_] ?? "" : qsTr("%1 %2").arg(root.names[root.state_]).arg(root.count)

    objectName: "deliveryMark"
    implicitWidth: root.drawn + (number.visible ? number.implicitWidth + 2 : 0)
    implicitHeight: 16
    Accessible.role: Accessible.Button
    Accessible.name: root.words
    Accessible.onPressAction: root.opened()

    Text {
        id: number
        anchors.verticalCenter: parent.verticalCenter
        visible: root.label !== ""
        text: root.label
        textFormat: Text.PlainText
        color: root.ink
        font.pixelSize: Theme.tinyFont
        font.weight: Font.DemiBold
        Accessible.ignored: true
    }
    Ink {
        x: root.width - root.drawn
        wanted: !Theme.spelled
        width: (root.troubled ? 35 : 16) * 1.5
        height: 24
        scale: 16 / 24
        transformOrigin: Item.TopLeft

        ShapePath {
            strokeColor: root.state_ === "trouble_sent" ? Theme.softText : root.troubled ? Theme.accent : root.ink
            strokeWidth: root.state_ === "read_all" ? 0.5 : 2.2
            fillColor: root.state_ === "read_all" ? root.ink : "transparent"
            fillRule: ShapePath.OddEvenFill
            capStyle: ShapePath.RoundCap
            joinStyle: ShapePath.RoundJoin
            PathSvg { path: root.paths[root.state_] ?? "" }
        }
        ShapePath {
            strokeColor: root.ink
            strokeWidth: root.barred ? 2.2 : -1
            fillColor: "transparent"
            capStyle: ShapePath.RoundCap
            joinStyle: ShapePath.RoundJoin
            PathSvg { path: root.keys[root.state_] ?? "" }
        }
    }
    Hint {
        shown: hover.hovered
        text: root.words
    }
    HoverHandler {
        id: hover
        cursorShape: Qt.PointingHandCursor
    }
    TapHandler { onTapped: root.opened() }
}
