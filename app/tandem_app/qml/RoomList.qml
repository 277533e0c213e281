// The rooms, with a search above: invitations first, then by the newest message.
pragma ComponentBehavior: Bound

import QtQuick

Rectangle {
    id: root

    required property var shell
    required property var rooms

    signal leaving

    color: Theme.sidebar
    Accessible.role: Accessible.Pane
    Accessible.name: qsTr("Rooms")

    function focusSearch(): void {
        search.input.forceActiveFocus(Qt.ShortcutFocusReason);
        search.input.selectAll();
    }
    function focusList(): void {
        list.forceActiveFocus(Qt.OtherFocusReason);
        list.settle();
    }
    function open(row: int): void {
        const room = root.rooms.roomAt(row);
        if (room === "")
            return;
        root.shell.openRoom(room);
        root.leaving();
    }

    Item {
        id: bar
        width: parent.width
        height: Theme.barHeight

        Field {
            id: search
            input.objectName: "roomSearch"
            anchors.left: parent.left
            anchors.right: gear.left
            anchors.leftMargin: Theme.medium
            anchors.rightMargin: Theme.tiny
            anchors.verticalCenter: parent.verticalCenter
            icon: "search"
            label: qsTr("Search rooms")
            onEdited: text => {
                root.shell.search(text);
                list.currentIndex = 0;
                list.positionViewAtBeginning();
            }
            onAccepted: root.open(Math.max(0, list.currentIndex))
            Keys.onDownPressed: list.step(1)
            Keys.onUpPressed: list.step(-1)
            Keys.onEscapePressed: {
                search.text = "";
                root.shell.search("");
                root.leaving();
            }
        }
        IconButton {
            id: gear
            objectName: "settingsButton"
            anchors.right: parent.right
            anchors.rightMargin: Theme.small
            anchors.verticalCenter: parent.verticalCenter
            icon: "settings"
            label: qsTr("Settings")
            onClicked: root.shell.openSettings("")
        }
    }
    ListView {
        id: list
        objectName: "rooms"

        function settle(): void {
            if (currentIndex < 0 || currentIndex >= count)
                currentIndex = Math.max(0, root.rooms.rowOf(root.shell.roomId));
        }
        function step(by: int): void {
            if (count === 0)
                return;
            currentIndex = Math.max(0, Math.min(count - 1, currentIndex + by));
            positionViewAtIndex(currentIndex, ListView.Contain);
        }

        anchors.top: bar.bottom
        anchors.bottom: status.top
        width: parent.width
        clip: true
        model: root.rooms
        currentIndex: -1
        keyNavigationEnabled: false
        highlightFollowsCurrentItem: false
        reuseItems: true
        cacheBuffer: 200
        boundsBehavior: Flickable.StopAtBounds
        activeFocusOnTab: true
        Accessible.role: Accessible.List
        Accessible.name: qsTr("Rooms")
        onActiveFocusChanged: if (activeFocus) settle()
        Keys.onUpPressed: step(-1)
        Keys.onDownPressed: step(1)
        Keys.onReturnPressed: root.open(currentIndex)
        Keys.onEnterPressed: root.open(currentIndex)
        Keys.onSpacePressed: root.open(currentIndex)
        Keys.onPressed: event => {
            const page = Math.max(1, Math.floor(height / 64) - 1);
            if (event.key === Qt.Key_Home)
                step(-count);
            else if (event.key === Qt.Key_End)
                step(count);
            else if (event.key === Qt.Key_PageUp)
                step(-page);
            else if (event.key === Qt.Key_PageDown)
                step(page);
            else
                return;
            event.accepted = true;
        }

        delegate: RoomRow {
            width: list.width
            // What waits to be used again is no row: not on the screen, not for a screen reader.
            ListView.onPooled: visible = false
            ListView.onReused: visible = true
            selected: roomId === root.shell.roomId
            focused: ListView.isCurrentItem && (list.activeFocus || search.input.activeFocus && search.text !== "")
            onOpened: {
                list.currentIndex = index;
                root.open(index);
            }
        }
    }
    ScrollMark {
        anchors.top: list.top
        anchors.bottom: list.bottom
        anchors.right: list.right
        view: list
    }
    Loader {
        anchors.fill: list
        active: list.count === 0
        sourceComponent: EmptyState {
            icon: search.text !== "" ? "search" : "chat"
            title: search.text !== "" ? qsTr("No room has this name")
                : root.shell.loading ? qsTr("Fetching your rooms…") : qsTr("No rooms yet")
            words: search.text !== "" ? qsTr("Try fewer letters.")
                : root.shell.loading ? "" : qsTr("Rooms you join and invitations you get appear here.")
        }
    }
    Loader {
        id: status
        anchors.bottom: parent.bottom
        width: parent.width
        height: active ? 32 : 0
        // The banner beside the list says the same at more length.
        active: root.shell.statusWords !== "" && (!root.shell.bannerShown || root.Window.width < Theme.narrowWidth)
        sourceComponent: Rectangle {
            color: Theme.warningSoft
            Accessible.role: Accessible.StaticText
            Accessible.name: root.shell.statusWords

            Icon {
                id: glyph
                x: Theme.medium
                anchors.verticalCenter: parent.verticalCenter
                name: "offline"
                size: 16
                color: Theme.warning
            }
            Text {
                anchors.left: glyph.right
                anchors.right: parent.right
                anchors.margins: Theme.small
                anchors.verticalCenter: parent.verticalCenter
                elide: Text.ElideRight
                text: root.shell.statusWords
                textFormat: Text.PlainText
                color: Theme.warning
                font.pixelSize: Theme.smallFont
                Accessible.ignored: true
            }
        }
    }
}
