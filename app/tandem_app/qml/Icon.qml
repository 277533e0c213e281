// A line icon drawn from a path on a 24x24 grid: sharp at every scale, in any colour.
import QtQuick
import QtQuick.Shapes

Item {
    id: root

    required property string name
    property real size: 20
    property color color: Theme.text
    property real stroke: 1.8
    property bool filled: false

    readonly property var paths: ({
        "search": "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0 -13 M15.5 15.5L20.5 20.5",
        "close": "M6 6L18 18 M18 6L6 18",
        "back": "M14.5 5L7.5 12L14.5 19",
        "forward": "M9.5 5L16.5 12L9.5 19",
        "down": "M5 9.5L12 16.5L19 9.5",
        "send": "M4 12L20 4.5L15 20L11 13L4 12Z M11 13L20 4.5",
        "settings": "M4 7L12 7 M16 7L20 7 M14 5a2 2 0 1 0 0 4a2 2 0 1 0 0 -4 M4 12L6 12 M10 12L20 12 M8 10a2 2 0 1 0 0 4a2 2 0 1 0 0 -4 M4 17L13 17 M17 17L20 17 M15 15a2 2 0 1 0 0 4a2 2 0 1 0 0 -4",
        "info": "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0 -17 M12 11L12 16.5 M12 7.6L12 7.9",
        "more": "M12 5.4L12 5.6 M12 11.9L12 12.1 M12 18.4L12 18.6",
        "plus": "M12 5L12 19 M5 12L19 12",
        "minus": "M5 12L19 12",
        "clock": "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0 -17 M12 7.5L12 12.2L15.2 14.2",
        "people": "M9 5a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0 -7 M3 19.5c0-3.3 2.6-5 6-5s6 1.7 6 5 M15.5 5.4a3.3 3.3 0 0 1 0 6.2 M17.5 14.9c2.2.6 3.5 2.2 3.5 4.6",
        "lock": "M6 11L18 11L18 20L6 20Z M8.5 11L8.5 8a3.5 3.5 0 0 1 7 0L15.5 11",
        "key": "M8 8.5a4 4 0 1 0 0 8a4 4 0 1 0 0 -8 M12 12.5L21 12.5 M18 12.5L18 16 M15 12.5L15 15",
        "keyOff": "M8 8.5a4 4 0 1 0 0 8a4 4 0 1 0 0 -8 M12 12.5L21 12.5 M18 12.5L18 16 M5 21L19.5 3.5",
        "trash": "M5 7L19 7 M9 7L9 4.5L15 4.5L15 7 M7 7L8 20L16 20L17 7",
        "retry": "M19 12a7 7 0 1 1 -2.4 -5.3 M17.2 3L17.2 7.2L13 7.2",
        "edit": "M5 19L6 15L16 5L19 8L9 18Z",
        "file": "M7 3.5L14 3.5L18 7.5L18 20.5L7 20.5Z M14 3.5L14 7.5L18 7.5",
        "image": "M4 5L20 5L20 19L4 19Z M4 16L9 11L13 15L15.5 12.5L20 17 M8.5 8.4L8.5 8.6",
        "attach": "M8.5 13L14.6 6.9a2.7 2.7 0 0 1 3.8 3.8L10.3 18.8a4.6 4.6 0 0 1 -6.5 -6.5L11.6 4.5",
        "save": "M12 4L12 14.5 M7.5 10.5L12 15L16.5 10.5 M5 18.5L19 18.5",
        "copy": "M9 9L19 9L19 20L9 20Z M5 15.5L5 4.5L15 4.5",
        "checks": "M2.5 12.5L7 17L16 7 M12 17L21.5 7",
        "check": "M5 12.5L10 17.5L19.5 7",
        "warning": "M12 4L21 19.5L3 19.5Z M12 10L12 14 M12 16.8L12 17",
        "offline": "M3 9c5-4.6 13-4.6 18 0 M6.5 12.5c3.2-2.8 7.8-2.8 11 0 M12 17.4L12 17.6 M4 4L20 20",
        "chat": "M4 5.5L20 5.5L20 16.5L11 16.5L6.5 20.5L6.5 16.5L4 16.5Z"
    })

    implicitWidth: size
    implicitHeight: size
    Accessible.ignored: true

    Ink {
        width: 24
        height: 24
        scale: root.size / 24
        transformOrigin: Item.TopLeft

        ShapePath {
            strokeColor: root.color
            strokeWidth: root.stroke
            fillColor: root.filled ? root.color : "transparent"
            capStyle: ShapePath.RoundCap
            joinStyle: ShapePath.RoundJoin
            PathSvg { path: root.paths[root.name] ?? "" }
        }
    }
}
