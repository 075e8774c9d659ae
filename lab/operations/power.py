"""VMs are stopped, deallocated and started (Stop-AzureVM with and without -StayProvisioned, Start-AzureVM)."""

import msgspec

from lab.azure.model import Network, PowerState
from lab.operations import lookup

_VERBS: dict[PowerState, str] = {"Started": "start", "Stopped": "stop", "Deallocated": "deallocate"}


class SetPower(msgspec.Struct, frozen=True):
    """A VM is started, or stopped and keeps what it was given, or deallocated and gives it back.

    With the last VM that is deallocated a cloud service gives its dynamic addresses back; started again it is given
    others. A reserved address is the same (Multiple VIPs, 2015-07-23; virtual-networks-reserved-public-ip.md,
    2016-02-10).
    """

    virtual_machine: str
    state: PowerState

    def __str__(self) -> str:
        return f"vm {_VERBS[self.state]} {self.virtual_machine}"

    def after(self, network: Network) -> Network:
        """Return the network with the VM in that state, and with the addresses that follow from it.

        Raises:
            Refused: there is no such VM, or it is deallocated and should be stopped.
            UsageError: there is no public address left.

        """
        vm = lookup.virtual_machine(self, network, self.virtual_machine)
        if self.state == "Stopped" and vm.power_state == "Deallocated":
            path = ("virtual_machines", vm.name)
            must = "a VM that is stopped keeps what it was given, and this one has given it back"
            lookup.refuse(self, path, "is deallocated", must, f"start it first: lab vm start {network.name} {vm.name}")
        return lookup.settled(network.including(msgspec.structs.replace(vm, power_state=self.state)))
