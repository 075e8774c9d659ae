"""A management operation makes another network of a network, or is refused and changes nothing.

An operation is a frozen value with one function, ``after``; one file for each noun is under ``operations/``. What
it makes is held against the same rules as a file.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from lab.azure import cloud_services, invariants
from lab.azure.model import Connection, Endpoint, Network, VpnGateway
from lab.errors import Problem, UsageError


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


def parts(network: Network) -> frozenset[str]:
    """Return the names of all that has one in a network, each behind the names of what holds it."""
    return frozenset(_parts(network, ""))


def _parts(holder: msgspec.Struct, path: str) -> Iterator[str]:
    for field in holder.__struct_fields__:
        value = getattr(holder, field)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, msgspec.Struct) and (name := _name(part)):
                yield f"{path}{field}.{name}"
                yield from _parts(part, f"{path}{field}.{name}.")


def _name(part: msgspec.Struct) -> str:
    match part:
        case VpnGateway():
            return part.virtual_network
        case Connection():
            return f"{part.virtual_network} to {part.local_network}"
        case Endpoint():
            return f"{part.name} of {part.virtual_machine}"
    return getattr(part, "name", "")


def outermost(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of parts without those that are parts of another one, in order."""
    found = set(names)
    return tuple(sorted(name for name in found if not any(name.startswith(f"{other}.") for other in found)))
