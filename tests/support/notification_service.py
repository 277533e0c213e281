"""A desktop notification service in a process of its own: tells on stdout what it is asked, obeys lines on stdin.

``python -m tests.support.notification_service CAPABILITY...`` on the bus of DBUS_SESSION_BUS_ADDRESS.
Lines in: ``click ID [TOKEN]``, ``close ID REASON``, ``forge ID`` (a click that somebody else claims), ``quit``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

SERVICE = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"


def tell(kind: str, **more: Any) -> None:
    print(json.dumps({"kind": kind, **more}), flush=True)


class Service:
    def __init__(self, bus: MessageBus, stranger: MessageBus, capabilities: list[str]) -> None:
        self.bus = bus
        self.stranger = stranger
        self.capabilities = capabilities
        self.number = 0
        self.alive: set[int] = set()

    def hear(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface != SERVICE:
            return None
        match message.member:
            case "GetCapabilities":
                return Message.new_method_return(message, "as", [self.capabilities])
            case "Notify":
                return Message.new_method_return(message, "u", [self.notify(*message.body)])
            case "CloseNotification":
                tell("close", id=message.body[0])
                self.closed(message.body[0], 3)
                return Message.new_method_return(message)
        return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", "no")

    def notify(
        self,
        app: str,
        replaces: int,
        icon: str,
        summary: str,
        body: str,
        actions: list[str],
        hints: dict[str, Variant],
        expire: int,
    ) -> int:
        if replaces in self.alive:
            number = replaces
        else:
            self.number += 1
            number = self.number
        self.alive.add(number)
        plain = {name: hint.value for name, hint in hints.items()}
        tell(
            "notify",
            id=number,
            app=app,
            replaces=replaces,
            icon=icon,
            summary=summary,
            body=body,
            actions=actions,
            hints=plain,
            expire=expire,
        )
        return number

    def closed(self, number: int, reason: int) -> None:
        self.alive.discard(number)
        self.signal(self.bus, "NotificationClosed", "uu", [number, reason])

    def signal(self, bus: MessageBus, member: str, signature: str, body: list[Any]) -> None:
        bus.send(Message.new_signal(PATH, SERVICE, member, signature, body))

    def obey(self, line: str) -> bool:
        match line.split():
            case ["click", number, *token]:
                if token:
                    self.signal(self.bus, "ActivationToken", "us", [int(number), token[0]])
                self.signal(self.bus, "ActionInvoked", "us", [int(number), "default"])
            case ["close", number, reason]:
                self.closed(int(number), int(reason))
            case ["forge", number]:
                self.signal(self.stranger, "ActionInvoked", "us", [int(number), "default"])
                tell("forged")
            case ["quit"] | []:
                return False
        return True


async def main() -> None:
    bus, stranger = await MessageBus().connect(), await MessageBus().connect()
    service = Service(bus, stranger, sys.argv[1:])
    bus.add_message_handler(service.hear)
    await bus.request_name(SERVICE)
    tell("ready")
    while service.obey(await asyncio.to_thread(sys.stdin.readline)):
        pass


if __name__ == "__main__":
    asyncio.run(main())
