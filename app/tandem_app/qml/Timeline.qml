// What was said, newest at the bottom; a scrolled-up view keeps its place when something new comes.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var shell
    required property var timeline

    readonly property bool atNewest: view.atYEnd || view.contentHeight <= view.height
    property int arrived: 0

    signal leaving

    function take(): void {
        view.forceActiveFocus(Qt.OtherFocusReason);
        if (view.currentIndex < 0 || !view.isShown(view.currentIndex))
            view.currentIndex = Math.max(0, view.lowestShown());
    }
    function pageBy(direction: int): void {
        const step = view.height * 0.9 * direction;
        const least = view.originY;
        const most = Math.max(least, view.originY + view.contentHeight - view.height);
        view.contentY = Math.max(least, Math.min(most, view.contentY + step));
    }
    function toNewest(): void {
        view.positionViewAtBeginning();
        root.arrived = 0;
    }
    function tellSeen(): void {
        if (root.atNewest && root.Window.active) {
            root.arrived = 0;
            root.shell.newestSeen();
        }
    }

    onAtNewestChanged: root.tellSeen()

    Connections {
        target: root.Window.window
        function onActiveChanged(): void {
            root.tellSeen();
        }
    }
    Connections {
        target: root.timeline
        function onNewest(): void {
            if (root.atNewest)
                root.tellSeen();
            else
                root.arrived += 1;
        }
        // Failures interrupt what a screen reader says, all else waits its turn.
        function onTold(words: string, grave: bool): void {
            view.Accessible.announce(words, grave ? Accessible.Assertive : Accessible.Polite);
        }
        function onModelReset(): void {
            root.arrived = 0;
            view.currentIndex = -1;
            start.restart();
        }
    }
    // A timer ends with its item, a delayed call does not.
    Timer {
        id: start
        interval: 0
        running: true
        onTriggered: root.toStart()
    }

    function toStart(): void {
        const unread = root.timeline.unreadPlace;
        if (unread > 0 && unread < root.timeline.count)
            view.positionViewAtIndex(unread, ListView.Contain);
        else
            view.positionViewAtBeginning();
        root.tellSeen();
        root.wantOlder();
    }
    function wantOlder(): void {
        if (view.contentY - view.originY < view.height)
            root.shell.loadOlder();
    }

    ListView {
        id: view
        objectName: "timeline"

        function isShown(index: int): bool {
            const item = itemAtIndex(index);
            return item !== null && item.y + item.height > contentY && item.y < contentY + height;
        }
        function lowestShown(): int {
            return indexAt(width / 2, contentY + height - 8);
        }
        function step(by: int): void {
            currentIndex = Math.max(0, Math.min(count - 1, currentIndex + by));
            positionViewAtIndex(currentIndex, ListView.Contain);
        }

        anchors.fill: parent
        clip: true
        model: root.timeline
        verticalLayoutDirection: ListView.BottomToTop
        reuseItems: true
        cacheBuffer: 400
        currentIndex: -1
        keyNavigationEnabled: false
        highlightFollowsCurrentItem: false
        boundsBehavior: Flickable.StopAtBounds
        focus: true
        activeFocusOnTab: true
        Accessible.role: Accessible.List
        Accessible.name: qsTr("Messages")
        onContentYChanged: root.wantOlder()
        onCountChanged: root.wantOlder()
        onActiveFocusChanged: if (activeFocus && currentIndex < 0) currentIndex = Math.max(0, lowestShown())

        header: Item {
            width: 1
            height: Theme.small
        }
        footer: Item {
            width: view.width
            height: older.visible ? 48 : Theme.large

            Text {
                id: older
                anchors.centerIn: parent
                visible: root.shell.loadingOlder
                text: qsTr("Fetching earlier messages…")
                textFormat: Text.PlainText
                color: Theme.softText
                font.pixelSize: Theme.smallFont
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
        }
        delegate: MessageRow {
            width: view.width
            // What waits to be used again is no row: not on the screen, not for a screen reader.
            ListView.onPooled: visible = false
            ListView.onReused: visible = true
            shell: root.shell
            focused: ListView.isCurrentItem && view.activeFocus
        }

        Keys.onUpPressed: step(1)
        Keys.onDownPressed: {
            if (currentIndex <= 0)
                root.leaving();
            else
                step(-1);
        }
        Keys.onEscapePressed: root.leaving()
        Keys.onReturnPressed: {
            if (!root.shell.openFile(root.timeline.keyAt(currentIndex)))
                root.info();
        }
        Keys.onPressed: event => {
            switch (event.key) {
            case Qt.Key_I:
                root.info();
                break;
            case Qt.Key_S:
                root.shell.saveFile(root.timeline.keyAt(currentIndex));
                break;
            case Qt.Key_R:
                root.shell.retry(root.timeline.keyAt(currentIndex));
                break;
            case Qt.Key_Delete:
                root.shell.discard(root.timeline.keyAt(currentIndex));
                break;
            case Qt.Key_C:
                if (!(event.modifiers & Qt.ControlModifier))
                    return;
                root.shell.copy(root.timeline.keyAt(currentIndex));
                break;
            case Qt.Key_PageUp:
                root.pageBy(-1);
                currentIndex = Math.max(0, lowestShown());
                break;
            case Qt.Key_PageDown:
                root.pageBy(1);
                currentIndex = Math.max(0, lowestShown());
                break;
            case Qt.Key_End:
                root.toNewest();
                currentIndex = 0;
                break;
            case Qt.Key_Home:
                step(count);
                break;
            default:
                return;
            }
            event.accepted = true;
        }
    }
    function info(): void {
        const key = root.timeline.infoAt(view.currentIndex);
        if (key !== "")
            root.shell.showInfo(key);
    }
    ScrollMark {
        anchors.top: parent.top
        anchors.bottom: parent.bottom
        anchors.right: parent.right
        view: view
    }
    EmptyState {
        anchors.fill: parent
        visible: view.count === 0 && !root.shell.loadingOlder
        icon: "chat"
        title: qsTr("Nothing has been said here yet")
        words: qsTr("Write the first message below.")
    }
    Item {
        objectName: "toNewest"
        anchors.right: parent.right
        anchors.bottom: parent.bottom
        anchors.margins: Theme.large
        width: Math.max(40, arrivedWords.visible ? arrivedWords.implicitWidth + 54 : 40)
        height: 40
        visible: !root.atNewest
        activeFocusOnTab: visible
        Accessible.role: Accessible.Button
        Accessible.name: root.arrived > 0 ? qsTr("Jump to the newest message, %1 new").arg(root.arrived)
            : qsTr("Jump to the newest message")
        Accessible.onPressAction: root.toNewest()
        Keys.onReturnPressed: root.toNewest()
        Keys.onSpacePressed: root.toNewest()

        Rectangle {
            anchors.fill: parent
            radius: 20
            color: root.arrived > 0 ? Theme.accent : Theme.raised
            border.width: root.arrived > 0 ? 0 : 1
            border.color: Theme.line
        }
        Row {
            anchors.centerIn: parent
            spacing: 6

            Text {
                id: arrivedWords
                visible: root.arrived > 0
                anchors.verticalCenter: parent.verticalCenter
                text: qsTr("%1 new").arg(root.arrived)
                textFormat: Text.PlainText
                color: Theme.accentText
                font.pixelSize: Theme.smallFont
                font.weight: Font.DemiBold
                Accessible.ignored: true
            }
            Icon {
                name: "down"
                size: 18
                color: root.arrived > 0 ? Theme.accentText : Theme.softText
            }
        }
        FocusRing {
            visible: parent.activeFocus
            radius: 20
        }
        HoverHandler { cursorShape: Qt.PointingHandCursor }
        TapHandler { onTapped: root.toNewest() }
    }
}
