"""Pictures that others made, and what is said of our own."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tandem_app.pictures import SMALL, NotAPicture, drawn, looked_at
from tandem_core.media import outgoing

SECRET = "Musterstrasse 17"


def picture(
    kind: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 200 if mode == "L" else None).save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_the_four_kinds_are_drawn_and_fit_their_box(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "anything.txt"
    file.write_bytes(picture(kind, (1600, 400)))
    assert opened(drawn(file, SMALL)).size == (800, 200)
    assert opened(drawn(file.read_bytes(), (4000, 4000))).size == (1600, 400)


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>",
        b"<html><script>alert(1)</script></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"GIF89a",
        b"",
        picture("BMP"),
        picture("TIFF"),
        picture("PNG")[:60],
    ],
)
def test_nothing_else_is_drawn_whatever_it_is_called(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(data)
    for source in (file, data):
        with pytest.raises(NotAPicture):
            drawn(source, SMALL)
        assert looked_at(source) is None


def test_an_svg_behind_the_first_bytes_of_a_picture_is_read_by_no_other_decoder() -> None:
    with pytest.raises(NotAPicture):
        drawn(b"GIF89a" + b"<svg xmlns='http://www.w3.org/2000/svg'/>", SMALL)


def test_a_picture_of_gigapixels_in_a_few_bytes_is_refused_before_it_is_unpacked() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(NotAPicture):
        drawn(bomb, SMALL)


def test_a_thumbnail_tells_nothing_that_the_picture_does_not_show() -> None:
    exif = Image.Exif()
    exif[0x010E] = SECRET
    for kind in ("JPEG", "PNG"):
        source = picture(kind, (1200, 900), exif=exif)
        assert SECRET.encode() in source
        said = looked_at(source)
        assert said is not None
        assert said.thumbnail is not None
        assert SECRET.encode() not in said.thumbnail
        assert (said.width, said.height) == (1200, 900)
        assert (said.thumbnail_width, said.thumbnail_height) == opened(said.thumbnail).size == (800, 600)
        assert said.thumbnail_type == "image/jpeg"


@pytest.mark.parametrize("size", [(900, 300), (90, 30)])
def test_a_picture_that_a_camera_turned_has_the_sides_it_is_seen_with(size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    said = looked_at(picture("JPEG", size, exif=exif))
    assert said is not None
    assert (said.width, said.height) == size[::-1]
    assert opened(drawn(picture("JPEG", size, exif=exif), (2000, 2000))).size == size[::-1]


def test_what_is_seen_through_stays_so_in_the_thumbnail() -> None:
    said = looked_at(picture("PNG", (1600, 1200), "RGBA"))
    assert said is not None
    assert said.thumbnail is not None
    assert said.thumbnail_type == "image/png"
    assert opened(said.thumbnail).mode == "RGBA"


def test_a_small_picture_is_its_own_thumbnail() -> None:
    said = looked_at(picture())
    assert said is not None
    assert (said.thumbnail, said.mimetype, said.width, said.height) == (None, "image/png", 40, 30)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert outgoing.look_at(tmp_path / "pipe") is None
