"""The content repository of a real Synapse: what the one of the other tests pretends to be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tandem_core.attachments import mxc
from tandem_core.attachments.content import Part
from tandem_core.attachments.mxc import Mxc
from tandem_core.errors import ServerRefused, SignedOut
from tandem_core.http import Http
from tandem_core.media import api
from tandem_core.media.cache import Cache
from tandem_demo.raw import RawClient

pytestmark = pytest.mark.synapse
MOST = 5 * 1024 * 1024
"""``max_upload_size`` of the servers of the tests."""
T = TypeVar("T")
MakeUser = Callable[..., RawClient]


def ask(user: RawClient, work: Callable[[Http], asyncio.Future[T] | object], token: str | None = None) -> T:
    async def run() -> T:
        http = Http(user.base_url, token=token or user.token)
        try:
            return await work(http)  # type: ignore[misc, no-any-return]
        finally:
            await http.close()

    return asyncio.run(run())


def upload(http: Http, data: bytes) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    return api.upload(http, pieces, len(data), "application/octet-stream")


def test_what_goes_up_comes_down_as_it_was(make_user: MakeUser, tmp_path: Path) -> None:
    alice, bob = make_user("alice"), make_user("bob")
    data = os.urandom(1_000_000)
    source: Mxc = ask(alice, lambda http: upload(http, data))
    part = Part(source, None, "application/octet-stream", len(data))
    file: Path = ask(bob, lambda http: Cache(tmp_path).fetch(http, part, MOST))
    assert file.read_bytes() == data


def test_the_limit_is_told_and_held(make_user: MakeUser) -> None:
    alice = make_user("alice")
    assert ask(alice, api.upload_limit) == MOST
    assert isinstance(ask(alice, lambda http: upload(http, bytes(MOST))), Mxc)
    with pytest.raises(ServerRefused) as refused:
        ask(alice, lambda http: upload(http, bytes(MOST + 1)))
    assert (refused.value.status, refused.value.errcode) == (413, "M_TOO_LARGE")


def test_files_are_for_those_who_are_signed_in(make_user: MakeUser, tmp_path: Path) -> None:
    alice = make_user("alice")
    source: Mxc = ask(alice, lambda http: upload(http, b"data"))
    part = Part(source, None, "application/octet-stream", 4)
    with pytest.raises(SignedOut):
        ask(alice, lambda http: Cache(tmp_path).fetch(http, part, MOST), token="not a token")
    with pytest.raises(SignedOut):
        ask(alice, lambda http: upload(http, b"data"), token="not a token")
    status, _ = alice.request(
        "GET", f"/_matrix/media/v3/download/{source.server}/{source.media_id}", token=""
    )
    assert status == 404  # the endpoints without authentication have nothing new


def test_a_file_that_is_not_there_is_definitely_not(make_user: MakeUser, tmp_path: Path) -> None:
    alice = make_user("alice")
    source: Mxc = ask(alice, lambda http: upload(http, b"data"))
    gone = Part(mxc.parse(f"mxc://{source.server}/doesNotExist"), None, "image/png", 4)
    with pytest.raises(ServerRefused) as refused:
        ask(alice, lambda http: Cache(tmp_path).fetch(http, gone, MOST))
    assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")
