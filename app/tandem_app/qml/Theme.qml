// Colours, distances and letter sizes: the one place where the look is decided.
pragma Singleton

import QtQuick

QtObject {
    id: root

    // "system", "light" or "dark"; Main.qml binds it to the setting appearance.theme.
    property string choice: "system"
    // "system" or "high"; bound to the setting appearance.contrast. Qt tells the desktop's wish since 6.10.
    property string contrast: "system"
    // Delivery marks are words; bound to the setting appearance.marks.
    property bool spelled: false
    readonly property bool dark: choice === "dark"
        || (choice !== "light" && Application.styleHints.colorScheme === Qt.ColorScheme.Dark)
    readonly property bool strong: contrast === "high"
        || Application.styleHints.accessibility?.contrastPreference === Qt.ContrastPreference.HighContrast

    // Surfaces, from the calmest to the loudest.
    readonly property color surface: pick("#ffffff", "#15181c", "#ffffff", "#000000")
    readonly property color sidebar: pick("#f5f6f8", "#1b1f24", "#ffffff", "#000000")
    readonly property color raised: pick("#ffffff", "#23282e", "#ffffff", "#000000")
    readonly property color field: pick("#ffffff", "#262b32", "#ffffff", "#000000")
    readonly property color hover: pick("#ebedf0", "#252a31", "#dde3ea", "#2a2f36")
    readonly property color selected: pick("#d9ecea", "#1f3b3a", "#bfe6e1", "#00443f")
    readonly property color line: pick("#e2e5e9", "#2d333a", "#3d444d", "#b9c1cb")
    readonly property color bubble: pick("#f0f2f4", "#242930", "#f4f5f7", "#16191d")
    readonly property color ownBubble: pick("#d9efec", "#1d3d3b", "#e3f4f1", "#00332f")
    readonly property color scrim: pick("#66101418", "#99000000", "#99101418", "#cc000000")

    // Words. Every pair of these with a surface above keeps a contrast of at least 4.5.
    readonly property color text: pick("#1b2026", "#e7eaee", "#000000", "#ffffff")
    readonly property color softText: pick("#59626d", "#a4adb8", "#2b3138", "#e4e8ed")
    readonly property color link: pick("#0b5cad", "#6cb6ff", "#00357a", "#9ccfff")

    // What asks for attention.
    readonly property color accent: pick("#0e756c", "#45bdae", "#004d46", "#7df0e2")
    readonly property color accentText: pick("#ffffff", "#04211e", "#ffffff", "#000000")
    readonly property color accentSoft: pick("#d9ecea", "#1f3b3a", "#d5f0ec", "#00332f")
    readonly property color highlight: pick("#b5400b", "#ffa877", "#7a2400", "#ffc39e")
    readonly property color highlightText: pick("#ffffff", "#2b1203", "#ffffff", "#000000")
    readonly property color danger: pick("#b3261e", "#ff8f85", "#8c0f08", "#ffb3ab")
    readonly property color dangerText: pick("#ffffff", "#370b07", "#ffffff", "#000000")
    readonly property color dangerSoft: pick("#fbe8e6", "#3b2221", "#ffe9e6", "#3a0d09")
    readonly property color warning: pick("#7d5200", "#f0c674", "#573800", "#ffdd8f")
    readonly property color warningSoft: pick("#fdf2d5", "#37301f", "#fff3d1", "#332600")
    readonly property color good: pick("#1f7a37", "#7bd38b", "#0b4d1e", "#9df0ab")

    // Names and avatars: a colour per person or room, chosen by a hash of the id (0..7).
    readonly property var personColours: strong
        ? dark ? ["#a9cdff", "#ffc48a", "#a5efb1", "#ffb8e2", "#d3c6ff", "#8cf0f5", "#ffb8b2", "#ecec94"]
            : ["#003c8f", "#6b3300", "#0b4d1e", "#75144f", "#3d2599", "#00474d", "#7a1812", "#454500"]
        : dark ? ["#7fb4ff", "#f2a65e", "#7bd389", "#e58fc0", "#b9a4ff", "#5fd0d6", "#f08d86", "#c8c86a"]
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
    readonly property int focusWidth: strong ? 3 : 2
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

    function pick(light: string, dark: string, strongLight: string, strongDark: string): string {
        return root.strong ? (root.dark ? strongDark : strongLight) : (root.dark ? dark : light);
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
