"""What row an event makes in a timeline: pure, and total over whatever a server or a peer sends."""

from __future__ import annotations

import html as entities
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tandem_core.attachments.names import shown
from tandem_core.codec import mend
from tandem_core.types import Json

MESSAGE_KINDS = frozenset(
    {"text", "emote", "notice", "image", "file", "audio", "video", "location", "sticker", "poll", "sealed"}
)
"""Kinds that are something a person said."""
UNREAD_KINDS = MESSAGE_KINDS - {"notice"}

_KIND_BY_MSGTYPE = {
    "m.text": "text",
    "m.emote": "emote",
    "m.notice": "notice",
    "m.image": "image",
    "m.file": "file",
    "m.audio": "audio",
    "m.video": "video",
    "m.location": "location",
}
_POLL_TYPES = ("m.poll.start", "org.matrix.msc3381.poll.start")
_MOST_BODY = 64 * 1024
_MOST_WORDS = 300
_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]}]")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """The row of one event; ``shown`` is false for what changes other rows only."""

    kind: str
    body: str
    html: str | None
    shown: bool
    relation: str | None = None
    relates_to: str | None = None


def make_row(
    type: str,
    content: Json,
    state_key: str | None = None,
    *,
    sender: str = "",
    prev_content: Json | None = None,
    redacts: str | None = None,
    name_of: Callable[[str], str] | None = None,
) -> RowFacts:
    """The row of an event with this (clear) type and content; never raises.

    ``name_of`` gives the name that a user id goes by in the room.
    """
    if state_key is not None:
        words = _state_words(type, content, state_key, sender, prev_content or {}, name_of or local_name)
        return RowFacts("state", words, None, shown=True) if words else _NOTHING
    relation, relates_to = relation_of(content)
    if type == "m.room.redaction":
        target = _text(content.get("redacts")) or redacts
        return RowFacts("none", "", None, False, "redaction" if target else None, target)
    if relation == "m.replace":
        return RowFacts("none", "", None, False, relation, relates_to)
    kind, body, html = _message(type, content)
    return RowFacts(kind, body, html, kind != "none", relation, relates_to)


def new_content(content: Json) -> Json | None:
    """What an edit puts in the place of the old content, or None if it is no edit."""
    new = content.get("m.new_content")
    return new if isinstance(new, dict) else None


def relation_of(content: Json) -> tuple[str | None, str | None]:
    """``rel_type`` and ``event_id`` of ``m.relates_to``; a plain reply has the type ``m.in_reply_to``."""
    relates = content.get("m.relates_to")
    if not isinstance(relates, dict):
        return None, None
    relation, target = _text(relates.get("rel_type")), _text(relates.get("event_id"))
    if relation and target:
        return relation, target
    reply = relates.get("m.in_reply_to")
    if isinstance(reply, dict) and (target := _text(reply.get("event_id"))):
        return "m.in_reply_to", target
    return None, None


def preview(kind: str, body: str) -> str:
    """One short line for the room list."""
    match kind:
        case "sealed":
            return "Encrypted message"
        case "redacted":
            return "Message deleted"
        case "image":
            return f"Picture: {_one_line(body)}"
        case "video":
            return f"Video: {_one_line(body)}"
        case "audio":
            return f"Audio: {_one_line(body)}"
        case "file":
            return f"File: {_one_line(body)}"
        case "location":
            return f"Place: {_one_line(body)}"
        case "sticker":
            return f"Sticker: {_one_line(body)}"
        case "poll":
            return f"Poll: {_one_line(body)}"
    return _one_line(body)


def local_name(user_id: str) -> str:
    """``alice`` of ``@alice:example.org``: a name for somebody without one."""
    return user_id[1:].split(":", 1)[0] if user_id.startswith("@") else user_id


_NOTHING = RowFacts("none", "", None, shown=False)


def _message(type: str, content: Json) -> tuple[str, str, str | None]:
    if type == "m.room.encrypted":
        return "sealed", "", None
    if type == "m.sticker":
        return "sticker", shown(_text(content.get("body")) or "Sticker"), None
    if type in _POLL_TYPES:
        return "poll", _poll_question(content), None
    if type != "m.room.message":
        return "none", "", None
    body = _text(content.get("body"))
    if body is None:
        return "none", "", None
    msgtype = content.get("msgtype")
    if msgtype == "m.key.verification.request":
        return "notice", "Asks to verify each other", None  # its body is for clients that cannot
    kind = _KIND_BY_MSGTYPE.get(msgtype, "text") if isinstance(msgtype, str) else "text"
    is_reply = relation_of(content)[0] in ("m.in_reply_to", "m.thread")
    body = _without_reply_quote(body[:_MOST_BODY]) if is_reply else body[:_MOST_BODY]
    if kind not in ("text", "emote", "notice"):
        return kind, _about_file(content, body), None
    return kind, body, _html(content, body)


def _about_file(content: Json, body: str) -> str:
    """The caption, or the file's name without its tricks."""
    filename = _text(content.get("filename"))
    return body if filename is not None and filename != body else shown(body)


def _html(content: Json, body: str) -> str | None:
    formatted = _text(content.get("formatted_body"))
    if formatted and content.get("format") == "org.matrix.custom.html":
        from tandem_core.styled_text import styled

        made = styled(formatted)
        if made is not None and made != entities.escape(body, quote=False):
            return made
    return _linked(body) if "http" in body else None


def _linked(body: str) -> str | None:
    """The body with its web addresses as links, or None if it has none."""
    parts: list[str] = []
    end = 0
    for match in _URL.finditer(body):
        url = match.group()
        parts.append(_escaped(body[end : match.start()]))
        parts.append(f'<a href="{entities.escape(url)}">{entities.escape(url)}</a>')
        end = match.end()
    if not end:
        return None
    parts.append(_escaped(body[end:]))
    return "".join(parts)


def _escaped(text: str) -> str:
    return entities.escape(text, quote=False).replace("\n", "<br>")


def _without_reply_quote(body: str) -> str:
    """Drop the old quotation of the message that is answered (``> <@user> ...``)."""
    if not body.startswith("> "):
        return body
    lines = body.split("\n")
    first = next((number for number, line in enumerate(lines) if not line.startswith(">")), len(lines))
    return "\n".join(lines[first:]).lstrip("\n") or body


def _poll_question(content: Json) -> str:
    for key in ("m.poll", "m.poll.start", "org.matrix.msc3381.poll.start"):
        poll = content.get(key)
        question = poll.get("question") if isinstance(poll, dict) else None
        if isinstance(question, dict):
            for words in ("body", "org.matrix.msc1767.text", "m.text"):
                if text := _text(question.get(words)):
                    return text[:_MOST_WORDS]
    return ""


def _state_words(
    type: str, content: Json, state_key: str, sender: str, before: Json, name_of: Callable[[str], str]
) -> str:
    if type == "m.room.member":
        return _membership_words(content, state_key, sender, before, name_of)
    if type not in ("m.room.name", "m.room.topic"):
        return ""
    who = _one_line(name_of(sender))
    match type:
        case "m.room.name" if state_key == "":
            name = _text(content.get("name"))
            return f"{who} named the room {_one_line(name)}" if name else f"{who} removed the room's name"
        case "m.room.topic" if state_key == "":
            topic = _text(content.get("topic"))
            return f"{who} set the topic: {_one_line(topic)}" if topic else f"{who} removed the topic"
    return ""


def _membership_words(
    content: Json, target: str, sender: str, before: Json, name_of: Callable[[str], str]
) -> str:
    was, now = before.get("membership"), content.get("membership")
    name = _one_line(_text(content.get("displayname")) or _text(before.get("displayname")) or name_of(target))
    actor = name if sender == target else _one_line(name_of(sender))
    match now:
        case "join" if was == "join":
            old = _one_line(_text(before.get("displayname")) or local_name(target))
            new = _one_line(_text(content.get("displayname")) or local_name(target))
            return f"{old} is now called {new}" if old != new else ""
        case "join":
            return f"{name} joined"
        case "invite":
            return f"{actor} invited {name}"
        case "knock":
            return f"{name} asks to join"
        case "ban":
            return f"{actor} banned {name}"
        case "leave" if sender == target:
            return f"{name} declined the invitation" if was == "invite" else f"{name} left"
        case "leave" if was == "ban":
            return f"{actor} lifted the ban on {name}"
        case "leave" if was == "invite":
            return f"{actor} withdrew the invitation of {name}"
        case "leave":
            return f"{actor} removed {name}"
    return ""


def _one_line(text: str) -> str:
    return " ".join(text[: _MOST_WORDS * 4].split())[:_MOST_WORDS]


def _text(value: Any) -> str | None:
    """The value if it is text with something in it; NUL, which cuts text short in C, is left out."""
    return mend(value).replace("\0", "") or None if isinstance(value, str) else None
