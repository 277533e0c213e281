// Signing in: a few lines and a button. What is wrong is said below the line it concerns.
pragma ComponentBehavior: Bound

import QtQuick

FocusScope {
    id: root

    required property var model
    readonly property bool known: root.model.mode !== "new"
    property bool askingToForget: false

    signal closed

    objectName: "login"
    Accessible.role: Accessible.Pane
    Accessible.name: heading.text
    Component.onCompleted: root.begin()
    onKnownChanged: root.begin()

    // Never bound: what was typed must outlive every word from the model.
    function begin(): void {
        root.askingToForget = false;
        device.text = root.model.deviceName;
        password.text = "";
        (root.known ? password : server).input.forceActiveFocus(Qt.OtherFocusReason);
    }
    function submit(): void {
        root.model.signIn(server.text, user.text, password.text, device.text);
    }

    Connections {
        target: root.model
        function onRefused(field: string): void {
            switch (root.known && field !== "form" ? "password" : field) {
            case "server":
                server.input.forceActiveFocus(Qt.OtherFocusReason);
                break;
            case "user":
                user.input.forceActiveFocus(Qt.OtherFocusReason);
                break;
            case "password":
                password.input.forceActiveFocus(Qt.OtherFocusReason);
                password.input.selectAll();
                break;
            }
        }
        function onSignedIn(): void {
            password.text = "";
        }
    }
    Rectangle {
        anchors.fill: parent
        color: Theme.sidebar
    }
    Page {
        anchors.fill: parent
        centred: true
        columnWidth: 420

        Rectangle {
            width: parent.width
            height: form.implicitHeight + 2 * Theme.huge
            radius: 14
            color: Theme.surface
            border.width: 1
            border.color: Theme.line

            Column {
                id: form
                x: Theme.huge
                y: Theme.huge
                width: parent.width - 2 * Theme.huge
                spacing: Theme.large

                AppMark {
                    size: 52
                }
                Column {
                    width: parent.width
                    spacing: Theme.tiny

                    Text {
                        id: heading
                        width: parent.width
                        text: root.known ? qsTr("Sign in again") : qsTr("Sign in to Tandem")
                        textFormat: Text.PlainText
                        wrapMode: Text.Wrap
                        color: Theme.text
                        font.pixelSize: Theme.headlineFont
                        font.weight: Font.DemiBold
                        Accessible.role: Accessible.Heading
                        Accessible.name: text
                    }
                    Text {
                        objectName: "loginNotice"
                        width: parent.width
                        text: root.known ? root.model.notice : qsTr("With your Matrix account, on any homeserver.")
                        textFormat: Text.PlainText
                        wrapMode: Text.Wrap
                        color: Theme.softText
                        font.pixelSize: Theme.normalFont
                        lineHeight: 1.2
                        Accessible.role: Accessible.StaticText
                        Accessible.name: text
                    }
                }
                FormField {
                    id: server
                    input.objectName: "homeserver"
                    width: parent.width
                    visible: !root.known
                    enabled: root.model.busy === ""
                    label: qsTr("Homeserver")
                    hint: qsTr("example.org")
                    input.inputMethodHints: Qt.ImhUrlCharactersOnly | Qt.ImhNoAutoUppercase
                    problem: root.model.serverProblem
                    onAccepted: user.input.forceActiveFocus()
                }
                FormField {
                    id: user
                    input.objectName: "user"
                    width: parent.width
                    visible: !root.known
                    enabled: root.model.busy === ""
                    label: qsTr("User name")
                    hint: qsTr("alice, or @alice:example.org")
                    problem: root.model.userProblem
                    onAccepted: password.input.forceActiveFocus()
                }
                Column {
                    width: parent.width
                    visible: root.known
                    spacing: 2

                    Text {
                        objectName: "knownUser"
                        width: parent.width
                        text: root.model.user
                        textFormat: Text.PlainText
                        wrapMode: Text.WrapAnywhere
                        color: Theme.text
                        font.pixelSize: Theme.titleFont
                        font.weight: Font.DemiBold
                        Accessible.role: Accessible.StaticText
                        Accessible.name: text
                    }
                    Text {
                        width: parent.width
                        text: root.model.server
                        textFormat: Text.PlainText
                        wrapMode: Text.WrapAnywhere
                        color: Theme.softText
                        font.pixelSize: Theme.smallFont + 1
                        Accessible.role: Accessible.StaticText
                        Accessible.name: text
                    }
                    Text {
                        width: parent.width
                        visible: text !== ""
                        topPadding: Theme.small
                        text: root.known ? root.model.serverProblem + root.model.userProblem : ""
                        textFormat: Text.PlainText
                        wrapMode: Text.Wrap
                        color: Theme.danger
                        font.pixelSize: Theme.smallFont + 1
                        Accessible.role: Accessible.AlertMessage
                        Accessible.name: text
                    }
                }
                FormField {
                    id: password
                    input.objectName: "password"
                    width: parent.width
                    enabled: root.model.busy === ""
                    label: qsTr("Password")
                    secret: true
                    problem: root.model.passwordProblem
                    onAccepted: root.submit()
                }
                FormField {
                    id: device
                    input.objectName: "device"
                    width: parent.width
                    visible: root.model.mode !== "again"
                    enabled: root.model.busy === ""
                    label: qsTr("Name of this device, as others may see it")
                    onAccepted: root.submit()
                }
                Remark {
                    objectName: "loginError"
                    width: parent.width
                    visible: words !== ""
                    words: root.model.formProblem
                }
                PushButton {
                    objectName: "signIn"
                    width: parent.width
                    kind: "filled"
                    label: root.model.busy === "sign_in" ? qsTr("Signing in…") : qsTr("Sign in")
                    active: root.model.busy === ""
                    onClicked: root.submit()
                }
                Column {
                    width: parent.width
                    visible: root.known
                    spacing: Theme.small

                    Text {
                        width: parent.width
                        visible: root.askingToForget
                        text: qsTr("The messages and keys of %1 are removed from this computer. Messages that no other "
                            + "device of that account can read are lost for good.").arg(root.model.user)
                        textFormat: Text.PlainText
                        wrapMode: Text.Wrap
                        color: Theme.text
                        font.pixelSize: Theme.smallFont + 1
                        lineHeight: 1.15
                        Accessible.role: Accessible.AlertMessage
                        Accessible.name: text
                    }
                    Flow {
                        // A plain button's words stand in line with the rest.
                        x: root.askingToForget ? 0 : -Theme.small
                        width: parent.width
                        spacing: Theme.small

                        PushButton {
                            objectName: "forgetAccount"
                            kind: root.askingToForget ? "outlined" : "plain"
                            danger: root.askingToForget
                            active: root.model.busy === ""
                            label: root.model.busy === "forget" ? qsTr("Removing…")
                                : root.askingToForget ? qsTr("Remove them") : qsTr("Use another account…")
                            onClicked: {
                                if (root.askingToForget)
                                    root.model.forgetAccount();
                                else
                                    root.askingToForget = true;
                            }
                        }
                        PushButton {
                            objectName: "keepAccount"
                            visible: root.askingToForget
                            active: root.model.busy === ""
                            label: qsTr("Keep them")
                            onClicked: root.askingToForget = false
                        }
                    }
                }
            }
        }
    }
}
