"""What holds for all tests: in CI, as root, none may skip; and how processes share them."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

from tests.support.sharing import Scheduling

# A busy machine is no bug: time is bounded per test by pytest-timeout instead.
hypothesis.settings.register_profile("wgvx", deadline=None, print_blob=True)
hypothesis.settings.load_profile("wgvx")


def _must_not_skip() -> bool:
    in_ci = os.environ.get("WGVX_CI") == "1" or os.environ.get("CI") == "true"
    return in_ci and os.geteuid() == 0


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure: in CI as root everything is there, so a skip hides a fault."""
    if report.skipped and not hasattr(report, "wasxfail") and _must_not_skip():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow as root: {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    # What a test has logged may be no text: half of a surrogate pair, which ends xdist's worker.
    report.sections = [(title, _sendable(text)) for title, text in report.sections]
    return report


def _sendable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """File by file: those that wait for packets and timers before those that compute, so that what
    is timed is not kept waiting. Of both kinds what may take longest comes first.
    """
    rank: dict[Path, tuple[bool, float]] = {}
    for item in items:
        computes, last = rank.get(item.path, (True, 0.0))
        timeout = item.get_closest_marker("timeout")
        rank[item.path] = (
            computes and item.get_closest_marker("netns") is None,
            min(last, -timeout.args[0] if timeout else 0.0),
        )
    items.sort(key=lambda item: rank[item.path])


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)
