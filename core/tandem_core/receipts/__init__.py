"""Delivery receipts (MSC4089): decide, send, hear, summarise."""
