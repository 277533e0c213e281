"""Where files, sockets and locks live.

``TANDEM_HOME`` moves all of them under one folder; ``--profile NAME`` selects an account (default ``default``).
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from tandem_core.errors import BadInput

DEFAULT_PROFILE = "default"
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
# A Unix socket path is limited to 107 bytes on Linux (unix(7), sun_path).
_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class ProfilePaths:
    """The files of one account on this machine."""

    profile: str
    data: Path
    runtime: Path
    log: Path
    cache_root: Path | None = None
    """Where what can be fetched again is kept; beside the data if it is not said."""

    @property
    def media(self) -> Path:
        """Attachments that were fetched or drawn; any of them may go at any time."""
        return (self.cache_root or self.data) / "media"

    @property
    def outgoing(self) -> Path:
        """Attachments that wait to be sent."""
        return self.data / "outgoing"

    @property
    def database(self) -> Path:
        return self.data / "tandem.db"

    @property
    def vault_file(self) -> Path:
        """The pickle key, where no keyring keeps it (0600)."""
        return self.data / "pickle.key"

    @property
    def leaving(self) -> Path:
        """Says that somebody is signing out here, until everything of the account is gone."""
        return self.data / "leaving"

    def lock(self, name: str) -> Path:
        """A file for kernel locks; it lives beside the database, whose users it orders."""
        return self.data / f"{name}.lock"

    def socket(self, role: str) -> Path:
        """The doorbell of one program."""
        return self.runtime / f"{role}.sock"

    def make(self) -> None:
        """Create the folders, readable by their owner only."""
        for folder in (self.data, self.runtime, self.log):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if stat.S_IMODE(folder.stat().st_mode) != 0o700:
                folder.chmod(0o700)


def profile_paths(profile: str = DEFAULT_PROFILE) -> ProfilePaths:
    """The paths of a profile; raises BadInput for a name that is no plain file name."""
    if not _PROFILE.match(profile):
        raise BadInput(f"profile {profile!r}: letters, digits, dot, dash and underscore only")
    home = os.environ.get("TANDEM_HOME")
    if home:
        return paths_below(Path(home), profile)
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("tandem", appauthor=False)
    data = Path(dirs.user_data_dir) / profile
    runtime = (
        Path(dirs.user_runtime_dir) / profile if os.environ.get("XDG_RUNTIME_DIR") else _short_runtime(data)
    )
    return _with_short_sockets(
        ProfilePaths(
            profile,
            data,
            runtime,
            Path(dirs.user_log_dir) / profile,
            Path(dirs.user_cache_dir) / profile,
        )
    )


def paths_below(home: Path, profile: str = DEFAULT_PROFILE) -> ProfilePaths:
    """The paths that programs with this ``TANDEM_HOME`` use."""
    root = home.absolute()
    data, run, log, cache = (root / kind / profile for kind in ("data", "run", "log", "cache"))
    found = ProfilePaths(profile, data, run, log, cache)
    return _with_short_sockets(found)


def _with_short_sockets(paths: ProfilePaths) -> ProfilePaths:
    if len(os.fsencode(paths.socket("notifier"))) > _SOCKET_PATH_BYTES:
        return replace(paths, runtime=_short_runtime(paths.data))
    return paths


def _short_runtime(data: Path) -> Path:
    """A short folder of this user's for sockets, the same for every program that uses ``data``."""
    import hashlib

    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-{name}"
