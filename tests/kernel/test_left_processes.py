"""What users leave running in nodes ends with the node, and what this process may open is raised where it may be."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.kernel import daemons, netns
from lab.plan import namespace
from tests import rootlab

pytestmark = pytest.mark.root


def test_an_operation_that_removes_a_node_ends_what_runs_in_it_and_nothing_else(tmp_path: Path):
    """The lab is made by a process that may have 64 files open, which is fewer than it takes, and raises that."""
    file = tmp_path / "leave.lab.yaml"
    machines = "".join(f"  vm{n}: {{subnet: vnet1/front}}\n" for n in range(16))
    file.write_text(rootlab.small("leave").replace("  alone:", machines + "  alone:"))
    few = ("prlimit", "--nofile=64:4096", sys.executable, "-P", "-m", "lab", "up", str(file))
    try:
        made = subprocess.run(few, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        with rootlab.talking("leave", "vm1", _WAIT) as one, rootlab.talking("leave", "vm2", _WAIT) as other:
            gone, stays = (daemons.identify(int(said())) for said in (one, other))
            assert gone is not None
            assert stays is not None
            done = rootlab.run("vm", "deallocate", "leave", "vm1")
            assert done.returncode == 0, done.stderr
            assert f"leave: ended 1 process in nodes: {gone.pid} (python" in done.stderr
            assert done.stderr.count("vm1") >= 1
            assert (daemons.alive(gone), daemons.alive(stays)) == (False, True)
            assert not netns.exists(namespace("leave", "vm1"))
            down = rootlab.run("down", "leave")
            assert f"leave: ended 1 process in nodes: {stays.pid} (python" in down.stderr
            assert not daemons.alive(stays)
    finally:
        rootlab.run("down", "leave")
    assert rootlab.leftovers("leave") == []


_WAIT = """
import os, sys
print(os.getpid(), flush=True)
sys.stdin.read()
"""
