"""Start the notifier at login: a systemd user service where there is systemd, otherwise XDG autostart."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tandem_core.errors import Expected
from tandem_core.paths import ProfilePaths

_SYSTEMCTL_S = 20.0
DEFAULT = "default"


class How(StrEnum):
    """What starts the notifier at login."""

    SYSTEMD = "systemd"
    XDG = "xdg"


class AutostartFailed(Expected):
    title = "The notifier could not be set up to start at login"
    advice = "See systemctl --user status tandem-notifier."


@dataclass(frozen=True, slots=True)
class Autostart:
    """Sets up the start of one profile's notifier; ``program`` is its full path."""

    paths: ProfilePaths
    program: str

    @property
    def unit(self) -> str:
        """The name of the systemd user unit."""
        profile = self.paths.profile
        return "tandem-notifier.service" if profile == DEFAULT else f"tandem-notifier-{profile}.service"

    @property
    def unit_file(self) -> Path:
        return _config() / "systemd" / "user" / self.unit

    @property
    def desktop_file(self) -> Path:
        """The XDG autostart entry."""
        profile = self.paths.profile
        tail = "" if profile == DEFAULT else f".{profile}"
        return _config() / "autostart" / f"im.tandem.Tandem.Notifier{tail}.desktop"

    def how(self) -> How | None:
        """What starts it now, or None."""
        if self.unit_file.exists() or _systemctl("is-enabled", self.unit):
            return How.SYSTEMD
        return How.XDG if self.desktop_file.exists() else None

    def install(self) -> How:
        """Set it up; under systemd it starts at once, too. Doing it again renews it. Raises AutostartFailed."""
        if not _systemctl("show-environment"):
            _write(self.desktop_file, desktop_text(self.program, self.paths.profile))
            return How.XDG
        is_desktop = _systemctl("is-active", "graphical-session.target")
        wanted_by = "graphical-session.target" if is_desktop else "default.target"
        _write(self.unit_file, unit_text(self.program, self.paths.profile, wanted_by=wanted_by))
        self.desktop_file.unlink(missing_ok=True)
        if not (_systemctl("daemon-reload") and _systemctl("enable", "--now", self.unit)):
            raise AutostartFailed(self.unit)
        return How.SYSTEMD

    def uninstall(self) -> bool:
        """Undo it, and stop a service that systemd runs; False if there was nothing to undo."""
        how = self.how()
        if how is How.SYSTEMD:
            _systemctl("disable", "--now", self.unit)
            self.unit_file.unlink(missing_ok=True)
            _systemctl("daemon-reload")
        self.desktop_file.unlink(missing_ok=True)
        return how is not None


def unit_text(program: str, profile: str = DEFAULT, *, wanted_by: str = "graphical-session.target") -> str:
    """The systemd user unit."""
    home = os.environ.get("TANDEM_HOME")
    lines = [
        "[Unit]",
        "Description=Tandem notifier: receives Matrix messages while the window is closed",
        "After=graphical-session.target",
        "PartOf=graphical-session.target" if wanted_by == "graphical-session.target" else "",
        "# A failure that needs a person (status 1, 2) is not tried again; a crash is, but not for ever.",
        "StartLimitIntervalSec=10min",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "Type=notify",
        f"Environment={_unit_word(f'TANDEM_HOME={home}')}" if home else "",
        f"ExecStart={' '.join(_unit_word(word) for word in _command(program, profile))}",
        "Restart=on-failure",
        "RestartSec=10s",
        "RestartPreventExitStatus=1 2",
        "WatchdogSec=60s",
        "# A click on a popup may start the window from here; it must outlive the notifier.",
        "KillMode=process",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictSUIDSGID=yes",
        "",
        "[Install]",
        f"WantedBy={wanted_by}",
    ]
    kept = [
        line for number, line in enumerate(lines) if line or (number and lines[number + 1].startswith("["))
    ]
    return "\n".join(kept) + "\n"


def desktop_text(program: str, profile: str = DEFAULT) -> str:
    """The XDG autostart entry."""
    home = os.environ.get("TANDEM_HOME")
    command = (["env", f"TANDEM_HOME={home}"] if home else []) + _command(program, profile)
    lines = [
        "[Desktop Entry]",
        "Type=Application",
        "Name=Tandem notifier",
        "Comment=Receives Matrix messages while the window is closed",
        "Icon=im.tandem.Tandem",
        f"Exec={' '.join(_desktop_word(word) for word in command)}",
        "Terminal=false",
        "NoDisplay=true",
        "StartupNotify=false",
        "X-GNOME-Autostart-enabled=true",
    ]
    return "\n".join(lines) + "\n"


def _command(program: str, profile: str) -> list[str]:
    return [program, "run"] if profile == DEFAULT else [program, "--profile", profile, "run"]


def _unit_word(word: str) -> str:
    """systemd.service(5), "Command lines": quotes, backslashes, and % and $ doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


def _desktop_word(word: str) -> str:
    """Desktop Entry Specification, "The Exec key"; backslashes are doubled once more by the file format."""
    if not any(char in word for char in " \t\n\"'\\><~|&;$*?#()`%"):
        return word
    quoted = "".join(f"\\{char}" if char in '"`$\\' else char for char in word).replace("%", "%%")
    return '"' + quoted.replace("\\", "\\\\") + '"'


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    except OSError as error:
        raise AutostartFailed(
            f"{file}: {error.strerror}", advice="Check the folder's permissions."
        ) from error


def _config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _systemctl(*words: str) -> bool:
    try:
        done = subprocess.run(
            ["systemctl", "--user", *words], capture_output=True, timeout=_SYSTEMCTL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
