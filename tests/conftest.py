"""What all tests share: what they need, which of them share a process, and how many of those that need root ran.

With pytest-xdist (``-n 4``) each process has a /run of its own, and with it labs of its own: those of one name do not
meet. Tests of one file share a process; of one whose parameters say ``this: that``, those with the same ``this``.
Whatever looks at the whole machine is marked ``alone``; ``scripts/test`` runs it after the others.

The folder of this file is on the path of modules, so that every test imports `worlds` and `strategies`.
"""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long examples take says how busy the machine is. They are the same in every run, so that no change is blamed for
# what it did not change; LAB_RANDOM_EXAMPLES=1 looks for new ones.
settings.register_profile(
    "patient",
    settings.default,
    deadline=None,
    derandomize="LAB_RANDOM_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regold", action="store_true", help="Rewrite the texts in tests/golden; review the difference.")


def pytest_configure(config: pytest.Config) -> None:
    # A shell's job in the background has interrupts ignored, and so would all that is interrupted here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_RootTests())
    elif os.geteuid() == 0:
        _own_run()


def _own_run() -> None:
    """Give this process, and all that it starts, an empty /run that no other process sees."""
    from lab.kernel import netns  # without root nothing of the kernel is needed

    netns.bind({})
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling  # only where there are several processes

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            this, colon, _ = test.partition("[")[2].partition(": ")
            return f"{file} {this}" if colon else file

    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="makes network namespaces, which needs root; run scripts/test")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


class _RootTests:
    """Counts the tests marked ``root`` that passed, in whatever process: nobody must take skipped tests for success."""

    def __init__(self) -> None:
        self._passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._passed += report.when == "call" and report.passed and "root" in report.keywords

    def pytest_sessionfinish(self) -> None:
        """Write the number down, if somebody asked for it."""
        if file := os.environ.get("LAB_ROOT_TESTS_FILE"):
            Path(file).write_text(f"{self._passed}\n")
