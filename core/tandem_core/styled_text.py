"""Turn a message's HTML into the few tags that Qt's StyledText draws; everything else becomes words.

Allowed in (Matrix spec, "m.room.message msgtypes", HTML): any. Out: b i u s font(color) a pre ul ol li br.
Nothing that loads, runs or hides survives.
"""

from __future__ import annotations

import html as entities
import re
from html.parser import HTMLParser

_SAME = {"b": "b", "strong": "b", "i": "i", "em": "i", "cite": "i", "u": "u", "ins": "u"}
_STRUCK = {"s": "s", "del": "s", "strike": "s"}
_INLINE = _SAME | _STRUCK
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCKS = frozenset({"p", "div", "blockquote", "tr", "table", "details", "summary", "caption"}) | _HEADINGS
_LISTS = frozenset({"ul", "ol"})
_SILENT = frozenset({"script", "style", "mx-reply", "title", "head", "iframe", "object", "template"})
_SCHEMES = ("https:", "http:", "mailto:", "matrix:")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\Z")
_QUOTE = "│ "
_MOST_INPUT = 128 * 1024
_MOST_DEPTH = 64


def styled(source: str) -> str | None:
    """StyledText for this HTML, or None if it is too big or too deep to be worth it."""
    if len(source) > _MOST_INPUT:
        return None
    maker = _Maker()
    try:
        maker.feed(source)
        maker.close()
    except (AssertionError, ValueError, RecursionError):
        return None
    return maker.result()


class _Maker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[tuple[str, str]] = []  # the tag as written, and what closes it
        self._silent = 0
        self._breaks = 0  # line breaks owed before the next words
        self._deep = False

    def result(self) -> str | None:
        if self._deep:
            return None
        self._out.extend(closing for _, closing in reversed(self._open))
        text = "".join(self._out).strip()
        return text or None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._silent:
            self._silent += tag in _SILENT
            return
        if tag in _SILENT:
            self._silent = 1
        elif tag == "br":
            self._emit("<br>")
        elif tag == "hr":
            self._line()
            self._emit("―――")
            self._line()
        elif tag == "img":
            alt = dict(attrs).get("alt") or dict(attrs).get("title")
            self._words(alt or "")
        elif len(self._open) >= _MOST_DEPTH:
            self._deep = True
        else:
            self._start(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            self._silent -= tag in _SILENT
            return
        if not any(name == tag for name, _ in self._open):
            return
        while self._open:
            name, closing = self._open.pop()
            if closing:
                self._out.append(closing)
            if name in _BLOCKS:
                self._line()
            if name == tag:
                break

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._words(data)

    def _start(self, tag: str, attrs: dict[str, str | None]) -> None:
        opening, closing = _pair(tag, attrs)
        if tag in _BLOCKS:
            self._line()
        if tag == "pre" or tag in _LISTS or tag == "li":
            self._breaks = 0
        if opening:
            self._emit(opening)
        if tag == "blockquote":
            self._emit(_QUOTE)
        self._open.append((tag, closing))

    def _words(self, text: str) -> None:
        if not any(name == "pre" for name, _ in self._open):
            inside = self._open[-1][0] if self._open else ""
            if not text.strip() and (self._breaks or inside in _LISTS):
                return
            text = re.sub(r"[ \t\r\n\f]+", " ", text)
        if text:
            self._emit(entities.escape(text))

    def _emit(self, piece: str) -> None:
        if self._breaks and self._out:
            self._out.append("<br>")
        self._breaks = 0
        self._out.append(piece)

    def _line(self) -> None:
        if not (self._out and self._out[-1] == _QUOTE):
            self._breaks = 1


def _pair(tag: str, attrs: dict[str, str | None]) -> tuple[str, str]:
    """The StyledText tags that open and close for this one; empty where only its words stay."""
    if tag in _INLINE:
        name = _INLINE[tag]
        return f"<{name}>", f"</{name}>"
    if tag in _HEADINGS:
        return "<b>", "</b>"
    if tag in _LISTS or tag in ("li", "pre"):
        return f"<{tag}>", f"</{tag}>"
    if tag == "a":
        href = (attrs.get("href") or "").strip()
        if href.lower().startswith(_SCHEMES):
            return f'<a href="{entities.escape(href)}">', "</a>"
    if tag in ("font", "span"):
        color = attrs.get("data-mx-color") or attrs.get("color") or ""
        if _COLOR.match(color):
            return f'<font color="{color}">', "</font>"
    return "", ""
