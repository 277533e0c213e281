// A shape that is not drawn once its list has scrolled it away: where nothing is left of the clip, Qt's software
// renderer draws shapes without any (Qt 6.11), over whatever stands around the list.
import QtQuick
import QtQuick.Shapes

Shape {
    id: root

    property Flickable view: null
    property bool inside: true
    property bool wanted: true

    visible: root.inside && root.wanted

    function look(): void {
        if (root.view === null)
            return;
        // The ink itself: the blank margin around it does not keep the clip.
        const box = root.mapToItem(root.view, root.boundingRect);
        root.inside = box.y + box.height > 0 && box.y < root.view.height;
    }
    onBoundingRectChanged: Qt.callLater(root.look)
    Component.onCompleted: {
        let item = root.parent;
        while (item !== null && !(item instanceof Flickable))
            item = item.parent;
        root.view = item;
        Qt.callLater(root.look);
    }
    Connections {
        target: root.view
        function onContentYChanged(): void {
            root.look();
        }
        // Rows have their new places only after the list has been laid out.
        function onContentHeightChanged(): void {
            Qt.callLater(root.look);
        }
        function onHeightChanged(): void {
            Qt.callLater(root.look);
        }
    }
}
