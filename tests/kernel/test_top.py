"""``lab top`` of a lab that runs: one frame in a pipe, an answer for programs, and a screen that ends with q."""

import json
import os
import pty
import sys
from pathlib import Path

import pytest

from tests import rootlab

pytestmark = pytest.mark.root


def _on_a_terminal(name: str) -> tuple[int, str]:
    """Run it on a terminal of its own, type q once something is shown, and return its status and all that it wrote."""
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "lab", "top", name, "--interval", "30"])
    shown = b""
    try:
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
            if b"last events" in shown:
                os.write(terminal, b"q")
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")


def test_a_lab_is_seen_on_one_screen(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, rootlab.small("seen")) as name:
        rootlab.must(name, "web", "curl", "-sS", "-m", "10", "http://198.51.100.10/")
        frame = rootlab.ok("top", name, "--once")
        assert frame == frame.replace("\x1b", "")
        assert frame.startswith("seen  running; profile seeds; ")
        assert "2 VMs, 2 outside hosts; flows with a SNAT port" in frame
        assert "1 of 1 pool members are up" in frame
        found = json.loads(rootlab.ok("top", name, "-o", "json"))
        assert [(row["vm"], row["address"], row["peak"]) for row in found["ports"]] == [("web", "40.1.2.3", 1)]
        status, shown = _on_a_terminal(name)
        assert (status, "pool members are up" in shown, "Traceback" in shown) == (0, True, False)
    done = rootlab.run("top", "seen")
    assert (done.returncode, done.stderr.startswith('no lab "seen"; a lab must be up first')) == (2, True)
