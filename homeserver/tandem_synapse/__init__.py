"""Delivery receipts (MSC4089) and messages to the server itself (MSC4246) for Synapse, as a module beside it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tandem_synapse.module import TandemModule
    from tandem_synapse.to_server import ToServerMessage, register_to_server_handler, send_as_server
else:
    try:
        from tandem_synapse.module import TandemModule
        from tandem_synapse.to_server import ToServerMessage, register_to_server_handler, send_as_server
    except (ImportError, AttributeError) as error:
        # Another Synapse may lack what we name while we are loaded; that too is to be told in a sentence.
        from tandem_synapse.refused import refusing

        TandemModule = refusing(error)

__all__ = ["TandemModule", "ToServerMessage", "register_to_server_handler", "send_as_server"]
