"""What brings a program to the steps that plain traffic does not reach, and the steps left out, with reasons."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from tandem_core.crypto.account import ONE_TIME_KEYS
from tandem_core.doorbell import ring_once
from tandem_core.store.database import Transaction
from tandem_core.sync.rooms_api import mark_read
from tandem_core.types import EventId, Role, RoomId
from tandem_core.uri import Address, Kind, to_uri
from tandem_demo.device import PROCESSES, wait_for
from tandem_demo.raw import RawClient
from tandem_demo.window import WindowDriver
from tests.torture.aims import Aim
from tests.torture.scene import Scene

_BURST = 30
"""More than a connection gets of a room at once."""
_LETTERS = 3
_LONGEST_HOLD_S = 45.0
"""Longer than a quick confirmation and the next one take, also on a busy machine."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``before`` happens while the program is down, ``after`` once it has been started."""

    points: str
    before: Callable[[Scene, Aim], None] | None = None
    after: Callable[[Scene, Aim], None] | None = None


def stages_for(aim: Aim) -> list[Stage]:
    """The stages that lead to a point; none for one that plain traffic leads to."""
    return [stage for stage in STAGES if re.search(stage.points, aim.point)]


def excuse(aim: Aim) -> str | None:
    """Why no program is led to this point; None if one is."""
    for program, points, reason in EXCUSED:
        if program in ("both", aim.program) and re.search(points, aim.point):
            return reason
    return None


def _burst(scene: Scene, aim: Aim) -> None:
    """Many messages while the program is away: there is a gap to fill."""
    for _ in range(_BURST):
        scene.write("bob-phone", scene.world.group)
    phone = scene.world.phone
    wait_for(
        "the burst", lambda: not phone.ask("SELECT 1 FROM send_queue WHERE state IN ('queued', 'sending')")
    )


def _lose_place(scene: Scene, aim: Aim) -> None:
    """The server forgets the connection (M_UNKNOWN_POS): its position means nothing to it."""

    def forget(txn: Transaction) -> None:
        txn.execute("UPDATE connection SET pos = '999999/nonsense' WHERE conn = ?", (aim.program,))

    scene.change(scene.alice, forget)


def _forget_rule(scene: Scene, aim: Aim) -> None:
    """It is not known yet when the server deletes: the program has to find out."""

    def forget(txn: Transaction) -> None:
        txn.execute("DELETE FROM fact WHERE key = 'to_device.rule'")

    scene.change(scene.alice, forget)


def _write_from_afar(scene: Scene, aim: Aim) -> None:
    """Keys go on coming in while the program runs."""
    for _ in range(_LETTERS):
        scene.await_event(scene.write_from_afar())


def _lag(scene: Scene, aim: Aim) -> None:
    """The other program has read on meanwhile."""
    other = next(program for program in PROCESSES if program != aim.program)
    scene.ready(other)
    scene.await_event(scene.write_from_afar())
    scene.bury(other)


def _claim(scene: Scene, aim: Aim) -> None:
    """Somebody takes more than half of Alice's one-time keys, so that new ones are due."""
    user, device = scene.alice.ask("SELECT user_id, device_id FROM session")[0]
    bob = _raw(scene)
    wanted = {"one_time_keys": {user: {device: "signed_curve25519"}}}
    for _ in range(ONE_TIME_KEYS // 2 + 1):
        bob.ok("POST", "/_matrix/client/v3/keys/claim", wanted)


def _newcomer(scene: Scene, aim: Aim) -> None:
    """Bob gets another device, which Alice has never met."""
    scene.newcomer()


def _write_plain(scene: Scene, aim: Aim) -> None:
    scene.write("alice", scene.plain)


def _open_room(scene: Scene, aim: Aim) -> None:
    """The window shows the direct chat, reads it and scrolls back."""
    uri = to_uri(Address(Kind.ROOM, scene.world.direct))
    ring_once(scene.alice.paths.socket(Role.APP), {"kind": "open", "uri": uri, "token": ""})


def _type(scene: Scene, aim: Aim) -> None:
    """A person types and sends."""
    _open_room(scene, aim)
    driver = WindowDriver(scene.alice)
    driver.do("type", text=f"typed {scene.next()}")
    driver.do("key", name="Return")


def _owe_read(scene: Scene, aim: Aim) -> None:
    """A window noted what was read, and was killed before it could tell the server."""
    room = scene.world.direct
    event = scene.alice.ask(
        "SELECT event_id FROM timeline WHERE room_id = ? AND shown ORDER BY conn = 'app' DESC, ord DESC LIMIT 1",
        (room,),
    )[0][0]
    now_ms = time.time_ns() // 1_000_000
    scene.change(scene.alice, lambda txn: mark_read(txn, Role.APP, RoomId(room), EventId(event), now_ms))


def _read_first(scene: Scene, aim: Aim) -> None:
    """Bob writes and Alice reads it elsewhere before the notifier is up."""
    scene.ready("app")
    event = scene.write("bob-phone", scene.world.direct)
    scene.await_event(event)
    user, token = scene.alice.ask("SELECT user_id, access_token FROM session")[0]
    room = quote(scene.world.direct)
    known = scene.alice.ask("SELECT event_id FROM event WHERE body = ?", (event,))[0][0]
    RawClient(scene.world.server.base_url, token, user).ok(
        "POST", f"/_matrix/client/v3/rooms/{room}/receipt/m.read/{quote(known)}", {}
    )


def _put_back(scene: Scene, aim: Aim) -> None:
    """The store knows less of its own sessions than the server: it must be an older copy."""

    def forget(txn: Transaction) -> None:
        txn.execute("UPDATE megolm_outbound SET messages = 0")
        txn.execute("DELETE FROM megolm_lost")

    scene.change(scene.alice, forget)


def _wait_again(scene: Scene, aim: Aim) -> None:
    """A message that the server has waits to be sent, as it does after a kill before the answer."""

    def wait(txn: Transaction) -> None:
        txn.execute(
            "UPDATE send_queue SET state = 'sending' WHERE id = (SELECT max(id) FROM send_queue"
            " WHERE state = 'sent' AND wire_type = 'm.room.encrypted')"
        )

    scene.change(scene.alice, wait)


def _confirm_one(scene: Scene, aim: Aim) -> None:
    """A message whose confirmation has no company: several go to the server together, another way."""
    owed = "SELECT 1 FROM receipt_owed WHERE state = 'owed'"
    wait_for("the confirmations before it", lambda: not scene.alice.ask(owed), within_s=_LONGEST_HOLD_S)
    scene.write("bob-phone", scene.world.direct)


def _raw(scene: Scene) -> RawClient:
    user, token = scene.world.phone.ask("SELECT user_id, access_token FROM session")[0]
    return RawClient(scene.world.server.base_url, token, user)


def _forget_backup(scene: Scene, aim: Aim) -> None:
    """It is time to ask the server for its key backup."""
    scene.change(scene.alice, lambda txn: txn.execute("DELETE FROM backup"))


STAGES = (
    Stage(r"/messages$|gaps\._put|put_complete|/members$", before=_burst),
    Stage(r"place\.start_over", before=_lose_place),
    Stage(r"keys/upload|note_uploaded|prepare_upload", before=_claim),
    Stage(r"keys/query|keys/claim|put_answer|_make_sessions|devices\.track", before=_newcomer),
    Stage(r"place\.keep_rule", before=_forget_rule, after=_write_from_afar),
    Stage(r"place\.adopt_token", before=_lag),
    Stage(r"_plain_wire", after=_write_plain),
    Stage(r"mark_read", after=_open_room),
    Stage(r"read_markers|reads\.settle", before=_owe_read),
    Stage(r"/typing/|planning\.attend|keep_draft|sending\.enqueue", after=_type),
    Stage(r"notifications\.skip", before=_read_first),
    Stage(r"POST \S+/receipt/", after=_confirm_one),
    Stage(r"rollback\.heal", before=_put_back),
    Stage(r"rollback\.note_sent", before=_wait_again),
    Stage(r"GET \S+room_keys/version$|backup\.note_version", before=_forget_backup),
)

_COMMAND = "a person's own command, which tells how it ended and is not repeated by itself"
_TROUBLE = "only on the way of a refusal or an outage, which the network faults provoke"
EXCUSED = (
    ("both", r"/login$|/logout$|well-known|session\._keep_login|_note_signed_out|session\.leave",
     "signing in and out begins or ends the store"),
    ("both", r"/refresh$|session\.renew|forget_refresh_token",
     "only where access tokens run out; tests/core/test_token_refresh_processes.py kills there"),
    ("both", r"createRoom|/join|/invite$|/leave$|/redact/|user_directory|account_data/m\.direct", _COMMAND),
    ("both", r"/devices$|/devices/\{\}|delete_devices|devices\.rename|devices\.note_signed_out", _COMMAND),
    ("both", r"_note_created|_note_accepted|_note_left|_note_invited|events\.redact", _COMMAND),
    ("app", r"sending\.retry|sending\.discard|settings\.set_value|put_restored_away", _COMMAND),
    ("app", r"recovery_question\.later|cross_signing\.accept_change", _COMMAND),
    ("app", r"first_question\.answer|pause\.pause|pause\.resume", _COMMAND),
    ("both", r"devices\.mark_outdated",
     "only when a verification begins; tests/core/verification ends the window at each commit"),
    ("both", r"note_failed|note_gap_attempt|forget_tokens|session\.set_fact", _TROUBLE),
    ("both", r"m\.room\.encryption|set_encryption", "only where a room's encryption is not known yet"),
    ("both", r"encrypted\._confirm|own\.tell|learn_route",
     "only where the server takes no receipts, or with another one; tests/core/crypto dies in these transactions"),
    ("both", r"keys\._mend", "only after a broken Olm session; tests/core/crypto holds its transaction"),
    ("both", r"device_signing|signatures/upload|own_identity\.|signatures_done|_track_own|_note_asked|accept_change",
     "only when an account gets, changes or uses its identity; tests/core/crypto dies at each of these steps"),
    ("both", r"account\.skip_ids", "only where keys lie under our ids already; tests/core/crypto brings it there"),
    ("both", r"room_keys/keys|room_keys/version/|POST \S+room_keys|backup_worker\.|_restore$|judge_again|adopt_key",
     "only with a key backup; tests/core/crypto loses each of these requests and of their answers"),
    ("both", r"backup\._prepare|crypto\.secrets\.forget", _COMMAND),
    ("both", r"joined_rooms|departures\._settle", "only for a room that was left while its place was lost"),
    ("app", r"prepend_back", "only while the server has older messages than the window"),
    ("both", r"first\._keep", "only in the first second of a store that has never synced"),
    ("both", r"shared_settings\.",
     "only when a person chooses; tests/core/receipts/test_shared_settings.py dies at each of these steps"),
    ("both", r"user/\{\}/account_data/\{\}|account_data\.put$|recovery_state\.|recovery\._note",
     "a person's own command; tests/core/crypto/test_recovery_crashes.py ends it at each of its requests"),
    ("both", r"crypto\.gossip\.|crypto\.key_requests\.",
     "only between several devices of one person; tests/core/crypto loses their requests"),
    ("both", r"crypto\.key_again\.", _COMMAND),
    ("both", r"crypto\.failed_reports\.",
     "only minutes after a message that cannot be decrypted; its one transaction is tested in tests/core/crypto"),
    ("both", r"/media/|uploads\.note_|uploader\._tidy|outgoing\._queue|limits\._keep",
     "only for a message with a file; tests/core/media/test_queue.py dies at each of them"),
    ("notifier", r"verification\.note_told",
     "only for a request to verify; tests/notifier/test_verification.py dies there"),
    ("notifier", r"verification\.", "only the window answers verifications"),
    ("app", r"verification\.", "only when persons compare; tests/core/verification ends the window at each commit"),
    ("notifier", r"/typing/|planning\.attend|prepend_back|rooms_api\.mark_read", "only the window does this"),
)  # fmt: skip
