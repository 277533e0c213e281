// Colours, distances and letter sizes: the one place where the look is decided.
pragma Singleton

import QtQuick

QtObject {
    id: root

    // "system", "light" or "dark"; Main.qml binds it to the setting appearance.theme.
    property string choice: "system"
    readonly property bool dark: choice === "dark"
        || (choice !== "light" && Application.styleHints.colorScheme === Qt.ColorScheme.Dark)

    // Surfaces, from the calmest to the loudest.
    readonly property color surface: dark ? "#15181c" : "#ffffff"
    readonly property color sidebar: dark ? "#1b1f24" : "#f5f6f8"
    readonly property color raised: dark ? "#23282e" : "#ffffff"
    readonly property color field: dark ? "#262b32" : "#ffffff"
    readonly property color hover: dark ? "#252a31" : "#ebedf0"
    readonly property color selected: dark ? "#1f3b3a" : "#d9ecea"
    readonly property color line: dark ? "#2d333a" : "#e2e5e9"
    readonly property color bubble: dark ? "#242930" : "#f0f2f4"
    readonly property color ownBubble: dark ? "#1d3d3b" : "#d9efec"
    readonly property color scrim: dark ? "#99000000" : "#66101418"

    // Words. Every pair of these with a surface above keeps a contrast of at least 4.5.
    readonly property color text: dark ? "#e7eaee" : "#1b2026"
    readonly property color softText: dark ? "#a4adb8" : "#59626d"
    readonly property color link: dark ? "#6cb6ff" : "#0b5cad"

    // What asks for attention.
    readonly property color accent: dark ? "#45bdae" : "#0e756c"
    readonly property color accentText: dark ? "#04211e" : "#ffffff"
    readonly property color accentSoft: dark ? "#1f3b3a" : "#d9ecea"
    readonly property color highlight: dark ? "#ffa877" : "#b5400b"
    readonly property color highlightText: dark ? "#2b1203" : "#ffffff"
    readonly property color danger: dark ? "#ff8f85" : "#b3261e"
    readonly property color dangerText: dark ? "#370b07" : "#ffffff"
    readonly property color dangerSoft: dark ? "#3b2221" : "#fbe8e6"
    readonly property color warning: dark ? "#f0c674" : "#7d5200"
    readonly property color warningSoft: dark ? "#37301f" : "#fdf2d5"
    readonly property color good: dark ? "#7bd38b" : "#1f7a37"

    // Names and avatars: a colour per person or room, chosen by a hash of the id (0..7).
    readonly property var personColours: dark
        ? ["#7fb4ff", "#f2a65e", "#7bd389", "#e58fc0", "#b9a4ff", "#5fd0d6", "#f08d86", "#c8c86a"]
        : ["#1d5fc0", "#a34f00", "#1f7a37", "#a8327a", "#6246c9", "#00707a", "#b3332b", "#6a6a00"]
    readonly property var avatarColours: dark
        ? ["#2c4a73", "#6b4420", "#28553a", "#69355a", "#4a3d7d", "#1f5a60", "#703a36", "#56561f"]
        : ["#d3e3fb", "#fbe1c8", "#d3ecd9", "#f6d8e9", "#e2dbfa", "#cdeaec", "#fadad7", "#ebebc9"]

    // Distances.
    readonly property int tiny: 4
    readonly property int small: 8
    readonly property int medium: 12
    readonly property int large: 16
    readonly property int huge: 24
    readonly property int radius: 8
    readonly property int bubbleRadius: 14
    readonly property int focusWidth: 2
    readonly property int controlHeight: 36
    readonly property int barHeight: 56

    // Letters (pixel sizes are device independent in Qt Quick).
    readonly property int tinyFont: 11
    readonly property int smallFont: 12
    readonly property int normalFont: 14
    readonly property int titleFont: 16
    readonly property int headlineFont: 22

    readonly property int narrowWidth: 700
    readonly property int readableWidth: 860

    // What a word of a choice takes up: chosen words are bold, and nothing may move when one is.
    readonly property FontMetrics optionFont: FontMetrics {
        font.pixelSize: root.smallFont + 1
        font.weight: Font.DemiBold
    }

    function optionWidth(word: string): real {
        return Math.ceil(root.optionFont.advanceWidth(word)) + 2 * root.medium;
    }
    function personColour(hue: int): color {
        return personColours[hue % personColours.length];
    }
    function avatarColour(hue: int): color {
        return avatarColours[hue % avatarColours.length];
    }
}
