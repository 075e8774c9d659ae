"""What all tests share: tests marked `root` need root, and how many of them ran is written down.

The folder of this file is on the path of modules, so that every test imports `worlds` and `strategies`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_PASSED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regold", action="store_true", help="Rewrite tests/golden/*.plan.txt; review the difference.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="makes network namespaces, which needs root; run scripts/test")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.passed and item.get_closest_marker("root"):
        item.config.stash[_PASSED] = item.config.stash.get(_PASSED, 0) + 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the number of root tests that passed: whoever asked must not take skipped tests for success."""
    if file := os.environ.get("LAB_ROOT_TESTS_FILE"):
        Path(file).write_text(f"{session.config.stash.get(_PASSED, 0)}\n")
