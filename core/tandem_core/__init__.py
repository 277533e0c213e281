"""The engine of Tandem: sync, encryption, receipts, and tandemctl; no Qt."""

__version__ = "0.1.0"
