// A QR code from rows of 1 and 0, always dark on white with its quiet border: cameras want it so.
pragma ComponentBehavior: Bound

import QtQuick

Rectangle {
    id: root

    required property var rows

    readonly property int module: 4
    readonly property int quiet: 4 * module

    objectName: "qrPicture"
    width: root.rows.length * root.module + 2 * root.quiet
    height: width
    color: "#ffffff"
    Accessible.role: Accessible.Graphic
    Accessible.name: qsTr("Code to scan with the other side's camera")

    Repeater {
        model: root.rows

        Item {
            id: line

            required property int index
            required property string modelData

            x: root.quiet
            y: root.quiet + line.index * root.module

            Repeater {
                model: line.modelData.length

                Rectangle {
                    id: dot

                    required property int index

                    x: dot.index * root.module
                    width: root.module
                    height: root.module
                    visible: line.modelData[dot.index] === "1"
                    color: "#000000"
                    antialiasing: false
                }
            }
        }
    }
}
