"""A management operation makes another network of a network, or is refused and changes nothing.

An operation is a frozen value with one function, ``after``; one file for each noun is under ``operations/``. What
it makes is held against the same rules as a file.
"""

from collections.abc import Iterable
from typing import Protocol

from lab import cloud_services, invariants
from lab.errors import Problem, UsageError
from lab.model import Network


class Refused(UsageError):  # noqa: N818 - it is what the documents do
    """An operation breaks a rule; every rule it breaks, a line each. Nothing was changed."""

    def __init__(self, operation: "Operation", problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{operation}: {problem}" for problem in self.problems))


class Operation(Protocol):
    """A documented management operation; as text it is the command that asks for it."""

    def after(self, network: Network) -> Network:
        """Return the network as the operation leaves it.

        Raises:
            Refused: the documents do not allow it, or what it names is not there.

        """


def changed(network: Network, operation: Operation) -> Network:
    """Return the network that an operation makes of one.

    Raises:
        Refused: the operation, or what it would leave, is not allowed.

    """
    made = operation.after(network)
    problems = [cloud_services.naming_endpoint(made, problem) for problem in invariants.violations(made)]
    if problems:
        raise Refused(operation, problems)
    return made
