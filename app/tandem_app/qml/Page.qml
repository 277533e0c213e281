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

    // The item of this page that has the keyboard.
    function focused(): Item {
        const found = root.Window.activeFocusItem;
        let item = found;
        while (item !== null && item !== column)
            item = item.parent;
        return item !== null ? found : null;
    }
    // Words that appear above it must not push it away; but one that was scrolled out of sight stays there.
    function follow(growth: real): void {
        const item = root.focused();
        if (item === null)
            return;
        const before = item.mapToItem(flick.contentItem, 0, 0).y - growth;
        if (before + item.height > flick.contentY && before < flick.contentY + flick.height)
            root.reveal(item);
    }

    Connections {
        target: root.Window.window
        function onActiveFocusItemChanged(): void {
            const item = root.focused();
            if (item !== null)
                root.reveal(item);
        }
    }
    Flickable {
        id: flick

        property real lastHeight: 0

        anchors.fill: parent
        contentHeight: Math.max(root.centred ? height : 0, column.height + 2 * root.pad)
        onContentHeightChanged: {
            const growth = contentHeight - lastHeight;
            lastHeight = contentHeight;
            root.follow(growth);
        }
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
