// Where a message is written: grows with its lines, sends with Enter, breaks the line with Shift+Enter.
pragma ComponentBehavior: Bound

import QtQuick

Item {
    id: root

    required property var shell
    required property var panels
    // Made when first a file is chosen.
    property var chosen: null
    readonly property string roomId: root.shell.roomId
    readonly property real columnWidth: Math.min(root.width, Theme.readableWidth)
    readonly property real textX: box.x + flick.x

    signal leftUp
    signal paged(int direction)

    implicitHeight: box.height + Theme.medium + (chips.visible ? chips.height + Theme.small : 0)

    function take(): void {
        edit.forceActiveFocus(Qt.OtherFocusReason);
    }
    function send(): void {
        if (root.chosen !== null && root.chosen.send(edit.text.trim(), asking.checked)) {
            root.shell.drafted("");
            root.sent();
            return;
        }
        if (edit.text.trim() === "")
            return;
        root.shell.send(edit.text, asking.checked);
        root.sent();
    }
    function sent(): void {
        edit.clear();
        asking.checked = false;
    }
    function attach(files: list<url>): void {
        root.takeFiles();
        root.chosen.add(files);
        root.take();
    }
    function takeFiles(): void {
        if (root.chosen === null)
            root.chosen = root.panels.make("chosenFiles");
        root.chosen.show(root.shell.roomId);
    }
    function ask(): void {
        dialog.active = true;
        dialog.made.open();
    }

    onRoomIdChanged: asking.checked = false

    Connections {
        target: root.shell
        function onDraftRestored(text: string): void {
            edit.text = text;
            edit.cursorPosition = edit.length;
        }
        function onRoomChanged(): void {
            if (root.chosen !== null)
                root.chosen.show(root.shell.roomId);
        }
    }
    Loader {
        id: dialog

        // Not by its type, which would be loaded, with its module, for every room.
        readonly property var made: item

        active: false
        source: "AttachDialog.qml"
    }
    Connections {
        target: dialog.item
        ignoreUnknownSignals: true
        function onAccepted(): void {
            root.attach(dialog.made.selectedFiles);
        }
    }
    Component.onCompleted: {
        edit.text = root.shell.draft;
        edit.cursorPosition = edit.length;
        root.take();
    }

    Loader {
        id: chips
        x: box.x
        width: box.width
        active: root.chosen !== null
        visible: active && root.chosen !== null && root.chosen.rows.length > 0
        sourceComponent: ChosenFiles {
            width: chips.width
            chosen: root.chosen
            onEmptied: root.take()
        }
    }
    Rectangle {
        id: box
        y: chips.visible ? chips.height + Theme.small : 0
        x: (root.width - root.columnWidth) / 2 + Theme.large
        width: root.columnWidth - 2 * Theme.large
        height: Math.min(180, Math.max(44, edit.contentHeight + 24))
        radius: 12
        color: Theme.field
        border.width: edit.activeFocus ? Theme.focusWidth : 1
        border.color: edit.activeFocus ? Theme.accent : Theme.line

        Flickable {
            id: flick
            anchors.left: attachButton.right
            anchors.right: asking.visible ? asking.left : button.left
            anchors.leftMargin: Theme.tiny
            anchors.rightMargin: Theme.small
            y: 12
            height: parent.height - 24
            clip: true
            contentHeight: edit.contentHeight
            boundsBehavior: Flickable.StopAtBounds

            TextEdit {
                id: edit
                objectName: "composer"
                width: flick.width
                height: Math.max(flick.height, contentHeight)
                wrapMode: TextEdit.Wrap
                textFormat: TextEdit.PlainText
                selectByMouse: true
                activeFocusOnTab: true
                color: Theme.text
                selectionColor: Theme.accent
                selectedTextColor: Theme.accentText
                font.pixelSize: Theme.normalFont
                Accessible.role: Accessible.EditableText
                Accessible.name: qsTr("Message to %1").arg(root.shell.roomName)
                Accessible.multiLine: true
                onTextChanged: root.shell.drafted(text)
                onCursorRectangleChanged: {
                    const cursor = cursorRectangle;
                    if (cursor.y < flick.contentY)
                        flick.contentY = cursor.y;
                    else if (cursor.y + cursor.height > flick.contentY + flick.height)
                        flick.contentY = cursor.y + cursor.height - flick.height;
                }
                Keys.onPressed: event => {
                    if (event.matches(StandardKey.Paste)) {
                        root.takeFiles();
                        event.accepted = root.chosen.paste();
                        return;
                    }
                    const plain = !(event.modifiers & Qt.ShiftModifier);
                    if ((event.key === Qt.Key_Return || event.key === Qt.Key_Enter) && plain)
                        root.send();
                    else if (event.key === Qt.Key_Up && edit.text === "")
                        root.leftUp();
                    else if (event.key === Qt.Key_PageUp)
                        root.paged(-1);
                    else if (event.key === Qt.Key_PageDown)
                        root.paged(1);
                    else if (event.key === Qt.Key_Backtab)
                        root.leftUp();
                    else if (event.key === Qt.Key_Tab)
                        edit.nextItemInFocusChain(true).forceActiveFocus(Qt.TabFocusReason);
                    else
                        return;
                    event.accepted = true;
                }

                Text {
                    visible: edit.length === 0 && edit.preeditText === ""
                    width: parent.width
                    elide: Text.ElideRight
                    text: root.shell.roomEncrypted ? qsTr("Write an encrypted message") : qsTr("Write a message")
                    textFormat: Text.PlainText
                    color: Theme.softText
                    font.pixelSize: Theme.normalFont
                    Accessible.ignored: true
                }
            }
        }
        IconButton {
            id: attachButton
            objectName: "attachButton"
            anchors.left: parent.left
            anchors.leftMargin: 4
            anchors.bottom: parent.bottom
            anchors.bottomMargin: 4
            icon: "attach"
            label: qsTr("Send files")
            onClicked: root.ask()
        }
        IconButton {
            id: asking
            objectName: "askButton"
            anchors.right: button.left
            anchors.bottom: parent.bottom
            anchors.bottomMargin: 4
            visible: root.shell.asksByChoice
            icon: "checks"
            tint: asking.checked ? Theme.accent : Theme.softText
            label: asking.checked ? qsTr("Asking for confirmations of this message")
                                  : qsTr("Ask for confirmations of this message")
            checkable: true
            onClicked: asking.checked = !asking.checked
        }
        IconButton {
            id: button
            objectName: "sendButton"
            anchors.right: parent.right
            anchors.rightMargin: 4
            anchors.bottom: parent.bottom
            anchors.bottomMargin: 4
            icon: "send"
            tint: Theme.accent
            label: qsTr("Send")
            active: edit.text.trim() !== "" || (root.chosen !== null && root.chosen.canSend)
            onClicked: {
                root.send();
                root.take();
            }
        }
    }
}
