"""The key that seals pickles: one for good, private, and never replaced where something was sealed with it."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tandem_core import vault
from tandem_core.errors import VaultError
from tandem_core.paths import ProfilePaths
from tests.core.crypto.world import Device

KEYRING = """
import json, pathlib
import keyring.backend

FILE = pathlib.Path({file!r})


class TestKeyring(keyring.backend.KeyringBackend):
    priority = {priority}

    def get_password(self, service, name):
        {before}
        return json.loads(FILE.read_text()).get(name) if FILE.exists() else None

    def set_password(self, service, name, value):
        {before}
        FILE.write_text(json.dumps({{name: value}}))

    def delete_password(self, service, name):
        {before_delete}
        FILE.unlink()
"""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilePaths:
    monkeypatch.setenv("TANDEM_VAULT", "file")
    return ProfilePaths("test", tmp_path / "data", tmp_path / "run", tmp_path / "log")


@pytest.fixture
def keyring_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: ProfilePaths) -> Path:
    """A desktop with a keyring; what it keeps is in the file."""
    file = tmp_path / "keyring.json"
    install_keyring(tmp_path, monkeypatch, file)
    return file


def install_keyring(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    *,
    priority: float = 5,
    before: str = "pass",
    before_delete: str = "pass",
) -> None:
    """A desktop's keyring for the children that ask it."""
    module = KEYRING.format(file=str(file), priority=priority, before=before, before_delete=before_delete)
    (tmp_path / "test_keyring.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "test_keyring.TestKeyring")
    monkeypatch.delenv("TANDEM_VAULT", raising=False)


def test_the_file_is_private_and_the_key_stays(paths: ProfilePaths) -> None:
    key, where = vault.pickle_key(paths)
    assert (len(key), where) == (32, "file")
    assert stat.S_IMODE(paths.vault_file.stat().st_mode) == 0o600
    assert vault.pickle_key(paths) == (key, "file")


def test_many_who_ask_at_once_get_one_key(paths: ProfilePaths) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: vault.pickle_key(paths), range(16)))
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"AAAA", b"\xff\xfe", b"not base64 at all"])
def test_a_damaged_file_is_told_and_left_alone(paths: ProfilePaths, content: bytes) -> None:
    paths.make()
    paths.vault_file.write_bytes(content)
    with pytest.raises(VaultError):
        vault.pickle_key(paths)
    assert paths.vault_file.read_bytes() == content


def test_a_lost_file_is_told_where_something_is_sealed_with_it(
    alice: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_VAULT", "file")
    alice.paths.vault_file.unlink()
    with pytest.raises(VaultError):
        vault.pickle_key(alice.paths)
    assert not alice.paths.vault_file.exists()


def test_a_keyring_keeps_the_key_and_no_file_does(paths: ProfilePaths, keyring_file: Path) -> None:
    key, where = vault.pickle_key(paths)
    assert where == "keyring"
    assert not paths.vault_file.exists()
    assert vault.pickle_key(paths) == (key, "keyring")
    vault.forget(paths)
    assert not keyring_file.exists()
    assert vault.pickle_key(paths)[0] != key


def test_a_keyring_that_was_emptied_or_is_locked_is_told(
    paths: ProfilePaths, keyring_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vault.pickle_key(paths)
    kept = keyring_file.read_text()
    keyring_file.unlink()
    with pytest.raises(VaultError):
        vault.pickle_key(paths)
    keyring_file.write_text(kept)
    monkeypatch.setenv("TANDEM_VAULT", "file")
    with pytest.raises(VaultError):
        vault.pickle_key(paths)
    install_keyring(
        tmp_path,
        monkeypatch,
        keyring_file,
        before="from keyring.errors import KeyringLocked; raise KeyringLocked",
    )
    with pytest.raises(VaultError):
        vault.pickle_key(paths)
    assert not paths.vault_file.exists()


@pytest.mark.parametrize(
    ("priority", "before"), [(0.5, "pass"), (5, "raise SystemError"), (5, "import os; os._exit(9)")]
)
def test_without_a_usable_keyring_the_file_is_taken(
    paths: ProfilePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, priority: float, before: str
) -> None:
    install_keyring(tmp_path, monkeypatch, tmp_path / "keyring.json", priority=priority, before=before)
    assert vault.pickle_key(paths)[1] == "file"


def test_a_keyring_that_hangs_does_not_keep_us(
    paths: ProfilePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "_CHILD_WITHIN_S", 0.1)
    install_keyring(tmp_path, monkeypatch, tmp_path / "keyring.json", before="import time; time.sleep(60)")
    assert vault.pickle_key(paths)[1] == "file"


def test_the_keyring_is_never_loaded_into_this_program(paths: ProfilePaths) -> None:
    code = (
        "import sys; from tandem_core import vault; from tandem_core.paths import profile_paths;"
        " vault.pickle_key(profile_paths()); assert 'keyring' not in sys.modules"
    )
    home = str(paths.data.parent / "home")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "TANDEM_HOME": home,
            "PATH": "/usr/bin",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        },
        check=False,
    )
    assert done.returncode == 0
