"""The engine of Tandem: sync, encryption, receipts, and tandemctl; no Qt."""
