// A small whole number with a button on each side; the arrow keys move it.
import QtQuick

Item {
    id: root

    required property string label
    required property int value
    required property int least
    required property int most

    signal chosen(int value)

    implicitWidth: 116
    implicitHeight: Theme.controlHeight
    activeFocusOnTab: true
    Accessible.role: Accessible.SpinBox
    Accessible.name: root.label + ": " + root.value
    Accessible.focusable: true
    Accessible.onIncreaseAction: root.step(1)
    Accessible.onDecreaseAction: root.step(-1)
    Keys.onUpPressed: root.step(1)
    Keys.onRightPressed: root.step(1)
    Keys.onDownPressed: root.step(-1)
    Keys.onLeftPressed: root.step(-1)

    function step(by: int): void {
        const next = Math.max(root.least, Math.min(root.most, root.value + by));
        if (next !== root.value)
            root.chosen(next);
    }

    IconButton {
        id: less
        anchors.left: parent.left
        icon: "minus"
        iconSize: 16
        label: qsTr("Fewer")
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
        label: qsTr("More")
        active: root.value < root.most
        activeFocusOnTab: false
        onClicked: root.step(1)
    }
    FocusRing { visible: root.activeFocus }
}
