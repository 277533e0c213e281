// Signing in: three lines and a button, and errors in plain words.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model

    signal closed

    objectName: "login"
    Accessible.role: Accessible.Pane
    Accessible.name: qsTr("Sign in")
    Component.onCompleted: (root.model.isAgain ? password : homeserver).input.forceActiveFocus()

    function submit(): void {
        root.model.signIn(homeserver.text, user.text, password.text, device.text);
    }

    Rectangle {
        anchors.fill: parent
        color: Theme.sidebar
    }
    Flickable {
        id: flick
        anchors.fill: parent
        contentHeight: Math.max(height, card.height + 2 * Theme.huge)
        boundsBehavior: Flickable.StopAtBounds

        Rectangle {
            id: card
            anchors.centerIn: parent
            width: Math.min(flick.width - 2 * Theme.large, 400)
            height: form.implicitHeight + 2 * Theme.huge
            radius: 12
            color: Theme.surface
            border.width: 1
            border.color: Theme.line

            Column {
                id: form
                x: Theme.huge
                y: Theme.huge
                width: parent.width - 2 * Theme.huge
                spacing: Theme.medium

                Text {
                    width: parent.width
                    text: root.model.isAgain ? qsTr("Sign in again") : qsTr("Sign in to Tandem")
                    textFormat: Text.PlainText
                    wrapMode: Text.Wrap
                    color: Theme.text
                    font.pixelSize: Theme.headlineFont
                    font.weight: Font.DemiBold
                    Accessible.role: Accessible.Heading
                    Accessible.name: text
                }
                Text {
                    width: parent.width
                    text: root.model.isAgain
                        ? qsTr("Your session has expired. Your messages and keys are kept; only the password is needed.")
                        : qsTr("Use an account of any Matrix homeserver that offers sliding sync.")
                    textFormat: Text.PlainText
                    wrapMode: Text.Wrap
                    color: Theme.softText
                    font.pixelSize: Theme.normalFont
                    lineHeight: 1.2
                    Accessible.role: Accessible.StaticText
                    Accessible.name: text
                }
                Field {
                    id: homeserver
                    objectName: "homeserver"
                    width: parent.width
                    label: qsTr("Homeserver, for example matrix.example.org")
                    text: root.model.homeserver
                    enabled: !root.model.isAgain && !root.model.isBusy
                    opacity: enabled ? 1 : 0.6
                    onAccepted: user.input.forceActiveFocus()
                }
                Field {
                    id: user
                    objectName: "user"
                    width: parent.width
                    label: qsTr("User name")
                    text: root.model.user
                    enabled: !root.model.isAgain && !root.model.isBusy
                    opacity: enabled ? 1 : 0.6
                    onAccepted: password.input.forceActiveFocus()
                }
                Field {
                    id: password
                    objectName: "password"
                    width: parent.width
                    label: qsTr("Password")
                    input.echoMode: TextInput.Password
                    enabled: !root.model.isBusy
                    onAccepted: root.submit()
                }
                Field {
                    id: device
                    objectName: "device"
                    width: parent.width
                    visible: !root.model.isAgain
                    label: qsTr("Name of this device, as others may see it")
                    text: root.model.deviceName
                    enabled: !root.model.isBusy
                    onAccepted: root.submit()
                }
                Rectangle {
                    objectName: "loginError"
                    width: parent.width
                    height: problem.implicitHeight + 2 * Theme.small
                    visible: root.model.errorTitle !== ""
                    radius: Theme.radius
                    color: Theme.dangerSoft
                    Accessible.role: Accessible.AlertMessage
                    Accessible.name: root.model.errorTitle + ". " + root.model.errorAdvice

                    Column {
                        id: problem
                        x: Theme.medium
                        y: Theme.small
                        width: parent.width - 2 * Theme.medium

                        Text {
                            width: parent.width
                            text: root.model.errorTitle
                            textFormat: Text.PlainText
                            wrapMode: Text.Wrap
                            color: Theme.danger
                            font.pixelSize: Theme.normalFont
                            font.weight: Font.DemiBold
                            Accessible.ignored: true
                        }
                        Text {
                            width: parent.width
                            text: root.model.errorAdvice
                            textFormat: Text.PlainText
                            wrapMode: Text.Wrap
                            color: Theme.text
                            font.pixelSize: Theme.smallFont + 1
                            Accessible.ignored: true
                        }
                    }
                }
                PushButton {
                    objectName: "signIn"
                    width: parent.width
                    kind: "filled"
                    label: root.model.isBusy ? qsTr("Signing in…") : qsTr("Sign in")
                    active: !root.model.isBusy
                    onClicked: root.submit()
                }
                Text {
                    width: parent.width
                    visible: text !== ""
                    text: root.model.keyNote
                    textFormat: Text.PlainText
                    wrapMode: Text.Wrap
                    color: Theme.softText
                    font.pixelSize: Theme.smallFont
                    Accessible.role: Accessible.StaticText
                    Accessible.name: text
                }
            }
        }
    }
}
