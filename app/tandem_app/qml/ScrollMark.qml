// A thin mark beside a list that tells where one is; it can be dragged.
import QtQuick

Item {
    id: root

    required property Flickable view
    readonly property real size: root.view.visibleArea.heightRatio
    readonly property bool needed: root.size < 1 && root.size > 0

    width: 10
    visible: root.needed
    Accessible.ignored: true

    Rectangle {
        id: thumb

        readonly property real room: root.height - height

        x: 2
        width: 6
        radius: 3
        height: Math.max(32, root.height * root.size)
        y: drag.active ? y : Math.max(0, Math.min(room, root.size >= 1 ? 0
            : root.view.visibleArea.yPosition / (1 - root.size) * room))
        color: Theme.softText
        opacity: drag.active || hover.hovered ? 0.7 : root.view.moving ? 0.5 : 0.25
    }
    HoverHandler { id: hover }
    DragHandler {
        id: drag

        property real startY: 0

        target: null
        onActiveChanged: if (active) startY = thumb.y
        onActiveTranslationChanged: {
            if (!active || thumb.room <= 0)
                return;
            const y = Math.max(0, Math.min(thumb.room, drag.startY + activeTranslation.y));
            thumb.y = y;
            const span = root.view.contentHeight - root.view.height;
            root.view.contentY = root.view.originY + y / thumb.room * span;
        }
    }
}
