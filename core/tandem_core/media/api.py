"""The content repository's endpoints (spec, "Content repository"): upload, authenticated download, the size limit.

Servers before v1.11 of the specification have the unauthenticated ones only, which are asked without the token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from tandem_core import http_stream
from tandem_core.attachments import mxc
from tandem_core.attachments.mxc import Mxc
from tandem_core.errors import Offline, ServerRefused
from tandem_core.http import Http, quote

UPLOAD = "/_matrix/media/v3/upload"
_CONFIG, _OLD_CONFIG = "/_matrix/client/v1/media/config", "/_matrix/media/v3/config"
_DOWNLOAD, _OLD_DOWNLOAD = "/_matrix/client/v1/media/download", "/_matrix/media/v3/download"
_UNKNOWN = frozenset({404, 405, 400, 501})


async def upload(http: Http, chunks: Callable[[], AsyncIterator[bytes]], size: int, mimetype: str) -> Mxc:
    """Upload ``size`` bytes; returns where they are. Raises as ``Http.request``: M_TOO_LARGE for too many.

    The file's name stays here: what is encrypted has none, and the message says it anyway.
    """
    answer = await http_stream.send_file(http, "POST", UPLOAD, chunks, size, mimetype)
    source = mxc.parse(answer.get("content_uri"))
    if source is None:
        raise Offline("the answer to an upload has no address")
    return source


async def download(
    http: Http,
    source: Mxc,
    take: Callable[[bytes], Awaitable[None]],
    most: int,
    on_size: Callable[[int | None], None] = lambda size: None,
) -> None:
    """Hand a file's bytes to ``take``, at most ``most``. Raises as ``http_stream.fetch_file``."""
    where = f"{quote(source.server)}/{quote(source.media_id)}"
    try:
        await http_stream.fetch_file(http, "GET", f"{_DOWNLOAD}/{where}", take, most, on_size=on_size)
    except ServerRefused as refused:
        if not _is_unknown(refused):
            raise
        await http_stream.fetch_file(
            http, "GET", f"{_OLD_DOWNLOAD}/{where}", take, most, auth=False, on_size=on_size
        )


async def upload_limit(http: Http, *, timeout_s: float = 10.0) -> int | None:
    """The most bytes that the server takes in one file; None if it does not say. Raises as ``Http.request``."""
    try:
        answer = await http.request("GET", _CONFIG, timeout_s=timeout_s)
    except ServerRefused as refused:
        if not _is_unknown(refused):
            raise
        try:
            answer = await http.request("GET", _OLD_CONFIG, timeout_s=timeout_s)
        except ServerRefused:
            return None
    size = answer.get("m.upload.size")
    return size if type(size) is int and size >= 0 else None


def _is_unknown(refused: ServerRefused) -> bool:
    """Whether the server does not know the endpoint, as opposed to the file."""
    return refused.status in _UNKNOWN and refused.errcode == "M_UNRECOGNIZED"
