// The name of a group in the info panel; where there are many people, it folds them away.
import QtQuick

Item {
    id: root

    // {group, words, canFold, folded}
    required property var group
    property bool focused: false

    signal toggled

    objectName: "infoHeading"
    implicitHeight: words.implicitHeight + Theme.medium + Theme.small
    Accessible.role: root.group.canFold ? Accessible.Button : Accessible.Heading
    Accessible.name: root.group.canFold
        ? (root.group.folded ? qsTr("%1, folded").arg(root.group.words) : qsTr("%1, shown").arg(root.group.words))
        : root.group.words
    Accessible.focusable: true
    Accessible.focused: root.focused
    Accessible.onPressAction: if (root.group.canFold) root.toggled()

    Icon {
        id: glyph
        x: 6
        anchors.verticalCenter: words.verticalCenter
        visible: root.group.canFold
        width: visible ? 18 : 0
        name: root.group.folded ? "forward" : "down"
        size: 14
        color: Theme.softText
    }
    Text {
        id: words
        anchors.left: glyph.right
        anchors.right: parent.right
        y: Theme.medium
        text: root.group.words
        textFormat: Text.PlainText
        wrapMode: Text.Wrap
        color: root.group.group === "trouble" ? Theme.danger : Theme.softText
        font.pixelSize: Theme.smallFont
        font.weight: Font.DemiBold
        Accessible.ignored: true
    }
    FocusRing {
        visible: root.focused
        anchors.topMargin: Theme.small
    }
    HoverHandler {
        enabled: root.group.canFold
        cursorShape: Qt.PointingHandCursor
    }
    TapHandler {
        enabled: root.group.canFold
        onTapped: root.toggled()
    }
}
