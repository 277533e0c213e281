// Asks before the key of a message goes out to a device once more, and says what came of it.
pragma ComponentBehavior: Bound

import QtQuick

Column {
    id: root

    required property var model

    signal answered

    readonly property bool asking: root.model.question.title !== ""

    spacing: Theme.small
    Keys.onShortcutOverride: event => event.accepted = root.asking && event.key === Qt.Key_Escape
    Keys.onEscapePressed: event => {
        event.accepted = root.asking;
        if (root.asking)
            root.leave();
    }
    onAskingChanged: if (root.asking) no.forceActiveFocus(Qt.OtherFocusReason)
    Component.onCompleted: if (root.asking) no.forceActiveFocus(Qt.OtherFocusReason)

    function leave(): void {
        // The answer takes this away.
        root.answered();
        root.model.cancel();
    }

    Remark {
        objectName: "keyQuestion"
        width: parent.width
        visible: root.asking
        tone: "warning"
        title: root.model.question.title
        words: root.model.question.words
    }
    Remark {
        objectName: "keyNote"
        width: parent.width
        visible: root.model.noteWords !== ""
        tone: root.model.noteTone
        words: root.model.noteWords
    }
    Flow {
        width: parent.width
        visible: root.asking
        spacing: Theme.small

        PushButton {
            objectName: "sendKey"
            kind: "filled"
            active: !root.model.busy
            label: root.model.busy ? qsTr("Sending…") : qsTr("Send the key")
            onClicked: {
                root.answered();
                root.model.sendKey();
            }
        }
        PushButton {
            id: no
            objectName: "keepKey"
            active: !root.model.busy
            label: qsTr("Cancel")
            onClicked: root.leave()
        }
    }
}
