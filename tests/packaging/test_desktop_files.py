"""What desktops read about Tandem before it has ever been started."""

from __future__ import annotations

import configparser
from pathlib import Path
from xml.etree import ElementTree

import pytest

LINUX = Path(__file__).resolve().parents[2] / "packaging" / "linux"
ENTRIES = sorted(LINUX.glob("*.desktop"))
WINDOW = LINUX / "im.tandem.Tandem.desktop"
METAINFO = LINUX / "im.tandem.Tandem.metainfo.xml"


@pytest.mark.parametrize("file", ENTRIES, ids=[file.stem for file in ENTRIES])
def test_every_desktop_entry_is_an_application_with_a_name_an_icon_and_a_command(file: Path) -> None:
    entry = _entry(file)
    assert entry["Type"] == "Application"
    assert entry["Name"].startswith("Tandem")
    assert entry["Icon"] == "im.tandem.Tandem"
    assert entry["Exec"].split()[0].rpartition("/")[2] in ("tandem", "tandem-notifier")
    assert entry.getboolean("Terminal") is False


def test_the_window_takes_all_links_and_notifies() -> None:
    entry = _entry(WINDOW)
    assert entry.getboolean("X-GNOME-UsesNotifications")
    assert _words(entry["MimeType"]) == ["x-scheme-handler/matrix"]


def test_the_notifier_stands_in_no_menu() -> None:
    entry = _entry(LINUX / "im.tandem.Tandem.Notifier.desktop")
    assert entry.getboolean("NoDisplay")
    assert "Categories" not in entry


def test_software_centres_and_menus_file_tandem_alike() -> None:
    root = ElementTree.parse(METAINFO).getroot()
    entry = _entry(WINDOW)
    filed = [category.text or "" for category in root.findall("categories/category")]
    assert {"Network", "InstantMessaging"} <= set(filed)
    assert set(filed) <= set(_words(entry["Categories"]))
    types = [mediatype.text for mediatype in root.findall("provides/mediatype")]
    assert types == _words(entry["MimeType"])


def _entry(file: Path) -> configparser.SectionProxy:
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(file, "utf-8")
    return found["Desktop Entry"]


def _words(value: str) -> list[str]:
    return [word for word in value.split(";") if word]
