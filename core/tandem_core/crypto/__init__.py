"""Olm and Megolm on vodozemac, inside one database transaction per step."""
