"""The picture of a QR code: dark and light modules of what the code says."""

from __future__ import annotations


def modules(content: bytes) -> list[str]:
    """Rows of ``1`` (dark) and ``0``, without the light border; none where the library for it is not installed."""
    try:
        import segno
    except ImportError:
        return []
    made = segno.make_qr(content, mode="byte", error="m")
    return ["".join("1" if dark else "0" for dark in row) for row in made.matrix]
