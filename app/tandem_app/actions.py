"""What QML may ask for and see of the window as a whole. Each request starts a task and returns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Property, QObject, QTimer, QUrl, Signal, Slot

from tandem_app.models import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from tandem_app.commands import Commands
    from tandem_app.models.room_list import RoomListModel
    from tandem_app.models.timeline import TimelineModel
    from tandem_app.store_source import StoreSource
    from tandem_app.watch import Watch

DRAFT_MS = 1500
TYPING_S = 20.0
OLDER_PAUSE_S = 5.0


class Shell(QObject):
    """The window's state and its actions."""

    sessionChanged = Signal()
    themeChanged = Signal()
    statusChanged = Signal()
    loadingChanged = Signal()
    roomChanged = Signal()
    pageChanged = Signal()
    infoChanged = Signal()
    typingChanged = Signal()
    olderChanged = Signal()
    bannerChanged = Signal()
    verifyingChanged = Signal()
    askingChanged = Signal()
    identityChanged = Signal()
    troubleChanged = Signal()
    draftRestored = Signal(str)
    settingsWanted = Signal(str)
    """The settings page is to show a room's settings, or the account's (empty)."""
    infoWanted = Signal(str)
    inviteWanted = Signal(str)
    saveWanted = Signal(str, QUrl)
    """A dialog is to ask where the file of a row goes; the second is a proposal."""
    closed = Signal()

    def __init__(
        self,
        source: StoreSource,
        watch: Watch,
        rooms: RoomListModel,
        timeline: TimelineModel,
        commands: Commands,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._source = source
        self._watch = watch
        self._rooms = rooms
        self._timeline = timeline
        self._commands = commands
        self._session = "starting"
        self._theme = "system"
        self._contrast = "system"
        self._marks = "icons"
        self._status = ""
        self._loading = True
        self._room_id = ""
        self._room: Any = None
        self._page = ""
        self._info = ""
        self._typing = ""
        self._older_asked = False
        self._older_done = False
        self._banner = False
        self._verifying = False
        self._asking = False
        self._identity = False
        self._trouble = ("", "")
        self._older_after = 0.0
        self._active = False
        self._draft = ""
        self._seen: tuple[str, str] = ("", "")
        self._typing_told = 0.0
        self.files_model: Callable[[], Any] = QObject
        self._draft_timer = QTimer(self, singleShot=True, interval=DRAFT_MS)
        self._draft_timer.timeout.connect(self.keepDraft)
        watch.room_changed.connect(self._room_again)
        watch.loaded.connect(self._loaded)

    # What the window tells of itself.

    @property
    def session_state(self) -> str:
        return self._session

    @property
    def room_id(self) -> str:
        """The open room, or an empty string."""
        return self._room_id

    def set_session(self, state: str) -> None:
        if state == self._session:
            return
        self._session = state
        if state != "signed_in":
            self.closeAll()
        self.sessionChanged.emit()

    def set_theme(self, theme: str, contrast: str = "system", marks: str = "icons") -> None:
        look = (theme, contrast, marks)
        if look != (self._theme, self._contrast, self._marks):
            self._theme, self._contrast, self._marks = look
            self.themeChanged.emit()

    def set_status(self, sentence: str) -> None:
        if sentence != self._status:
            self._status = sentence
            self.statusChanged.emit()

    def set_trouble(self, title: str, advice: str) -> None:
        """What keeps the window from showing anything at all; empty when it is over."""
        if (title, advice) != self._trouble:
            self._trouble = (title, advice)
            self.troubleChanged.emit()

    def set_banner(self, shown: bool) -> None:
        if shown != self._banner:
            self._banner = shown
            self.bannerChanged.emit()

    def set_verifying(self, shown: bool) -> None:
        """Whether a verification waits, or goes on, while its page is not shown."""
        if shown != self._verifying:
            self._verifying = shown
            self.verifyingChanged.emit()

    def set_asking(self, shown: bool) -> None:
        """Whether nobody has said yet if deliveries are to be confirmed."""
        if shown != self._asking:
            self._asking = shown
            self.askingChanged.emit()

    def set_identity(self, shown: bool) -> None:
        """Whether somebody in the open room has another identity than the one we knew."""
        if shown != self._identity:
            self._identity = shown
            self.identityChanged.emit()

    def set_loading(self, loading: bool) -> None:
        if loading != self._loading:
            self._loading = loading
            self.loadingChanged.emit()

    # Rooms.

    @Slot(str)
    def openRoom(self, room_id: str) -> None:
        """Show a room (or the invitation to it)."""
        if room_id != self._room_id:
            self.keepDraft()
            self._stop_typing()
            self._room_id = room_id
            self._room = (self._rooms.room(room_id) or self._source.room(room_id)) if room_id else None
            self._older_asked = self._older_done = False
            self._info = ""
            invited = self._invited()
            self._timeline.open(
                "" if invited else room_id, self._source.read_up_to(room_id) if room_id else None
            )
            self._watch.open_room("" if invited else room_id)
            self._draft = self._source.draft(room_id) if room_id else ""
            self._typing = words.typing(self._source.typing(room_id)) if room_id else ""
            self._show()
            if invited:
                self.inviteWanted.emit(room_id)
            self.roomChanged.emit()
            self.typingChanged.emit()
            self.infoChanged.emit()
            self.olderChanged.emit()
            self.draftRestored.emit(self._draft)
        if self._page:
            self.openPage("")

    @Slot()
    def closeAll(self) -> None:
        """Show no room and no page (in a narrow window: the room list)."""
        self.openRoom("")
        self.openPage("")

    @Slot(int)
    def openNeighbour(self, direction: int) -> None:
        """Open the room below or above the open one, as the list stands."""
        row = self._rooms.rowOf(self._room_id) if self._room_id else (-1 if direction > 0 else 1)
        room_id = self._rooms.roomAt(max(0, row + direction))
        if room_id:
            self.openRoom(room_id)

    @Slot(str)
    def search(self, text: str) -> None:
        """Show only rooms with these words in their names."""
        self._rooms.set_search(text)

    # Messages.

    @Slot(str)
    @Slot(str, bool)
    def send(self, text: str, asks: bool = False) -> None:
        """Put a message of ours on its way; ``asks`` for confirmations of it, where that is a choice."""
        body = text.strip("\n").rstrip()
        if not body or not self._room_id:
            return
        self._draft = ""
        self._draft_timer.stop()
        self._stop_typing()
        self._commands.keep_draft(self._room_id, "")
        self._commands.send(self._room_id, body, asks)

    @Slot(str)
    def retry(self, key: str) -> None:
        """Try a message again that could not be sent, or its file that could not be fetched."""
        if self._failed(key):
            self._commands.retry(key)
        elif (row := self._timeline.by_key(key)) is not None and row.attachment is not None:
            self.files_model().again(key)

    @Slot(str)
    def discard(self, key: str) -> None:
        """Forget a message that could not be sent, or whose file is still on its way."""
        row = self._timeline.by_key(key)
        if self._failed(key) or (row is not None and row.upload is not None and row.send_state == "queued"):
            self._commands.discard(key)

    @Slot(str)
    def copy(self, key: str) -> None:
        """Put a message's words on the clipboard."""
        from PySide6.QtGui import QGuiApplication

        row = self._timeline.by_key(key)
        if row is not None:
            QGuiApplication.clipboard().setText(row.body)

    @Slot(str, result=bool)
    def openFile(self, key: str) -> bool:
        """Show the picture of a row large, or ask where its file is to go; False where nothing is attached."""
        row = self._timeline.by_key(key)
        if row is None or row.attachment is None:
            return False
        if self.files_model().open(key):
            self.openPage("picture")
        return True

    @Slot(str)
    def saveFile(self, key: str) -> None:
        """Ask where the file of a row is to go."""
        row = self._timeline.by_key(key)
        if row is not None and row.attachment is not None:
            self.files_model().askSave(key)

    @Slot()
    def newestSeen(self) -> None:
        """The newest row is on the screen of an active window."""
        event_id = self._timeline.newest_event()
        if self._room_id and event_id and (self._room_id, event_id) != self._seen:
            self._seen = (self._room_id, event_id)
            self._commands.mark_read(self._room_id, event_id)

    @Slot()
    def loadOlder(self) -> None:
        """Ask the server for what lies before the oldest row, if there is more and nobody has asked yet."""
        if self._older_asked or self._older_done or not self._room_id or self._invited():
            return
        if time.monotonic() < self._older_after:
            return
        room_id = self._room_id
        self._older_asked = self._commands.load_older(room_id, lambda more: self._older(room_id, more))
        self.olderChanged.emit()

    @Slot(str)
    def drafted(self, text: str) -> None:
        """The words in the composer changed."""
        if text == self._draft:
            return
        self._draft = text
        self._draft_timer.start()
        if not text.strip():
            self._stop_typing()
        elif time.monotonic() - self._typing_told > TYPING_S:
            self._typing_told = time.monotonic()
            self._commands.typing(self._room_id, True)

    @Slot()
    def keepDraft(self) -> None:
        """Write down what is in the composer."""
        self._draft_timer.stop()
        if self._room_id and self._draft != self._source.draft(self._room_id):
            self._commands.keep_draft(self._room_id, self._draft)

    @Slot(str)
    def openLink(self, link: str) -> None:
        """Open a link: a Matrix one here, any other with the desktop's program for it."""
        from PySide6.QtCore import QUrl
        from PySide6.QtGui import QDesktopServices

        if link.startswith(("matrix:", "https://matrix.to/")):
            self.openUri(link)
        elif link.startswith(("https://", "http://", "mailto:")):
            QDesktopServices.openUrl(QUrl(link))

    @Slot(str)
    def openUri(self, uri: str) -> None:
        """Open what a Matrix link names, as far as this account knows it."""
        from tandem_core.errors import Expected
        from tandem_core.uri import parse

        try:
            address = parse(uri)
        except Expected as error:
            self.set_status(error.sentence)
            return
        room_id = self._source.find_room(address.id)
        if room_id:
            self.openRoom(room_id)
        else:
            self.set_status("This account is not in that room.")

    # Pages.

    @Slot(str)
    def openPage(self, page: str) -> None:
        """Show a page over the room, or (empty) the room again."""
        if page != self._page:
            self._page = page
            self.pageChanged.emit()

    @Slot(str)
    def openSettings(self, room_id: str) -> None:
        """Show the settings of a room, or (empty) of the account."""
        self.settingsWanted.emit(room_id)
        self.openPage("settings")

    @Slot(str)
    def showInfo(self, key: str) -> None:
        """Show who got a message of ours, or (empty) close that panel."""
        if key != self._info:
            self._info = key
            if key:
                self.infoWanted.emit(key)
            self.infoChanged.emit()

    @Slot(bool)
    def setActive(self, active: bool) -> None:
        """The window has the keyboard, or has it no more."""
        self._active = active
        self._show()

    @Slot()
    def windowClosed(self) -> None:
        """The window is being closed."""
        self.keepDraft()
        self._stop_typing()
        self.closed.emit()

    # How it is done.

    def _show(self) -> None:
        self._commands.show("" if self._invited() else self._room_id, self._active)

    def _room_again(self) -> None:
        if not self._room_id:
            return
        was_invited = self._invited()
        self._room = self._source.room(self._room_id)
        if self._room is None or self._room.membership not in ("join", "invite"):
            self.openRoom("")
            return
        if was_invited and not self._invited():
            room_id, self._room_id = self._room_id, ""
            self.openRoom(room_id)
            return
        typing = words.typing(self._source.typing(self._room_id))
        if typing != self._typing:
            self._typing = typing
            self.typingChanged.emit()
        self.roomChanged.emit()

    def _loaded(self) -> None:
        self.set_loading(self._rooms.is_empty and not self._source.has_synced())
        if self._room_id and self._room is None:
            self._room_again()

    def _older(self, room_id: str, more: bool | None) -> None:
        """An answer came: there is more, there is no more, or (None) it could not be asked just now."""
        if room_id == self._room_id:
            self._older_asked = False
            self._older_done = more is False
            if more is None:
                self._older_after = time.monotonic() + OLDER_PAUSE_S
            self.olderChanged.emit()

    def _failed(self, key: str) -> bool:
        row = self._timeline.by_key(key)
        return row is not None and row.send_state == "failed"

    def _stop_typing(self) -> None:
        if self._typing_told and self._room_id:
            self._typing_told = 0.0
            self._commands.typing(self._room_id, False)

    def _peer(self) -> str:
        return self._room.peer or "" if self._room is not None else ""

    def _invited(self) -> bool:
        return self._room is not None and self._room.membership == "invite"

    def _asks_by_choice(self) -> bool:
        """Whether a single message may ask for confirmations here: in large encrypted groups."""
        room = self._room
        if room is None or room.is_dm or not room.encrypted:
            return False
        return self._source.asks_by_choice(self._room_id)

    def _detail(self) -> str:
        if self._room is None:
            return ""
        topic: str = words.one_line(self._room.topic or "")
        if topic:
            return topic
        if self._room.is_dm:
            return "Encrypted direct chat" if self._room.encrypted else "Direct chat"
        count = self._room.joined_count
        people = f"{count} people" if count != 1 else "Only you"
        return f"{people} · encrypted" if self._room.encrypted else people

    # Names for QML (noqa: they follow Qt's habit).

    session = Property(str, lambda self: self._session, notify=sessionChanged)
    theme = Property(str, lambda self: self._theme, notify=themeChanged)
    contrast = Property(str, lambda self: self._contrast, notify=themeChanged)
    marks = Property(str, lambda self: self._marks, notify=themeChanged)
    statusWords = Property(str, lambda self: self._status, notify=statusChanged)
    loading = Property(bool, lambda self: self._loading, notify=loadingChanged)
    roomId = Property(str, lambda self: self._room_id, notify=roomChanged)
    roomName = Property(
        str, lambda self: self._room.name if self._room is not None else "", notify=roomChanged
    )
    roomDetail = Property(str, _detail, notify=roomChanged)
    roomHue = Property(int, lambda self: words.hue(self._peer() or self._room_id), notify=roomChanged)
    roomInvite = Property(bool, _invited, notify=roomChanged)
    roomEncrypted = Property(
        bool, lambda self: bool(self._room is not None and self._room.encrypted), notify=roomChanged
    )
    asksByChoice = Property(bool, _asks_by_choice, notify=roomChanged)
    identityNew = Property(bool, lambda self: self._identity, notify=identityChanged)
    verifying = Property(bool, lambda self: self._verifying, notify=verifyingChanged)
    asking = Property(bool, lambda self: self._asking, notify=askingChanged)
    page = Property(str, lambda self: self._page, notify=pageChanged)
    infoKey = Property(str, lambda self: self._info, notify=infoChanged)
    typingWords = Property(str, lambda self: self._typing, notify=typingChanged)
    loadingOlder = Property(bool, lambda self: self._older_asked, notify=olderChanged)
    bannerShown = Property(bool, lambda self: self._banner, notify=bannerChanged)
    files = Property(QObject, lambda self: self.files_model(), constant=True)
    troubleTitle = Property(str, lambda self: self._trouble[0], notify=troubleChanged)
    troubleAdvice = Property(str, lambda self: self._trouble[1], notify=troubleChanged)
    draft = Property(str, lambda self: self._draft, notify=roomChanged)
