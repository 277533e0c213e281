"""Delivery receipts (MSC4089) for Synapse, as a module beside an unmodified Synapse."""

from tandem_synapse.module import TandemModule

__all__ = ["TandemModule"]
