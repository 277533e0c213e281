"""A window that dies at any of its commits leaves nothing half verified, and the other side is told."""

from __future__ import annotations

import contextlib

import pytest

from tandem_core.crypto.trust import DeviceTrust
from tandem_core.store import identities
from tandem_core.verification.flow import NotNow, Phase
from tests.core.crypto.world import user
from tests.core.verification.acts import Make, device_trust, own_devices
from tests.core.verification.windows import Died, Window, carry

_COMMITS = 9
"""Of the old device's window, from the request that comes to the signature: more than there are."""


@pytest.mark.parametrize("after", [False, True])
def test_a_window_may_die_at_any_commit(make_device: Make, after: bool) -> None:
    """One pair of devices goes through it all; each time the old one's window dies one commit later."""
    old, new = own_devices(make_device)
    reached = set()
    for number in range(1, _COMMITS + 1):
        old.device.clock.time_ms += 1000  # the newest comes first
        new.run(new.verifications.request_own())
        carry(new, old)
        old.store.writes, old.store.dies_at, old.store.after = 0, number, after
        has_died = not _goes_through(old, new)
        reached.add(old.store.writes)
        if not has_died:
            break
        verified_before_death = old.views[0].phase is Phase.DONE
        old = old.restarted()
        carry(new, old)
        if old.views[0].phase is Phase.ASKED:
            old.run(old.verifications.cancel(old.views[0].id))  # nothing of ours was kept: it waits as before
            carry(new, old)
        mine, theirs = old.views[0], new.views[0]
        assert mine.phase.is_over
        assert theirs.phase.is_over
        assert mine.phase is Phase.DONE or not verified_before_death
        is_verified = device_trust(old, new) is DeviceTrust.VERIFIED
        assert is_verified == (mine.phase is Phase.DONE)
        own = new.device.read(identities.identity, user("alice"))
        assert (own.verified_master == own.master) == (theirs.phase is Phase.DONE)
        if is_verified:
            break
    assert len(reached) >= 4


def _goes_through(old: Window, new: Window) -> bool:
    """Both persons do what they are asked for; False when the old window has died."""
    try:
        old.run(old.verifications.accept(old.views[0].id))
        carry(new, old)
        new.run(new.verifications.start_sas(new.views[0].id))
        carry(new, old)
        for window in (new, old):
            with contextlib.suppress(NotNow):
                window.run(window.verifications.confirm(window.views[0].id))
            carry(new, old)
    except Died:
        return False
    return True
