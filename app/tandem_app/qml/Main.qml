// The window: the rooms on the left, the open room or page on the right; one pane at a time when narrow.
pragma ComponentBehavior: Bound

import QtQuick

Window {
    id: root

    required property var shell
    required property var rooms
    required property var timeline
    // Made when first asked for: {login, settings, messageInfo, invite, banner, ...}.
    required property var panels

    readonly property bool narrow: root.width < Theme.narrowWidth
    readonly property bool signedIn: root.shell.session === "signed_in"
    readonly property bool atRooms: root.shell.roomId === "" && root.shell.page === ""

    width: 1120
    height: 740
    minimumWidth: 340
    minimumHeight: 420
    visible: true
    color: Theme.surface
    title: root.shell.roomName !== "" && root.signedIn ? qsTr("%1 – Tandem").arg(root.shell.roomName) : qsTr("Tandem")

    onActiveChanged: root.shell.setActive(root.active)
    onClosing: root.shell.windowClosed()

    Binding {
        target: Theme
        property: "choice"
        value: root.shell.theme
    }
    Binding {
        target: Theme
        property: "contrast"
        value: root.shell.contrast
    }
    Binding {
        target: Theme
        property: "spelled"
        value: root.shell.marks === "words"
    }

    Shortcut {
        sequence: "Ctrl+K"
        enabled: root.signedIn
        onActivated: {
            if (root.narrow)
                root.shell.closeAll();
            roomList.focusSearch();
        }
    }
    Shortcut {
        sequence: "Alt+Down"
        enabled: root.signedIn
        onActivated: root.shell.openNeighbour(1)
    }
    Shortcut {
        sequence: "Alt+Up"
        enabled: root.signedIn
        onActivated: root.shell.openNeighbour(-1)
    }
    Shortcut {
        sequence: "Ctrl+,"
        enabled: root.signedIn
        onActivated: root.shell.openSettings("")
    }
    Shortcut {
        sequence: "Escape"
        onActivated: {
            if (root.shell.infoKey !== "")
                root.shell.showInfo("");
            else if (["devices", "encryption", "confirmations"].includes(root.shell.page)) {
                root.shell.openPage("settings");
                return;
            } else if (root.shell.page !== "")
                root.shell.openPage("");
            else if (root.narrow)
                root.shell.closeAll();
            root.focusMain();
        }
    }

    function focusMain(): void {
        if (roomLoader.item !== null)
            (roomLoader.item as RoomPane).focusComposer();
        else
            roomList.focusList();
    }

    RoomList {
        id: roomList
        objectName: "roomList"
        shell: root.shell
        rooms: root.rooms
        width: root.narrow ? root.width : Math.max(240, Math.min(root.width * 0.45, divider.wanted))
        height: root.height
        visible: root.signedIn && (!root.narrow || root.atRooms)
        onLeaving: root.focusMain()
    }
    Rectangle {
        id: divider

        property real wanted: 320

        anchors.left: roomList.right
        width: 1
        height: root.height
        visible: root.signedIn && !root.narrow
        color: Theme.line

        Item {
            anchors.horizontalCenter: parent.horizontalCenter
            width: 9
            height: parent.height

            HoverHandler { cursorShape: Qt.SplitHCursor }
            DragHandler {
                id: drag

                property real start: 0

                target: null
                yAxis.enabled: false
                onActiveChanged: if (active) start = roomList.width
                onActiveTranslationChanged: if (active) divider.wanted = drag.start + activeTranslation.x
            }
        }
    }
    Item {
        id: pane
        anchors.left: root.narrow ? parent.left : divider.right
        anchors.right: info.active && !info.over ? info.left : parent.right
        anchors.top: parent.top
        anchors.bottom: parent.bottom
        visible: root.signedIn && (!root.narrow || !root.atRooms)

        Loader {
            id: banner

            // What it asks is what the page is about.
            readonly property bool hushed: item !== null && root.shell.page === "encryption"
                && (item as ErrorBanner).model.kind === "question"

            width: parent.width
            active: root.shell.bannerShown
            visible: active && !hushed
            onActiveChanged: if (active) setSource("ErrorBanner.qml", { "model": root.panels.make("banner") })
            height: visible && item ? (item as Item).implicitHeight : 0

            Connections {
                target: banner.item
                ignoreUnknownSignals: true
                function onWanted(page: string): void {
                    root.shell.openPage(page);
                }
            }
        }
        Loader {
            id: verifyBar
            anchors.top: banner.bottom
            width: parent.width
            active: root.shell.verifying
            visible: active
            onActiveChanged: if (active) setSource("VerifyBar.qml", { "model": root.panels.make("verification") })
            height: active && item ? (item as Item).implicitHeight : 0

            Connections {
                target: verifyBar.item
                function onLooked(): void {
                    root.shell.openPage("verification");
                }
            }
        }
        Loader {
            id: confirmBar
            anchors.top: verifyBar.bottom
            width: parent.width
            active: root.shell.asking
            // A picture has the whole pane.
            visible: active && root.shell.page !== "picture"
            onActiveChanged: if (active) setSource("ConfirmBar.qml", { "model": root.panels.make("confirmQuestion") })
            height: visible && item ? (item as Item).implicitHeight : 0

            Connections {
                target: confirmBar.item
                function onAnswered(): void {
                    if (root.shell.page === "")
                        root.focusMain();
                    else
                        (confirmBar.item as ConfirmBar).leave();
                }
                function onLooked(): void {
                    root.shell.openPage("confirmations");
                }
            }
        }
        Item {
            anchors.top: confirmBar.bottom
            anchors.bottom: parent.bottom
            width: parent.width

            Loader {
                anchors.fill: parent
                active: root.atRooms && !root.narrow && !(root.rooms.total === 0 && root.shell.loading)
                sourceComponent: EmptyState {
                    icon: "chat"
                    title: qsTr("No room is open")
                    words: root.rooms.total > 0
                        ? qsTr("Choose one from the list, or press Ctrl+K to search.")
                        : qsTr("When somebody invites you, the invitation appears on the left.")
                }
            }
            Loader {
                id: roomLoader
                anchors.fill: parent
                active: root.shell.roomId !== "" && !root.shell.roomInvite
                visible: root.shell.page === ""
                sourceComponent: RoomPane {
                    objectName: "roomPane"
                    shell: root.shell
                    timeline: root.timeline
                    narrow: root.narrow
                    panels: root.panels
                }
            }
            Panel {
                id: inviteLoader
                anchors.fill: parent
                wanted: root.shell.roomId !== "" && root.shell.roomInvite
                visible: wanted && root.shell.page === ""
                file: "InviteView.qml"
                panels: root.panels
                what: "invite"
                onClosed: {
                    root.shell.closeAll();
                    root.focusMain();
                }
            }
            Panel {
                anchors.fill: parent
                wanted: root.shell.page === "picture"
                visible: wanted
                file: "PictureView.qml"
                panels: root.panels
                what: "files"
                onClosed: {
                    root.shell.openPage("");
                    root.focusMain();
                }
            }
            Panel {
                anchors.fill: parent
                wanted: root.shell.page === "settings"
                visible: wanted
                file: "SettingsPage.qml"
                panels: root.panels
                what: "settings"
                onLed: page => root.shell.openPage(page)
                onClosed: {
                    root.shell.openPage("");
                    root.focusMain();
                }
            }
            Panel {
                anchors.fill: parent
                wanted: root.shell.page === "confirmations"
                visible: wanted
                file: "ConfirmationsPage.qml"
                panels: root.panels
                what: "confirmations"
                onClosed: root.shell.openSettings("")
            }
            Panel {
                anchors.fill: parent
                wanted: root.shell.page === "encryption"
                visible: wanted
                file: "EncryptionPage.qml"
                panels: root.panels
                what: "encryption"
                onClosed: root.shell.openPage("settings")
                onLed: page => root.shell.openPage(page)
            }
            Panel {
                anchors.fill: parent
                wanted: root.shell.page === "devices"
                visible: wanted
                file: "DevicesPage.qml"
                panels: root.panels
                what: "devices"
                onLed: page => root.shell.openPage(page)
                onClosed: root.shell.openPage("settings")
            }
            Panel {
                anchors.fill: parent
                wanted: root.shell.page === "verification"
                visible: wanted
                file: "VerificationPage.qml"
                panels: root.panels
                what: "verification"
                onClosed: {
                    root.shell.openPage("");
                    root.focusMain();
                }
            }
        }
    }
    Rectangle {
        anchors.fill: parent
        visible: info.active && info.over
        color: Theme.scrim
        TapHandler { onTapped: root.shell.showInfo("") }
    }
    Panel {
        id: info

        readonly property bool over: root.width < Theme.narrowWidth + 320

        anchors.right: parent.right
        anchors.top: parent.top
        anchors.bottom: parent.bottom
        width: Math.min(root.width, 340)
        wanted: root.shell.infoKey !== "" && root.signedIn
        visible: wanted
        file: "MessageInfo.qml"
        panels: root.panels
        what: "messageInfo"
        onLed: page => {
            root.shell.showInfo("");
            root.shell.openPage(page);
        }
        onClosed: {
            root.shell.showInfo("");
            root.focusMain();
        }
    }
    Loader {
        anchors.fill: parent
        active: root.shell.session === "starting" && root.shell.troubleTitle !== ""
        sourceComponent: EmptyState {
            icon: "warning"
            title: root.shell.troubleTitle
            words: root.shell.troubleAdvice
        }
    }
    Panel {
        anchors.fill: parent
        wanted: root.shell.session === "signed_out" || root.shell.session === "soft_logged_out"
        visible: wanted
        file: "Login.qml"
        panels: root.panels
        what: "login"
    }
}
