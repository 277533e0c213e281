"""What happens to deliveries when the server dies at the worst moment, with time, and in great number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_demo.raw import RawClient
from tandem_demo.synapse import SynapseServer, modules
from tandem_synapse.store import FIRST_ROWS
from tests.homeserver.tables import edit, rows
from tests.homeserver.test_delivery_receipts import UNSTABLE, receipts_in, receipts_in_v2, sliding

pytestmark = pytest.mark.synapse


def test_receipts_whose_positions_a_crash_lost_still_reach_their_author_and_old_ones_are_forgotten(
    tmp_path: Path,
) -> None:
    server = SynapseServer.create(tmp_path, extra={"modules": modules(coalesce_seconds=0)})
    with server.running():
        alice, bob = (_person(server, name) for name in ("alice", "bob"))
        room = alice.create_room(invite=[bob.user_id])
        bob.join(room)
        old = alice.say(room, "confirmed long ago")
        assert bob.receipt(room, UNSTABLE, old)[0] == 200
        events = [alice.say(room, text) for text in ("one", "two", "three")]
        assert set(receipts_in(sliding(alice, conn="before"), room)) == {old}
        pos, since = sliding(alice)["pos"], alice.sync_v2()["next_batch"]
        before = _position(tmp_path)
        for event in events:
            assert bob.receipt(room, UNSTABLE, event, {"im.tandem.share": "device"})[0] == 200
        server.kill()
        # Died after the rows were committed and before the stream's position was: as if none had been given.
        edit(tmp_path, "UPDATE stream_positions SET stream_id = ? WHERE stream_name = 'receipts'", before)
        edit(tmp_path, "UPDATE im_tandem_delivery SET ts = 0 WHERE event_id = ?", old)
        server.start()
        server.wait_ready()
        answer = sliding(alice, pos, timeout_ms=20_000)
        assert set(receipts_in(answer, room)) == set(events)
        assert set(receipts_in_v2(alice.sync_v2(since, timeout_ms=20_000), room)) == set(events)
        assert set(receipts_in(sliding(alice, conn="after"), room)) == set(events)
        # And the stream goes on from there: a later receipt is not taken for one already seen.
        last = alice.say(room, "four")
        pos = sliding(alice, answer["pos"])["pos"]
        assert bob.receipt(room, UNSTABLE, last)[0] == 200
        assert set(receipts_in(sliding(alice, pos, timeout_ms=20_000), room)) == {last}


def test_what_is_on_the_screen_has_its_receipts_however_many_newer_ones_there_are(
    synapse: SynapseServer, make_user: Callable[..., RawClient]
) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    room, busy = (alice.create_room(invite=[bob.user_id]) for _ in range(2))
    bob.join(room)
    bob.join(busy)
    event, newer = alice.say(room, "on the screen"), alice.say(busy, "elsewhere")
    for where, what in ((room, event), (busy, newer)):
        assert bob.receipt(where, UNSTABLE, what)[0] == 200
    edit(
        synapse.folder,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO im_tandem_delivery SELECT event_id || i, user_id, room_id, author, ts, devices, release_at,"
        " stream_id, instance_name FROM im_tandem_delivery, n WHERE event_id = ?",
        FIRST_ROWS,
        newer,
    )
    first = sliding(alice)
    assert set(receipts_in(first, room)) == {event}
    assert newer in receipts_in(first, busy)
    # What comes later is complete, whatever its number.
    pos = first["pos"]
    later = [alice.say(room, str(number)) for number in range(12)]
    for each in later:
        assert bob.receipt(room, UNSTABLE, each)[0] == 200
    assert set(receipts_in(sliding(alice, pos), room)) == set(later)


def _person(server: SynapseServer, name: str) -> RawClient:
    server.register(name, "a long password")
    return RawClient(server.base_url).login(name, "a long password")


def _position(folder: Path) -> int:
    found = rows(folder, "SELECT stream_id FROM stream_positions WHERE stream_name = 'receipts'")
    return int(found[0][0]) if found else 1
