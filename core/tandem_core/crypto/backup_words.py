"""The key backup in words, for terminals and windows alike."""

from __future__ import annotations

from tandem_core.crypto.backup import Status
from tandem_core.store.backup import Restore, Standing

_STANDING = {
    None: "Nobody has asked the server for a key backup yet.",
    Standing.NONE: "There is no key backup on the server.",
    Standing.UNTRUSTED: (
        "The server has a key backup that none of your verified devices has signed. No keys are sent to it:"
        " unlock it with your recovery key, or replace it."
    ),
}
_FAILED = {
    "version": "the backup was changed or deleted, or this device lost its key",
    "rest_too_big": "keys of rooms that you left come when you open them",
}


def status_lines(status: Status) -> list[str]:
    """The state of the backup, a sentence a line."""
    if status.standing is not Standing.TRUSTED:
        return [_STANDING[status.standing]]
    waiting = (
        f"{_keys(status.waiting)} not there yet." if status.waiting else "Every key of this device is there."
    )
    lines = [f"Key backup {status.version} is in use, with {_keys(status.on_server)}. {waiting}"]
    if not status.has_key:
        lines.append("This device cannot restore from it: it does not have the backup's private key.")
    if status.restore is not None:
        lines.append(restore_line(status.restore))
    return lines


def restore_line(restore: Restore) -> str:
    """How far a restore is, or how it ended."""
    found = f"{restore.new} new" + (f", {restore.unusable} not usable" if restore.unusable else "")
    why = f" ({_FAILED.get(restore.error, restore.error)})" if restore.error else ""
    match restore.state:
        case "running":
            return f"Restoring: {min(restore.seen, restore.total)} of {_keys(restore.total)}, {found}."
        case "done":
            return f"Restored: {_keys(restore.seen)}, {found}{why}."
        case "cancelled":
            return f"The restore was stopped after {_keys(restore.seen)}, {found}."
    return f"The restore failed{why} after {_keys(restore.seen)}, {found}."


def _keys(count: int) -> str:
    return f"{count} key" if count == 1 else f"{count} keys"
