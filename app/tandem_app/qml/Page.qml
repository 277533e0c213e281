// A page that scrolls, and keeps what has the keyboard in sight.
import QtQuick

Item {
    id: root

    default property alias content: column.data
    property real columnWidth: 640
    property real pad: Theme.large
    property bool centred: false
    property alias spacing: column.spacing

    function reveal(item: Item): void {
        const top = item.mapToItem(flick.contentItem, 0, 0).y;
        const most = Math.max(0, flick.contentHeight - flick.height);
        if (top < flick.contentY + Theme.huge)
            flick.contentY = Math.max(0, top - 2 * Theme.huge);
        else if (top + item.height > flick.contentY + flick.height - Theme.huge)
            flick.contentY = Math.min(most, top + item.height - flick.height + 2 * Theme.huge);
    }
    function scroll(by: real): void {
        flick.contentY = Math.max(0, Math.min(Math.max(0, flick.contentHeight - flick.height), flick.contentY + by));
    }

    Keys.onPressed: event => {
        if (event.key === Qt.Key_PageDown)
            root.scroll(flick.height * 0.8);
        else if (event.key === Qt.Key_PageUp)
            root.scroll(-flick.height * 0.8);
        else
            return;
        event.accepted = true;
    }

    Connections {
        target: root.Window.window
        function onActiveFocusItemChanged(): void {
            const focused = root.Window.activeFocusItem;
            let item = focused;
            while (item !== null && item !== column)
                item = item.parent;
            if (item !== null && focused !== null)
                root.reveal(focused);
        }
    }
    Flickable {
        id: flick
        anchors.fill: parent
        contentHeight: Math.max(root.centred ? height : 0, column.height + 2 * root.pad)
        clip: true
        boundsBehavior: Flickable.StopAtBounds

        Column {
            id: column
            x: Math.max(Theme.large, (flick.width - width) / 2)
            y: root.centred ? Math.max(root.pad, (flick.contentHeight - height) / 2) : root.pad
            width: Math.min(flick.width - 2 * Theme.large, root.columnWidth)
        }
    }
    ScrollMark {
        anchors.top: flick.top
        anchors.bottom: flick.bottom
        anchors.right: flick.right
        view: flick
    }
}
