"""Names, addresses and contents that others wrote."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.attachments import KINDS, content, mxc, names
from tandem_core.attachments.content import Cipher
from tandem_core.attachments.mxc import Mxc
from tandem_core.codec import dumps
from tandem_core.http import quote

_HOSTILE = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="./\\:\u202e\u2066\u200b\0\n\r\x1b ~$comNUL1", max_size=60),
    st.sampled_from(["..", ".", "", "/", "a" * 10_000, "\u202e" * 9_000, "💥" * 4_000 + ".tar.gz"]),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_HOSTILE)
def test_a_saved_name_is_one_plain_part_of_a_path(name: str) -> None:
    made = names.saved(name)
    assert PurePosixPath(made).name == made == PureWindowsPath(made).name
    assert not made.startswith(".")
    assert not made.endswith((".", " "))
    assert 0 < len(made.encode()) <= names.MOST_BYTES
    assert not [char for char in made if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")]
    assert made.partition(".")[0].lower() not in ("con", "nul", "aux", "prn", "com1", "lpt1")


@given(_HOSTILE)
def test_a_shown_name_is_one_short_line_in_one_direction(name: str) -> None:
    made = names.shown(name)
    assert 0 < len(made) <= names.MOST_SHOWN
    assert not [char for char in made if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")]


@given(_HOSTILE)
def test_a_name_made_safe_stays_as_it_is(name: str) -> None:
    assert names.saved(names.saved(name)) == names.saved(name)
    assert names.shown(names.shown(name)) == names.shown(name)


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("report.pdf", "report.pdf"),
        ("../../.bashrc", "bashrc"),
        ("..\\..\\autoexec.bat", "autoexec.bat"),
        ("/etc/passwd", "passwd"),
        ("harmless\u202egpj.exe", "harmlessgpj.exe"),
        ("NUL", "_NUL"),
        ("con.txt", "_con.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("what?.txt", "what_.txt"),
        ("a\x1b]0;title\x07.txt", "a]0;title.txt"),
        ("  .hidden", "hidden"),
        ("Grüße aus Köln.jpeg", "Grüße aus Köln.jpeg"),
        ("", "attachment"),
        ("...", "attachment"),
    ],
)
def test_names_that_try_something_become_plain_ones(name: str, saved: str) -> None:
    assert names.saved(name) == saved


def test_a_name_of_ten_thousand_characters_keeps_what_kind_of_file_it_is() -> None:
    assert names.saved("x" * 10_000 + ".png").endswith("x.png")
    assert names.shown("x" * 4_000 + ".png").endswith("x.png")


@given(st.text(max_size=80).map(lambda text: f"mxc://{text}") | st.text(max_size=80) | _JSON)
def test_an_address_is_read_whole_or_not_at_all(text: Any) -> None:
    found = mxc.parse(text)
    if found is not None:
        assert str(found) == text
        assert quote(found.media_id) == found.media_id
        assert "/" not in found.server


@pytest.mark.parametrize(
    "server", ["example.org", "example.org:8448", "1.2.3.4", "[::1]", "[2001:db8::1]:80"]
)
def test_every_kind_of_server_name_may_hold_content(server: str) -> None:
    assert mxc.parse(f"mxc://{server}/aB-_9") == Mxc(server, "aB-_9")


@pytest.mark.parametrize(
    "text",
    [
        "mxc://example.org/../../v3/account",
        "mxc://example.org/a/b",
        "mxc://example.org/a?x=1",
        "mxc://example.org/a#b",
        "mxc://example.org/%2e%2e",
        "mxc://../a",
        "mxc://user@example.org/a",
        "mxc://[::1%lo]/a",
        "mxc://[::1]x/a",
        "mxc://example.org:port/a",
        "mxc:///a",
        "mxc://example.org/",
        "MXC://example.org/a",
        "https://example.org/a",
        "mxc://example.org/a\n",
        "mxc://example.org/" + "a" * 600,
        None,
        7,
    ],
)
def test_an_address_that_would_lead_elsewhere_is_none(text: Any) -> None:
    assert mxc.parse(text) is None


@given(
    st.sampled_from([*sorted(KINDS), "text", "state"]),
    st.dictionaries(st.text(max_size=10), _JSON, max_size=6),
)
def test_whatever_somebody_sends_is_read_without_an_error(kind: str, said: dict[str, Any]) -> None:
    found = content.read(kind, said)
    assert (found is not None) == (kind in KINDS)


def _said(**more: Any) -> dict[str, Any]:
    file = {
        "v": "v2",
        "url": "mxc://example.org/a",
        "key": {"kty": "oct", "alg": "A256CTR", "k": "A" * 43, "ext": True, "key_ops": ["decrypt"]},
        "iv": "A" * 22,
        "hashes": {"sha256": "A" * 43},
    }
    return {"msgtype": "m.image", "body": "cat.png", "file": file} | more


def test_an_encrypted_picture_is_read_with_its_key_and_sides() -> None:
    said = _said(info={"w": 4, "h": 3.0, "size": 12, "mimetype": "IMAGE/PNG"})
    found = content.read("image", said)
    assert found is not None
    assert found.file is not None
    assert found.file.cipher == Cipher("A" * 43, "A" * 22, "A" * 43)
    assert (found.file.width, found.file.height, found.file.size) == (4, 3, 12)
    assert found.file.mimetype == "image/png"
    assert (found.name, found.caption) == ("cat.png", "")


@pytest.mark.parametrize(
    "broken",
    [
        {"v": "v1"},
        {"iv": "short"},
        {"key": {"kty": "oct", "alg": "none", "k": "A" * 43}},
        {"hashes": {}},
        {"key": 1},
    ],
)
def test_a_broken_key_is_not_replaced_by_an_address_in_clear(broken: dict[str, Any]) -> None:
    said = _said(url="mxc://example.org/other")
    said["file"] |= broken
    found = content.read("image", said)
    assert found is not None
    assert found.file is None


def test_numbers_that_lie_are_left_out() -> None:
    info = {"w": -1, "h": 10**30, "size": True, "mimetype": "../../x", "duration": 1e300}
    found = content.read("video", _said(info=info))
    assert found is not None
    assert found.file is not None
    assert (found.file.width, found.file.height, found.file.size, found.duration_ms) == (
        None,
        None,
        None,
        None,
    )
    assert found.file.mimetype == "application/octet-stream"


def test_a_caption_stands_beside_the_name_of_the_file() -> None:
    found = content.read("image", _said(body="Look!", filename="cat.png"))
    assert found is not None
    assert (found.name, found.caption) == ("cat.png", "Look!")
    same = content.read("image", _said(filename="cat.png"))
    assert same is not None
    assert same.caption == ""


def test_what_we_write_is_what_we_read_once_it_is_at_the_server() -> None:
    cipher = {key: value for key, value in _said()["file"].items() if key != "url"}
    picture = content.write_part(cipher, "image/png", 12, 4, 3)
    small = content.write_part(cipher, "image/jpeg", 5, 2, 1)
    said = content.write("m.image", "cat.png", "", picture, small)
    waiting = content.read("image", said)
    assert waiting is not None
    assert waiting.file is not None
    assert waiting.file.source is None
    for part in ("file", "thumbnail"):
        said = content.with_source(said, part, Mxc("example.org", part))
    found = content.read("image", said)
    assert found is not None
    assert found.file is not None
    assert found.thumbnail is not None
    assert (str(found.file.source), str(found.thumbnail.source)) == (
        "mxc://example.org/file",
        "mxc://example.org/thumbnail",
    )
    assert found.thumbnail.cipher == found.file.cipher
    assert "url" not in said
    assert "thumbnail_url" not in said["info"]


def test_the_form_on_the_wire_stays_as_it_is() -> None:
    plain = content.write_part(None, "image/png", 12, 4, 3)
    said = content.write("m.image", "cat.png", "Look!", plain, content.write_part(None, "image/png", 3, 2, 1))
    said = content.with_source(content.with_source(said, "file", Mxc("h", "f")), "thumbnail", Mxc("h", "t"))
    assert dumps(said) == (
        '{"body":"Look!","filename":"cat.png","info":{"h":3,"mimetype":"image/png","size":12,'
        '"thumbnail_info":{"h":1,"mimetype":"image/png","size":3,"w":2},"thumbnail_url":"mxc://h/t","w":4},'
        '"msgtype":"m.image","url":"mxc://h/f"}'
    )


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_950, "10 kB"),
     (999_499, "999 kB"), (999_500, "1.0 MB"), (52_428_800, "52 MB"), (10**15, "1000 TB")],
)  # fmt: skip
def test_sizes_are_said_in_few_digits(size: int, words: str) -> None:
    assert names.size_words(size) == words
