"""lab/kernel/warm.py: a forked command is the command that a user starts, in all that can be seen of it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.kernel.daemons import Finished
from lab.kernel.warm import Server
from tests.rootlab import TOPOLOGIES

GOOD = str(TOPOLOGIES / "source-ip.lab.yaml")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("lab.cli.warm") as made:
        yield made


def plain(*words: str) -> Finished:
    """Run a command as a user does."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lab", *words], input="", capture_output=True, text=True, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["check", GOOD],
        ["check", "wrong.lab.yaml"],
        ["check", "absent.lab.yaml"],
        ["plan", GOOD],
        ["show", "no-such-lab"],
        ["shwo"],
        ["claims", "--profiles", "-o", "json"],
    ],
    ids=" ".join,
)
def test_status_and_output_are_those_of_the_command_line(
    server: Server, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.lab.yaml").write_text("name: wrong\nnonsense: 1\n")
    monkeypatch.chdir(tmp_path)
    assert server.run(words) == plain(*words)


def test_the_environment_is_that_of_the_caller(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_CHECK_OUTPUT", "nonsense")
    monkeypatch.setenv("LAB_CLAIMS_OUTPUT", "json")
    done = server.run(["claims", "--profiles"])
    assert done == plain("claims", "--profiles")
    assert done.stdout.startswith("{")


def _program(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Start a server whose program is some code."""
    (folder / "program.py").write_text(
        f"import os, sys, time, atexit, signal\nfrom lab.kernel import warm\ndef main():\n    {code}\n"
        "warm.serve('program', main)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Server("program")


@pytest.mark.parametrize(
    ("code", "status", "out", "err"),
    [
        ("print('said')", 0, "said\n", ""),
        ("sys.exit(3)", 3, "", ""),
        ("sys.exit('in words')", 1, "", "in words\n"),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15, "", ""),
        ("atexit.register(print, 'last'); sys.exit(0)", 0, "last\n", ""),
        ("print(sys.stdin.read(), sys.argv[1:], sys.orig_argv[3:])", 0, " ['a', 'b'] ['program', 'a', 'b']\n", ""),
        ("print(sorted(os.listdir('/proc/self/fd'))[:-1])", 0, "['0', '1', '2']\n", ""),
    ],
)
def test_a_program_ends_as_python_ends_it(
    code: str, status: int, out: str, err: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _program(tmp_path, code, monkeypatch) as server:
        assert server.run(["a", "b"]) == Finished(status, out, err)
        assert server.run(["a", "b"]) == Finished(status, out, err)


def test_an_error_that_nothing_expects_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _program(tmp_path, "raise ValueError('unheard of')", monkeypatch) as server:
        done = server.run([])
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ValueError: unheard of\n")


def test_a_program_that_does_not_end_in_time_is_ended_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _program(tmp_path, "print('there'); time.sleep(float(sys.argv[1]))", monkeypatch) as server:
        with pytest.raises(LabError, match=r"^program 60: no end after 0\.1 s"):
            server.run(["60"], timeout_s=0.1)
        assert server.run(["0"]) == Finished(0, "there\n", "")


def test_a_server_that_has_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _program(tmp_path, "os.kill(os.getppid(), signal.SIGKILL)", monkeypatch) as server:
        with pytest.raises(LabError, match="has ended"):
            server.run([])
        with pytest.raises(LabError, match="has ended"):
            server.run([])


def test_text_longer_than_a_pipe_holds_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "sys.stderr.write('e' * 300_000); sys.stdout.write('o' * 300_000)"
    with _program(tmp_path, code, monkeypatch) as server:
        assert server.run([]) == Finished(0, "o" * 300_000, "e" * 300_000)
