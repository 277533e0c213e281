"""One process is a program of a profile; a command may be it for a while, and the program itself can tell."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tandem_core.errors import AlreadyRuns
from tandem_core.paths import ProfilePaths, profile_paths
from tandem_core.role import RoleLock, is_running, is_stood_in, stand_in, take_role, take_role_from_stand_in
from tandem_core.types import Role


@pytest.fixture
def paths(tandem_home: Path) -> ProfilePaths:
    return profile_paths()


def test_a_program_is_one_process(paths: ProfilePaths) -> None:
    with take_role(paths, Role.NOTIFIER):
        assert is_running(paths, Role.NOTIFIER)
        assert not is_stood_in(paths, Role.NOTIFIER)
        assert not is_running(paths, Role.APP)
        for take in (take_role, take_role_from_stand_in, stand_in):
            with pytest.raises(AlreadyRuns):
                take(paths, Role.NOTIFIER)
        assert not is_stood_in(paths, Role.NOTIFIER), "who could not stand in leaves no mark"
    assert not is_running(paths, Role.NOTIFIER)


def test_a_stand_in_can_be_told_from_the_program(paths: ProfilePaths) -> None:
    with stand_in(paths, Role.NOTIFIER):
        assert is_running(paths, Role.NOTIFIER)
        assert is_stood_in(paths, Role.NOTIFIER)
        assert not is_stood_in(paths, Role.APP)
        for take in (take_role, stand_in):
            with pytest.raises(AlreadyRuns):
                take(paths, Role.NOTIFIER)
    assert not is_running(paths, Role.NOTIFIER)
    assert not is_stood_in(paths, Role.NOTIFIER)


def test_a_program_waits_until_its_stand_in_has_ended(paths: ProfilePaths) -> None:
    taken: list[RoleLock] = []
    waiting = threading.Thread(target=lambda: taken.append(take_role_from_stand_in(paths, Role.NOTIFIER)))
    with stand_in(paths, Role.NOTIFIER):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(30)
    with taken[0]:
        assert is_running(paths, Role.NOTIFIER)
        assert not is_stood_in(paths, Role.NOTIFIER)
