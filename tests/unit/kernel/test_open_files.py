"""How many files may be open: as many as the machine lets this process have, and a clear word if they are too few."""

import resource

import pytest

from lab.errors import MachineError
from lab.kernel import netns


class Limits:
    """The limits of a process that may raise what it was given, or not."""

    def __init__(self, hard: int, *, privileged: bool) -> None:
        self.now, self.privileged = (64, hard), privileged

    def getrlimit(self, _which: int) -> tuple[int, int]:
        return self.now

    def setrlimit(self, _which: int, wanted: tuple[int, int]) -> None:
        if wanted[1] > self.now[1] and not self.privileged:
            raise ValueError("not allowed to raise maximum limit")
        self.now = wanted


def given(monkeypatch: pytest.MonkeyPatch, hard: int, *, privileged: bool) -> Limits:
    limits = Limits(hard, privileged=privileged)
    monkeypatch.setattr(resource, "getrlimit", limits.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", limits.setrlimit)
    return limits


@pytest.mark.parametrize(
    ("hard", "privileged", "allowed"),
    [(256, True, 65536), (256, False, 256), (524288, False, 524288), (524288, True, 524288)],
)
def test_as_many_files_are_opened_as_may_be(
    monkeypatch: pytest.MonkeyPatch, hard: int, privileged: bool, allowed: int
) -> None:
    limits = given(monkeypatch, hard, privileged=privileged)
    netns.need_files(100, "a")
    assert limits.now == (allowed, allowed)


def test_too_few_are_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, 256, privileged=False)
    with pytest.raises(MachineError) as caught:
        netns.need_files(600, "a with 300 namespaces")
    assert str(caught.value) == (
        "open files: 256 are allowed, and a with 300 namespaces needs 664; nothing was made; "
        "raise the limit, such as with `ulimit -n 664`, and run it again"
    )
