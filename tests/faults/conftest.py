"""Prints the fault matrix after the tests: what was injected, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.judging import HEAD, PROPERTY, Verdict, line


@pytest.fixture
def judge(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """``judge("F9", "what was injected", states, copies, rows=400)`` asserts the rule, adds a line."""

    def hold(*args: Any, **keywords: Any) -> None:
        verdict = Verdict.of(*args, **keywords)
        record_property(PROPERTY, verdict.as_json())
        verdict.hold()

    return hold


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    verdicts = [
        json.loads(str(value))
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if verdicts:
        terminalreporter.write_line("")
        terminalreporter.write_line(HEAD)
        for verdict in sorted(verdicts, key=lambda one: (int(one["fault"][1:]), one["injected"])):
            terminalreporter.write_line(line(verdict))
