// One picture, as large as the pane; Escape closes it.
import QtQuick

Item {
    id: root

    required property var model

    signal closed

    Component.onCompleted: bar.take()
    Component.onDestruction: root.model.close()

    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width - save.width - Theme.small
        title: root.model.viewName
        leaveLabel: qsTr("Back to the messages")
        leaveName: "closePicture"
        onLeaving: root.closed()
    }
    IconButton {
        id: save
        objectName: "savePicture"
        anchors.right: parent.right
        anchors.rightMargin: Theme.small
        anchors.verticalCenter: bar.verticalCenter
        icon: "save"
        label: qsTr("Save %1 as…").arg(root.model.viewName)
        onClicked: root.model.askSave(root.model.viewKey)
    }
    Rectangle {
        anchors.left: bar.right
        anchors.right: parent.right
        anchors.bottom: bar.bottom
        height: 1
        color: Theme.line
    }
    Image {
        id: picture
        objectName: "largePicture"
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        anchors.left: parent.left
        anchors.right: parent.right
        anchors.margins: Theme.large
        source: root.model.viewPicture
        asynchronous: true
        // Never larger than it is.
        fillMode: sourceSize.width > width || sourceSize.height > height ? Image.PreserveAspectFit : Image.Pad
        smooth: true
        mipmap: true
        Accessible.role: Accessible.Graphic
        Accessible.name: qsTr("Picture %1").arg(root.model.viewName)
    }
    Remark {
        anchors.horizontalCenter: parent.horizontalCenter
        anchors.bottom: parent.bottom
        anchors.margins: Theme.large
        width: Math.min(parent.width - 2 * Theme.large, 520)
        visible: root.model.viewWords !== ""
        words: root.model.viewWords
    }
}
