// A small whole number with a button on each side; the arrow keys move it, Page Up and Down by ten.
import QtQuick

Item {
    id: root

    required property string label
    required property int value
    required property int least
    required property int most
    property bool active: true

    signal chosen(int value)

    implicitWidth: 120
    implicitHeight: Theme.controlHeight
    enabled: root.active
    opacity: root.active ? 1 : 0.45
    activeFocusOnTab: true
    Accessible.role: Accessible.SpinBox
    Accessible.name: root.label + ": " + root.value
    Accessible.focusable: true
    Accessible.onIncreaseAction: root.step(1)
    Accessible.onDecreaseAction: root.step(-1)
    Keys.onPressed: event => {
        switch (event.key) {
        case Qt.Key_Up:
        case Qt.Key_Right:
        case Qt.Key_Plus:
            root.step(1);
            break;
        case Qt.Key_Down:
        case Qt.Key_Left:
        case Qt.Key_Minus:
            root.step(-1);
            break;
        case Qt.Key_PageUp:
            root.step(10);
            break;
        case Qt.Key_PageDown:
            root.step(-10);
            break;
        case Qt.Key_Home:
            root.step(root.least - root.value);
            break;
        case Qt.Key_End:
            root.step(root.most - root.value);
            break;
        default:
            return;
        }
        event.accepted = true;
    }

    function step(by: int): void {
        const next = Math.max(root.least, Math.min(root.most, root.value + by));
        if (next !== root.value)
            root.chosen(next);
    }

    Rectangle {
        anchors.fill: parent
        radius: Theme.radius
        color: Theme.bubble
    }
    IconButton {
        anchors.left: parent.left
        icon: "minus"
        iconSize: 16
        label: qsTr("%1: fewer").arg(root.label)
        active: root.value > root.least
        activeFocusOnTab: false
        onClicked: root.step(-1)
    }
    Text {
        anchors.centerIn: parent
        text: root.value
        color: Theme.text
        font.pixelSize: Theme.normalFont
        font.weight: Font.DemiBold
        Accessible.ignored: true
    }
    IconButton {
        anchors.right: parent.right
        icon: "plus"
        iconSize: 16
        label: qsTr("%1: more").arg(root.label)
        active: root.value < root.most
        activeFocusOnTab: false
        onClicked: root.step(1)
    }
    FocusRing {
        visible: root.activeFocus
        inset: -3
        radius: Theme.radius + 3
    }
}
