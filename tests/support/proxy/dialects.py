"""Other servers' rules for to-device events, put in front of a real Synapse by the fault proxy.

Read in the sources of tuwunel and continuwuity, as of August 2026: the first takes the connection's place where a
request has no ``since``, and leaves an empty block out; the second knows only the place, and deletes what a
request's place covers once it has put the answer together. Both give no more than what came after it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tandem_core.sync.readers import Rule
from tests.support.proxy.wire import Answer, Asked, Forward, Json


class OtherServer:
    """An action for all sync requests of one device. It takes the events over from Synapse and keeps them itself."""

    def __init__(self, rule: Rule) -> None:
        assert rule in (Rule.SINCE_OR_POS, Rule.POS)
        self.rule = rule
        self.given: dict[str, list[int]] = {"app": [], "notifier": []}
        """The numbers of the events that each connection was given, in order, again and again."""
        self.deleted_unread: list[int] = []
        """Events that were deleted before any answer with them was given."""
        self._events: dict[int, Json] = {}
        self._known: set[str] = set()
        self._count = 0
        self._upstream: str | None = None
        self._places: dict[str, int] = {}

    @property
    def accepted(self) -> int:
        """How many events there were so far."""
        return self._count

    async def __call__(self, asked: Asked, forward: Forward) -> Answer | None:
        query = dict(parse_qsl(asked.query))
        place = self._places.get(query.get("pos", ""), 0)
        block = asked.to_device
        reads = block.get("enabled") is True
        covered = place if self.rule is Rule.POS else int(block.get("since") or place)
        if reads and self.rule is Rule.SINCE_OR_POS:
            self._delete(covered)
        if reads and any(number > covered for number in self._events):
            query["timeout"] = "0"
        answer = await forward(self._upwards(asked, query))
        if answer.status != 200:
            return answer
        said = answer.body
        self._take_over(said)
        extensions = said.setdefault("extensions", {})
        extensions.pop("to_device", None)
        if reads:
            numbers = [number for number in sorted(self._events) if number > covered]
            if numbers or self.rule is Rule.POS:
                events = [self._events[number] for number in numbers]
                extensions["to_device"] = {"next_batch": str(self._count), "events": events}
            self.given[asked.conn_id or ""] += numbers
            if self.rule is Rule.POS:
                self._delete(covered)
        self._places[said["pos"]] = self._count
        return replace(answer, data=json.dumps(said).encode())

    def _upwards(self, asked: Asked, query: dict[str, str]) -> Asked:
        """What Synapse is asked: with the token of what is kept here."""
        body: dict[str, Any] = asked.body
        to_device = body["extensions"]["to_device"]
        to_device.pop("since", None)
        if self._upstream is not None:
            to_device["since"] = self._upstream
        return replace(asked, query=urlencode(query), data=json.dumps(body).encode())

    def _take_over(self, said: Json) -> None:
        block = said.get("extensions", {}).get("to_device")
        if block is None:
            return
        for event in block["events"]:
            mark = json.dumps(event, sort_keys=True)
            if mark not in self._known:
                self._known.add(mark)
                self._count += 1
                self._events[self._count] = event
        if self._upstream is None or int(block["next_batch"]) > int(self._upstream):
            self._upstream = block["next_batch"]

    def _delete(self, upto: int) -> None:
        read = {number for numbers in self.given.values() for number in numbers}
        for number in [number for number in self._events if number <= upto]:
            if number not in read:
                self.deleted_unread.append(number)
            del self._events[number]
