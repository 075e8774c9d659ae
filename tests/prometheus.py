"""Prometheus of the Debian package, unpacked for a test: no service is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest


def programs(folder: Path) -> Path:
    """Return the folder that has `prometheus` and `promtool`; skip the test where there is no package of them."""
    found = shutil.which("prometheus")
    if found and shutil.which("promtool"):
        return Path(found).parent
    if shutil.which("apt-get") is None:
        pytest.skip("prometheus: neither installed, nor is there apt-get to fetch its package")
    try:
        done = subprocess.run(
            ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"],
            cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("prometheus: not installed, and its package does not arrive within 60 s")
    packages = list(folder.glob("prometheus_*.deb"))
    if done.returncode or not packages:
        pytest.skip(f"prometheus: not installed, and apt-get has no package: {done.stderr.strip()}")
    subprocess.run(["dpkg", "-x", packages[0], folder], check=True)
    return folder / "usr" / "bin"
