"""Rows and records for QML."""
