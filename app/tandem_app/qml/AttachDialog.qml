// The desktop's own dialog: which files are to be sent.
import QtQuick.Dialogs

FileDialog {
    title: qsTr("Send files")
    fileMode: FileDialog.OpenFiles
}
