"""Icons and desktop data: there, well formed, and of one mind with the window."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tandem_resources as resources

ROOT = Path(__file__).resolve().parents[2]
LINUX = ROOT / "packaging" / "linux"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", resources.names())
def test_every_icon_is_square_titled_and_self_contained(name: str) -> None:
    text = resources.path(name).read_text("utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    _, _, width, height = root.attrib["viewBox"].split()
    assert width == height
    assert root.findtext(f"{SVG}title")
    assert "href" not in text
    assert "url(" not in text


def test_what_is_no_resource_is_refused() -> None:
    for name in ("icons/none.svg", "../pyproject.toml", "/etc/hostname", "icons"):
        with pytest.raises(FileNotFoundError):
            resources.path(name)


def test_the_marks_for_documents_are_those_the_window_draws() -> None:
    mark = (ROOT / "app/tandem_app/qml/DeliveryMark.qml").read_text("utf-8")
    drawn = dict(re.findall(r'^\s+"(\w+)": "(M[^"]+)"', mark, re.MULTILINE))
    assert drawn
    kept = {}
    for name in resources.names():
        if name.startswith("delivery/"):
            path = ElementTree.parse(resources.path(name)).find(f"{SVG}path")
            assert path is not None
            kept[Path(name).stem] = path.attrib["d"]
    assert kept == drawn


def test_the_desktop_entry_opens_matrix_links_and_names_an_icon_we_have() -> None:
    entry = _entry("im.tandem.Tandem.desktop")
    assert entry["Exec"] == "tandem %u"
    assert "x-scheme-handler/matrix" in entry["MimeType"].split(";")
    assert resources.path(f"icons/{entry['Icon']}.svg") == resources.path(resources.APP_ICON)
    assert _entry("im.tandem.Tandem.Notifier.desktop")["Icon"] == entry["Icon"]


def test_the_metainfo_belongs_to_the_desktop_entry() -> None:
    root = ElementTree.parse(LINUX / "im.tandem.Tandem.metainfo.xml").getroot()
    entry = _entry("im.tandem.Tandem.desktop")
    assert root.findtext("id") == "im.tandem.Tandem"
    assert root.findtext("launchable") == "im.tandem.Tandem.desktop"
    assert (root.findtext("name"), root.findtext("summary")) == (entry["Name"], entry["Comment"])
    assert root.findtext("project_license") == "AGPL-3.0-or-later"
    commands = {binary.text for binary in root.findall("provides/binary")}
    assert commands == {"tandem", "tandem-notifier", "tandemctl"}


@pytest.mark.skipif(shutil.which("appstreamcli") is None, reason="appstreamcli is not installed")
def test_appstream_finds_the_metainfo_valid() -> None:
    _approves("appstreamcli", "validate", "--no-net", str(LINUX / "im.tandem.Tandem.metainfo.xml"))


def test_the_desktop_entries_are_valid() -> None:
    for file in sorted(LINUX.glob("*.desktop")):
        _approves("desktop-file-validate", str(file))


def _approves(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _entry(name: str) -> configparser.SectionProxy:
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(LINUX / name, "utf-8")
    return found["Desktop Entry"]
