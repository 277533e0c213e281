"""Desktop notifications where there is a service for them, the log where there is none, by the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tandem_core.session_bus import bus_address
from tandem_core.types import RoomId
from tandem_notifier.popup import Click, Popup, PopupsUnavailable, ignore
from tandem_notifier.popups.log import LogPopups

if TYPE_CHECKING:
    from tandem_notifier.popups.freedesktop import FreedesktopPopups

_LOOK_FOR_BUS_S = 30.0


class ChosenPopups:
    """Shows on the desktop if it can, otherwise in the log; ``is_log_wanted`` writes the log in any case.

    ``tell`` says to a person where popups go, at the start and at each change.
    """

    def __init__(
        self,
        written: LogPopups,
        tell: Callable[[str], None],
        *,
        is_log_wanted: bool,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.on_click: Callable[[Click], None] = ignore
        self.on_gone: Callable[[RoomId], None] = ignore
        self._written = written
        self._tell = tell
        self._is_log_wanted = is_log_wanted
        self._sleep = sleep
        self._desktop: FreedesktopPopups | None = None
        self._looked = asyncio.Event()

    async def run(self) -> None:
        """Keep in touch with the desktop, until cancelled; look for one where there is none."""
        while bus_address() is None:
            self._looked.set()
            await self._sleep(_LOOK_FOR_BUS_S)
        # Loaded only here: a machine without a desktop saves the memory.
        from tandem_notifier.popups.freedesktop import FreedesktopPopups

        desktop = FreedesktopPopups(sleep=self._sleep)
        desktop.on_click, desktop.on_gone = self.on_click, self.on_gone
        desktop.on_state = self._say
        self._desktop = desktop
        self._looked.set()
        await desktop.run()

    async def ready(self) -> None:
        """Return once it is known where popups go; that is said aloud."""
        await self._looked.wait()
        if self._desktop is not None:
            await self._desktop.wait_tried()
        if self._desktop is None or not self._desktop.is_usable:
            self._say(False)

    async def show(self, popup: Popup) -> None:
        """Show it; what the desktop does not take is written."""
        await self._hand_over(
            lambda desktop: desktop.show(popup),
            lambda: self._written.show(popup),
        )

    async def close(self, room_id: RoomId) -> None:
        """Take the room's popup away."""
        if self._desktop is not None:
            await self._desktop.close(room_id)

    async def notice(self, title: str, body: str) -> None:
        """Tell something that is about no room."""
        await self._hand_over(
            lambda desktop: desktop.notice(title, body),
            lambda: self._written.notice(title, body),
        )

    async def _hand_over(
        self,
        show: Callable[[FreedesktopPopups], Awaitable[None]],
        write: Callable[[], Awaitable[None]],
    ) -> None:
        is_shown = False
        if self._desktop is not None:
            try:
                await show(self._desktop)
                is_shown = True
            except PopupsUnavailable:
                pass
        if self._is_log_wanted or not is_shown:
            await write()

    def _say(self, is_usable: bool) -> None:
        if is_usable:
            self._tell("Popups are shown by the desktop's notification service.")
        else:
            self._tell(
                f"There is no desktop notification service: popups are written to {self._written.where},"
                " one JSON line each. They go to the desktop as soon as a service appears."
            )
