"""The content of QR codes, and what is no such content."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_core.verification.qr import BadCode, Code, Mode
from tests.core.verification.sides import key

CODES = st.builds(
    Code,
    st.sampled_from(Mode),
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode().rstrip("=")),
    st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode().rstrip("=")),
    st.binary(min_size=8, max_size=64),
)


@given(CODES)
def test_what_is_shown_is_what_is_read(code: Code) -> None:
    assert Code.from_bytes(code.to_bytes()) == code
    assert Code.from_text(code.to_text()) == code


def test_the_bytes_are_laid_out_as_the_specification_says() -> None:
    code = Code(Mode.TRUSTED, "$flow", key("1"), key("2"), b"secret!!")
    assert code.to_bytes() == b"MATRIX\x02\x01\x00\x05$flow" + b"1" * 32 + b"2" * 32 + b"secret!!"


def test_white_space_in_a_text_code_does_not_matter() -> None:
    code = Code(Mode.PERSON, "$f", key("1"), key("2"), bytes(16))
    text = code.to_text()
    assert Code.from_text(f"\n {text[:20]}\n{text[20:]}==  ") == code


@given(st.binary(max_size=300))
def test_other_bytes_are_refused_and_never_break_anything(raw: bytes) -> None:
    for tried in (raw, b"MATRIX" + raw, b"MATRIX\x02" + raw, b"MATRIX\x02\x00" + raw):
        try:
            code = Code.from_bytes(tried)
        except BadCode:
            continue
        assert code.to_bytes() == tried


@given(st.text(max_size=300))
def test_other_text_is_refused_and_never_breaks_anything(text: str) -> None:
    with pytest.raises(BadCode):
        Code.from_text(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"MATRIX\x01\x00\x00\x02$f" + bytes(80),
        b"MATRIX\x02\x03\x00\x02$f" + bytes(80),
        b"MATRIX\x02\x00\x00\x02$f" + bytes(64 + 7),
        b"MATRIX\x02\x00\xff\xff$f" + bytes(80),
        b"MATRIX\x02\x00\x00\x02\xff\xfe" + bytes(80),
        b"MATRIX\x02\x00\x00\x02$f" + bytes(64 + 257),
    ],
)
def test_another_version_mode_or_length_is_refused(raw: bytes) -> None:
    with pytest.raises(BadCode):
        Code.from_bytes(raw)
