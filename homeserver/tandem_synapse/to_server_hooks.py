"""The bodies of the wraps for MSC4246: what goes to the server, and nobody takes its name."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from synapse.module_api.errors import Codes, SynapseError

from tandem_synapse import seams
from tandem_synapse.to_server import ToServer


def _send(original: seams.Method) -> seams.Method:
    async def send_device_message(self: Any, requester: Any, message_type: str, messages: Any) -> None:
        to_server = seams.attached(self, ToServer)
        if to_server is not None and isinstance(messages, dict):
            rest = await to_server.take(requester, message_type, messages)
            if messages and not rest:
                return
            messages = rest
        await original(self, requester, message_type, messages)

    return send_device_message


def _receive(original: seams.Method) -> seams.Method:
    async def on_direct_to_device_edu(self: Any, origin: str, content: Any) -> None:
        to_server = seams.attached(self, ToServer)
        if to_server is None:
            await original(self, origin, content)
        else:
            await to_server.take_federated(origin, content, partial(original, self, origin))

    return on_direct_to_device_edu


def _register(original: seams.Method) -> seams.Method:
    async def register_user(self: Any, user_id: str, *args: Any, **kwargs: Any) -> Any:
        _refuse(self, user_id)
        return await original(self, user_id, *args, **kwargs)

    return register_user


def _activate(original: seams.Method) -> seams.Method:
    async def activate_account(self: Any, user_id: str) -> Any:
        _refuse(self, user_id)
        return await original(self, user_id)

    return activate_account


def _refuse(part: Any, user_id: str) -> None:
    """The one gate for new accounts: appservices and workers come through here, too, unlike ``check_username``."""
    to_server = seams.attached(part, ToServer)
    if to_server is not None and user_id == to_server.address:
        words = f"{user_id} is the address of the server itself"
        raise SynapseError(HTTPStatus.BAD_REQUEST, words, Codes.INVALID_USERNAME)


MAKERS: dict[str, seams.Maker] = {
    seams.SEND_TO_DEVICE: _send,
    seams.TO_DEVICE_EDU: _receive,
    seams.REGISTER_USER: _register,
    seams.ACTIVATE_ACCOUNT: _activate,
}
