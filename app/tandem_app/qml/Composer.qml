// Where a message is written: grows with its lines, sends with Enter, breaks the line with Shift+Enter.
import QtQuick

Item {
    id: root

    required property var shell
    readonly property real columnWidth: Math.min(root.width, Theme.readableWidth)
    readonly property real textX: box.x + flick.x

    signal leftUp
    signal paged(int direction)

    implicitHeight: box.height + Theme.medium

    function take(): void {
        edit.forceActiveFocus(Qt.OtherFocusReason);
    }
    function send(): void {
        if (edit.text.trim() === "")
            return;
        root.shell.send(edit.text);
        edit.clear();
    }

    Connections {
        target: root.shell
        function onDraftRestored(text: string): void {
            edit.text = text;
            edit.cursorPosition = edit.length;
        }
    }
    Component.onCompleted: {
        edit.text = root.shell.draft;
        edit.cursorPosition = edit.length;
        root.take();
    }

    Rectangle {
        id: box
        x: (root.width - root.columnWidth) / 2 + Theme.large
        width: root.columnWidth - 2 * Theme.large
        height: Math.min(180, Math.max(44, edit.contentHeight + 24))
        radius: 12
        color: Theme.field
        border.width: edit.activeFocus ? Theme.focusWidth : 1
        border.color: edit.activeFocus ? Theme.accent : Theme.line

        Flickable {
            id: flick
            anchors.left: parent.left
            anchors.right: button.left
            anchors.leftMargin: Theme.large
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
            id: button
            objectName: "sendButton"
            anchors.right: parent.right
            anchors.rightMargin: 4
            anchors.bottom: parent.bottom
            anchors.bottomMargin: 4
            icon: "send"
            tint: Theme.accent
            label: qsTr("Send")
            active: edit.text.trim() !== ""
            onClicked: {
                root.send();
                root.take();
            }
        }
    }
}
