"""A module for Synapse with tandem-synapse: to-device messages of one type to the server are sent back by it.

``modules: [..., {module: echo_module.EchoModule, config: {type: org.example.echo}}]``, for the points of MSC4246.
"""

from __future__ import annotations

from typing import Any

from synapse.module_api import ModuleApi

from tandem_synapse.to_server import ToServerMessage, register_to_server_handler, send_as_server


class EchoModule:
    """Sends the content to all devices of whoever sent it."""

    def __init__(self, settings: dict[str, Any], api: ModuleApi) -> None:
        self._api = api
        register_to_server_handler(api, settings["type"], self._echo)

    async def _echo(self, message: ToServerMessage) -> None:
        await send_as_server(self._api, message.type, {message.sender: {"*": dict(message.content)}})
