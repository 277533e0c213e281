"""What row an event makes, and which formatting survives."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_core.rows import make_row, preview
from tandem_core.styled_text import styled

_ALLOWED = re.compile(r'</?(b|i|u|s|pre|ul|ol|li|font|a)( (href|color)="[^"<>]*")?>|<br>')


@pytest.mark.parametrize(
    ("html", "made"),
    [
        ("<p>Hi <strong>you</strong></p><p>there</p>", "Hi <b>you</b><br>there"),
        ("<em>a</em><del>b</del>", "<i>a</i><s>b</s>"),
        ("<h1>Title</h1>text", "<b>Title</b><br>text"),
        ("<ul>\n<li>a</li>\n<li>b</li>\n</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("<pre><code>a\n b</code></pre>", "<pre>a\n b</pre>"),
        ("<blockquote><p>q</p></blockquote>answer", "│ q<br>answer"),
        ("<mx-reply><blockquote>old</blockquote></mx-reply>new", "new"),
        ("a<script>alert(1)</script>b<style>x</style>", "ab"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ('<a href="https://a.b/?c=1&amp;d">y</a>', '<a href="https://a.b/?c=1&amp;d">y</a>'),
        (
            "<a href='https://a.b/\"><img src=x>'>y</a>",
            '<a href="https://a.b/&quot;&gt;&lt;img src=x&gt;">y</a>',
        ),
        ('<img src="mxc://a/b" alt="a cat">', "a cat"),
        ('<span data-mx-color="#ff0000">red</span>', '<font color="#ff0000">red</font>'),
        ('<font color="url(x)">plain</font>', "plain"),
        ("<b>never closed", "<b>never closed</b>"),
        ("1 &lt; 2 &amp;amp;", "1 &lt; 2 &amp;amp;"),
        ("", None),
        ("<div>" * 100 + "deep", None),
    ],
)
def test_formatting_is_reduced_to_what_is_safe_to_draw(html: str, made: str | None) -> None:
    assert styled(html) == made


_PIECES = (
    "<", ">", "/", "a", "b", "i", "script", "img", "src=", "href=", "'", '"', "=", "javascript:", "https://x", "&lt;",
    "&#60;", "<!--", "-->", "ul", "li", "p", "pre", "x", " ", "\n",
)  # fmt: skip


@settings(max_examples=100)
@given(st.lists(st.sampled_from(_PIECES), max_size=40))
def test_whatever_comes_in_only_allowed_tags_come_out(pieces: list[str]) -> None:
    made = styled("".join(pieces)) or ""
    assert "<" not in _ALLOWED.sub("", made)
    assert "javascript:" not in "".join(re.findall(r'href="([^"]*)"', made))


_KEYS = (
    "body", "msgtype", "format", "formatted_body", "m.relates_to", "m.new_content", "membership", "displayname",
    "m.poll", "name", "redacts",
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_TYPES = ("m.room.message", "m.room.member", "m.poll.start", "m.sticker", "m.reaction", "m.room.name", "x")


@settings(max_examples=60)
@given(
    st.sampled_from(_TYPES),
    st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=6),
    st.none() | st.text(max_size=4),
)
def test_no_content_makes_a_row_fail(kind: str, content: dict[str, Any], state_key: str | None) -> None:
    row = make_row(kind, content, state_key)
    assert row.shown == (row.kind != "none")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"msgtype": "m.text", "body": "x"}, "text"),
        ({"msgtype": "m.emote", "body": "x"}, "emote"),
        ({"msgtype": "m.notice", "body": "x"}, "notice"),
        ({"msgtype": "m.image", "body": "x.png"}, "image"),
        ({"msgtype": "org.unknown", "body": "x"}, "text"),
        ({"msgtype": "m.text"}, "none"),
        ({"msgtype": "m.text", "body": 5}, "none"),
        ({}, "none"),
    ],
)
def test_the_kind_of_a_message_follows_its_msgtype(content: dict[str, Any], kind: str) -> None:
    assert make_row("m.room.message", content).kind == kind


def test_a_reply_does_not_repeat_what_it_answers() -> None:
    content = {
        "msgtype": "m.text",
        "body": "> <@bob:x> old\n> words\n\nnew",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$old"}},
    }
    row = make_row("m.room.message", content)
    assert (row.body, row.relation, row.relates_to) == ("new", "m.in_reply_to", "$old")


def test_a_quotation_in_no_reply_stays() -> None:
    assert make_row("m.room.message", {"msgtype": "m.text", "body": "> quote\nmine"}).body == "> quote\nmine"


def test_web_addresses_become_links_and_nothing_else_does() -> None:
    row = make_row("m.room.message", {"msgtype": "m.text", "body": "see https://a.b/c?d=1&e. <b>"})
    assert row.html == 'see <a href="https://a.b/c?d=1&amp;e">https://a.b/c?d=1&amp;e</a>. &lt;b&gt;'
    assert make_row("m.room.message", {"msgtype": "m.text", "body": "http is a word"}).html is None


def test_formatting_that_adds_nothing_is_left_out() -> None:
    content = {
        "msgtype": "m.text",
        "body": "a",
        "format": "org.matrix.custom.html",
        "formatted_body": "<p>a</p>",
    }
    assert make_row("m.room.message", content).html is None


@pytest.mark.parametrize(
    ("before", "now", "sender", "words"),
    [
        ({}, {"membership": "join", "displayname": "Carol"}, "@c:x", "Carol joined"),
        (
            {"membership": "join", "displayname": "C"},
            {"membership": "join", "displayname": "D"},
            "@c:x",
            "C is now called D",
        ),
        ({"membership": "join"}, {"membership": "join", "avatar_url": "mxc://a/b"}, "@c:x", ""),
        ({}, {"membership": "invite"}, "@b:x", "b invited c"),
        ({"membership": "join"}, {"membership": "leave"}, "@c:x", "c left"),
        ({"membership": "invite"}, {"membership": "leave"}, "@c:x", "c declined the invitation"),
        ({"membership": "invite"}, {"membership": "leave"}, "@b:x", "b withdrew the invitation of c"),
        ({"membership": "ban"}, {"membership": "leave"}, "@b:x", "b lifted the ban on c"),
        ({"membership": "join"}, {"membership": "leave"}, "@b:x", "b removed c"),
        ({"membership": "join"}, {"membership": "ban"}, "@b:x", "b banned c"),
        ({}, {"membership": "knock"}, "@c:x", "c asks to join"),
        ({}, {"membership": 7}, "@c:x", ""),
    ],
)
def test_a_change_of_membership_is_told_in_words(
    before: dict[str, Any], now: dict[str, Any], sender: str, words: str
) -> None:
    row = make_row("m.room.member", now, "@c:x", sender=sender, prev_content=before)
    assert (row.body, row.shown) == (words, bool(words))


def test_people_are_named_as_the_room_knows_them() -> None:
    names = {"@b:x": "Bob\nBuilder", "@c:x": "Carol"}.__getitem__
    row = make_row("m.room.member", {"membership": "invite"}, "@c:x", sender="@b:x", name_of=names)
    assert row.body == "Bob Builder invited Carol"
    row = make_row("m.room.name", {"name": "Kitchen"}, "", sender="@b:x", name_of=names)
    assert row.body == "Bob Builder named the room Kitchen"


def test_nothing_ends_early_at_a_nul() -> None:
    assert make_row("m.room.message", {"msgtype": "m.text", "body": "a\0b"}).body == "ab"
    assert not make_row("m.room.message", {"msgtype": "m.text", "body": "\0"}).shown


def test_previews_are_one_short_line() -> None:
    assert preview("text", "a\n\nb  c") == "a b c"
    assert preview("image", "cat.png") == "Picture: cat.png"
    assert len(preview("text", "x" * 5000)) <= 300
