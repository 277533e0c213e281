"""Up and down: streamed, checked before anybody gets it, and foreign code agrees on the encryption."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import hashlib
import os
import resource
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment

from tandem_core import http_stream
from tandem_core.attachments import content, mxc
from tandem_core.attachments.content import Part
from tandem_core.errors import DiskFull, Offline, ServerRefused, SignedOut
from tandem_core.http import Http
from tandem_core.http_stream import TooBig, fetch_file, send_file
from tandem_core.media import api, cipher
from tandem_core.media.cache import Cache, Exists, NothingThere
from tandem_core.media.cipher import HashMismatch
from tandem_core.media.files import NewFile, sweep
from tests.core.media.media_server import Repository
from tests.support.aio import in_loop

MOST = 64 * 1024 * 1024


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def plain(repository: Repository, data: bytes, size: int | None = None) -> Part:
    return Part(mxc.parse(repository.put(data)), None, "image/png", size)


def sealed(repository: Repository, data: bytes) -> Part:
    """Encrypted by nio, as another client would."""
    ciphertext, file = encrypt_attachment(data)
    part = content.read("file", {"body": "x", "file": file | {"url": repository.put(ciphertext)}})
    assert part is not None
    assert part.file is not None
    return part.file


async def fetch(url: str, cache: Cache, part: Part, most: int = MOST) -> bytes:
    http = Http(url, token="t0ken")
    try:
        return (await cache.fetch(http, part, most)).read_bytes()
    finally:
        await http.close()


def left(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 300_000])
@in_loop
async def test_what_nio_encrypts_we_open(
    cache: Cache, media_url: str, repository: Repository, size: int
) -> None:
    data = os.urandom(size)
    assert await fetch(media_url, cache, sealed(repository, data)) == data


@pytest.mark.parametrize("size", [0, 1, 16, 300_000])
def test_what_we_encrypt_piece_by_piece_nio_opens(size: int) -> None:
    data = os.urandom(size)
    *pieces, file = list(cipher.encrypted(iter([data[:7], data[7:100], data[100:]])))
    assert isinstance(file, dict)
    ciphertext = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    assert decrypt_attachment(ciphertext, file["key"]["k"], file["hashes"]["sha256"], file["iv"]) == data


def test_each_file_has_a_key_of_its_own() -> None:
    first, second = (list(cipher.encrypted(iter([b"same"]))) for _ in range(2))
    assert first[0] != second[0]
    assert first[-1] != second[-1]


@in_loop
async def test_a_changed_file_is_refused_and_leaves_nothing(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    part = sealed(repository, b"pay 10")
    assert part.source is not None
    ciphertext = bytearray(repository.media[part.source.media_id])
    ciphertext[4] ^= 1
    repository.media[part.source.media_id] = bytes(ciphertext)
    with pytest.raises(HashMismatch):
        await fetch(media_url, cache, part)
    assert left(cache.folder) == []


@in_loop
async def test_a_download_that_breaks_off_leaves_nothing_and_may_be_tried_again(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    data = os.urandom(400_000)
    repository.cut_after = 100_000
    for part in (plain(repository, data), sealed(repository, data)):
        with pytest.raises(Offline):
            await fetch(media_url, cache, part)
        assert left(cache.folder) == []
    repository.cut_after = None
    assert await fetch(media_url, cache, plain(repository, data)) == data


@in_loop
async def test_an_answer_shorter_than_it_says_is_not_taken_for_the_file(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    repository.invent = 10
    with pytest.raises(Offline):
        await fetch(media_url, cache, plain(repository, b"x" * 1000))
    assert left(cache.folder) == []


@in_loop
async def test_a_file_is_fetched_once_and_kept_for_its_owner_only(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    part = plain(repository, b"data")
    for _ in range(2):
        assert await fetch(media_url, cache, part) == b"data"
    assert len(repository.asked) == 1
    assert stat.S_IMODE(cache.file(part).stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


@in_loop
async def test_more_than_its_sender_says_is_not_taken(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    with pytest.raises(TooBig):
        await fetch(media_url, cache, plain(repository, b"x" * 200_000), most=100_000)
    small = dataclasses.replace(plain(repository, b"y" * 20_000_000), size=1)
    with pytest.raises(TooBig):
        await fetch(media_url, cache, small)
    assert left(cache.folder) == []


@in_loop
async def test_a_message_without_a_file_has_nothing_to_fetch(cache: Cache, media_url: str) -> None:
    with pytest.raises(NothingThere):
        await fetch(media_url, cache, Part(None, None, "image/png", 1))


@in_loop
async def test_downloads_show_the_token_and_older_servers_are_asked_without_it(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    await fetch(media_url, cache, plain(repository, b"new"))
    repository.is_old = True
    assert await fetch(media_url, cache, plain(repository, b"old")) == b"old"
    assert [asked.token for asked in repository.asked] == ["t0ken", "t0ken", None]


@in_loop
async def test_a_file_that_is_gone_is_asked_for_once(cache: Cache, media_url: str) -> None:
    with pytest.raises(ServerRefused, match="no such media"):
        await fetch(media_url, cache, Part(mxc.parse("mxc://example.org/gone"), None, "image/png", 1))


@pytest.mark.parametrize("status", [307, 308])
@in_loop
async def test_the_token_does_not_follow_a_redirect(
    cache: Cache, media_url: str, repository: Repository, status: int
) -> None:
    repository.redirect = lambda media_id: f"{media_url}/elsewhere/{media_id}"
    repository.redirect_status = status
    assert await fetch(media_url, cache, plain(repository, b"data")) == b"data"
    assert [asked.token for asked in repository.asked] == ["t0ken", None]


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "http:///x",
        "http://[x/",
        "/_matrix/client/v1/media/download/example.org/a",
    ],
)
@in_loop
async def test_a_redirect_to_where_no_file_can_be_or_round_in_circles_ends(
    cache: Cache, media_url: str, repository: Repository, target: str
) -> None:
    repository.redirect = lambda media_id: target
    with pytest.raises(Offline):
        await fetch(media_url, cache, plain(repository, b"data"))
    assert len(repository.asked) <= 4
    assert left(cache.folder) == []


@in_loop
async def test_a_redirect_that_the_specification_does_not_know_is_no_answer(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    repository.redirect = lambda media_id: f"{media_url}/elsewhere/{media_id}"
    repository.redirect_status = 301
    with pytest.raises((Offline, ServerRefused)):
        await fetch(media_url, cache, plain(repository, b"data"))


@in_loop
async def test_a_transfer_that_stands_still_ends_either_way(media_url: str, repository: Repository) -> None:
    repository.stall = True
    http = Http(media_url, token="t")

    async def take(chunk: bytes) -> None: ...

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b"x" * 100_000

    source = mxc.parse(repository.put(b"x" * 10_000_000))
    assert source is not None
    try:
        with pytest.raises(Offline, match="in time"):
            await fetch_file(
                http,
                "GET",
                f"/_matrix/client/v1/media/download/{source.server}/{source.media_id}",
                take,
                MOST,
                idle_s=0.2,
            )
        with pytest.raises(Offline, match="in time"):
            await send_file(http, "POST", api.UPLOAD, pieces, 40_000_000, "text/plain", idle_s=0.2)
    finally:
        await http.close()
        repository.stall = False
        await asyncio.sleep(0.1)  # what was on its way is flushed, and its connection goes


@in_loop
async def test_an_upload_says_how_long_it_is_and_shows_the_token(
    media_url: str, repository: Repository
) -> None:
    http = Http(media_url, token="t0ken")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    try:
        source = await api.upload(http, pieces, 7, "text/plain")
    finally:
        await http.close()
    assert repository.media[source.media_id] == b"one two"
    (asked,) = repository.asked
    assert (asked.token, asked.mimetype, asked.length) == ("t0ken", "text/plain", 7)


@in_loop
async def test_what_ails_the_file_is_not_taken_for_a_broken_connection(media_url: str) -> None:
    http = Http(media_url, token="t0ken")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise DiskFull

    try:
        with pytest.raises(DiskFull):
            await api.upload(http, pieces, 7, "text/plain")
    finally:
        await http.close()
        await asyncio.sleep(0.2)  # the server hears that the rest will not come


@pytest.mark.parametrize(
    "words", ["<html>413 Request Entity Too Large</html>", {"errcode": "M_TOO_LARGE", "error": "x"}]
)
@in_loop
async def test_too_large_is_understood_from_a_proxy_as_well(
    media_url: str, repository: Repository, words: str | dict[str, Any]
) -> None:
    repository.refuse = (413, words)
    http = Http(media_url, token="t0ken")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    try:
        with pytest.raises(ServerRefused) as refused:
            await api.upload(http, pieces, 1, "text/plain")
    finally:
        await http.close()
    assert refused.value.errcode == "M_TOO_LARGE"


@pytest.mark.parametrize(("limit", "is_old"), [(7, False), (7, True), (None, False)])
@in_loop
async def test_the_limit_is_asked_of_new_and_old_servers(
    media_url: str, repository: Repository, limit: int | None, is_old: bool
) -> None:
    repository.limit, repository.is_old = limit, is_old
    http = Http(media_url, token="t0ken")
    try:
        assert await api.upload_limit(http) == limit
    finally:
        await http.close()


@in_loop
async def test_saving_asks_before_it_replaces_and_needs_no_cache(
    cache: Cache, media_url: str, repository: Repository, tmp_path: Path
) -> None:
    part, to = sealed(repository, b"new"), tmp_path / "there.txt"
    to.write_bytes(b"old")
    http = Http(media_url, token="t0ken")
    try:
        with pytest.raises(Exists):
            await cache.save(http, part, to)
        assert (to.read_bytes(), repository.asked) == (b"old", [])
        await cache.save(http, part, to, replace=True)
        assert to.read_bytes() == b"new"
        await cache.save(http, part, tmp_path / "other.txt")
        assert (tmp_path / "other.txt").read_bytes() == b"new"
    finally:
        await http.close()
    assert sorted(os.listdir(tmp_path)) == ["other.txt", "there.txt"]


@in_loop
async def test_saving_does_not_follow_a_link_that_lies_there(
    cache: Cache, media_url: str, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "there.txt").symlink_to(tmp_path / "precious")
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    part = plain(repository, b"new")
    http = Http(media_url, token="t0ken")
    try:
        with pytest.raises(Exists):
            await cache.save(http, part, tmp_path / "dangling.txt")
        await cache.save(http, part, tmp_path / "there.txt", replace=True)
    finally:
        await http.close()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@in_loop
async def test_what_was_used_longest_ago_goes_first(
    tmp_path: Path, media_url: str, repository: Repository
) -> None:
    cache = Cache(tmp_path / "cache", most_bytes=250)
    parts = [plain(repository, bytes([number]) * 100) for number in range(3)]
    for number, part in enumerate(parts[:2]):
        await fetch(media_url, cache, part)
        os.utime(cache.file(part), (number + 1, number + 1))
    assert cache.find(parts[0]) is not None  # used again: the other one is the oldest now
    await fetch(media_url, cache, parts[2])
    assert [cache.find(part) is not None for part in parts] == [True, False, True]


@in_loop
async def test_a_file_bigger_than_the_cache_is_there_for_who_waits_for_it(
    tmp_path: Path, media_url: str, repository: Repository
) -> None:
    cache = Cache(tmp_path / "cache", most_bytes=10)
    assert len(await fetch(media_url, cache, plain(repository, b"x" * 100))) == 100


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFull), NewFile(tmp_path / "folder") as new:
        new.write(b"x")
    assert left(tmp_path / "folder") == []


def test_what_a_crash_has_left_is_swept_and_what_somebody_makes_is_not(tmp_path: Path) -> None:
    (tmp_path / ".part-dead").write_bytes(b"x")
    (tmp_path / "unknown").write_bytes(b"x")
    (tmp_path / "known").write_bytes(b"x")
    with NewFile(tmp_path) as new:
        sweep(tmp_path, lambda name: name == "known")
        assert sorted(os.listdir(tmp_path)) == sorted([new.path.name, "known"])


@in_loop
async def test_two_hundred_megabytes_pass_through_a_few(
    media_url: str, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Peak memory grows by less than a tenth of what passes, either way."""
    size, piece = 200_000_000, bytes(250_000)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    digest = hashlib.sha256()

    async def stream(http: Http, method: str, path: str, take: Any, most: int, **_: Any) -> None:
        async for chunk in pieces():
            await take(chunk)

    before = _peak()
    for made in cipher.encrypted(piece for _ in range(size // len(piece))):
        if isinstance(made, bytes):
            digest.update(made)
        else:
            file = made
    part = content.read("file", {"body": "x", "file": file | {"url": "mxc://example.org/big"}})
    assert part is not None
    assert part.file is not None
    monkeypatch.setattr(http_stream, "fetch_file", stream)
    with pytest.raises(HashMismatch):  # what passes here is not that file, which shows only at its end
        await Cache(tmp_path).fetch(Http("http://127.0.0.1:9"), part.file, 2 * size)
    assert _peak() - before < size // 10


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Tokens:
    """The next access token, once the first has run out."""

    async def current(self, token: str | None) -> str | None:
        return token

    async def instead_of(self, refused: str) -> str | None:
        return "new" if refused == "old" else None

    async def close(self) -> None: ...


@in_loop
async def test_a_token_that_runs_out_is_renewed_for_files_as_well(
    cache: Cache, media_url: str, repository: Repository
) -> None:
    repository.token = "new"
    http = Http(media_url, token="old")
    http.tokens = _Tokens()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"data"

    try:
        source = await api.upload(http, pieces, 4, "text/plain")
        http.token = "old"
        file = await cache.fetch(http, Part(source, None, "text/plain", 4), MOST)
        assert file.read_bytes() == b"data"
        repository.token = "another"
        with pytest.raises(SignedOut):
            await api.upload(http, pieces, 4, "text/plain")
    finally:
        await http.close()
    assert [asked.token for asked in repository.asked[:4]] == ["old", "new", "old", "new"]
