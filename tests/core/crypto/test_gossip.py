"""Secrets between our own devices: only verified ones get them, and only what fits is believed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_core.crypto import gossip, secrets
from tandem_core.crypto.gossip import (
    ANSWERS_PER_HOUR,
    REMEMBER_MS,
    REQUEST,
    REQUEST_ENDS_MS,
    SEND,
)
from tandem_core.crypto.recovery_state import CROSS_SIGNING, NAMES
from tandem_core.errors import Offline
from tandem_core.store import devices, session
from tandem_core.types import Json
from tests.core.crypto.key_server import KeyServer
from tests.core.crypto.own_devices import (
    MASTER,
    answers,
    asked,
    held,
    open_requests,
    send_secret,
    verify,
    work,
    worker,
)
from tests.core.crypto.world import Device


@pytest.fixture
def laptop(alice: Device) -> Device:
    """Alice's first device, which has given her account its identity."""
    asyncio.run(alice.cross_signing.keep_up())
    asyncio.run(alice.backup.create())
    assert set(held(alice)) == set(NAMES)
    return alice


@pytest.fixture
def phone(laptop: Device, make_device: Callable[..., Device]) -> Device:
    """A new login of hers; nobody has verified it."""
    made = make_device("alice", "PHONE")
    made.knows()
    laptop.knows()
    return made


def test_a_verified_device_gets_what_it_lacks_and_calls_its_requests_off(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    verify(laptop, phone)
    work(phone, laptop, phone)
    assert held(phone) == held(laptop)
    assert open_requests(phone) == {}
    assert phone.rows("SELECT name FROM secret WHERE name LIKE 'tandem.offered%'") == []
    work(laptop)
    assert laptop.rows("SELECT name FROM secret_asked WHERE answered_at IS NULL") == []


def test_a_secret_that_nobody_has_stays_asked_for(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    laptop.write(secrets.forget, secrets.BACKUP)
    work(phone, laptop, phone)
    assert list(open_requests(phone)) == [secrets.BACKUP]
    work(laptop)
    assert laptop.rows("SELECT name FROM secret_asked WHERE answered_at IS NULL") == [(secrets.BACKUP,)]


def test_nobody_is_asked_for_the_key_of_a_backup_that_is_not_there(laptop: Device, phone: Device) -> None:
    asyncio.run(laptop.backup.delete())
    verify(laptop, phone)
    work(phone)
    assert set(open_requests(phone)) == set(CROSS_SIGNING)


def test_the_phone_signs_itself_with_what_it_got(
    laptop: Device, phone: Device, make_device: Callable[..., Device]
) -> None:
    verify(laptop, phone)
    work(phone, laptop, phone)
    tablet = make_device("alice", "TABLET")
    verify(phone, tablet)
    work(tablet, phone, tablet)
    assert held(tablet) == held(laptop)


def test_secrets_travel_encrypted_only(laptop: Device, phone: Device, server: KeyServer) -> None:
    verify(laptop, phone)
    work(phone, laptop, phone)
    wire = str([request.body for request in server.requests])
    assert SEND not in wire
    assert not [secret for secret in held(laptop).values() if secret in wire]


def test_a_device_that_is_not_verified_waits_and_is_answered_once_it_is(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    laptop.put_inbox(asked())
    work(laptop)
    assert answers(server, phone) == 0
    laptop.clock.time_ms += REMEMBER_MS - 1
    verify(laptop, phone)
    work(laptop)
    assert answers(server, phone) == 1
    work(laptop)
    assert answers(server, phone) == 1


def test_a_request_is_not_remembered_for_ever(laptop: Device, phone: Device, server: KeyServer) -> None:
    laptop.put_inbox(asked())
    work(laptop)
    laptop.clock.time_ms += REMEMBER_MS + 1
    verify(laptop, phone)
    work(laptop)
    assert answers(server, phone) == 0
    assert laptop.rows("SELECT * FROM secret_asked") == []


def test_a_request_that_was_called_off_is_not_answered(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    laptop.put_inbox(asked(), asked(action="request_cancellation"))
    verify(laptop, phone)
    work(laptop)
    assert answers(server, phone) == 0


def test_the_same_request_again_gets_nothing_more(laptop: Device, phone: Device, server: KeyServer) -> None:
    verify(laptop, phone)
    laptop.put_inbox(asked(), asked())
    work(laptop)
    laptop.put_inbox(asked())
    work(laptop)
    assert answers(server, phone) == 1


def test_a_device_that_asks_without_end_gets_a_few(laptop: Device, phone: Device, server: KeyServer) -> None:
    verify(laptop, phone)
    for number in range(ANSWERS_PER_HOUR + 3):
        laptop.put_inbox(asked(request_id=f"r{number}"))
        work(laptop)
    assert answers(server, phone) == ANSWERS_PER_HOUR
    laptop.clock.time_ms += 3_600_001
    laptop.put_inbox(asked(request_id="later"))
    work(laptop)
    assert answers(server, phone) == ANSWERS_PER_HOUR + 1


def test_requests_from_devices_nobody_knows_fill_no_store(laptop: Device) -> None:
    laptop.put_inbox(*(asked(device_id=f"D{number}") for number in range(100)))
    laptop.drain()
    assert laptop.one("SELECT count(*) FROM secret_asked") == 16
    assert set(laptop.inbox_errors()) == {"too many requests for secrets"}


def test_a_stranger_gets_no_answer(laptop: Device, bob: Device, server: KeyServer) -> None:
    event = {**asked(device_id="ONE"), "sender": bob.me.user_id}
    laptop.put_inbox(event)
    work(laptop)
    assert laptop.inbox_errors() == ["somebody else asks for a secret"]
    assert answers(server, bob) == 0
    assert laptop.rows("SELECT * FROM secret_asked") == []


def test_only_what_we_have_and_share_is_given(laptop: Device, phone: Device, server: KeyServer) -> None:
    verify(laptop, phone)
    laptop.write(secrets.forget, secrets.BACKUP)
    laptop.put_inbox(asked(secrets.BACKUP), asked("tandem.offered x", request_id="r2"), asked("m.other"))
    work(laptop)
    assert answers(server, phone) == 0


def test_a_device_that_was_signed_out_meanwhile_gets_nothing(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    verify(laptop, phone)
    laptop.put_inbox(asked())
    laptop.drain()
    del server.devices[phone.me.user_id][phone.me.device_id]
    laptop.knows()
    work(laptop)
    assert answers(server, phone) == 0


def test_a_device_whose_identity_is_not_confirmed_asks_nobody(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    work(phone)
    assert server.asked(REQUEST) == []
    assert phone.write(gossip.ask_for_missing, phone.me, phone.clock.now_ms()) == 0


def test_asking_twice_asks_only_devices_that_were_not_asked(
    laptop: Device, phone: Device, server: KeyServer, make_device: Callable[..., Device]
) -> None:
    verify(laptop, phone)
    assert phone.write(gossip.ask_for_missing, phone.me, phone.clock.now_ms()) == 4
    assert phone.write(gossip.ask_for_missing, phone.me, phone.clock.now_ms()) == 0
    before = open_requests(phone)
    tablet = make_device("alice", "TABLET")
    verify(laptop, tablet)
    phone.knows()
    assert phone.write(gossip.ask_for_missing, phone.me, phone.clock.now_ms()) == 4
    asyncio.run(phone.flush())
    assert open_requests(phone) == before
    told = [set(request.body["messages"][phone.me.user_id]) for request in server.asked(REQUEST)]
    assert told == [{"ONE"}] * 4 + [{"TABLET"}] * 4


def test_a_device_that_did_not_answer_is_asked_again_ever_later(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    verify(laptop, phone)
    times = [0]
    for minutes in range(0, 180, 10):
        work(phone)
        if len(server.asked(REQUEST)) != sum(times):
            times.append(len(server.asked(REQUEST)) - sum(times))
            phone.clock.time_ms += 1
        if minutes == 0:
            assert times == [0, 4]
        phone.clock.time_ms += 600_000
    assert times == [0, 4, 4, 4, 4]
    assert len(open_requests(phone)) == 4
    laptop.receive()
    assert laptop.one("SELECT count(*) FROM secret_asked") == 4
    work(laptop, phone)
    assert held(phone) == held(laptop)


def test_a_client_that_dropped_the_first_request_answers_the_next(
    laptop: Device, phone: Device, server: KeyServer
) -> None:
    verify(laptop, phone)
    work(phone)
    laptop.fetch()
    laptop.write(lambda txn: txn.execute("DELETE FROM inbox"))
    phone.clock.time_ms += 30_000
    work(phone, laptop, phone)
    assert held(phone) == held(laptop)


def test_a_request_that_nobody_answers_ends(laptop: Device, phone: Device, server: KeyServer) -> None:
    verify(laptop, phone)
    work(phone)
    first = open_requests(phone)
    send_late = first[MASTER]
    phone.clock.time_ms += REQUEST_ENDS_MS
    send_secret(laptop, phone, {"request_id": send_late, "secret": held(laptop)[MASTER]})
    phone.receive()
    assert phone.inbox_errors() == ["a secret that was not asked for"]
    work(phone)
    assert not set(first.values()) & set(open_requests(phone).values())


def test_a_secret_that_does_not_fit_is_dropped_and_the_request_stays_open(
    laptop: Device, phone: Device
) -> None:
    verify(laptop, phone)
    work(phone)
    request_id = open_requests(phone)[MASTER]
    for wrong in ("nonsense", held(laptop)[secrets.USER_SIGNING], "A" * 43):
        send_secret(laptop, phone, {"request_id": request_id, "secret": wrong})
        work(phone)
        assert MASTER not in held(phone)
    assert phone.rows("SELECT * FROM secret_offer") == []
    assert open_requests(phone)[MASTER] == request_id
    work(laptop, phone)
    assert held(phone) == held(laptop)


def test_a_secret_from_a_stranger_is_ignored(laptop: Device, phone: Device, bob: Device) -> None:
    verify(laptop, phone)
    work(phone)
    send_secret(bob, phone, {"request_id": open_requests(phone)[MASTER], "secret": held(laptop)[MASTER]})
    work(phone)
    assert phone.inbox_errors() == ["a secret from somebody else"]
    assert held(phone) == {}


def test_a_secret_from_a_device_that_is_not_verified_is_ignored(
    laptop: Device, phone: Device, make_device: Callable[..., Device]
) -> None:
    verify(laptop, phone)
    work(phone)
    rogue = make_device("alice", "ROGUE")
    phone.knows()
    send_secret(rogue, phone, {"request_id": open_requests(phone)[MASTER], "secret": held(laptop)[MASTER]})
    work(phone)
    assert phone.inbox_errors() == ["a secret from a device that is not verified"]
    assert held(phone) == {}


def test_a_secret_from_a_verified_device_that_was_not_asked_is_ignored(
    laptop: Device, phone: Device, make_device: Callable[..., Device]
) -> None:
    verify(laptop, phone)
    work(phone)
    tablet = make_device("alice", "TABLET")
    verify(laptop, tablet)
    phone.knows()
    send_secret(tablet, phone, {"request_id": open_requests(phone)[MASTER], "secret": held(laptop)[MASTER]})
    phone.receive()
    assert phone.inbox_errors() == ["a secret from a device that was not asked"]


def test_a_secret_in_clear_is_no_secret(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    work(phone)
    content = {"request_id": open_requests(phone)[MASTER], "secret": held(laptop)[MASTER]}
    phone.put_inbox({"type": SEND, "sender": phone.me.user_id, "content": content})
    work(phone)
    assert held(phone) == {}
    assert phone.rows("SELECT * FROM secret_offer") == []


def test_a_replayed_answer_changes_nothing(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    work(phone, laptop)
    replayed = phone.fetch()
    phone.drain()
    asyncio.run(worker(phone).step())
    assert held(phone) == held(laptop)
    phone.write(secrets.forget, *NAMES)
    phone.put_inbox(*replayed)
    phone.drain()
    phone.write(lambda txn: txn.execute("DELETE FROM inbox"))  # its guard against repetition, too
    phone.put_inbox(*replayed)
    phone.drain()
    assert phone.rows("SELECT * FROM secret_offer") == []
    assert held(phone) == {}


def test_an_answer_to_a_closed_request_is_ignored(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    work(phone)
    request_id = open_requests(phone)[MASTER]
    work(laptop, phone)
    phone.write(secrets.forget, MASTER)
    send_secret(laptop, phone, {"request_id": request_id, "secret": held(laptop)[MASTER]})
    phone.receive()
    assert phone.inbox_errors() == ["a secret that was not asked for"]


def test_what_comes_another_way_ends_the_request(laptop: Device, phone: Device, server: KeyServer) -> None:
    verify(laptop, phone)
    work(phone)
    asyncio.run(phone.cross_signing.adopt(held(laptop)))
    work(phone)
    assert list(open_requests(phone)) == [secrets.BACKUP]
    work(laptop)
    assert answers(server, phone) == 1


def test_either_program_goes_on_where_the_other_one_died(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    phone.server.lose_answer.append("sendToDevice")
    with pytest.raises(Offline):
        work(phone)
    other_phone, other_laptop = phone.other_program(), laptop.other_program()
    work(other_phone)
    laptop.receive()  # drains, and dies
    work(other_laptop)
    phone.receive()  # the same
    work(other_phone)
    assert held(other_phone) == held(laptop)
    for device in (other_phone, other_laptop):
        device.close()


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ("lose_request", "sendToDevice"),
        ("lose_answer", "sendToDevice"),
        ("lose_answer", "keys/claim"),
        ("lose_request", "keys/query"),
    ],
)
def test_a_lost_request_is_repeated_and_nothing_is_doubled(
    laptop: Device, phone: Device, where: str, part: str
) -> None:
    verify(laptop, phone)
    for _ in range(4):
        getattr(laptop.server, part)[:] = [where]
        for device in (phone, laptop):
            with contextlib.suppress(Offline):
                work(device)
            device.clock.time_ms += 61_000
    getattr(laptop.server, part).clear()
    work(phone, laptop, phone)
    assert held(phone) == held(laptop)
    assert len(laptop.rows("SELECT * FROM secret_asked WHERE answered_at IS NOT NULL")) <= 4


def test_secrets_of_a_replaced_identity_are_asked_for_anew(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    work(phone, laptop, phone)
    old = held(phone)

    class Somebody:
        async def password(self, *, was_wrong: bool) -> str | None:
            return laptop.server.password

        async def in_browser(self, url: str) -> bool:
            raise AssertionError(url)

    asyncio.run(laptop.cross_signing.reset(Somebody()))
    phone.knows()
    work(phone, laptop)
    assert held(phone) == old, "an identity that nobody confirmed changes nothing"
    verify(laptop, phone)
    work(phone, laptop, phone)
    assert held(phone) == held(laptop) != old


def test_a_new_device_knows_nothing_of_the_old_ones_requests(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    work(phone)
    phone.put_inbox(asked(device_id="ONE"))
    phone.drain()
    phone.write(session.become_new_device)
    for table in ("secret_request", "secret_offer", "secret_asked", "secret_stored"):
        assert phone.rows(f"SELECT * FROM {table}") == []


values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.none(), max_size=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    content=st.fixed_dictionaries(
        {},
        optional={
            "action": values | st.sampled_from(["request", "request_cancellation"]),
            "name": values | st.sampled_from(CROSS_SIGNING),
            "requesting_device_id": values | st.just("x" * 256),
            "request_id": values | st.just("x" * 256),
        },
    )
)
def test_no_request_breaks_the_drain(alice: Device, content: Json) -> None:
    alice.put_inbox({"type": REQUEST, "sender": alice.me.user_id, "content": content})
    alice.drain()
    assert not [error for error in alice.inbox_errors() if error and error.startswith("unexpected")]


def test_a_malformed_answer_is_ignored(laptop: Device, phone: Device) -> None:
    verify(laptop, phone)
    work(phone)
    good = {"request_id": open_requests(phone)[MASTER], "secret": "x"}
    for wrong in (
        {"request_id": 1},
        {"request_id": ""},
        {"secret": ""},
        {"secret": "x" * 5000},
        {"secret": ["x"]},
    ):
        send_secret(laptop, phone, {**good, **wrong})
    send_secret(laptop, phone, {})
    phone.receive()
    assert phone.inbox_errors() == ["malformed secret"] * 6
    assert phone.rows("SELECT * FROM secret_offer") == []


def test_the_own_list_is_fetched_for_a_device_that_is_not_known(
    laptop: Device, phone: Device, make_device: Callable[..., Device]
) -> None:
    make_device("alice", "TABLET")
    laptop.put_inbox(asked(device_id="TABLET"))
    laptop.drain()
    assert laptop.me.user_id in laptop.read(devices.outdated, laptop.clock.now_ms())
