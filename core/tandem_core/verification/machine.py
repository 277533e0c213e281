"""How a verification goes on: pure. (state, event, world) -> next state, messages to send, what is verified.

Spec, "Key verification framework". Whatever is not as it should be ends it with the code that says why; what comes
twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from tandem_core.types import DeviceId, Json
from tandem_core.verification import messages, qr, sas
from tandem_core.verification.flow import (
    Act,
    Event,
    Flow,
    Heard,
    NotNow,
    Phase,
    Scan,
    Send,
    Step,
    Verified,
    World,
)
from tandem_core.verification.messages import (
    QR_SCAN,
    QR_SHOW,
    RECIPROCATE,
    SAS,
    Accept,
    Cancel,
    Code,
    Done,
    Key,
    Kind,
    Mac,
    Malformed,
    Ready,
    Request,
    StartOther,
    StartReciprocate,
    StartSas,
)
from tandem_core.verification.sas import Party


def step(flow: Flow, event: Event, world: World) -> Step:
    """The next state. An act that does not fit raises NotNow and leaves all as it is."""
    if flow.phase.is_over:
        if isinstance(event, Heard) or event is Act.TICK:
            return Step(flow)
        raise NotNow("it is over")
    match event:
        case Heard():
            return _hear(flow, event, world)
        case Scan():
            return _scan(flow, event.code, world)
        case Act():
            return _act(flow, event, world)
    assert_never(event)


def can_compare(flow: Flow) -> bool:
    """Whether emoji and numbers can be compared, if somebody starts."""
    return flow.phase is Phase.READY and SAS in flow.methods


def can_scan(flow: Flow) -> bool:
    """Whether the other side may show a code for us to read."""
    return flow.phase is Phase.READY and {QR_SHOW, RECIPROCATE} <= flow.methods


# ── What a person does, and time ────────────────────────────────────────────────────────────────


def _act(flow: Flow, act: Act, world: World) -> Step:
    match act:
        case Act.AGREE if flow.phase is Phase.ASKED and not flow.we_asked:
            return _agree(flow, world)
        case Act.START_SAS if can_compare(flow):
            content = flow.place.wrap(messages.starts_sas(world.mine.party.device))
            half = world.new_half()
            moved = replace(_move(flow, Phase.STARTED, world), start=content, we_started=True, half=half)
            return Step(moved, (_send(flow, Kind.START, content),))
        case Act.CONFIRM if flow.phase is Phase.COMPARE:
            return _confirm(flow, world)
        case Act.CONFIRM if flow.phase is Phase.SHOWN:
            return _finish(flow, flow.found, world)
        case Act.MISMATCH if flow.phase is Phase.COMPARE:
            return _cancel(flow, Code.MISMATCHED_SAS, world)
        case Act.MISMATCH if flow.phase is Phase.SHOWN:
            return _cancel(flow, Code.USER, world)
        case Act.CANCEL:
            return _cancel(flow, Code.USER, world)
        case Act.TICK:
            if world.now_ms < flow.due_at:
                return Step(flow)
            if flow.phase is Phase.ASKED and not flow.we_asked:
                return Step(_end(flow, Code.TIMEOUT, world))  # nobody here took part: nothing to say
            return _cancel(flow, Code.TIMEOUT, world)
    raise NotNow


def _agree(flow: Flow, world: World) -> Step:
    can = _ours_for(flow.methods)
    if not can:
        return _cancel(flow, Code.UNKNOWN_METHOD, world)
    if world.theirs.ed25519 is None:
        raise NotNow("their device is not known yet", advice="Try again in a moment.")
    content = flow.place.wrap({"from_device": world.mine.party.device, "methods": can})
    return Step(_ready(flow, world), (_send(flow, Kind.READY, content),))


def _confirm(flow: Flow, world: World) -> Step:
    assert flow.shared is not None
    mine = world.mine
    # The account's key goes last: under one and the same id the device's key is what is meant.
    keys = {f"ed25519:{mine.party.device}": mine.ed25519}
    if mine.master is not None and mine.trusts_master:
        keys.setdefault(f"ed25519:{mine.master}", mine.master)
    made = sas.macs(flow.shared, mine.party, _them(flow), flow.place.flow, keys)
    send = _send(flow, Kind.MAC, flow.place.wrap(made))
    moved = _move(flow, Phase.CONFIRMED, world)
    if flow.found is None:
        return Step(moved, (send,))
    finished = _finish(moved, flow.found, world)
    return replace(finished, sends=(send, *finished.sends))


def _scan(flow: Flow, code: qr.Code, world: World) -> Step:
    """Check a code of the other side; what it says of keys has to be what we know."""
    if not can_scan(flow):
        raise NotNow("their side shows no code")
    if code.flow != flow.place.flow:
        raise qr.BadCode("of another verification")
    mine, theirs = world.mine, world.theirs
    is_self = flow.peer == mine.party.user
    found: Verified | None = None
    match code.mode:
        case qr.Mode.PERSON if not is_self and mine.trusts_master:
            if (code.first, code.second) == (theirs.master, mine.master):
                found = Verified(flow.peer, None, None, theirs.master)
        case qr.Mode.TRUSTED if is_self:
            if (code.first, code.second) == (theirs.master, mine.ed25519):
                found = Verified(flow.peer, None, None, theirs.master)
        case qr.Mode.UNTRUSTED if is_self and mine.trusts_master:
            if (code.first, code.second) == (theirs.ed25519, mine.master):
                found = Verified(flow.peer, flow.device, theirs.ed25519, None)
    if found is None:
        return _cancel(flow, Code.KEY_MISMATCH, world)
    content = flow.place.wrap(messages.starts_reciprocate(mine.party.device, code.secret))
    moved = replace(_move(flow, Phase.SCANNED, world), start=content, we_started=True, found=found)
    return Step(moved, (_send(flow, Kind.START, content),))


# ── What the other side says ────────────────────────────────────────────────────────────────────


def _hear(flow: Flow, heard: Heard, world: World) -> Step:
    message = heard.message
    if heard.sender != flow.peer:
        is_ours = heard.sender == world.mine.party.user
        return _hear_our_other_device(flow, message, world) if is_ours else Step(flow)
    match message:
        case Request():
            return Step(flow)
        case Ready():
            return _hear_ready(flow, message, world)
        case StartSas() | StartReciprocate() | StartOther():
            return _hear_start(flow, message, world)
        case Accept():
            return _hear_accept(flow, message, world)
        case Key():
            return _hear_key(flow, message, world)
        case Mac():
            return _hear_mac(flow, message, world)
        case Done():
            return _hear_done(flow, world)
        case Cancel():
            ended = _end(flow, message.code, world)
            return Step(replace(ended, reason=message.reason, is_theirs=True))
        case Malformed():
            return _cancel(flow, Code.INVALID_MESSAGE, world)
    assert_never(message)


def _hear_our_other_device(flow: Flow, message: messages.Message, world: World) -> Step:
    """In a room our own other devices are asked as well, and one of them may have answered."""
    if flow.phase is Phase.ASKED and not flow.we_asked:
        match message:
            case Ready(device) if device != world.mine.party.device:
                return Step(_end(flow, Code.ACCEPTED, world))
            case Cancel(code):
                return Step(_end(flow, code, world))
    return Step(flow)


def _hear_ready(flow: Flow, ready: Ready, world: World) -> Step:
    if not flow.we_asked:
        return _cancel(flow, Code.UNEXPECTED_MESSAGE, world)
    is_first = flow.phase is Phase.ASKED
    if not is_first or (flow.place.room_id is None and ready.device not in flow.asked):
        return Step(flow)  # another of their devices was quicker, or says it again
    others = tuple(device for device in flow.asked if device != ready.device)
    flow = replace(flow, device=ready.device, methods=frozenset(ready.methods))
    sends: tuple[Send, ...] = ()
    if others:
        # The other devices that were asked need not ask their person any more.
        content = flow.place.wrap(messages.cancels(Code.ACCEPTED))
        sends = (Send(Kind.CANCEL, content, others),)
    if world.theirs.ed25519 is None:
        ended = _cancel(flow, Code.USER_MISMATCH, world)
    elif not _ours_for(flow.methods):
        ended = _cancel(flow, Code.UNKNOWN_METHOD, world)
    else:
        return Step(_ready(flow, world), sends)
    return replace(ended, sends=(*sends, *ended.sends))


def _hear_start(flow: Flow, start: StartSas | StartReciprocate | StartOther, world: World) -> Step:
    if start.device != flow.device:
        code = Code.UNEXPECTED_MESSAGE if flow.device is None else Code.USER_MISMATCH
        return _cancel(flow, code, world)
    if flow.phase is Phase.STARTED:
        # Both started at once: the smaller one counts, if both want the same.
        if not isinstance(start, StartSas):
            return _cancel(flow, Code.UNEXPECTED_MESSAGE, world)
        if _has_lost(flow, start, world):
            return Step(flow)
        flow = replace(flow, phase=Phase.READY, start=None, we_started=False, half=None)
    if flow.phase is not Phase.READY:
        is_known = isinstance(start, StartSas) and (
            start.content == flow.start or _has_lost(flow, start, world)
        )
        return Step(flow) if is_known else _cancel(flow, Code.UNEXPECTED_MESSAGE, world)
    match start:
        case StartSas():
            return _accept(flow, start, world)
        case StartReciprocate():
            if flow.shown is None:
                return _cancel(flow, Code.UNKNOWN_METHOD, world)
            if start.secret != flow.shown.secret:
                return _cancel(flow, Code.KEY_MISMATCH, world)
            return Step(replace(_move(flow, Phase.SHOWN, world), found=_shown_to_be_true(flow, world)))
        case StartOther():
            return _cancel(flow, Code.UNKNOWN_METHOD, world)
    assert_never(start)


def _has_lost(flow: Flow, start: StartSas, world: World) -> bool:
    """Whether this ``start`` gives way to the one that we sent."""
    mine = world.mine.party
    is_ours_smaller = (mine.user, mine.device) < (flow.peer, start.device)
    return flow.we_started and flow.phase is not Phase.SCANNED and is_ours_smaller


def _accept(flow: Flow, start: StartSas, world: World) -> Step:
    is_common = (
        messages.AGREEMENT in start.agreements
        and messages.HASH in start.hashes
        and messages.MAC in start.macs
        and messages.DECIMAL in start.strings
    )
    if not is_common:
        return _cancel(flow, Code.UNKNOWN_METHOD, world)
    half = world.new_half()
    content = flow.place.wrap(
        {
            "key_agreement_protocol": messages.AGREEMENT,
            "hash": messages.HASH,
            "message_authentication_code": messages.MAC,
            "short_authentication_string": [
                kind for kind in (messages.DECIMAL, messages.EMOJI) if kind in start.strings
            ],
            "commitment": sas.commitment(half.public, start.content),
        }
    )
    moved = replace(_move(flow, Phase.ACCEPTED, world), start=start.content, half=half)
    return Step(moved, (_send(flow, Kind.ACCEPT, content),))


def _hear_accept(flow: Flow, accept: Accept, world: World) -> Step:
    if flow.phase is not Phase.STARTED:
        is_known = flow.we_started and flow.promise == accept.commitment
        return Step(flow) if is_known else _cancel(flow, Code.UNEXPECTED_MESSAGE, world)
    is_offered = (
        accept.agreement == messages.AGREEMENT
        and accept.hash == messages.HASH
        and accept.mac == messages.MAC
        and set(accept.strings) & {messages.DECIMAL, messages.EMOJI}
    )
    if not is_offered:
        return _cancel(flow, Code.UNKNOWN_METHOD, world)
    assert flow.half is not None
    content = flow.place.wrap({"key": flow.half.public})
    moved = replace(_move(flow, Phase.KEYED, world), promise=accept.commitment)
    return Step(moved, (_send(flow, Kind.KEY, content),))


def _hear_key(flow: Flow, said: Key, world: World) -> Step:
    if flow.phase not in (Phase.ACCEPTED, Phase.KEYED):
        is_known = flow.their_key is not None and flow.their_key == said.key
        return Step(flow) if is_known else _cancel(flow, Code.UNEXPECTED_MESSAGE, world)
    assert flow.half is not None
    assert flow.start is not None
    if flow.we_started and sas.commitment(said.key, flow.start) != flow.promise:
        return _cancel(flow, Code.MISMATCHED_COMMITMENT, world)
    try:
        shared = flow.half.with_key(said.key)
    except ValueError:
        return _cancel(flow, Code.INVALID_MESSAGE, world)
    us, them, own = world.mine.party, _them(flow), flow.half.public
    starter, other = ((us, own), (them, said.key)) if flow.we_started else ((them, said.key), (us, own))
    emoji, decimals = shared.string(sas.string_info(*starter, *other, flow.place.flow))
    moved = replace(
        _move(flow, Phase.COMPARE, world), their_key=said.key, shared=shared, emoji=emoji, decimals=decimals
    )
    if flow.we_started:
        return Step(moved)
    return Step(moved, (_send(flow, Kind.KEY, flow.place.wrap({"key": own})),))


def _hear_mac(flow: Flow, said: Mac, world: World) -> Step:
    if flow.phase not in (Phase.COMPARE, Phase.CONFIRMED):
        return _cancel(flow, Code.UNEXPECTED_MESSAGE, world)
    if flow.found is not None:
        return Step(flow)
    found = _check_macs(flow, said, world)
    if found is None:
        return _cancel(flow, Code.KEY_MISMATCH, world)
    if flow.phase is Phase.CONFIRMED:
        return _finish(flow, found, world)
    return Step(replace(_move(flow, Phase.COMPARE, world), found=found))


def _check_macs(flow: Flow, said: Mac, world: World) -> Verified | None:
    """What their MACs show of the keys that we know; None unless all of it holds and their device is in it.

    Ids that we do not know are nothing to us. A device may bear the name of a master key: then it is the device.
    """
    assert flow.shared is not None
    them, us, theirs = _them(flow), world.mine.party, world.theirs

    def holds(text: str, key_id: str, mac: str) -> bool:
        assert flow.shared is not None
        return flow.shared.is_mac(text, sas.mac_info(them, us, flow.place.flow, key_id), mac)

    if not holds(",".join(sorted(key_id for key_id, _ in said.macs)), "KEY_IDS", said.keys):
        return None
    ed25519 = master = None
    for key_id, mac in said.macs:
        if key_id == f"ed25519:{flow.device}":
            if theirs.ed25519 is None or not holds(theirs.ed25519, key_id, mac):
                return None
            ed25519 = theirs.ed25519
        elif theirs.master is not None and key_id == f"ed25519:{theirs.master}":
            if not holds(theirs.master, key_id, mac):
                return None
            master = theirs.master
    return None if ed25519 is None else Verified(flow.peer, flow.device, ed25519, master)


def _hear_done(flow: Flow, world: World) -> Step:
    match flow.phase:
        case Phase.SCANNED:
            return _finish(flow, flow.found, world)
        case Phase.CONFIRMED:
            return Step(flow)  # it overtook their MAC
    return _cancel(flow, Code.UNEXPECTED_MESSAGE, world)


# ── Parts ───────────────────────────────────────────────────────────────────────────────────────


def _ours_for(theirs: Iterable[str]) -> list[str]:
    """What we answer to what they can: showing needs somebody who scans, and the other way round."""
    they = set(theirs)
    can = [SAS] if SAS in they else []
    if RECIPROCATE in they:
        can += [QR_SHOW] if QR_SCAN in they else []
        can += [QR_SCAN] if QR_SHOW in they else []
        can += [RECIPROCATE] if {QR_SCAN, QR_SHOW} & they else []
    return can


def _ready(flow: Flow, world: World) -> Flow:
    moved = _move(flow, Phase.READY, world)
    return (
        replace(moved, shown=_code_to_show(moved, world)) if {QR_SCAN, RECIPROCATE} <= flow.methods else moved
    )


def _code_to_show(flow: Flow, world: World) -> qr.Code | None:
    """Our code, if we know the two keys that belong in it."""
    mine, theirs, flow_id = world.mine, world.theirs, flow.place.flow
    if mine.master is None or theirs.master is None:
        return None
    if flow.peer != mine.party.user:
        mode, first, second = qr.Mode.PERSON, mine.master, theirs.master
        if not mine.trusts_master:
            return None
    elif mine.trusts_master:
        if theirs.ed25519 is None:
            return None
        mode, first, second = qr.Mode.TRUSTED, mine.master, theirs.ed25519
    else:
        mode, first, second = qr.Mode.UNTRUSTED, mine.ed25519, theirs.master
    if not (qr.is_key(first) and qr.is_key(second)):
        return None
    return qr.Code(mode, flow_id, first, second, world.secret)


def _shown_to_be_true(flow: Flow, world: World) -> Verified:
    """What it means that the other side read our code and found its own keys in it."""
    assert flow.shown is not None
    if flow.shown.mode is qr.Mode.TRUSTED:
        return Verified(flow.peer, flow.device, flow.shown.second, None)
    return Verified(flow.peer, None, None, flow.shown.second)


def _finish(flow: Flow, found: Verified | None, world: World) -> Step:
    assert found is not None
    done = replace(_move(flow, Phase.DONE, world), found=found)
    return Step(done, (_send(flow, Kind.DONE, flow.place.wrap({})),), found)


def _cancel(flow: Flow, code: Code, world: World) -> Step:
    content: Json = flow.place.wrap(messages.cancels(code))
    return Step(_end(flow, code, world), (_send(flow, Kind.CANCEL, content),))


def _end(flow: Flow, code: str, world: World) -> Flow:
    """Nothing of its secrets stays."""
    reason = messages.REASONS.get(Code(code), "") if code in set(Code) else ""
    moved = replace(_move(flow, Phase.CANCELLED, world), code=code, reason=reason)
    return replace(moved, half=None, shared=None, found=None, shown=None, emoji=(), decimals=())


def _move(flow: Flow, phase: Phase, world: World) -> Flow:
    return replace(flow, phase=phase, moved_at=world.now_ms)


def _send(flow: Flow, kind: Kind, content: Json) -> Send:
    devices: tuple[DeviceId, ...] = ()
    if flow.place.room_id is None:
        devices = (flow.device,) if flow.device is not None else flow.asked
    return Send(kind, content, devices)


def _them(flow: Flow) -> Party:
    assert flow.device is not None
    return Party(flow.peer, flow.device)
