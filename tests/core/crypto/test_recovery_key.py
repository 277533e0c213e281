"""The recovery key as text: the specification's form, and words for what people get wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.crypto.recovery_key import BadRecoveryKey, decode, encode, looks_like_one

# The pair that the test suites of matrix-js-sdk and matrix-rust-sdk hold themselves to; the bytes are of RFC 7748.
KEY = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
TEXT = "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"

keys = st.binary(min_size=32, max_size=32)


def test_a_known_key_has_the_text_that_other_clients_give_it() -> None:
    assert encode(KEY) == TEXT
    assert decode(TEXT) == KEY


@given(keys)
def test_every_key_comes_back_and_looks_like_one(key: bytes) -> None:
    text = encode(key)
    assert decode(text) == key
    assert looks_like_one(text)
    assert len(text.replace(" ", "")) == 48


@pytest.mark.parametrize("text", [TEXT.replace(" ", ""), f"\n {TEXT}\t", TEXT.replace(" ", "  ")])
def test_spaces_do_not_matter(text: str) -> None:
    assert decode(text) == KEY


@given(
    keys, st.integers(0, 47), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
)
def test_a_slip_is_noticed_nearly_always_and_never_gives_the_same_key(key: bytes, at: int, new: str) -> None:
    letters = encode(key).replace(" ", "")
    changed = letters[:at] + new + letters[at + 1 :]
    found, words = _outcome(changed)
    assert changed not in words
    if found is not None:
        assert (found == key) == (changed == letters)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing was entered"),
        ("   ", "nothing was entered"),
        (TEXT[:-1] + "e", "one or more characters are wrong"),
        (TEXT[:-5], "it has 44 characters"),
        (TEXT + " abcd", "it has 52 characters"),
        (TEXT.replace("c", "0", 1), "character 4 never occurs in one (perhaps o?)"),
        (TEXT.replace("L", "l", 1), "character 5 never occurs in one (perhaps 1 or i?)"),
        ("Fs" + TEXT[2:], "one begins with Es"),
        ("correct horse battery staple", "never occurs"),
        ("z" * 100_000, "it is too long"),
        ("Ünder", "character 1 never occurs in one"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(BadRecoveryKey) as caught:
        decode(text)
    assert words in caught.value.detail


@given(st.text(max_size=80))
def test_any_text_is_a_key_or_refused_in_words(text: str) -> None:
    found, words = _outcome(text)
    assert words if found is None else len(found) == 32


def test_a_key_with_slips_is_told_from_a_passphrase() -> None:
    assert looks_like_one(TEXT[:-2])
    assert looks_like_one(TEXT.replace("L", "l"))
    assert not looks_like_one("correct horse battery staple")
    assert not looks_like_one("")


def test_a_key_of_another_length_is_none() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        encode(KEY[:-1])


def _outcome(text: str) -> tuple[bytes | None, str]:
    try:
        return decode(text), ""
    except BadRecoveryKey as error:
        return None, error.sentence
