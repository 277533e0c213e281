"""Desktop notifications where there is a service for them, the log where there is none, by the moment."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tandem_core.types import RoomId
from tandem_notifier.popup import Click, Popup, PopupsUnavailable
from tandem_notifier.popups.freedesktop import FreedesktopPopups
from tandem_notifier.popups.log import LogPopups

log = logging.getLogger("tandem.popups")


class ChosenPopups:
    """Shows on the desktop if it can, otherwise in the log; ``is_log_wanted`` writes the log in any case.

    ``tell`` says to a person where popups go, at the start and at each change.
    """

    def __init__(
        self,
        desktop: FreedesktopPopups,
        written: LogPopups,
        tell: Callable[[str], None],
        *,
        is_log_wanted: bool,
    ) -> None:
        self._desktop = desktop
        self._written = written
        self._tell = tell
        self._is_log_wanted = is_log_wanted

    @property
    def on_click(self) -> Callable[[Click], None]:
        return self._desktop.on_click

    @on_click.setter
    def on_click(self, call: Callable[[Click], None]) -> None:
        self._desktop.on_click = call

    @property
    def on_gone(self) -> Callable[[RoomId], None]:
        return self._desktop.on_gone

    @on_gone.setter
    def on_gone(self, call: Callable[[RoomId], None]) -> None:
        self._desktop.on_gone = call

    async def run(self) -> None:
        """Keep in touch with the desktop, until cancelled."""
        self._desktop.on_state = self._say
        await self._desktop.run()

    async def ready(self) -> None:
        """Return once it is known where popups go; that is said aloud."""
        await self._desktop.wait_tried()
        if not self._desktop.is_usable:
            self._say(False)

    async def show(self, popup: Popup) -> None:
        """Show it; what the desktop does not take is written."""
        is_written = self._is_log_wanted
        if is_written:
            await self._written.show(popup)
        try:
            await self._desktop.show(popup)
        except PopupsUnavailable:
            if not is_written:
                await self._written.show(popup)

    async def close(self, room_id: RoomId) -> None:
        """Take the room's popup away."""
        await self._desktop.close(room_id)

    async def notice(self, title: str, body: str) -> None:
        """Tell something that is about no room."""
        if self._is_log_wanted:
            await self._written.notice(title, body)
        try:
            await self._desktop.notice(title, body)
        except PopupsUnavailable:
            if not self._is_log_wanted:
                await self._written.notice(title, body)

    def _say(self, is_usable: bool) -> None:
        if is_usable:
            self._tell("Popups are shown by the desktop's notification service.")
        else:
            self._tell(
                f"There is no desktop notification service: popups are written to {self._written.where},"
                " one JSON line each. They go to the desktop as soon as a service appears."
            )
