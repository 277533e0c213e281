// Asks once per account whether others may learn that their messages arrived; it never takes the keyboard away.
import QtQuick

Rectangle {
    id: root

    required property var model

    signal looked
    signal answered

    function choose(answer: string): void {
        root.model.answer(answer);
        root.answered();
    }
    // The bar goes away with its buttons: give the keyboard to what comes after it.
    function leave(): void {
        more.nextItemInFocusChain(true).forceActiveFocus(Qt.OtherFocusReason);
    }

    objectName: "confirmBar"
    implicitHeight: column.implicitHeight + 2 * Theme.medium
    color: Theme.accentSoft
    Accessible.role: Accessible.AlertMessage
    Accessible.name: title.text + ". " + words.text

    Icon {
        id: glyph
        x: Theme.large
        y: Theme.medium
        name: "info"
        size: 20
        color: Theme.accent
    }
    Column {
        id: column
        anchors.left: glyph.right
        anchors.leftMargin: Theme.medium
        anchors.right: parent.right
        anchors.rightMargin: Theme.large
        y: Theme.medium
        spacing: Theme.small

        Text {
            id: title
            width: parent.width
            text: qsTr("May others see that their messages reached you?")
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.normalFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
        Text {
            id: words
            width: parent.width
            text: qsTr("Only the author learns it, after a random pause, and not whether you have read it. Strangers and "
                + "public rooms learn nothing. Recommended: encrypted direct chats, and groups of up to 20 people. "
                + "Until you choose, nothing is told.")
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.smallFont + 1
            lineHeight: 1.15
            Accessible.ignored: true
        }
        Remark {
            objectName: "confirmProblem"
            width: parent.width
            visible: root.model.problem !== ""
            words: root.model.problem
        }
        Flow {
            width: parent.width
            spacing: Theme.small

            PushButton {
                objectName: "confirmOff"
                edge: Theme.accent
                label: qsTr("Off")
                spoken: qsTr("Off: nobody sees that their messages reached you")
                onClicked: root.choose("off")
            }
            PushButton {
                objectName: "confirmDirect"
                edge: Theme.accent
                label: qsTr("Direct chats only")
                spoken: qsTr("Direct chats only: others see it in encrypted direct chats")
                onClicked: root.choose("direct")
            }
            PushButton {
                objectName: "confirmRecommended"
                edge: Theme.accent
                label: qsTr("Recommended")
                spoken: qsTr("Recommended: in encrypted direct chats, and in groups of up to 20 people")
                onClicked: root.choose("recommended")
            }
            PushButton {
                id: more
                objectName: "confirmMore"
                kind: "plain"
                implicitHeight: Theme.controlHeight
                label: qsTr("All choices…")
                spoken: qsTr("All choices about delivery confirmations")
                onClicked: root.looked()
            }
        }
    }
    Rectangle {
        anchors.bottom: parent.bottom
        width: parent.width
        height: 1
        color: Theme.line
    }
}
