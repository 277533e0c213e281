// Words in a box: what is wrong, or what to mind.
import QtQuick

Rectangle {
    id: root

    property string title: ""
    property string words: ""
    property string tone: "danger"

    readonly property color ink: root.tone === "danger" ? Theme.danger : root.tone === "warning" ? Theme.warning
        : Theme.accent

    implicitHeight: column.implicitHeight + 2 * Theme.medium
    radius: Theme.radius
    color: root.tone === "danger" ? Theme.dangerSoft : root.tone === "warning" ? Theme.warningSoft : Theme.accentSoft
    Accessible.role: Accessible.AlertMessage
    Accessible.name: root.title === "" || root.words === "" ? root.title + root.words
        : root.title + ". " + root.words

    Icon {
        id: glyph
        x: Theme.medium
        y: Theme.medium
        name: root.tone === "good" ? "info" : "warning"
        size: 18
        color: root.ink
    }
    Column {
        id: column
        anchors.left: glyph.right
        anchors.leftMargin: Theme.small
        y: Theme.medium
        width: root.width - x - Theme.medium
        spacing: 2

        Text {
            width: parent.width
            visible: root.title !== ""
            text: root.title
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.normalFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
        Text {
            width: parent.width
            visible: root.words !== ""
            text: root.words
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.smallFont + 1
            lineHeight: 1.15
            Accessible.ignored: true
        }
    }
}
