"""Alice's store for sync tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.sync_world import Account, open_account


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[Account]:
    yield from open_account(tmp_path)
