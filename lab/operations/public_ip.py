"""Instance-level public IPs of VMs come and go.

Source: Instance level public IP, 2016-02-10: Set-AzurePublicIP, Remove-AzurePublicIP.
"""

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import InstancePublicIp, Network, VirtualMachine
from lab.azure.public_ips import settled
from lab.operations import lookup


class SetPublicIp(msgspec.Struct, frozen=True):
    """A VM is given an address of its own, which is the platform's choice; of one that it has, label or timeout change.

    None keeps the current value, or means the default of a new address.
    """

    virtual_machine: str
    name: str
    domain_name_label: str | None = None
    idle_timeout_min: int | None = None

    def __str__(self) -> str:
        return f"public-ip set {self.virtual_machine} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the address.

        Raises:
            Refused: there is no such VM, it has an address by another name, or it is an instance of a role.
            UsageError: there is no address left.

        """
        vm = _vm(self, network, self.virtual_machine)
        own = vm.instance_public_ip or vm.released_public_ip
        if own is not None and own.name != self.name:
            has = own.address if vm.instance_public_ip else "no address: the VM is deallocated"
            lookup.refuse(
                self,
                ("virtual_machines", vm.name, "instance_public_ip"),
                f'a second instance-level public IP; "{own.name}" is there ({has})',
                "a VM has at most one (Instance level public IP, 2016-02-10)",
                f"remove it first: lab public-ip remove {network.name} {vm.name}",
            )
        if own is None:
            own = InstancePublicIp(name=self.name, address=free_address(network))
        changed = {"domain_name_label": self.domain_name_label, "idle_timeout_min": self.idle_timeout_min}
        own = msgspec.structs.replace(own, **{key: value for key, value in changed.items() if value is not None})
        return _with(network, vm, own)


class RemovePublicIp(msgspec.Struct, frozen=True):
    """A VM loses its address; its next flows leave as those of any VM without one."""

    virtual_machine: str

    def __str__(self) -> str:
        return f"public-ip remove {self.virtual_machine}"

    def after(self, network: Network) -> Network:
        """Return the network without the address.

        Raises:
            Refused: there is no such VM, it has no address, or it is an instance of a role.

        """
        vm = _vm(self, network, self.virtual_machine)
        if vm.instance_public_ip is None and vm.released_public_ip is None:
            advice = f"see: lab public-ip show {network.name} {vm.name}"
            must = "what is removed must be there"
            lookup.refuse(self, ("virtual_machines", vm.name), "no instance-level public IP", must, advice)
        return _with(network, vm, None)


def _vm(operation: SetPublicIp | RemovePublicIp, network: Network, name: str) -> VirtualMachine:
    vm = lookup.virtual_machine(operation, network, name)
    service = network.service_of(name)
    if service is not None and service.roles:
        lookup.refuse(
            operation,
            ("virtual_machines", name),
            f'an instance of a role of "{service.name}"',
            "role instances are given theirs by the service configuration file (Instance level public IP, 2016-02-10)",
            f"change the file: lab export cscfg {network.name} --service {service.name}, then lab import cscfg",
        )
    return vm


def _with(network: Network, vm: VirtualMachine, own: InstancePublicIp | None) -> Network:
    # A VM that is deallocated has its address once it is started.
    return settled(network.including(msgspec.structs.replace(vm, instance_public_ip=own, released_public_ip=None)))
