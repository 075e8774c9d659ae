"""What cmdlets work with: the lab, through effects that are passed in, and what documents print of an operation."""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, Protocol
from uuid import UUID

from lab.azure.model import Network
from lab.errors import LabError, UsageError, did_you_mean
from lab.operations.base import Operation
from lab.powershell.values import Thing, find

_COMMANDS = "Microsoft.WindowsAzure.Commands"
#: What the names of most objects begin with.
MODEL = f"{_COMMANDS}.ServiceManagement.Model."


class Effects(Protocol):
    """What a script does and asks outside itself."""

    def network(self) -> Network:
        """Return the lab's network as it is now."""

    def perform(self, operation: Operation) -> None:
        """Do a management operation."""

    def gateways(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what gateways report, by their virtual networks, in the documents' fields."""

    def now(self) -> float:
        """Return the time; seconds since the epoch."""

    def read(self, file: str) -> str:
        """Return the text of a file."""

    def write(self, file: str, text: str) -> None:
        """Write a text to a file."""


class CmdletSession:
    """The lab as one script sees it, and what the script has done to it."""

    def __init__(self, effects: Effects, random: Random) -> None:
        self.effects, self.random = effects, random
        self.done: list[str] = []

    @property
    def network(self) -> Network:
        """The lab's network as it is now."""
        return self.effects.network()

    def perform(self, operation: Operation) -> None:
        """Do a management operation, and remember that it was done.

        Raises:
            LabError: it was not done.

        """
        self.effects.perform(operation)
        self.done.append(str(operation))

    def new_id(self) -> UUID:
        """Return the GUID of another operation."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def operation(self, cmdlet: str, status: str = "Succeeded", *, dashes: bool = True) -> dict[str, Any]:
        """Return the three columns that every operation shows (Multiple VIPs, 2015-07-23, adding a VIP)."""
        identity = self.new_id()
        return {
            "OperationDescription": cmdlet,
            "OperationId": str(identity) if dashes else identity.hex,
            "OperationStatus": status,
        }

    def succeeded(self, cmdlet: str) -> Thing:
        """Return the line that says that an operation is done."""
        return Thing(kind=f"{_COMMANDS}.Utilities.Common.ManagementOperationContext", properties=self.operation(cmdlet))

    def outcome(self, error: LabError) -> str:
        """Return what an error leaves behind: what was done before it is kept."""
        kept = f"done before it, and kept: {'; '.join(self.done)}" if self.done else "nothing was changed"
        return f"{error}\n{kept}"


def meant(name: str, known: Iterable[str]) -> str:
    """Return the name of the lab that a script's name means, since PowerShell's users mind no case; or what it says."""
    return find(name, known) or name


def named(what: str, name: str, known: Iterable[str], *, missing: str = "it must be one of the lab's") -> str:
    """Return the name of the lab that a script's name means.

    Raises:
        UsageError: there is none.

    """
    names = list(known)
    found = find(name, names)
    if found is None:
        raise UsageError(f'no {what} "{name}"; {missing}; {did_you_mean(name, names)}')
    return found
