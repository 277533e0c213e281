"""Verification: two people, or two devices of one person, make sure that nobody sits between them."""
