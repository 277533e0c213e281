// The account's encryption: whether this device is believed, what brings lost messages back, and key files.
pragma ComponentBehavior: Bound

import QtQuick
import QtQuick.Dialogs

FocusScope {
    id: root

    required property var model

    // What is being filled in: empty, unlock, recovery, change, reset, replace, export or import.
    property string form: ""
    readonly property bool free: root.model.busy === "" && root.form === ""

    signal closed
    // Another page: verification with another device of the account.
    signal wanted(string page)

    function begin(form: string): void {
        root.form = form;
    }
    function problemOf(card: string): string {
        return root.model.problemCard === card ? root.model.problem : "";
    }
    function newsOf(card: string): string {
        return root.model.newsCard === card ? root.model.news : "";
    }

    objectName: "encryptionPage"
    Accessible.role: Accessible.Pane
    Accessible.name: bar.title
    // Escape goes back one step here, and not at once to the room.
    Keys.onShortcutOverride: event => event.accepted = event.key === Qt.Key_Escape
    Keys.onEscapePressed: {
        if (root.model.approval.kind !== "")
            root.model.approval.callOff();
        else if (root.form !== "")
            root.form = "";
        else
            root.closed();
    }
    Component.onCompleted: {
        bar.take();
        root.model.open();
    }
    Component.onDestruction: root.model.close()

    Connections {
        target: root.model
        function onFinished(): void {
            root.form = "";
        }
    }
    Rectangle {
        anchors.fill: parent
        color: Theme.surface
    }
    PageBar {
        id: bar
        width: parent.width
        title: qsTr("Encryption")
        leaveName: "closeEncryption"
        leaveLabel: qsTr("Back")
        onLeaving: root.closed()
    }
    Page {
        anchors.top: bar.bottom
        anchors.bottom: parent.bottom
        width: parent.width

        Column {
            id: column
            width: parent.width
            bottomPadding: Theme.huge

            StateCard {
                objectName: "deviceCard"
                width: column.width
                card: root.model.device
                problem: root.problemOf("device")
                news: root.newsOf("device")

                Approval {
                    width: parent.width
                    active: root.model.approval.kind !== ""
                        && (root.model.busy === "identity" || root.model.busy === "reset")
                    approval: root.model.approval
                    onCopied: text => root.model.copy(text)
                }
                Remark {
                    width: parent.width
                    visible: root.form === "reset"
                    tone: "warning"
                    title: qsTr("Reset your identity?")
                    words: qsTr("Everybody who has verified you is warned and has to verify you again, and so have your "
                        + "other devices. The old recovery key opens nothing any more. Do this only if you have lost "
                        + "every other device and the recovery key.")
                }
                Flow {
                    width: parent.width
                    spacing: Theme.small
                    visible: root.model.approval.kind === ""

                    PushButton {
                        objectName: "verifyDevice"
                        visible: root.model.device.state === "unverified" && root.form === ""
                        kind: "filled"
                        active: root.free
                        label: qsTr("Verify with another device")
                        onClicked: {
                            root.model.verify();
                            root.wanted("verification");
                        }
                    }
                    PushButton {
                        objectName: "useRecoveryKey"
                        visible: root.model.device.state === "unverified" && root.form === ""
                            && root.model.recovery.state !== "none"
                        active: root.free
                        label: qsTr("Use the recovery key")
                        onClicked: root.begin("unlock")
                    }
                    PushButton {
                        objectName: "setUpIdentity"
                        visible: root.model.device.state === "asked"
                        kind: "filled"
                        active: root.free
                        label: qsTr("Confirm that it is me")
                        onClicked: root.model.setUpIdentity()
                    }
                    PushButton {
                        objectName: "resetIdentity"
                        visible: root.form === "reset" || (root.form === ""
                            && (root.model.device.state === "unverified" || root.model.device.state === "verified"))
                        kind: root.form === "reset" ? "filled" : "outlined"
                        danger: root.form === "reset"
                        active: root.model.busy === ""
                        label: root.model.busy === "reset" ? qsTr("Resetting…")
                            : root.form === "reset" ? qsTr("Reset my identity") : qsTr("Reset identity…")
                        onClicked: {
                            if (root.form === "reset")
                                root.model.resetIdentity();
                            else
                                root.begin("reset");
                        }
                    }
                    PushButton {
                        objectName: "keepIdentity"
                        visible: root.form === "reset"
                        active: root.model.busy === ""
                        label: qsTr("Keep it")
                        onClicked: root.form = ""
                    }
                }
            }
            StateCard {
                objectName: "recoveryCard"
                width: column.width
                card: root.model.recovery
                problem: root.problemOf("recovery")
                news: root.newsOf("recovery")

                Approval {
                    width: parent.width
                    active: root.model.approval.kind !== ""
                        && (root.model.busy === "recovery" || root.model.busy === "change")
                    approval: root.model.approval
                    onCopied: text => root.model.copy(text)
                }
                Loader {
                    width: parent.width
                    active: root.form === "unlock" && root.model.approval.kind === ""
                    visible: active
                    sourceComponent: Entry {
                        fieldName: "recoveryText"
                        label: qsTr("Recovery key, or the passphrase it was made from")
                        go: qsTr("Unlock")
                        going: qsTr("Unlocking…")
                        busy: root.model.busy === "unlock"
                        onDone: text => root.model.unlock(text)
                        onLeaving: root.form = ""
                    }
                }
                Loader {
                    width: parent.width
                    active: (root.form === "recovery" || root.form === "change") && root.model.approval.kind === ""
                    visible: active
                    sourceComponent: Entry {
                        fieldName: "newPassphrase"
                        label: qsTr("Passphrase that gives the key as well (may be left empty)")
                        go: qsTr("Make the recovery key")
                        going: qsTr("Making it…")
                        mayBeEmpty: true
                        busy: root.model.busy === "recovery" || root.model.busy === "change"
                        onDone: text => {
                            if (root.form === "change")
                                root.model.changeRecovery(text);
                            else
                                root.model.setUpRecovery(text);
                        }
                        onLeaving: root.form = ""
                    }
                }
                Flow {
                    width: parent.width
                    spacing: Theme.small
                    visible: root.form !== "unlock" && root.form !== "recovery" && root.form !== "change"
                        && root.model.approval.kind !== "key"

                    PushButton {
                        objectName: "setUpRecovery"
                        visible: root.model.recovery.state === "none" || root.model.recovery.state === "damaged"
                        kind: "filled"
                        active: root.free && root.model.device.state === "verified"
                        label: qsTr("Set up recovery")
                        onClicked: root.begin("recovery")
                    }
                    PushButton {
                        objectName: "unlockRecovery"
                        visible: root.model.recovery.state === "locked" || root.model.recovery.state === "incomplete"
                        kind: "filled"
                        active: root.free
                        label: qsTr("Enter the recovery key")
                        onClicked: root.begin("unlock")
                    }
                    PushButton {
                        objectName: "changeRecovery"
                        visible: root.model.recovery.state === "complete" || root.model.recovery.state === "incomplete"
                        active: root.free
                        label: qsTr("Make a new recovery key")
                        onClicked: root.begin("change")
                    }
                }
            }
            StateCard {
                objectName: "backupCard"
                width: column.width
                card: root.model.backup
                problem: root.problemOf("backup")
                news: root.newsOf("backup")

                Progress {
                    objectName: "restoreProgress"
                    width: parent.width
                    visible: root.model.backup.state === "restoring"
                    done: root.model.backup.done
                    total: root.model.backup.total
                    label: root.model.backup.title
                }
                Remark {
                    width: parent.width
                    visible: root.form === "replace"
                    tone: "warning"
                    title: qsTr("Make a new backup in its place?")
                    words: qsTr("No application uses the old one any more. Keys that only it holds are lost.")
                }
                Flow {
                    width: parent.width
                    spacing: Theme.small

                    PushButton {
                        objectName: "createBackup"
                        visible: root.model.backup.state === "none"
                        kind: "filled"
                        active: root.free
                        label: root.model.busy === "backup" ? qsTr("Turning it on…") : qsTr("Turn on the backup")
                        onClicked: root.model.createBackup(false)
                    }
                    PushButton {
                        objectName: "unlockBackup"
                        visible: (root.model.backup.state === "untrusted" || root.model.backup.state === "closed")
                            && root.form === ""
                        active: root.free
                        label: qsTr("Enter the recovery key")
                        onClicked: root.begin("unlock")
                    }
                    PushButton {
                        objectName: "replaceBackup"
                        visible: root.model.backup.state === "untrusted" && (root.form === "" || root.form === "replace")
                        kind: root.form === "replace" ? "filled" : "outlined"
                        danger: true
                        active: root.model.busy === ""
                        label: root.form === "replace" ? qsTr("Replace it") : qsTr("Replace it…")
                        onClicked: {
                            if (root.form === "replace")
                                root.model.createBackup(true);
                            else
                                root.begin("replace");
                        }
                    }
                    PushButton {
                        objectName: "keepBackup"
                        visible: root.form === "replace"
                        active: root.model.busy === ""
                        label: qsTr("Leave it")
                        onClicked: root.form = ""
                    }
                    PushButton {
                        objectName: "restore"
                        visible: root.model.backup.state === "open"
                        active: root.free
                        label: qsTr("Restore all keys")
                        onClicked: root.model.restore()
                    }
                    PushButton {
                        objectName: "stopRestoring"
                        visible: root.model.backup.state === "restoring"
                        active: root.model.busy === ""
                        label: qsTr("Stop")
                        spoken: qsTr("Stop restoring keys")
                        onClicked: root.model.stopRestoring()
                    }
                }
            }
            StateCard {
                objectName: "filesCard"
                width: column.width
                card: ({
                        state: "files",
                        tone: "plain",
                        title: qsTr("Key files"),
                        words: qsTr("The keys of your messages in a file that a passphrase opens, for another application "
                            + "or to keep. It can only open the messages that this device can read now.")
                    })
                glyphName: "key"
                problem: root.problemOf("files")
                news: root.newsOf("files")

                Loader {
                    width: parent.width
                    active: root.form === "export" || root.form === "import"
                    visible: active
                    sourceComponent: Entry {
                        id: entry
                        fieldName: "filePassphrase"
                        label: root.form === "export" ? qsTr("Passphrase for the new file")
                            : qsTr("Passphrase of the file")
                        go: root.form === "export" ? qsTr("Choose where to save it…") : qsTr("Choose the file…")
                        going: root.form === "export" ? qsTr("Writing…") : qsTr("Reading…")
                        busy: root.model.busy === "export" || root.model.busy === "import"
                        onDone: {
                            dialog.fileMode = root.form === "export" ? FileDialog.SaveFile : FileDialog.OpenFile;
                            dialog.open();
                        }
                        onLeaving: root.form = ""

                        FileDialog {
                            id: dialog
                            title: root.form === "export" ? qsTr("Save the keys") : qsTr("Open a key file")
                            nameFilters: [qsTr("Key files (*.txt)"), qsTr("All files (*)")]
                            defaultSuffix: "txt"
                            onAccepted: {
                                if (root.form === "export")
                                    root.model.exportKeys(selectedFile, entry.text);
                                else
                                    root.model.importKeys(selectedFile, entry.text);
                            }
                        }
                    }
                }
                Flow {
                    width: parent.width
                    spacing: Theme.small
                    visible: root.form !== "export" && root.form !== "import"

                    PushButton {
                        objectName: "exportKeys"
                        active: root.free
                        label: qsTr("Save to a file…")
                        onClicked: root.begin("export")
                    }
                    PushButton {
                        objectName: "importKeys"
                        active: root.free
                        label: qsTr("Read from a file…")
                        onClicked: root.begin("import")
                    }
                }
            }
        }
    }
}
