"""A machine that lets users make no namespaces is told as such; nothing is left of the trial."""

import errno
import os

import pytest

from lab.errors import MachineError
from lab.kernel import rootless


def refuse(*_words: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_kernel_that_denies_user_namespaces_is_named_with_what_decides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rootless, "_call", refuse)
    with pytest.raises(MachineError, match=r"Operation not permitted.*user.max_user_namespaces.*with sudo"):
        rootless._begin()
    assert rootless.refused() == "Operation not permitted"


def test_a_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: object):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = rootless._folder()
    folder.chmod(0o755)
    with pytest.raises(MachineError, match="is open to others; it must be yours alone"):
        rootless._folder()
