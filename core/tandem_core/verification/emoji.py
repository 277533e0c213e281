"""The 64 emoji of a short authentication string, in their order (spec, "SAS method: emoji")."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Emoji:
    """One picture and the name that the specification gives it."""

    symbol: str
    name: str


_TABLE = (
    "🐶 Dog|🐱 Cat|🦁 Lion|🐎 Horse|🦄 Unicorn|🐷 Pig|🐘 Elephant|🐰 Rabbit|🐼 Panda|🐓 Rooster|🐧 Penguin|🐢 Turtle"
    "|🐟 Fish|🐙 Octopus|🦋 Butterfly|🌷 Flower|🌳 Tree|🌵 Cactus|🍄 Mushroom|🌏 Globe|🌙 Moon|☁️ Cloud|🔥 Fire"
    "|🍌 Banana|🍎 Apple|🍓 Strawberry|🌽 Corn|🍕 Pizza|🎂 Cake|❤️ Heart|😀 Smiley|🤖 Robot|🎩 Hat|👓 Glasses"
    "|🔧 Spanner|🎅 Santa|👍 Thumbs Up|☂️ Umbrella|⌛ Hourglass|⏰ Clock|🎁 Gift|💡 Light Bulb|📕 Book|✏️ Pencil"
    "|📎 Paperclip|✂️ Scissors|🔒 Lock|🔑 Key|🔨 Hammer|☎️ Telephone|🏁 Flag|🚂 Train|🚲 Bicycle|✈️ Aeroplane"
    "|🚀 Rocket|🏆 Trophy|⚽ Ball|🎸 Guitar|🎺 Trumpet|🔔 Bell|⚓ Anchor|🎧 Headphones|📁 Folder|📌 Pin"
)
EMOJI = tuple(Emoji(*entry.split(" ", 1)) for entry in _TABLE.split("|"))
