"""Delivery receipts (MSC4089) and messages to the server itself (MSC4246) for Synapse, as a module beside it."""

from tandem_synapse.module import TandemModule
from tandem_synapse.to_server import ToServerMessage, register_to_server_handler, send_as_server

__all__ = ["TandemModule", "ToServerMessage", "register_to_server_handler", "send_as_server"]
