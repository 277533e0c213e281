"""Cross-signing over the network: set an identity up, replace it, sign with it (spec, "Cross-signing").

What is uploaded is made and kept in one transaction first, and repeated until the server has it: whatever dies, it
is the same identity that goes on. Nothing is replaced unless the person says so.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tandem_core import approval
from tandem_core.approval import Approver
from tandem_core.clock import Clock, elapsed_ms
from tandem_core.crypto import own_identity, published, signed
from tandem_core.crypto.keys import put_answer
from tandem_core.crypto.own_identity import IdentityChanged, NoIdentity, NotConfirmed
from tandem_core.crypto.state import CryptoState
from tandem_core.errors import BadInput, Cancelled, Expected, NeedsApproval, Offline, ServerRefused
from tandem_core.http import Http, path
from tandem_core.netlock import netlock, netlock_if_free
from tandem_core.paths import ProfilePaths
from tandem_core.store import devices, identities
from tandem_core.store.database import Database, Transaction
from tandem_core.store.identities import New
from tandem_core.types import DeviceId, Json, Me, Topic, UserId

__all__ = ["CrossSigning", "IdentityChanged", "IdentityExists", "NoIdentity", "NotConfirmed"]

log = logging.getLogger("tandem.crypto.cross_signing")

_LOOK_AGAIN_S = 60.0
_AFTER_REFUSAL_S = 3600.0
_RESET_ENDS_MS = 3_600_000
"""A replacement that the server does not show so long after it was begun never reached it."""


class IdentityExists(Expected):
    title = "This account has an identity already"
    advice = "Verify this device with another one, use your recovery key, or reset the identity."


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the server shows of ourselves right now. ``devices``: the raw keys, by device."""

    devices: Json
    is_complete: bool
    """Our own device is among them, so this is no old answer."""
    has_identity: bool
    """There is something, sound or not."""
    master: str | None


class CrossSigning:
    """Our own identity, for one program. Methods raise what ``Http.request`` raises, and may be repeated."""

    def __init__(
        self, paths: ProfilePaths, db: Database, http: Http, state: CryptoState, *, clock: Clock
    ) -> None:
        self._paths = paths
        self._db = db
        self._http = http
        self._state = state
        self._me = state.me
        self._clock = clock
        self._look_at_s = 0.0

    async def set_up(self, approver: Approver) -> None:
        """Give the account its first identity and sign this device with it.

        Done already if this device holds it; raises IdentityExists where there is another one, Cancelled.
        """
        async with netlock(self._paths, "identity"):
            await self._set_up(approver, await self._ask())
        await self.flush()

    async def reset(self, approver: Approver) -> None:
        """Replace the account's identity; raises Cancelled, and then the old one stays.

        Everybody who verified us is warned, our other devices are unsigned until they are verified anew, and
        whom we verified is only seen.
        """
        async with netlock(self._paths, "identity"):
            shown = await self._ask()
            if not shown.is_complete:
                raise Offline("the server does not show this device yet")
            waiting = await self._db.read(identities.new)
            if waiting is None or shown.master != _master(waiting):
                made = await self._db.write(own_identity.make, self._state, "reset", self._clock.now_ms())
                await self._upload(made, approver)
            else:
                await self._take_over(waiting)
        await self.flush()

    async def keep_up(self) -> None:
        """Send the signatures that wait, finish what was begun, and set up the first identity of an account.

        Where the server wants an approval for that, it is left to the person (``own_identity.is_asked``).
        """
        await self.flush()
        now_s = self._clock.monotonic_s()
        if now_s < self._look_at_s or not await self._db.read(_is_open, self._me):
            return
        self._look_at_s = now_s + _LOOK_AGAIN_S
        with netlock_if_free(self._paths, "identity") as is_ours:
            if not is_ours:
                return  # the person is at it
            try:
                await self._go_on()
            except IdentityExists:
                return
            except NeedsApproval:
                log.warning("the server wants an approval for the identity")
                await self._db.write(_note_asked, self._me)
                return
            except ServerRefused as refused:
                log.warning("the server takes no identity: %s", refused.errcode)
                self._look_at_s = now_s + _AFTER_REFUSAL_S
                return
        await self.flush()

    async def sign_own_device(self) -> bool:
        """Sign this device with the self-signing key, if that is here; returns whether it is signed."""
        done = await self._db.write(own_identity.sign_own_device, self._state, self._clock.now_ms())
        await self.flush()
        return done

    async def adopt(self, found: Mapping[str, str]) -> set[str]:
        """Keep secrets (by their names) that belong to the published identity, and sign this device with them.

        From secret storage or another device of ours; returns the names of those that were kept.
        """
        await self._ask()
        kept = await self._db.write(own_identity.adopt, self._state, dict(found), self._clock.now_ms())
        await self.flush()
        return kept

    async def confirm_person(self, user_id: UserId, master: str) -> None:
        """The person's master key was compared with them: sign it. Raises IdentityChanged, NotConfirmed."""
        await self._db.write(own_identity.confirm_person, self._state, user_id, master, self._clock.now_ms())
        await self.flush()

    async def confirm_own_device(self, device_id: DeviceId, ed25519: str) -> None:
        """Another device of ours was compared: sign it. Raises IdentityChanged, NotConfirmed."""
        listed: Any = (await self._ask()).devices.get(device_id)
        found = signed.device_from_keys(self._me.user_id, device_id, listed)
        own = await self._db.read(identities.identity, self._me.user_id)
        if found is None or found[0].ed25519 != ed25519 or published.is_mistakable(found[0], own):
            raise IdentityChanged
        await self._db.write(
            own_identity.confirm_own_device, self._state, device_id, listed, self._clock.now_ms()
        )
        await self.flush()

    async def confirm_own_identity(self, master: str) -> None:
        """Our master key was compared with another device of ours: believe it. Raises IdentityChanged."""
        await self._db.write(own_identity.confirm_own_identity, self._state, master, self._clock.now_ms())
        await self.flush()

    async def accept_change(self, user_id: UserId) -> None:
        """Go on with a person's new identity, unverified. Raises BadInput for ourselves, or if they have none."""
        await self._db.write(accept_change, self._me, user_id)

    async def flush(self) -> None:
        """Give the server the signatures that wait; what it refuses is given up, since nothing would change."""
        if await self._db.read(identities.waiting_signatures) is None:
            return
        async with netlock(self._paths, "signatures"):
            while (waiting := await self._db.read(identities.waiting_signatures)) is not None:
                upload_id, body = waiting
                try:
                    answer = await self._http.request("POST", path("keys", "signatures", "upload"), body)
                    failures = answer.get("failures")
                    if failures:
                        log.error("the server refuses signatures of %d people", len(failures))
                except ServerRefused as refused:
                    log.error("signatures are refused: %s", refused.errcode)
                await self._db.write(identities.signatures_done, upload_id)

    async def _go_on(self) -> None:
        """What may be done without the person: a first identity, or the end of a replacement that the server has."""
        shown = await self._ask()
        waiting = await self._db.read(identities.new)
        is_taken = waiting is not None and shown.master == _master(waiting)
        if waiting is not None and waiting.kind == "reset" and not is_taken:
            age_ms = elapsed_ms(waiting.made_at, self._clock.now_ms())
            if shown.is_complete and age_ms > _RESET_ENDS_MS:
                await self._db.write(own_identity.drop)  # its request did not arrive, and nobody repeated it
        elif is_taken or shown.is_complete:
            await self._set_up(None, shown)

    async def _set_up(self, approver: Approver | None, shown: _Shown) -> None:
        waiting = await self._db.read(identities.new)
        if waiting is not None and shown.master == _master(waiting):
            return await self._take_over(waiting)
        own = await self._db.read(identities.identity, self._me.user_id)
        if shown.has_identity or own is not None:
            if waiting is not None and waiting.kind == "set_up":
                await self._db.write(own_identity.drop)  # another device of ours was quicker
            if await self._db.read(_holds_master, self._state):
                await self._db.write(own_identity.sign_own_device, self._state, self._clock.now_ms())
                return None
            raise IdentityExists
        if not shown.is_complete:
            raise Offline("the server does not show this device yet")
        made = await self._db.write(own_identity.make, self._state, "set_up", self._clock.now_ms())
        return await self._upload(made, approver)

    async def _upload(self, made: New, approver: Approver | None) -> None:
        """Bring the new identity to the server; called off means that the old one stays."""
        where = path("keys", "device_signing", "upload")
        try:
            if approver is None:
                await self._http.request("POST", where, made.body)
            else:
                await approval.request(self._http, self._me, "POST", where, made.body, approver)
        except NeedsApproval:
            raise
        except (Cancelled, ServerRefused):
            await self._db.write(own_identity.drop)
            raise
        await self._take_over(made)

    async def _take_over(self, made: New) -> None:
        await self._db.write(own_identity.take_over, self._state, made, self._clock.now_ms())

    async def _ask(self) -> _Shown:
        """Ask the server about ourselves, keep what it says, and look at it."""
        me = self._me.user_id
        async with netlock(self._paths, "devices"):
            wanted = await self._db.write(_track_own, self._me)
            answer = await self._http.request(
                "POST", path("keys", "query"), {"device_keys": {me: []}, "timeout": 10_000}
            )
            await self._db.write(put_answer, self._me, {me: wanted}, answer, self._clock.now_ms())
        by_user = answer.get("device_keys")
        listed = by_user.get(me) if isinstance(by_user, dict) else None
        listed = listed if isinstance(listed, dict) else {}
        found = published.from_answer(self._me, me, answer)
        this = listed.get(self._me.device_id)
        return _Shown(
            listed,
            isinstance(this, dict) and await self._db.read(own_identity.is_own_device, self._me, this),
            published.shows_any(me, answer),
            None if found is None else found.master,
        )


def accept_change(txn: Transaction, me: Me, user_id: UserId) -> None:
    """Go on with a person's new identity, unverified; what could not be sent for it may be tried again."""
    if user_id == me.user_id:
        raise BadInput(
            "your own identity is not accepted but verified",
            advice="Verify this device with another one, or use your recovery key.",
        )
    if not identities.accept(txn, user_id):
        raise BadInput(f"{user_id} has no identity")
    txn.changed(Topic.OUTBOX)


def _track_own(txn: Transaction, me: Me) -> int:
    """Keep our own device list; returns the ``wanted`` that an answer of now satisfies."""
    devices.track(txn, [me.user_id])
    return devices.wanted(txn.conn, me.user_id)


def _is_open(conn: sqlite3.Connection, me: Me) -> bool:
    """Whether there is something to be done without the person."""
    is_asked = own_identity.is_asked(conn, me)
    if identities.new(conn) is None:
        return identities.identity(conn, me.user_id) is None and not is_asked
    return not is_asked


def _holds_master(conn: sqlite3.Connection, state: CryptoState) -> bool:
    return own_identity.own_key(conn, state, "master") is not None


def _note_asked(txn: Transaction, me: Me) -> None:
    own_identity.note_asked(txn, me)
    txn.changed(Topic.DEVICES)


def _master(made: New) -> str:
    return own_identity.key_of(made.body["master_key"])
