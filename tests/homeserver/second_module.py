"""A Synapse module like anybody's, which handles to-device messages to the server; the tests load it beside ours.

It writes down what it handles, one JSON line each, into ``heard.jsonl`` in the folder that its settings name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synapse.module_api import ModuleApi
from synapse.module_api.errors import SynapseError

from tandem_synapse import ToServerMessage, register_to_server_handler, send_as_server


class SecondModule:
    def __init__(self, settings: dict[str, Any], api: ModuleApi) -> None:
        self._api = api
        self._folder = Path(settings["folder"])
        register_to_server_handler(api, "org.example.ping", self._answer)
        register_to_server_handler(api, "org.example.slow", self._wait)
        register_to_server_handler(api, "org.example.broken", self._fail)
        register_to_server_handler(api, "org.example.strict", self._judge, before_answer=True)
        register_to_server_handler(api, "org.example.register", self._register, before_answer=True)

    @staticmethod
    def parse_config(raw: dict[str, Any]) -> dict[str, Any]:
        return raw

    async def _answer(self, message: ToServerMessage) -> None:
        self._note(message)
        answer = {"sender": message.sender, "is_from_here": message.requester is not None, **message.content}
        await send_as_server(self._api, "org.example.pong", {message.sender: {"*": answer}})

    async def _wait(self, message: ToServerMessage) -> None:
        while not (self._folder / "go").exists():
            await self._api.sleep(0.02)
        self._note(message)

    async def _fail(self, message: ToServerMessage) -> None:
        self._note(message)
        raise ValueError("broken on purpose")

    async def _judge(self, message: ToServerMessage) -> None:
        await self._api.sleep(0.05)
        if message.content.get("refuse"):
            raise SynapseError(403, "Not this one", "ORG.EXAMPLE.REFUSED")
        self._note(message)

    async def _register(self, message: ToServerMessage) -> None:
        await self._api.register_user(message.content["localpart"])
        self._note(message)

    def _note(self, message: ToServerMessage) -> None:
        line = {"type": message.type, "sender": message.sender, "content": dict(message.content)}
        with (self._folder / "heard.jsonl").open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(line) + "\n")
