"""A plugin of pytest for runs in a copy: writes down each test's outcome and where the packages came from."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest

from tests.mutations.run import OUTCOMES

_ALWAYS = ("tandem_core", "tandem_notifier", "tandem_app", "tandem_resources")


class _Witness:
    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.errors: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            (self.failed if report.failed else self.passed).append(report.nodeid)
        elif report.failed and report.nodeid not in self.failed:
            self.errors.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        for name in _ALWAYS:
            importlib.import_module(name)
        told: dict[str, Any] = {
            "passed": self.passed,
            "failed": self.failed,
            "errors": self.errors if exitstatus != pytest.ExitCode.USAGE_ERROR else ["no such test"],
            "sources": sorted(
                str(module.__file__)
                for name, module in list(sys.modules.items())
                if name.partition(".")[0].startswith("tandem_") and getattr(module, "__file__", None)
            ),
        }
        (session.config.rootpath / OUTCOMES).write_text(json.dumps(told), "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Witness(), "mutation-witness")
