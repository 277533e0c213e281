"""What is said of attachments, on the wire and to people; nothing here touches a disk or the network."""

KINDS = frozenset({"image", "file", "audio", "video", "sticker"})
"""Rows that have something attached."""
PICTURES = frozenset({"image", "sticker"})
