"""What can go wrong, and the exit status each kind ends with.

    LabError                       3   what was asked for could not be done
      ContradictedError            1   what was seen is not what was predicted; no other error has this status
      TopologyError                2   the file (all its problems at once)
      UsageError                   2   the request: an unknown lab or node
      MachineError                 4   this machine lacks what is needed
      KernelError                  4   the kernel refused a step of the plan
      InconclusiveError            3   a topology could not be judged
      LabLocked                    3   another command is changing the lab
      Interrupted                130   Ctrl-C or SIGTERM, cleaned up

Every message has four parts: where, what was found, what must hold, what to do.
"""

from collections.abc import Iterable

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a topology.

    ``path`` leads through the keys of the file to the value, so that the caller that holds the
    file's positions can name the line.
    """

    path: tuple[str, ...]
    found: str
    must: str
    advice: str = ""

    def __str__(self) -> str:
        where = ".".join(self.path)
        text = f"{where}: {self.found}; {self.must}" if where else f"{self.found}; {self.must}"
        return f"{text}; {self.advice}" if self.advice else text


class LabError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code = 3


class ContradictedError(LabError):
    """What was seen contradicts what was predicted: the one error that ends with the status of a contradicted claim."""

    exit_code = 1


class TopologyError(LabError):
    """A topology file, with every problem found in it, as ``file:line: …`` lines."""

    exit_code = 2

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class UsageError(LabError):
    """The request names something that is not there."""

    exit_code = 2


class MachineError(LabError):
    """The machine lacks a privilege, a program or a kernel feature."""

    exit_code = 4


class KernelError(LabError):
    """The kernel refused a step; the message names the plan item and the errno."""

    exit_code = 4


class InconclusiveError(LabError):
    """A topology could not be judged; nothing is said about its claims."""


class LabLocked(LabError):  # noqa: N818 - it passes
    """Another command is changing the lab."""


class Interrupted(LabError):  # noqa: N818 - not an error of anyone's making
    """The run was interrupted, and what it had made was removed."""

    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for a name that is not known: the one it is a slip of, whatever its case, or the list.

    A name that merely looks alike means something else (public_ip_address, private_ip_address) and is not suggested.
    """
    names, typed = sorted(set(known)), name.lower()
    begun = [one for one in names if _begins(typed, one.lower())]
    slips = {one: _slips(typed, one.lower()) for one in reversed(names)}
    few = max(1, len(name) // 4)
    # In a long name, one wrong letter is likelier than a name that was left unfinished.
    near = [one for one, count in slips.items() if count <= 1 < few] or [one for one in slips if one in begun]
    near = near or [one for one, count in slips.items() if count <= few]
    if near and len(name) > 1:
        return f'did you mean "{min(near, key=slips.__getitem__)}"?'
    if not names:
        return "none is defined"
    return "known: " + ", ".join(names[:16]) + (", …" if len(names) > 16 else "")


def _begins(typed: str, meant: str) -> bool:
    """Tell whether one of two words is the beginning of the other."""
    shorter, longer = sorted((typed, meant), key=len)
    return len(shorter) >= 3 and longer.startswith(shorter)


def _slips(typed: str, meant: str) -> int:
    """Count the slips of a hand between two words: letters left out, added, changed, or two that changed places."""
    before: list[int] = []
    last = list(range(len(meant) + 1))
    for i, letter in enumerate(typed, start=1):
        here = [i]
        for j, other in enumerate(meant, start=1):
            cost = min(last[j] + 1, here[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, typed[i - 2]) == (meant[j - 2], other):
                cost = min(cost, before[j - 2] + 1)
            here.append(cost)
        before, last = last, here
    return last[-1]
