// The bar above a page or panel: its name and the way out.
import QtQuick

Item {
    id: root

    required property string title
    required property string leaveLabel
    property string leaveName: ""
    property bool atEnd: false
    property color ground: Theme.surface

    signal leaving

    function take(): void {
        leave.forceActiveFocus(Qt.OtherFocusReason);
    }

    implicitHeight: Theme.barHeight
    // The software renderer draws shapes beyond the clip of a list, so the bar covers what scrolls under it.
    z: 1

    Rectangle {
        anchors.fill: parent
        color: root.ground
    }
    IconButton {
        id: leave
        objectName: root.leaveName
        x: root.atEnd ? root.width - width - Theme.small : Theme.small
        anchors.verticalCenter: parent.verticalCenter
        icon: root.atEnd ? "close" : "back"
        label: root.leaveLabel
        onClicked: root.leaving()
    }
    Text {
        x: root.atEnd ? Theme.large : leave.x + leave.width + Theme.small
        width: (root.atEnd ? leave.x - Theme.small : root.width - Theme.large) - x
        anchors.verticalCenter: parent.verticalCenter
        text: root.title
        textFormat: Text.PlainText
        elide: Text.ElideRight
        color: Theme.text
        font.pixelSize: Theme.titleFont
        font.weight: Font.DemiBold
        Accessible.role: Accessible.Heading
        Accessible.name: text
    }
    Rectangle {
        anchors.bottom: parent.bottom
        width: parent.width
        height: 1
        color: Theme.line
    }
}
