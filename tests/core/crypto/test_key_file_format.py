"""The format of key files: held against matrix-nio's code for it, and against what is no key file."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from Crypto.Hash import HMAC, SHA256, SHA512
from Crypto.Protocol.KDF import PBKDF2
from hypothesis import given, settings
from hypothesis import strategies as st
from nio.crypto import key_export

from tandem_core.crypto import key_file_format as form

FEW = 1000


@settings(max_examples=25)
@given(st.binary(max_size=300), st.text(min_size=1, max_size=20))
def test_what_is_sealed_opens_again_with_its_passphrase_only(content: bytes, passphrase: str) -> None:
    text = form.seal(content, passphrase, rounds=FEW)
    assert form.open_sealed(text, passphrase) == content
    with pytest.raises(form.BadKeyFile):
        form.open_sealed(text, passphrase + "x")


def test_nio_opens_ours_and_we_open_nios(tmp_path: Path) -> None:
    file = tmp_path / "ours.txt"
    file.write_text(form.seal(b"some keys", "a passphrase", rounds=FEW))
    assert key_export.decrypt_and_read(str(file), "a passphrase") == b"some keys"
    theirs = tmp_path / "theirs.txt"
    key_export.encrypt_and_save(b"their keys", str(theirs), "a passphrase", count=FEW)
    assert form.open_sealed(theirs.read_text(), "a passphrase") == b"their keys"


def test_a_passphrase_is_utf_8_as_the_specification_says() -> None:
    """nio takes Latin-1, so that its files open nowhere else if the passphrase is not plain ASCII."""
    text = form.seal(b"keys", "übermut", rounds=FEW)
    raw = base64.b64decode("".join(text.split("\n")[1:-2]))
    derived = PBKDF2("übermut".encode(), raw[1:17], 64, FEW, hmac_hash_module=SHA512)
    assert HMAC.new(derived[32:], raw[:-32], SHA256).digest() == raw[-32:]


def _packed(**changes: bytes) -> str:
    """A sound file whose parts were exchanged."""
    text = form.seal(b"content", "p", rounds=FEW)
    raw = base64.b64decode("".join(text.split("\n")[1:-2]))
    parts = {"version": raw[:1], "salt": raw[1:17], "iv": raw[17:33], "rounds": raw[33:37], "rest": raw[37:]}
    made = b"".join((parts | changes).values())
    return f"{form.HEADER}\n{base64.b64encode(made).decode()}\n{form.FOOTER}"


def test_the_parts_are_where_they_belong() -> None:
    assert form.open_sealed(_packed(), "p") == b"content"


@pytest.mark.parametrize(
    "text",
    [
        "",
        form.HEADER,
        f"{form.HEADER}\n{form.FOOTER}",
        f"{form.HEADER}\nAAAA\n{form.FOOTER}",
        f"{form.HEADER}\nno base64!\n{form.FOOTER}",
        _packed(version=b"\x02"),
        _packed(salt=bytes(16)),
        _packed(iv=bytes(16)),
        _packed(rest=bytes(39)),
    ],
)
def test_what_was_changed_or_is_no_key_file_is_refused(text: str) -> None:
    with pytest.raises(form.BadKeyFile):
        form.open_sealed(text, "p")


@pytest.mark.parametrize("rounds", [bytes(4), b"\xff" * 4, (10_000_001).to_bytes(4, "big")])
def test_a_file_that_would_keep_the_program_busy_for_a_day_is_refused_at_once(rounds: bytes) -> None:
    with pytest.raises(form.BadKeyFile, match="stretched"):
        form.open_sealed(_packed(rounds=rounds), "p")
