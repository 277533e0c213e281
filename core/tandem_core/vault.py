"""The key that seals pickles: in the desktop's keyring, or in a 0600 file, said aloud.

keyring's import costs 8 MB and 0.2 s, and a locked keyring may ask the user: so a short-lived child process
does it. Raises VaultError where a key exists but cannot be had; a second key is never made then.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Literal

from tandem_core.errors import VaultError
from tandem_core.paths import ProfilePaths

Where = Literal["keyring", "file"]

KEY_BYTES = 32
_CHILD_WITHIN_S = 20.0
_SERVICE = "im.tandem.Tandem"
_CHILD = """
import sys, keyring
from keyring.backends import fail, null
from keyring.errors import KeyringError
verb, service, name = sys.argv[1:4]
backend = keyring.get_keyring()
if isinstance(backend, (fail.Keyring, null.Keyring)) or backend.priority < 1:
    sys.exit(3)
try:
    if verb == "get":
        value = keyring.get_password(service, name)
        if value is None:
            sys.exit(4)
        sys.stdout.write(value)
    elif verb == "set":
        keyring.set_password(service, name, sys.stdin.read())
    else:
        keyring.delete_password(service, name)
except KeyringError:
    sys.exit(3)
"""
_NO_KEYRING, _NO_SUCH_KEY = 3, 4


def pickle_key(paths: ProfilePaths) -> tuple[bytes, Where]:
    """The account's key (32 bytes) and where it is kept; made at the first call. Blocks: call it in a thread.

    ``TANDEM_VAULT=file`` keeps it in the file, for machines without a desktop.
    """
    paths.make()
    lock = os.open(paths.lock("vault"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if paths.vault_file.exists():
            return _read_file(paths.vault_file), "file"
        if os.environ.get("TANDEM_VAULT") != "file":
            return _from_keyring(paths)
        if _is_in_use(paths):
            raise VaultError("it is not in its file")
        return _new_file(paths)
    finally:
        os.close(lock)


def kept_in(paths: ProfilePaths) -> Where | None:
    """Where the account's key is, without asking for it; None while there is none."""
    if paths.vault_file.exists():
        return "file"
    return "keyring" if _marker(paths).exists() else None


def forget(paths: ProfilePaths) -> bool:
    """Remove the key wherever it is; returns whether it is gone. Blocks: call it in a thread.

    A key that a locked keyring would not give up is never used again: the next account gets another one.
    """
    paths.vault_file.unlink(missing_ok=True)
    if not _marker(paths).exists():
        return True
    _ask("delete", _name(paths))
    code, _ = _ask("get", _name(paths))
    _marker(paths).unlink(missing_ok=True)
    return code == _NO_SUCH_KEY


def _from_keyring(paths: ProfilePaths) -> tuple[bytes, Where]:
    code, value = _ask("get", _name(paths))
    if _is_in_use(paths):
        if code == 0:
            return _decoded(value), "keyring"
        raise VaultError
    if code in (0, _NO_SUCH_KEY):  # a key that nothing is sealed with was left behind
        key = secrets.token_bytes(KEY_BYTES)
        code, _ = _ask("set", _name(paths), base64.b64encode(key).decode())
        if code == 0:
            _marker(paths).touch(mode=0o600)
            return key, "keyring"
    return _new_file(paths)


def _is_in_use(paths: ProfilePaths) -> bool:
    """Whether there is a key somewhere, so that a second one would shut out what the first one sealed."""
    return _marker(paths).exists() or (paths.database.exists() and _has_account(paths.database))


def _has_account(database: Path) -> bool:
    """Whether pickles exist that a new key could not open."""
    import sqlite3

    conn = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        return conn.execute("SELECT 1 FROM crypto_account").fetchone() is not None
    except sqlite3.Error:
        return False
    finally:
        conn.close()


def _new_file(paths: ProfilePaths) -> tuple[bytes, Where]:
    key = secrets.token_bytes(KEY_BYTES)
    temporary = paths.vault_file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, base64.b64encode(key))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(paths.vault_file)
    return key, "file"


def _read_file(path: Path) -> bytes:
    try:
        return _decoded(path.read_bytes())
    except OSError as error:
        raise VaultError(error.strerror or "") from error


def _decoded(text: str | bytes) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise VaultError("it is damaged") from error
    if len(key) != KEY_BYTES:
        raise VaultError("it is damaged")
    return key


def _ask(verb: str, name: str, value: str = "") -> tuple[int, str]:
    """Have a child ask the keyring; a spawned one, since this process may have used vodozemac (law 5)."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, verb, _SERVICE, name],
            input=value,
            capture_output=True,
            text=True,
            timeout=_CHILD_WITHIN_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return _NO_KEYRING, ""
    return (child.returncode if child.returncode in (0, _NO_SUCH_KEY) else _NO_KEYRING), child.stdout


def _marker(paths: ProfilePaths) -> Path:
    """Says that the keyring has the key, so that a keyring that cannot be reached is told from an empty one."""
    return paths.data / "pickle.keyring"


def _name(paths: ProfilePaths) -> str:
    return f"{paths.profile} in {paths.data}"
