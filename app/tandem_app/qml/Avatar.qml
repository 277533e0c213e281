// One or two letters on a colour that belongs to the person or room.
import QtQuick

Rectangle {
    id: root

    required property string name
    required property int hue
    property real size: 40

    function initials(name: string): string {
        const words = name.replace(/^[@#!]/, "").split(/[\s._:-]+/).filter(word => word.length > 0);
        if (words.length === 0)
            return "?";
        const first = Array.from(words[0])[0];
        const second = words.length > 1 && root.size >= 36 ? Array.from(words[words.length - 1])[0] : "";
        return String(first + second).toUpperCase();
    }

    implicitWidth: size
    implicitHeight: size
    radius: size / 2
    color: Theme.avatarColour(root.hue)
    Accessible.ignored: true

    Text {
        anchors.centerIn: parent
        text: root.initials(root.name)
        color: Theme.dark ? "#f2f4f6" : Theme.personColour(root.hue)
        font.pixelSize: Math.round(root.size * (text.length > 1 ? 0.36 : 0.42))
        font.weight: Font.DemiBold
        textFormat: Text.PlainText
        Accessible.ignored: true
    }
}
