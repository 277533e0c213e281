// Something speaks against the sender being who it says; the words come with the mouse, and to screen readers with the row.
import QtQuick

Item {
    id: root

    required property string words
    required property bool grave

    objectName: "shield"
    implicitWidth: 14
    implicitHeight: 14

    Icon {
        name: root.grave ? "warning" : "info"
        size: 14
        color: root.grave ? Theme.warning : Theme.softText
    }
    HoverHandler { id: hover }
    Hint {
        shown: hover.hovered
        text: root.words
    }
}
