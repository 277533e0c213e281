"""Bugs of attachments: what is sent, and what is believed."""

from __future__ import annotations

from tests.mutations.record import CORE_TESTS, Mutant, core, mutant

_QUEUE = f"{CORE_TESTS}/media/test_queue.py"
_TRANSFER = f"{CORE_TESTS}/media/test_transfer.py"

FILES: tuple[Mutant, ...] = (
    mutant(
        "a changed file is handed over",
        "matrix-nio checks the hash before it decrypts; a client that streams must check before it lets go.",
        core("media/cache.py", "        opening.finish()\n", "        opening\n"),
        by=(f"{_TRANSFER}::test_a_changed_file_is_refused_and_leaves_nothing",),
    ),
    mutant(
        "a file in clear in an encrypted room",
        "Encryption was turned on between choosing and sending (our law 13).",
        core("media/uploader.py", "if is_sealed_room and not upload.is_sealed:", "if False:"),
        by=(f"{_QUEUE}::test_a_file_in_clear_does_not_go_out_once_encryption_is_on",),
    ),
    mutant(
        "uploaded again after a crash",
        "The address is forgotten with the process: each try leaves another copy at the server.",
        core(
            "store/uploads.py",
            " WHERE txn_id = ? AND mxc IS NULL ORDER BY part",
            " WHERE txn_id = ? ORDER BY part",
        ),
        by=(f"{_QUEUE}::test_what_is_at_the_server_is_not_uploaded_again",),
    ),
    mutant(
        "the token follows a redirect",
        "The storage that a homeserver redirects to gets the account's access token.",
        core("http_stream.py", "url, token = _followed(url, target), None", "url = _followed(url, target)"),
        by=(f"{_TRANSFER}::test_the_token_does_not_follow_a_redirect",),
    ),
)
