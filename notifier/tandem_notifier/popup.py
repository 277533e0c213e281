"""What a popup says, and what shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tandem_core.errors import Expected
from tandem_core.types import EventId, RoomId

VERIFICATION = "verification:"
"""A request to verify has a popup under this and its id in place of a room's: a click brings the window forward."""


class PopupsUnavailable(Expected):
    title = "Desktop notifications cannot be shown"
    advice = "Tandem tries again when a notification service appears."


@dataclass(frozen=True, slots=True)
class Popup:
    """One popup about one room; ``title`` and ``body`` tell of ``events``, the newest last.

    Where it takes the place of the room's former popup, ``together`` is title and body for both.
    """

    room_id: RoomId
    events: tuple[EventId, ...]
    title: str
    body: str
    at_ms: int
    together: tuple[str, str] | None = None

    @property
    def event_id(self) -> EventId:
        """The newest event: where a click leads."""
        return self.events[-1]


@dataclass(frozen=True, slots=True)
class Click:
    """A person wants to see what a popup is about. ``token`` lets the window come to the front, if there is one."""

    room_id: RoomId
    event_id: EventId
    token: str | None


class Popups(Protocol):
    """A place where popups appear. Set ``on_click`` and ``on_gone`` (the room's popup was closed) before ``run``."""

    on_click: Callable[[Click], None]
    on_gone: Callable[[RoomId], None]

    async def run(self) -> None:
        """Keep in touch with whatever shows popups, until cancelled."""
        ...

    async def show(self, popup: Popup) -> None:
        """Show it; returns once it is handed over. Raises PopupsUnavailable when it cannot be."""
        ...

    async def close(self, room_id: RoomId) -> None:
        """Take the room's popup away, if there is one; never raises PopupsUnavailable."""
        ...

    async def notice(self, title: str, body: str) -> None:
        """Tell something that is about no room (signed out). Raises PopupsUnavailable."""
        ...


def ignore(_: object) -> None:
    """A callback for nobody."""
