"""What a file is by its first bytes, whatever it calls itself."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tandem_core.attachments.pictures import Look, look


def made(kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (301, 40)).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (made("PNG"), "png"),
        (made("GIF", "P"), "gif"),
        (made("JPEG"), "jpeg"),
        (made("JPEG", progressive=True), "jpeg"),
        (made("WEBP"), "webp"),
        (made("WEBP", lossless=True), "webp"),
        (made("WEBP", "RGBA"), "webp"),
    ],
)
def test_the_pictures_that_are_drawn_are_known_with_their_sides(data: bytes, kind: str) -> None:
    assert look(data) == Look(kind, 301, 40)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_sides_of_a_picture_that_may_be_turned_are_not_said(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert look(made(kind, exif=exif)) == Look(kind.lower())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html>",
        b"%PDF-1.7",
        b"BM" + bytes(60),
        b"\x00\x00\x01\x00",
        b"MZ",
    ],
)
def test_nothing_else_is_a_picture(data: bytes) -> None:
    assert look(data) is None


@given(st.sampled_from([made("PNG"), made("JPEG"), made("WEBP"), made("GIF", "P")]), st.data())
def test_cut_or_changed_bytes_are_looked_at_without_an_error(data: bytes, draw: st.DataObject) -> None:
    end = draw.draw(st.integers(0, len(data)))
    changed = bytearray(data[:end])
    for place in draw.draw(st.lists(st.integers(0, 60), max_size=6)):
        if place < end:
            changed[place] = draw.draw(st.integers(0, 255))
    found = look(bytes(changed))
    assert found is None or (found.width is None) == (found.height is None)
