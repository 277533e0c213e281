"""Attachments on disk and on their way: encrypted once, sent from a folder of their own, fetched into a cache."""
