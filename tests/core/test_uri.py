"""Matrix addresses are understood both ways; whatever else strangers send is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core import uri
from tandem_core.errors import BadInput
from tandem_core.uri import Address, Kind

GOOD = [
    ("matrix:u/alice:example.org", Address(Kind.USER, "@alice:example.org")),
    ("matrix:u/alice:example.org?action=chat", Address(Kind.USER, "@alice:example.org", action="chat")),
    ("matrix:r/room:example.org", Address(Kind.ALIAS, "#room:example.org")),
    ("MATRIX:room/room:example.org", Address(Kind.ALIAS, "#room:example.org")),
    (
        "matrix:roomid/abc:example.org?via=a.org&via=b.org:8448&action=join",
        Address(Kind.ROOM, "!abc:example.org", via=("a.org", "b.org:8448"), action="join"),
    ),
    ("matrix:roomid/abc:example.org/e/ev", Address(Kind.EVENT, "!abc:example.org", "$ev")),
    ("matrix:r/room:example.org/event/ev", Address(Kind.EVENT, "#room:example.org", "$ev")),
    ("matrix:r/caf%C3%A9%2Fbar:example.org", Address(Kind.ALIAS, "#café/bar:example.org")),
    (
        "matrix:roomid/31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
        Address(Kind.ROOM, "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"),
    ),
    ("matrix:u/alice:[::1]:8448", Address(Kind.USER, "@alice:[::1]:8448")),
    ("https://matrix.to/#/@alice:example.org", Address(Kind.USER, "@alice:example.org")),
    ("https://matrix.to/#/%23room%3Aexample.org", Address(Kind.ALIAS, "#room:example.org")),
    ("http://matrix.to/#/#room:example.org/", Address(Kind.ALIAS, "#room:example.org")),
    (
        "https://matrix.to/#/!abc%3Aexample.org/%24ev%2Fx?via=a.org",
        Address(Kind.EVENT, "!abc:example.org", "$ev/x", ("a.org",)),
    ),
    ("  matrix:u/alice:example.org\n", Address(Kind.USER, "@alice:example.org")),
    ("matrix:u/alice:example.org?future=1&action=dance", Address(Kind.USER, "@alice:example.org")),
]
BAD = [
    "",
    "matrix:",
    "matrix:u/",
    "matrix:u/alice",
    "matrix:u/:example.org",
    "matrix:u/alice:",
    "matrix:x/alice:example.org",
    "matrix:u/alice:example.org/e/ev",
    "matrix:r/room:example.org/e/",
    "matrix:r/room:example.org/e",
    "matrix:r/room:example.org/e/a/b",
    "matrix:r/room:example.org/x/ev",
    "matrix://example.org/u/alice:example.org",
    "matrix:r/room:exam ple.org",
    "matrix:r/room:exam%20ple.org",
    "matrix:r/room%0Aevil:example.org",
    "matrix:r/room%00:example.org",
    "matrix:r/room%E2%80%AEevil:example.org",
    "matrix:r/%ff:example.org",
    "matrix:r/%zz:example.org",
    "matrix:r/room:example.org?via=%zz",
    "matrix:roomid/a:example.org?via=evil/../x",
    "matrix:roomid/a:example.org?via=--option%20x",
    "matrix:roomid/a:example.org?" + "via=a.org&" * 60,
    "matrix:r/" + "a" * 300 + ":example.org",
    "matrix:r/" + "a" * 3000,
    "https://matrix.to.evil.org/#/@alice:example.org",
    "https://evil.org/?https://matrix.to/#/@alice:example.org",
    "https://matrix.to/@alice:example.org",
    "https://matrix.to/#/",
    "https://matrix.to/#/alice",
    "https://matrix.to/#/@alice:example.org/$ev",
    "https://matrix.to/#/!a:example.org/ev",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "@alice:example.org",
]


@pytest.mark.parametrize(("text", "address"), GOOD)
def test_an_address_is_understood(text: str, address: Address) -> None:
    assert uri.parse(text) == address


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        uri.parse(text)
    assert len(refused.value.sentence) < 250
    assert refused.value.sentence.isprintable()


def test_addresses_are_written_as_the_proposal_shows_them() -> None:
    event = Address(Kind.EVENT, "!abc:example.org", "$ev/x", ("a.org", "b.org:8448"), "join")
    assert uri.to_uri(event) == "matrix:roomid/abc:example.org/e/ev%2Fx?via=a.org&via=b.org:8448&action=join"
    assert (
        uri.to_link(event) == "https://matrix.to/#/%21abc%3Aexample.org/%24ev%2Fx?via=a.org&via=b.org%3A8448"
    )
    assert uri.to_uri(Address(Kind.ALIAS, "#café/bar:example.org")) == "matrix:r/caf%C3%A9%2Fbar:example.org"


@pytest.mark.parametrize(
    "address",
    [
        Address(Kind.USER, "alice"),
        Address(Kind.ROOM, "!a:example.org", "$ev"),
        Address(Kind.EVENT, "!a:example.org"),
        Address(Kind.EVENT, "@a:example.org", "$ev"),
        Address(Kind.EVENT, "!a:example.org", "ev"),
        Address(Kind.ROOM, "!a:example.org", via=("a b",)),
        Address(Kind.USER, "@a:example.org\n"),
    ],
)
def test_an_address_that_is_not_sound_is_not_written(address: Address) -> None:
    with pytest.raises(BadInput):
        uri.to_uri(address)
    with pytest.raises(BadInput):
        uri.to_link(address)


words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
locals_ = words.filter(lambda word: ":" not in word)
servers = st.from_regex(r"[a-z0-9.-]{1,20}(:[0-9]{1,5})?", fullmatch=True)


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    kind = draw(st.sampled_from(list(Kind)))
    sigil = {Kind.USER: "@", Kind.ALIAS: "#", Kind.ROOM: "!"}.get(kind) or draw(st.sampled_from("#!"))
    return Address(
        kind,
        f"{sigil}{draw(locals_)}:{draw(servers)}",
        f"${draw(words)}" if kind is Kind.EVENT else None,
        tuple(draw(st.lists(servers, max_size=3, unique=True))),
        draw(st.sampled_from(["", "join", "chat"])),
    )


@given(addresses())
def test_whatever_is_written_is_understood_again(address: Address) -> None:
    assert uri.parse(uri.to_uri(address)) == address
    link = uri.parse(uri.to_link(address))
    assert (link.kind, link.id, link.event_id, link.via) == (
        address.kind,
        address.id,
        address.event_id,
        address.via,
    )


@given(
    st.text(max_size=60),
    st.sampled_from(["", "matrix:", "matrix:u/", "matrix:r/a:b?", "https://matrix.to/#/"]),
)
def test_hostile_text_is_refused_or_becomes_a_sound_address(text: str, opening: str) -> None:
    try:
        address = uri.parse(opening + text)
    except BadInput:
        return
    assert uri.parse(uri.to_uri(address)) == address
    assert address.id.isprintable()
    assert " " not in address.id
