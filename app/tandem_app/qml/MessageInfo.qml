// What became of a message: who has it, on which devices, since when.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model
    property bool copied: false

    signal closed
    signal wanted(string page)

    function use(row: var): void {
        if (row?.kind === "heading" && row.canFold)
            root.model.toggle(row.group);
        const failed = row?.devices.find(device => device.state === "failed");
        if (failed !== undefined)
            root.model.ask(failed.userId, failed.id);
    }

    objectName: "messageInfo"
    Accessible.role: Accessible.Pane
    Accessible.name: qsTr("Message info")
    Keys.onEscapePressed: root.closed()
    Component.onCompleted: bar.take()

    Rectangle {
        anchors.fill: parent
        color: Theme.sidebar
    }
    PageBar {
        id: bar
        width: parent.width
        title: qsTr("Message info")
        leaveName: "closeInfo"
        leaveLabel: qsTr("Close message info")
        atEnd: true
        ground: Theme.sidebar
        onLeaving: root.closed()
    }
    Rectangle {
        z: 2
        width: 1
        height: parent.height
        color: Theme.line
    }
    Loader {
        id: finder
        anchors.top: bar.bottom
        anchors.left: parent.left
        anchors.right: parent.right
        anchors.margins: Theme.large
        anchors.topMargin: active ? Theme.medium : 0
        height: active ? Theme.controlHeight : 0
        active: root.model.many
        visible: active
        z: 1
        sourceComponent: Field {
            input.objectName: "findPerson"
            icon: "search"
            label: qsTr("Find a person")
            onEdited: text => root.model.find(text)
        }
    }
    ListView {
        id: list
        objectName: "infoPeople"

        // What the keyboard is at: a list with another number of rows begins anew.
        property int place: -1

        function step(by: int): void {
            place = Math.max(0, Math.min(count - 1, place + by));
            settle();
        }
        function settle(): void {
            currentIndex = Math.min(place, count - 1);
            if (currentIndex >= 0)
                positionViewAtIndex(currentIndex, ListView.Contain);
        }

        anchors.top: finder.bottom
        anchors.bottom: asked.top
        anchors.left: parent.left
        anchors.right: parent.right
        anchors.leftMargin: Theme.large
        anchors.rightMargin: Theme.large
        clip: true
        boundsBehavior: Flickable.StopAtBounds
        cacheBuffer: 400
        currentIndex: -1
        keyNavigationEnabled: false
        highlightFollowsCurrentItem: false
        activeFocusOnTab: count > 0
        Accessible.role: Accessible.List
        Accessible.name: qsTr("People")
        Accessible.focusable: true
        onActiveFocusChanged: if (activeFocus && place < 0) step(1)
        onModelChanged: settle()
        Keys.onUpPressed: step(-1)
        Keys.onDownPressed: step(1)
        Keys.onPressed: event => {
            if (event.key === Qt.Key_Home)
                step(-count);
            else if (event.key === Qt.Key_End)
                step(count);
            else if ([Qt.Key_Space, Qt.Key_Return, Qt.Key_Enter].includes(event.key))
                root.use(root.model.rows[currentIndex]);
            else
                return;
            event.accepted = true;
        }

        header: Column {
            width: list.width
            topPadding: Theme.large
            bottomPadding: Theme.medium
            spacing: Theme.small

            Text {
                objectName: "infoSummary"
                width: parent.width
                text: root.model.summary
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.text
                font.pixelSize: Theme.titleFont
                font.weight: Font.DemiBold
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            Lines {
                width: parent.width
                lines: root.model.facts
            }
        }
        // By number: new word of one person must not rebuild the others.
        model: root.model.rows.length
        delegate: Loader {
            id: row
            objectName: "infoRow"

            required property int index
            readonly property var told: root.model.rows[index] ?? root.model.blank
            readonly property bool focused: list.activeFocus && ListView.isCurrentItem

            width: list.width
            sourceComponent: row.told.kind === "heading" ? heading : person

            Component {
                id: heading

                InfoHeading {
                    width: row.width
                    group: row.told
                    focused: row.focused
                    onToggled: {
                        list.place = row.index;
                        root.model.toggle(row.told.group);
                    }
                }
            }
            Component {
                id: person

                InfoPerson {
                    width: row.width
                    person: row.told
                    focused: row.focused
                    onSending: (userId, deviceId) => root.model.ask(userId, deviceId)
                }
            }
        }
        footer: Column {
            width: list.width
            topPadding: Theme.medium
            bottomPadding: Theme.large
            spacing: Theme.small

            Text {
                width: parent.width
                visible: text !== ""
                text: root.model.rows.length === 0 ? "" : root.model.tracked
                    ? qsTr("No confirmation only means that none came: many apps send none, and nobody has to.")
                    : qsTr("Delivery is not tracked here, so nothing can be said about it.")
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.softText
                font.pixelSize: Theme.smallFont
                lineHeight: 1.2
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
            PushButton {
                objectName: "aboutMe"
                kind: "plain"
                icon: "settings"
                label: qsTr("What others see about me")
                onClicked: root.wanted("confirmations")
            }
        }
    }
    ScrollMark {
        anchors.top: list.top
        anchors.bottom: list.bottom
        anchors.right: parent.right
        view: list
    }
    Rectangle {
        id: asked
        anchors.bottom: foot.top
        width: parent.width
        height: question.item ? (question.item as Item).implicitHeight + 2 * Theme.medium : 0
        visible: question.active
        color: Theme.sidebar
        z: 1

        Rectangle {
            width: parent.width
            height: 1
            color: Theme.line
        }
        Loader {
            id: question
            x: Theme.large
            y: Theme.medium
            width: parent.width - 2 * Theme.large
            active: root.model.question.title !== "" || root.model.noteWords !== ""
            sourceComponent: InfoQuestion {
                model: root.model
                onAnswered: list.forceActiveFocus(Qt.OtherFocusReason)
            }
        }
    }
    Item {
        id: foot
        anchors.bottom: parent.bottom
        width: parent.width
        height: visible ? 56 : 0
        visible: root.model.summary !== ""
        z: 1

        Rectangle {
            anchors.fill: parent
            color: Theme.sidebar
        }
        Rectangle {
            width: parent.width
            height: 1
            color: Theme.line
        }
        PushButton {
            objectName: "copyInfo"
            x: Theme.large
            anchors.verticalCenter: parent.verticalCenter
            width: parent.width - 2 * Theme.large
            icon: root.copied ? "check" : "copy"
            label: root.copied ? qsTr("Copied") : qsTr("Copy as text")
            onClicked: {
                root.model.copy();
                root.copied = true;
                shown.restart();
            }
        }
        Timer {
            id: shown
            interval: 2000
            onTriggered: root.copied = false
        }
    }
}
