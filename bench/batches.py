"""A batch of receipts to the server (MSC4246) next to as many receipts one by one, over one open connection each."""

from __future__ import annotations

import time
from urllib.parse import quote

from bench.intervals import interval, median
from bench.measure import Figure
from bench.receipts import DELIVERY, Person
from tandem_demo.raw import CLIENT
from tandem_demo.synapse import SynapseServer

_EVENTS = 64
_BATCH = f"{CLIENT}/sendToDevice/im.tandem.delivery.batch"


def batches(server: SynapseServer, runs: int) -> list[Figure]:
    """Milliseconds until all are answered with 200, that is kept."""
    author, reader = Person(server, "batch-author"), Person(server, "batch-reader")
    room = author.raw.create_room(invite=[reader.user_id], preset="private_chat")
    reader.raw.join(room)
    together: list[float] = []
    alone: list[float] = []
    for number in range(runs + 1):
        names = [author.raw.say(room, f"{number} {each}") for each in range(2 * _EVENTS)]
        batch = {"rooms": {room: names[:_EVENTS]}}
        messages = {"messages": {f"@:{server.server_name}": {"": batch}}}
        start = time.monotonic()
        reader.ask("PUT", f"{_BATCH}/{quote(f'run {number}')}", messages)
        middle = time.monotonic()
        for event in names[_EVENTS:]:
            reader.confirm(room, DELIVERY, event)
        if number:  # the first warms caches up
            together.append((middle - start) * 1000)
            alone.append((time.monotonic() - middle) * 1000)
    for person in (author, reader):
        person.close()
    value, floor = median(together), median(alone)
    low, high = interval(together, alone, median)
    how = f"median of {runs} each, in turn; floor: one by one; 95 % of the ratios: {low:.2f} to {high:.2f}"
    return [Figure(f"a batch of {_EVENTS} receipts", value, floor, "ms", value / floor, 1.0, how)]
