"""The pytest plug-in: the marker ``lab`` names a topology, the fixture ``lab`` has it run.

    @pytest.mark.lab("shop.lab.yaml")                    # a lab for this test alone
    pytestmark = pytest.mark.lab("shop.lab.yaml", scope="module")     # or "session"

Labs have names of their own, so that processes of pytest-xdist do not meet. If a test fails, what its lab was and saw
is left in a folder, which the report names.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab.testing.running import Lab

_SCOPES: dict[str, Any] = {"function": None, "module": pytest.Module, "session": pytest.Session}
_running = pytest.StashKey[dict[tuple[str, ...], "Lab"]]()
_used = pytest.StashKey["Lab"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options."""
    group = parser.getgroup("lab", "labs")
    group.addoption("--lab-evidence", default="lab-evidence", metavar="DIR", help="Where failed tests leave evidence.")
    group.addoption(
        "--lab-required", action="store_true", help="Without root, fail tests with a lab; do not skip them."
    )
    parser.addini("lab_topology", "The topology of tests whose marker names none.")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "lab(file, scope='function', profile=None, time_scale=None): the topology that the test's lab has"
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator["Lab"]:
    """Yield a running lab: that of the marker ``lab``, or of the ini option ``lab_topology``."""
    marker = request.node.get_closest_marker("lab")
    options = dict(marker.kwargs) if marker else {}
    named = marker.args[0] if marker and marker.args else request.config.getini("lab_topology")
    scope = options.pop("scope", "function")
    if not named or scope not in _SCOPES:
        what = "no topology" if not named else f'scope "{scope}"'
        pytest.fail(
            f'{what}; a test with a lab has @pytest.mark.lab("FILE.lab.yaml", scope="function | module | session")'
        )
    if os.geteuid() != 0:
        reason = "a lab needs root, for network namespaces; run pytest with sudo"
        (pytest.fail if request.config.getoption("--lab-required") else pytest.skip)(reason)
    found = _lab(request, _file(request, str(named)), scope, options)
    if found.capture is not None:
        found.capture.forget()
    request.node.stash[_used] = found
    yield found
    if scope == "function":
        found.close()


def _file(request: pytest.FixtureRequest, named: str) -> Path:
    """Return a topology file: beside the test, under the root folder, or bundled."""
    for folder in (request.path.parent, request.config.rootpath):
        if (folder / named).is_file():
            return folder / named
    return Path(named)


def _lab(request: pytest.FixtureRequest, file: Path, scope: str, options: dict[str, Any]) -> "Lab":
    """Return the lab of a scope, which is made for the first test that asks."""
    from lab.testing.running import Lab  # noqa: PLC0415 - runs without a lab do not wait for it

    if scope == "function":
        return Lab(file, **options)
    owner = request.node.getparent(_SCOPES[scope])
    labs: dict[tuple[str, ...], Lab] = owner.stash.setdefault(_running, {})
    key = (str(file), *(f"{name}={value}" for name, value in sorted(options.items())))
    if key not in labs:
        labs[key] = Lab(file, **options)
        owner.addfinalizer(labs[key].close)
        owner.addfinalizer(lambda: labs.pop(key, None))
    return labs[key]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Leave evidence of a failed test with a lab."""
    outcome: Any = yield
    report = outcome.get_result()
    found = item.stash.get(_used, None)
    if call.when != "call" or not report.failed or found is None:
        return
    from lab.testing.evidence import gather  # noqa: PLC0415 - as above

    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid).strip("-")[-120:]
    folder = item.config.rootpath / item.config.getoption("--lab-evidence") / name
    report.sections.append((f"lab {found.name}", gather(found, folder)))
    item.user_properties.append(("lab_evidence", str(folder)))
