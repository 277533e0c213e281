"""Pictures decoded and made small, within limits, off the Qt thread: what is shown is always a copy made here.

A picture that came is read by the decoder that its first bytes name, never by its name or type; so nothing but
PNG, JPEG, GIF and WebP is ever drawn. QML only loads the copies, whose format and sides are our own.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QSize
from PySide6.QtGui import QColorSpace, QImage, QImageReader, QPainter

from tandem_core.errors import Expected
from tandem_core.media import outgoing
from tandem_core.media.outgoing import Picture

SMALL = (800, 600)
"""In the timeline, and what is sent as a thumbnail."""
LARGE = (3840, 2160)
MOST_PIXELS = 64_000_000
_MOST_MEGABYTES = 300
_QUALITY = 85
_QUICK = 90
"""Of PNG: the same pixels, packed loosely, since somebody waits for it."""
# The alternative, KeepAspectRatio of the name Qt, makes all of its enums (see models.roles).


class NotAPicture(Expected):
    """Its bytes are of no picture that is drawn, or of one too big, or broken."""

    title = "This picture cannot be shown"
    advice = "It can be saved as a file."


def drawn(source: Path | bytes, box: tuple[int, int]) -> bytes:
    """A copy that fits the box, without metadata. Raises NotAPicture. Takes its time: not for the Qt thread."""
    return _written(_decoded(source, box))


def looked_at(source: Path | bytes) -> Picture | None:
    """What is said of a picture that is sent, with a thumbnail if it is a big one; None if it is none."""
    look = outgoing.look_at(source)
    if look is None:
        return None
    try:
        whole = _sides(source)
        small = _decoded(source, SMALL)
    except NotAPicture:
        return None
    thumbnail = None
    if whole.width() > SMALL[0] or whole.height() > SMALL[1]:
        thumbnail = _written(small)
    return Picture(
        whole.width(),
        whole.height(),
        look.mimetype,
        thumbnail,
        "image/png" if small.hasAlphaChannel() else "image/jpeg",
        small.width(),
        small.height(),
    )


def as_png(image: QImage) -> bytes:
    """A picture of the clipboard as the file that is sent."""
    return _encoded(image, "PNG", _QUICK)


def _sides(source: Path | bytes) -> QSize:
    """Width and height as they are shown: a camera may have turned it."""
    reader, _ = _reader(source)
    size = reader.size()
    # Each of the transformations by a quarter has this bit.
    is_turned = reader.transformation().value & 4
    return size.transposed() if is_turned else size


def _decoded(source: Path | bytes, box: tuple[int, int]) -> QImage:
    QImageReader.setAllocationLimit(_MOST_MEGABYTES)
    sides = _sides(source)
    width, height = sides.width(), sides.height()
    if width <= 0 or height <= 0 or width * height > MOST_PIXELS:
        raise NotAPicture
    reader, _buffer = _reader(source)
    scale = min(1.0, box[0] / width, box[1] / height)
    fitting = QSize(max(1, round(width * scale)), max(1, round(height * scale)))
    if scale < 1.0:
        turned = reader.transformation().value & 4
        reader.setScaledSize(fitting.transposed() if turned else fitting)
    image = reader.read()
    if image.isNull():
        raise NotAPicture
    if image.colorSpace().isValid():
        image.convertToColorSpace(QColorSpace(QColorSpace.NamedColorSpace.SRgb))
    return _bare(image)


def _reader(source: Path | bytes) -> tuple[QImageReader, QBuffer | None]:
    """A reader that knows its format; the buffer is to be kept as long as it is used."""
    look = outgoing.look_at(source)
    if look is None:
        raise NotAPicture
    buffer = None
    reader = QImageReader()
    if isinstance(source, bytes):
        buffer = QBuffer()
        buffer.setData(QByteArray(source))
        buffer.open(QIODevice.OpenModeFlag.ReadOnly)
        reader.setDevice(buffer)
    else:
        reader.setFileName(str(source))
    reader.setFormat(QByteArray(look.format.encode()))
    reader.setAutoDetectImageFormat(False)
    reader.setAutoTransform(True)
    return reader, buffer


def _bare(image: QImage) -> QImage:
    """Its pixels on a fresh canvas: no text, no profile, no resolution comes along."""
    kind = (
        QImage.Format.Format_ARGB32_Premultiplied if image.hasAlphaChannel() else QImage.Format.Format_RGB32
    )
    canvas = QImage(image.size(), kind)
    canvas.fill(0)
    painter = QPainter(canvas)
    painter.drawImage(0, 0, image)
    painter.end()
    return canvas


def _written(image: QImage) -> bytes:
    return _encoded(image, "PNG") if image.hasAlphaChannel() else _encoded(image, "JPEG", _QUALITY)


def _encoded(image: QImage, kind: str, quality: int = -1) -> bytes:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if not image.save(buffer, kind, quality):  # type: ignore[call-overload]
        raise NotAPicture
    return bytes(buffer.data().data())
