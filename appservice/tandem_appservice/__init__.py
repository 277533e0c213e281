"""Accounts hosted by an application service: transactions come in, the engine of the programs does the rest."""
