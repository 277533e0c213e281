// A person in this room has a new identity: what that means, and what to do.
import QtQuick

Rectangle {
    id: root

    required property var model

    signal verifying

    objectName: "identityBar"
    implicitHeight: column.implicitHeight + 2 * Theme.medium
    color: root.model.grave ? Theme.dangerSoft : Theme.warningSoft
    Accessible.role: Accessible.AlertMessage
    Accessible.name: root.model.title + ". " + root.model.words

    Icon {
        id: glyph
        x: Theme.large
        y: Theme.medium
        name: "warning"
        size: 20
        color: root.model.grave ? Theme.danger : Theme.warning
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
            width: parent.width
            text: root.model.title
            textFormat: Text.PlainText
            wrapMode: Text.WrapAtWordBoundaryOrAnywhere
            maximumLineCount: 3
            elide: Text.ElideRight
            color: Theme.text
            font.pixelSize: Theme.normalFont
            font.weight: Font.DemiBold
            Accessible.ignored: true
        }
        Text {
            width: parent.width
            text: root.model.words
            textFormat: Text.PlainText
            wrapMode: Text.Wrap
            color: Theme.text
            font.pixelSize: Theme.smallFont + 1
            lineHeight: 1.15
            Accessible.ignored: true
        }
        Flow {
            width: parent.width
            spacing: Theme.small

            PushButton {
                objectName: "verifyAgain"
                kind: root.model.grave ? "filled" : "outlined"
                active: !root.model.busy
                label: root.model.grave ? qsTr("Verify again") : qsTr("Verify")
                onClicked: {
                    root.model.verify();
                    root.verifying();
                }
            }
            PushButton {
                objectName: "acceptIdentity"
                active: !root.model.busy
                label: root.model.grave ? qsTr("Go on without") : qsTr("All right")
                spoken: root.model.grave ? qsTr("Go on without verification") : qsTr("All right, put this away")
                onClicked: root.model.accept()
            }
        }
    }
}
