// The desktop's own dialog: where a file is to go. It asks before one is replaced.
import QtQuick.Dialogs

FileDialog {
    property string key

    title: qsTr("Save as")
    fileMode: FileDialog.SaveFile
}
