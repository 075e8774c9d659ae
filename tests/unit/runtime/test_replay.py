"""lab replay as far as it comes without root, and lab/runtime/replay.py's way of reading files."""

import io
import os
import stat
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import cli
from lab.errors import UsageError
from lab.kernel import state
from lab.runtime import replay
from tests import unprivileged


class Done(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(os, "geteuid", lambda: unprivileged.USER)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, given: bytes = b"") -> Done:
    monkeypatch.setattr(sys, "argv", ["lab", "replay", *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    status = 0
    try:
        cli.main()
    except SystemExit as done:
        status = int(done.code or 0)
    return Done(status, *capsys.readouterr())


def test_a_script_is_read_before_root_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.ps1").write_bytes(b"\xef\xbb\xbfGet-AzureVM -ServiceName s\r\nGet-AzureVN\r\n")
    said = 'a.ps1:2:1: "Get-AzureVN"; a cmdlet that the lab knows must be here; did you mean "Get-AzureVM"?\n'
    assert run(monkeypatch, capsys, "a", "a.ps1") == Done(2, "", said)
    (folder / "a.ps1").write_bytes("Get-AzureVM -ServiceName s\n".encode("utf-16"))
    done = run(monkeypatch, capsys, "a", "a.ps1")
    assert (done.status, done.out) == (4, "")
    assert "run it again with sudo" in done.err


def test_a_script_may_come_by_standard_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(monkeypatch, capsys, "a", "-", given=b"Get-AzureVM 'x")
    assert done.status == 2
    assert done.err.startswith("-:1:13: a string without end; ")


def test_what_is_no_script(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = "none.ps1: No such file or directory; it must be readable; name a file of this machine\n"
    assert run(monkeypatch, capsys, "a", "none.ps1") == Done(2, "", said)
    (folder / "a.ps1").write_bytes(b"\xe9")
    assert "a text file is UTF-8" in run(monkeypatch, capsys, "a", "a.ps1").err
    with pytest.raises(UsageError, match="more than 1,048,576 bytes"):
        replay.decoded(b"#" * (replay.MAX_BYTES + 1), "a")
    with pytest.raises(UsageError, match="Is a directory; it must be readable"):
        replay.read(folder)


def test_a_lab_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UsageError, match='no lab "a"'):
        replay.RunningLab("a", lambda: pytest.fail("nothing is done"))


@pytest.fixture
def lab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> replay.RunningLab:
    monkeypatch.setattr(replay, "existing", lambda _lab: None)
    return running(overwrite=False)


def running(*, overwrite: bool) -> replay.RunningLab:
    return replay.RunningLab("a", lambda: nullcontext(lambda _text: None), overwrite=overwrite, wrote=WROTE.append)


WROTE: list[str] = []


def test_a_listing_writes_a_new_file_and_says_so(lab: replay.RunningLab, folder: Path) -> None:
    WROTE.clear()
    before = os.umask(0)
    try:
        lab.write("new.xml", "first, and longer")
        lab.write("new.xml", "again")  # its own
    finally:
        os.umask(before)
    assert (folder / "new.xml").read_text() == "again"
    assert stat.S_IMODE((folder / "new.xml").stat().st_mode) == 0o644
    assert WROTE == ["new.xml", "new.xml"]


def test_a_listing_overwrites_only_what_was_asked_for(lab: replay.RunningLab, folder: Path) -> None:
    there = folder / "there.xml"
    there.write_text("precious")
    said = r"there\.xml: is there already; a listing writes new files, and with --overwrite regular files"
    with pytest.raises(UsageError, match=said):
        lab.write("there.xml", "lost")
    assert there.read_text() == "precious"
    running(overwrite=True).write("there.xml", "new")
    assert there.read_text() == "new"


@pytest.mark.parametrize("target", ["there.xml", "nowhere.xml"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_listing_follows_no_link(lab: replay.RunningLab, folder: Path, target: str, overwrite: bool) -> None:
    (folder / "there.xml").write_text("precious")
    (folder / "link.xml").symlink_to(target)
    with pytest.raises(UsageError, match="is there already"):
        running(overwrite=overwrite).write("link.xml", "lost")
    assert (folder / "there.xml").read_text() == "precious"
    assert not (folder / "nowhere.xml").exists()
