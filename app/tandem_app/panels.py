"""The models of the pages that are not on the first screen; each is made when it is first wanted."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Slot

from tandem_app.identity_watch import IdentityWatch
from tandem_app.question import QuestionWatch
from tandem_core.types import Topic

if TYPE_CHECKING:
    from tandem_app.actions import Shell
    from tandem_app.engine_thread import EngineThread
    from tandem_app.identity_watch import Changed
    from tandem_app.reader import Reader
    from tandem_core.errors import Expected
    from tandem_core.types import Change

_MODELS = {
    "login": ("login", "LoginModel"),
    "settings": ("settings", "SettingsModel"),
    "confirmations": ("confirmations", "ConfirmationsModel"),
    "confirmQuestion": ("confirm_question", "ConfirmQuestionModel"),
    "messageInfo": ("message_info", "MessageInfoModel"),
    "devices": ("devices", "DevicesModel"),
    "invite": ("invites", "InvitesModel"),
    "banner": ("banner", "BannerModel"),
    "files": ("files", "FilesModel"),
    "chosenFiles": ("chosen_files", "ChosenFilesModel"),
    "verification": ("verification", "VerificationModel"),
    "encryption": ("encryption", "EncryptionModel"),
    "identities": ("identities", "IdentitiesModel"),
}


class Panels(QObject):
    """Makes a page's model once and gives it to QML by name; tells it what it is to show."""

    def __init__(
        self,
        thread: EngineThread,
        reader: Reader,
        shell: Shell,
        clock_ms: Callable[[], int] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._thread = thread
        self._reader = reader
        self._shell = shell
        self._clock_ms = clock_ms
        self._made: dict[str, Any] = {}
        shell.settingsWanted.connect(lambda room_id: self._model("settings").open(room_id))
        shell.infoWanted.connect(lambda key: self._model("messageInfo").open(key))
        shell.inviteWanted.connect(lambda room_id: self._model("invite").open(room_id))
        shell.files_model = lambda: self._model("files")
        thread.trouble.connect(self.show_trouble)
        thread.status.connect(self.show_status)
        thread.session.connect(self._look_for_notice)
        thread.session.connect(self._look_for_verification)
        thread.session.connect(self._look_for_question)
        thread.changed.connect(self._follow)
        self._question = QuestionWatch(thread, self)
        self._question.asked.connect(self._ask)
        self._identities = IdentityWatch(thread, shell, self)
        self._identities.found.connect(self._show_identities)

    @Slot(str, result=QObject)
    def make(self, what: str) -> QObject:
        """The model of a page."""
        model: QObject = self._model(what)
        return model

    @Slot(object)
    def show_trouble(self, error: Expected) -> None:
        """Have the banner say what keeps the engine from working."""
        self._model("banner").trouble(error)

    @Slot(object)
    def show_failure(self, error: Expected) -> None:
        """Have the banner say that what was asked for was not done."""
        self._model("banner").failure(error)

    @Slot(str)
    def show_status(self, words: str) -> None:
        """The engine says how it is doing; a banner that was never needed is not made for good news."""
        if words or "banner" in self._made:
            self._model("banner").status(words)

    @Slot()
    def look(self) -> None:
        """Somebody has written to the store, and no ring said what: the pages read again."""
        for what in ("settings", "confirmations", "messageInfo", "invite", "encryption"):
            if what in self._made:
                self._made[what].look()
        self._look_for_notice()
        self._look_for_question()

    @Slot(object)
    def _show_identities(self, people: list[Changed]) -> None:
        if people or "identities" in self._made:
            self._model("identities").show(people)
            self._shell.set_identity(bool(people))

    @Slot(str)
    def _ask(self, question: str) -> None:
        """Have the banner ask; one that was never needed is not made for nothing."""
        if question != "nothing" or "banner" in self._made:
            self._model("banner").question(question)

    @Slot()
    def _look_for_notice(self) -> None:
        """Have the banner say what the store keeps for the user; without any, it is not made."""
        from tandem_core.store.crypto import restored

        conn = self._reader()
        if "banner" in self._made or (conn is not None and restored(conn) is not None):
            self._model("banner").look()

    @Slot(object)
    def _follow(self, changes: frozenset[Change]) -> None:
        topics = {change.topic for change in changes}
        if Topic.VERIFICATION in topics:
            self._model("verification").follow()
        if topics & {Topic.SETTINGS, Topic.ACCOUNT_DATA}:
            self._look_for_question()

    @Slot()
    def _look_for_question(self) -> None:
        """Ask once per account whether to confirm deliveries; without a reason to, the bar is not made."""
        from tandem_core.receipts.first_question import is_open

        conn = self._reader()
        if "confirmQuestion" in self._made or (conn is not None and is_open(conn)):
            self._model("confirmQuestion").look()

    @Slot(str)
    def _verify_device(self, device_id: str) -> None:
        model = self._model("verification")
        if device_id:
            model.verifyDevice(device_id)
        else:
            model.verifyDevices()

    @Slot(str)
    def _look_for_verification(self, state: str) -> None:
        """Somebody may have asked while no window was there; without any, nothing is made."""
        from tandem_core.store.verification import all_standing

        conn = self._reader() if state == "signed_in" else None
        if conn is not None and any(row.phase == "asked" for row in all_standing(conn)):
            self._model("verification").follow()

    def _model(self, what: str) -> Any:
        if what not in self._made:
            module, name = _MODELS[what]
            make = getattr(import_module(f"tandem_app.models.{module}"), name)
            made = self._made[what] = make(self._thread, self._reader, self._clock_ms, self)
            if what == "banner":
                made.changed.connect(lambda: self._shell.set_banner(bool(made.property("title"))))
                made.putOff.connect(self._question.put_off)
            if what == "files":
                made.saveWanted.connect(self._shell.saveWanted)
            if what == "verification":
                made.changed.connect(lambda: self._shell.set_verifying(bool(made.property("barWords"))))
            if what == "confirmQuestion":
                made.changed.connect(lambda: self._shell.set_asking(bool(made.property("isOpen"))))
            if what in ("identities", "settings"):
                made.verifyWanted.connect(lambda user_id: self._model("verification").verifyPerson(user_id))
            if what in ("devices", "encryption"):
                made.verifyWanted.connect(self._verify_device)
            if what == "login":
                made.signedIn.connect(lambda words: self._model("banner").news(words))
        return self._made[what]
