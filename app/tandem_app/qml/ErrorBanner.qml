// What keeps Tandem from working as it should, above the room; it never takes the keyboard away.
import QtQuick

Rectangle {
    id: root

    required property var model

    signal closed
    signal wanted(string page)

    readonly property bool grave: root.model.kind === "trouble" || root.model.kind === "failure"
    readonly property bool calm: root.model.kind === "news" || root.model.kind === "restored"
        || root.model.kind === "question"
    readonly property color ink: root.grave ? Theme.danger : root.calm ? Theme.accent : Theme.warning

    objectName: "errorBanner"
    // In a narrow window the button stands below the words.
    readonly property bool stacked: way.visible && root.width < 520

    implicitHeight: !visible ? 0 : Math.max(52, words.implicitHeight + 2 * Theme.medium
        + (root.stacked ? way.height + Theme.small : 0))
    visible: root.model.title !== ""
    color: root.grave ? Theme.dangerSoft : root.calm ? Theme.accentSoft : Theme.warningSoft
    Accessible.role: Accessible.AlertMessage
    Accessible.name: root.model.advice === "" ? root.model.title : root.model.title + ". " + root.model.advice

    Icon {
        id: glyph
        x: Theme.large
        anchors.verticalCenter: parent.verticalCenter
        name: root.calm ? "key" : root.model.kind === "connection" ? "offline" : "warning"
        size: 20
        color: root.ink
    }
    Column {
        id: words
        anchors.left: glyph.right
        anchors.leftMargin: Theme.medium
        anchors.right: root.stacked ? dismiss.left : way.visible ? way.left : dismiss.left
        anchors.rightMargin: Theme.small
        y: root.stacked ? Theme.medium : (root.height - implicitHeight) / 2
        spacing: 2

        Text {
            width: parent.width
            text: root.model.title
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            maximumLineCount: 4
            elide: Text.ElideRight
            color: Theme.text
            font.pixelSize: Theme.normalFont
            font.weight: root.model.advice === "" ? Font.Normal : Font.DemiBold
            Accessible.ignored: true
        }
        Text {
            width: parent.width
            visible: text !== ""
            text: root.model.advice
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            maximumLineCount: 5
            elide: Text.ElideRight
            color: Theme.text
            font.pixelSize: Theme.smallFont + 1
            Accessible.ignored: true
        }
    }
    PushButton {
        id: way
        objectName: "bannerWay"
        x: root.stacked ? words.x : dismiss.x - width - Theme.small
        y: root.stacked ? words.y + words.height + Theme.small : (root.height - height) / 2
        visible: root.model.page !== ""
        kind: "outlined"
        label: root.model.way
        onClicked: root.wanted(root.model.page)
    }
    IconButton {
        id: dismiss
        objectName: "dismissBanner"
        anchors.right: parent.right
        anchors.rightMargin: Theme.small
        anchors.verticalCenter: parent.verticalCenter
        icon: "close"
        tint: Theme.text
        label: qsTr("Put this notice away")
        onClicked: root.model.dismiss()
    }
}
