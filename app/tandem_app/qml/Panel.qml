// A place for a page that is loaded only when it is first wanted.
import QtQuick

Loader {
    id: root

    required property bool wanted
    required property string file
    required property var panels
    required property string what

    signal closed
    signal led(string page)

    active: false
    onWantedChanged: root.settle()
    Component.onCompleted: root.settle()

    function settle(): void {
        if (root.wanted)
            root.setSource(root.file, { "model": root.panels.make(root.what) });
        root.active = root.wanted;
    }

    Connections {
        target: root.item
        ignoreUnknownSignals: true
        function onClosed(): void {
            root.closed();
        }
        function onWanted(page: string): void {
            root.led(page);
        }
    }
}
