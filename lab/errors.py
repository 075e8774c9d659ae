"""What can go wrong, and the exit status each kind ends with.

    LabError                       1
      ContradictedError            1   what was seen is not what was predicted
      TopologyError                2   the file (all its problems at once)
      UsageError                   2   the request: an unknown lab or node
      MachineError                 4   this machine lacks what is needed
      KernelError                  1   the kernel refused a step of the plan
      NotJudgedError               3   a topology could not be judged
      Busy                         1   another command is changing the lab
      Interrupted                130   Ctrl-C or SIGTERM, cleaned up

Every message has four parts: where, what was found, what must hold, what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a topology.

    ``path`` leads through the keys of the file to the value, so that whoever holds the
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

    exit_code = 1


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


class NotJudgedError(LabError):
    """A topology could not be judged; nothing is said about its claims."""

    exit_code = 3


class Busy(LabError):  # noqa: N818 - it passes
    """Another command is changing the lab."""


class Interrupted(LabError):  # noqa: N818 - not an error of anyone's making
    """The run was interrupted, and what it had made was removed."""

    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for a name that is not known: the closest, whatever its case, or the list."""
    names = sorted(set(known))
    lowered = {one.lower(): one for one in names}
    close = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{lowered[close[0]]}"?'
    if not names:
        return "none is defined"
    return "known: " + ", ".join(names[:16]) + (", …" if len(names) > 16 else "")
