"""Labs of an ordinary user: in a user namespace that the user's own process holds, and that ends with the last lab."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import rootlab, unprivileged

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def home() -> Iterator[dict[str, Any]]:
    """A user who has a folder for what runs, and whose home is closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    runtime, closed = folder / "runtime", folder / "closed"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, unprivileged.USER, unprivileged.USER)
    closed.mkdir(mode=0o700)
    yield {"env": os.environ | {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(closed)}, "cwd": runtime}
    unprivileged.run("--rootless", "down", "--all", env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)}, cwd=runtime)
    shutil.rmtree(folder)


def lab(home: dict[str, Any], *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = unprivileged.run("--rootless", *words, **home)
    assert done.returncode == status, f"lab --rootless {' '.join(words)}: {done.returncode}\n{done.stderr}"
    return done


def test_a_lab_runs_is_judged_and_leaves_nothing_without_root(home: dict[str, Any]):
    before = rootlab.machine()
    folder = Path(home["env"]["XDG_RUNTIME_DIR"])
    file = folder / "mine.lab.yaml"
    file.write_text(rootlab.small("mine") + 'expect:\n  - {from: web, to: "far:80/tcp", source_ip: 40.1.2.3}\n')
    lab(home, "up", str(file))
    assert "running" in lab(home, "list").stdout
    assert rootlab.run("show", "mine").returncode == 2, "root of the machine sees no lab of a user's"
    asked = lab(home, "exec", "mine", "web", "--", "curl", "-sS", "-m", "10", "http://198.51.100.10/")
    assert '"client_address": "40.1.2.3"' in asked.stdout
    assert lab(home, "exec", "mine", "web", "--", "sh", "-c", "exit 7", status=7).stdout == ""
    judged = lab(home, "verify", str(file), "--expect")
    assert "1 hold" in judged.stdout
    assert "Traceback" not in judged.stderr
    holder = folder / "lab/holder.json"
    assert stat.S_IMODE(holder.parent.stat().st_mode) == 0o700
    lab(home, "down", "mine")
    assert not holder.exists()
    rootlab.assert_same(before, rootlab.machine())


def test_doctor_says_what_a_user_namespace_denies(home: dict[str, Any]):
    done = unprivileged.run("--rootless", "doctor", **home)
    assert "setgroups" in done.stdout
    assert "an ssh service logs its peer" in done.stdout.replace("\n", " ")
