"""Running the command line as a user without any privilege."""

import os
import subprocess
import sys
from typing import Any

import pytest

USER = 65534  # "nobody" in every Linux system


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``lab`` as a user without privileges: that of the tests, unless it is root.

    Skips the test where such a user may not read the interpreter: a checkout or a Python in a closed home.
    """
    become = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    plain: dict[str, Any] = {"capture_output": True, "text": True, **become, **options}
    try:
        trial = subprocess.run([sys.executable, "-P", "-c", "import lab"], check=False, **plain)
    except PermissionError:
        trial = None
    if trial is None or trial.returncode:
        pytest.skip(f"user {USER} may not run {sys.executable} or read the checkout")
    return subprocess.run([sys.executable, "-P", "-m", "lab", *arguments], check=False, **plain)
