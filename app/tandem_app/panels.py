"""The models of the pages that are not on the first screen; each is made when it is first wanted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Slot

if TYPE_CHECKING:
    from tandem_app.actions import Shell
    from tandem_app.engine_thread import EngineThread
    from tandem_app.reader import Reader
    from tandem_core.errors import Expected

_MODELS = {
    "login": ("login", "LoginModel"),
    "settings": ("settings", "SettingsModel"),
    "messageInfo": ("message_info", "MessageInfoModel"),
    "invite": ("invites", "InvitesModel"),
    "banner": ("banner", "BannerModel"),
}


class Panels(QObject):
    """Makes a page's model once and gives it to QML by name; tells it what it is to show."""

    def __init__(
        self, thread: EngineThread, reader: Reader, shell: Shell, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._made: dict[str, Any] = {}
        shell.settingsWanted.connect(lambda room_id: self._model("settings").open(room_id))
        shell.infoWanted.connect(lambda key: self._model("messageInfo").open(key))
        shell.inviteWanted.connect(lambda room_id: self._model("invite").open(room_id))

    @Slot(str, result=QObject)
    def make(self, what: str) -> QObject:
        """The model of a page."""
        model: QObject = self._model(what)
        return model

    def show_trouble(self, error: Expected) -> None:
        """Have the banner say what is wrong."""
        self._model("banner").show(error)

    def _model(self, what: str) -> Any:
        if what not in self._made:
            module, name = _MODELS[what]
            make = getattr(import_module(f"tandem_app.models.{module}"), name)
            self._made[what] = make(self._thread, self._reader)
        return self._made[what]
