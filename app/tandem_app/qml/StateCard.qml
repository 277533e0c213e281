// How one thing stands, with an icon that says so by its shape, and below it what can be done.
import QtQuick

Column {
    id: root

    // A map with the fields of tandem_app.models.encryption_cards.Card.
    required property var card
    property string glyphName: ""
    property string problem: ""
    property string news: ""
    default property alias deeds: place.data

    readonly property color ink: root.card.tone === "good" ? Theme.good : root.card.tone === "warning" ? Theme.warning
        : root.card.tone === "danger" ? Theme.danger : Theme.softText

    visible: root.card.title !== ""
    spacing: Theme.medium
    topPadding: Theme.large
    bottomPadding: Theme.large

    Item {
        width: root.width
        implicitHeight: said.implicitHeight

        Icon {
            id: glyph
            y: 1
            name: root.glyphName !== "" ? root.glyphName : root.card.tone === "good" ? "check"
                : root.card.tone === "plain" ? "clock" : "warning"
            size: 20
            color: root.ink
        }
        Column {
            id: said
            anchors.left: glyph.right
            anchors.leftMargin: Theme.medium
            anchors.right: parent.right
            spacing: 3

            Text {
                width: parent.width
                text: root.card.title
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.text
                font.pixelSize: Theme.titleFont
                font.weight: Font.DemiBold
                Accessible.role: Accessible.Heading
                Accessible.name: text
            }
            Text {
                width: parent.width
                visible: text !== ""
                text: root.card.words
                textFormat: Text.PlainText
                wrapMode: Text.Wrap
                color: Theme.softText
                font.pixelSize: Theme.normalFont
                lineHeight: 1.15
                Accessible.role: Accessible.StaticText
                Accessible.name: text
            }
        }
    }
    Remark {
        x: glyph.width + Theme.medium
        width: root.width - x
        visible: root.problem !== ""
        words: root.problem
    }
    Remark {
        x: glyph.width + Theme.medium
        width: root.width - x
        visible: root.news !== ""
        tone: "good"
        words: root.news
    }
    Column {
        id: place
        x: glyph.width + Theme.medium
        width: root.width - x
        spacing: Theme.medium
    }
    Rectangle {
        width: root.width
        height: 1
        color: Theme.line
    }
}
