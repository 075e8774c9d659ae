"""What unit tests share: the command line, run in this process."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab import cli
from lab.kernel import state
from tests import unprivileged


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in this process, in an empty folder, as a user without root and on a machine without labs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(os, "geteuid", lambda: unprivileged.USER)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, arguments)])
        status: Any = 0
        try:
            cli.main()
        except SystemExit as done:
            status = done.code or 0
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run
