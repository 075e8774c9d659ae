"""Other tools mount over the folder of names while labs run: labs are removed all the same, and nothing else is.

The first `ip netns add` since boot binds /run/netns over itself, and so do container engines. Each test has a mount
namespace and a /run of its own.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lab.kernel import netns
from lab.kernel.state import StateDir
from lab.plan import namespace
from tests import rootlab

pytestmark = pytest.mark.root

TOPOLOGY = """\
name: NAME
internet:
  far: {address: 198.51.100.10, services: [http:80]}
virtual_networks:
  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
virtual_machines:
  web: {subnet: vnet1/front}
  more: {subnet: vnet1/front}
"""
PYROUTE2 = [sys.executable, "-c", "from pyroute2 import netns; netns.create('foreign')"]
#: What covers the names, by the tool that does it.
COVERS = {
    "ip netns": [["ip", "netns", "add", "foreign"]],
    "pyroute2": [PYROUTE2],
    "twice": [["mount", "--rbind", "/run/netns", "/run/netns"], ["ip", "netns", "add", "foreign"]],
    "bind of the folder alone": [["mount", "--bind", "/run/netns", "/run/netns"], ["ip", "netns", "add", "foreign"]],
    "another file system": [["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], ["ip", "netns", "add", "foreign"]],
    "bind of /run": [["mount", "--rbind", "/run", "/run"], ["ip", "netns", "add", "foreign"]],
    "bind elsewhere": [["mount", "--rbind", "/run", "/mnt"], ["ip", "netns", "add", "foreign"]],
}


def alone(propagation: str, work: Callable[[], None]) -> None:
    """Do something in a mount namespace with an empty /run, whose mounts other mount namespaces are told of or not."""

    def inside() -> None:
        netns.bind({})
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        subprocess.run(["mount", f"--make-{propagation}", "/run"], check=True)
        work()

    netns.in_child(inside)


def make(*names: str) -> None:
    """Make namespaces as a lab does."""

    def wander() -> None:
        netns.prepare()
        for name in names:
            netns.make(name)
        netns.remove_seed()

    netns.in_child(wander)


def cover(tool: str) -> None:
    """Have a tool mount something over the names."""
    for command in COVERS[tool]:
        subprocess.run(command, check=True)


def up(folder: Path, name: str) -> Path:
    """Bring a lab up."""
    file = folder / f"{name}.lab.yaml"
    file.write_text(TOPOLOGY.replace("NAME", name))
    rootlab.ok("up", file)
    return file


def assert_no_mounts(name: str) -> None:
    """Fail if something is mounted at a name, seen or covered."""
    mounts = Path("/proc/self/mountinfo").read_text()
    assert name not in mounts, mounts


def assert_gone(name: str) -> None:
    """Fail if a mount of a lab's names is left, seen or covered, or its folder."""
    assert_no_mounts(f"lab.{name}.")
    assert rootlab.leftovers(name) == []


def assert_foreign_lives() -> None:
    """Fail unless the other tool's namespace is still there."""
    done = subprocess.run(["ip", "-n", "foreign", "link"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert netns.exists("foreign")


@pytest.mark.parametrize("propagation", ["private", "shared"])
@pytest.mark.parametrize("tool", COVERS)
def test_names_made_before_and_after_another_tool_covered_them_are_removed(tool: str, propagation: str):
    def work() -> None:
        names = ("lab.before.web", "lab.before.more")
        make(*names)
        cover(tool)
        make("lab.after.web")
        netns.remove("lab.before.more")
        assert_no_mounts("lab.before.more")
        netns.remove_all(("lab.after.web", *names))
        assert_no_mounts("lab.")
        assert list(netns.RUN.glob("lab.*")) == []
        assert_foreign_lives()

    alone(propagation, work)


def test_a_lab_whose_names_were_covered_can_be_changed_and_removed(tmp_path: Path):
    def work() -> None:
        file = up(tmp_path, "during")
        cover("ip netns")
        rootlab.ok("vm", "deallocate", "during", "more")
        assert_no_mounts(namespace("during", "more"))
        rootlab.ok("vm", "start", "during", "more")
        assert rootlab.ask("during", "more", "http://198.51.100.10/")["node"] == "far"
        file.write_text(file.read_text().replace("  more: {subnet: vnet1/front}\n", ""))
        rootlab.ok("up", file)
        assert_no_mounts(namespace("during", "more"))
        assert rootlab.ask("during", "web", "http://198.51.100.10/")["node"] == "far"
        assert rootlab.ok("down", "during") == "during: down\n"
        assert_gone("during")
        assert_foreign_lives()

    alone("private", work)


@pytest.mark.parametrize("healer", ["up", "down"])
def test_a_lab_that_is_stuck_already_is_healed(tmp_path: Path, healer: str):
    """As a version left it that could not remove what was covered: marked, its first name unmounted, the rest there."""

    def work() -> None:
        file = up(tmp_path, "stuck")
        cover("ip netns")
        folder = StateDir("stuck")
        record = folder.read()
        assert record is not None
        folder.write(msgspec.structs.replace(record, state="removing"))
        subprocess.run(["umount", "-l", netns.path(record.namespaces[-1])], check=True)
        if healer == "up":
            rootlab.ok("up", file)
            assert rootlab.ask("stuck", "web", "http://198.51.100.10/")["node"] == "far"
        rootlab.ok("down", "stuck")
        assert_gone("stuck")
        assert_foreign_lives()

    alone("private", work)


def test_up_heals_a_lab_whose_names_can_no_longer_be_seen(tmp_path: Path):
    def work() -> None:
        file = up(tmp_path, "unseen")
        cover("another file system")
        assert "damaged: a namespace is missing" in rootlab.ok("show", "unseen")
        rootlab.ok("up", file)
        assert rootlab.ask("unseen", "web", "http://198.51.100.10/")["node"] == "far"
        rootlab.ok("down", "unseen")
        assert_gone("unseen")
        assert_foreign_lives()

    alone("private", work)


def test_a_name_that_stays_is_said(monkeypatch: pytest.MonkeyPatch):
    """Nothing is taken for mended that is not."""

    def work() -> None:
        make("lab.held.web")
        cover("ip netns")
        monkeypatch.setattr(netns, "_uncover", lambda _names: None)
        with pytest.raises(netns.KernelError, match=r"/run/netns/lab\.held\.web: stays mounted"):
            netns.remove("lab.held.web")

    alone("private", work)
