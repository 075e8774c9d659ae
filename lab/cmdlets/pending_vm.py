"""A VM that a pipeline works on: what is asked for it, until Update-AzureVM or New-AzureVM does it."""

from collections.abc import Iterable
from typing import Any

from lab.azure.model import CloudService, Network, VirtualMachine
from lab.cmdlets.session import MODEL, CmdletSession, named
from lab.errors import UsageError
from lab.operations.base import Operation
from lab.operations.batch import Together
from lab.powershell.binding import Given, Parameter
from lab.powershell.values import Thing

#: What a pipeline's objects are that hold a draft: a VM that is there, and one that is described only.
ROLE_CONTEXT = f"{MODEL}PersistentVMRoleContext"
PERSISTENT_VM = f"{MODEL}PersistentVM"
VM = Parameter(name="VM", kind="thing", accepts=(ROLE_CONTEXT, PERSISTENT_VM), required=True, piped="object")


class Draft:
    """A VM and what shall be done to it; one that is only described has no service yet."""

    def __init__(self, name: str, service: str | None = None, *, size: str) -> None:
        self.name, self.service, self.size = name, service, size
        self.subnet: str | None = None
        self.availability_set: str | None = None
        self.asked: list[Operation] = []

    def seen(self, network: Network) -> Network:
        """Return a network as it will be when all that is asked for so far is done.

        Raises:
            Refused: it cannot be done.

        """
        return Together(tuple(self.asked)).after(network) if self.service else network

    def ask(self, desk: CmdletSession, operation: Operation) -> None:
        """Ask for something more; of a VM that is there, it is tried on paper at once.

        Raises:
            Refused: it cannot be done.

        """
        if self.service:
            operation.after(self.seen(desk.network))
        self.asked.append(operation)


def draft_of(given: Given) -> Draft:
    """Return the draft that a command works on."""
    found: Any = given.thing("VMs" if given.has("VMs") else "VM")
    assert isinstance(found, Draft)
    return found


def service_named(desk: CmdletSession, given: Given) -> CloudService:
    """Return the cloud service that a command names.

    Raises:
        UsageError: there is none of that name.

    """
    network = desk.network
    name = named("cloud service", given.text("ServiceName"), [s.name for s in network.cloud_services])
    return next(service for service in network.cloud_services if service.name == name)


def vm_named(network: Network, service: CloudService, name: str) -> VirtualMachine:
    """Return a VM of a service.

    Raises:
        UsageError: the service has none of that name.

    """
    found = network.vm(named(f"virtual machine of {service.name}", name, service.virtual_machines))
    assert found is not None
    return found


def passed_on(given: Given) -> Iterable[Thing]:
    """Return the object that came, for the next cmdlet."""
    return [given.values["VM"]]


def must_exist(draft: Draft, cmdlet: str) -> None:
    """Refuse a VM that is not there.

    Raises:
        UsageError: it is described only.

    """
    if draft.service is None:
        raise UsageError(f"{draft.name}: a new VM; {cmdlet} takes one of Get-AzureVM; pipe it to New-AzureVM")
