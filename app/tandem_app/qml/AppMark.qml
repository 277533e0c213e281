// Tandem's own mark, as in its icon (resources/tandem_resources/icons).
import QtQuick
import QtQuick.Shapes

Item {
    id: root

    property real size: 64

    implicitWidth: size
    implicitHeight: size
    Accessible.ignored: true

    Shape {
        width: 128
        height: 128
        // The icon keeps a margin of 8 of 128; here the shape is flush with what stands below it.
        x: -8 * root.size / 112
        y: x
        scale: root.size / 112
        transformOrigin: Item.TopLeft

        ShapePath {
            strokeWidth: -1
            fillColor: "#0e756c"
            PathSvg { path: "M36 8h56a28 28 0 0 1 28 28v56a28 28 0 0 1-28 28H36a28 28 0 0 1-28-28V36a28 28 0 0 1 28-28z" }
        }
        ShapePath {
            strokeWidth: -1
            fillColor: "#74cfc3"
            PathSvg { path: "M56 28h36a14 14 0 0 1 14 14v20a14 14 0 0 1-14 14h-2v13a2 2 0 0 1-3.4 1.4L72 76H56a14 14 0 0 1-14-14V42a14 14 0 0 1 14-14z" }
        }
        ShapePath {
            strokeWidth: 6
            strokeColor: "#0e756c"
            joinStyle: ShapePath.RoundJoin
            fillColor: "#ffffff"
            PathSvg { path: "M36 40h36a14 14 0 0 1 14 14v22a14 14 0 0 1-14 14H58l-16 15a2 2 0 0 1-3.4-1.4V90H36a14 14 0 0 1-14-14V54a14 14 0 0 1 14-14z" }
        }
        ShapePath {
            strokeWidth: 5.5
            strokeColor: "#0e756c"
            fillColor: "transparent"
            capStyle: ShapePath.RoundCap
            joinStyle: ShapePath.RoundJoin
            PathSvg { path: "M32 66l8 9 17-19M48.5 73l2 2 18-19" }
        }
    }
}
