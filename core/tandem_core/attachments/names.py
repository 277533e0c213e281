"""Names of files that other people have chosen: shown without tricks, and saved as plain file names only; and sizes.

A name may hold path parts (``../../.bashrc``), control characters, marks that turn the direction of writing
(``harmless\\u202egpj.exe`` reads as ``harmlessexe.jpg``), names that a system keeps for itself, or a novel.
"""

from __future__ import annotations

import re
import unicodedata

MOST_SHOWN = 120
MOST_BYTES = 200
"""Of a saved name, in UTF-8; most file systems allow 255, and a temporary one beside it may be longer."""
NAMELESS = "attachment"
_MOST_READ = 4096
_MOST_SUFFIX = 16
# Invisible, or changing what is seen around them (Unicode, "Bidirectional Formatting Characters", UTR 36).
_TRICKS = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# Patterns are compiled where they are first used: rows need this module before the first frame.
_SEPARATORS = r'[/\\:*?"<>|]'
_RESERVED = r"(?i)(con|prn|aux|nul|clock\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])\Z"


def shown(name: str) -> str:
    """The name as a person may see it: one line, what it says in the order it says it, at most ``MOST_SHOWN`` long.

    The end stays when it is shortened: what kind of file it claims to be is there.
    """
    text = _plain(name)
    if len(text) <= MOST_SHOWN:
        return text or NAMELESS
    end = text[-40:]
    return f"{text[: MOST_SHOWN - len(end) - 1]}\N{HORIZONTAL ELLIPSIS}{end}"


def saved(name: str) -> str:
    """A name for a new file in a folder that the user chose: never a path, never hidden, never reserved."""
    text = re.split(r"[/\\]", name[-_MOST_READ:])[-1]
    text = re.sub(_SEPARATORS, "_", _plain(text)).strip(" .")
    if not text:
        return NAMELESS
    stem, dot, suffix = text.rpartition(".")
    if not dot or not stem or len(suffix) > _MOST_SUFFIX or " " in suffix:
        stem, dot, suffix = text, "", ""
    if re.match(_RESERVED, stem.split(".", 1)[0].strip()):
        stem = f"_{stem}"
    tail = f"{dot}{suffix}"
    room = MOST_BYTES - len(tail.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(" .") + tail


def size_words(size: int) -> str:
    """``1.4 MB``: decimal units, at most one digit after the point."""
    amount, unit = float(size), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    digits = 1 if unit and amount < 9.95 else 0
    return "1 byte" if size == 1 else f"{amount:.{digits}f} {_UNITS[unit]}"


def _plain(name: str) -> str:
    """Without what is not seen, each run of blanks one blank."""
    kept = "".join(
        " " if char.isspace() else char
        for char in name[:_MOST_READ]
        if char.isspace() or unicodedata.category(char) not in _TRICKS
    )
    return " ".join(kept.split())
