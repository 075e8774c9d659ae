"""Cloud services and VMs in them are created, and their deployments changed.

New-AzureService, New-AzureVM: Instance level public IP, 2016-02-10.
"""

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import (
    PLATFORM_NETWORK,
    CloudService,
    InstancePublicIp,
    Network,
    Service,
    Subnet,
    VirtualIp,
    VirtualMachine,
    VirtualNetwork,
    platform_network,
)
from lab.operations import lookup
from lab.operations.reserved_ip import SOURCE as _RESERVED


class AddService(msgspec.Struct, frozen=True, kw_only=True):
    """A cloud service without VMs: its one VIP has an address once it has."""

    name: str
    location: str
    subscription: str = "default"

    def __str__(self) -> str:
        return f"service create {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the service.

        Raises:
            Refused: there is one of that name.

        """
        path = ("cloud_services", self.name)
        lookup.name(self, path)
        if any(s.name.lower() == self.name.lower() for s in network.cloud_services):
            must = "the name of a service is a name in DNS, and given once"
            lookup.refuse(self, path, "is there already", must, "choose another")
        made = CloudService(
            name=self.name,
            location=self.location,
            subscription=self.subscription,
            virtual_machines=(),
            virtual_ips=(VirtualIp(name="Vip1"),),
            default_virtual_ip="Vip1",
        )
        return network.including(made)


class BeginRedeployment(msgspec.Struct, frozen=True):
    """The deployment of a cloud service begins to be changed: until it is over its VMs may count twice."""

    service: str

    def __str__(self) -> str:
        return f"service redeploy {self.service}"

    def after(self, network: Network) -> Network:
        """Return the network in which the service is being redeployed.

        Raises:
            Refused: there is no such service, or it is being redeployed already.

        """
        service = lookup.service(self, network, self.service)
        if service.redeploying:
            lookup.refuse(
                self,
                ("cloud_services", service.name),
                "is being redeployed already",
                "its deployment is changed once at a time",
                "wait until that is over; if the command that began it was killed, run `lab up FILE`",
            )
        return lookup.with_service(network, msgspec.structs.replace(service, redeploying=True))


class EndRedeployment(msgspec.Struct, frozen=True):
    """The deployment of a cloud service has been changed: its VMs count once, as before."""

    service: str

    def __str__(self) -> str:
        return f"service redeploy {self.service}, its end"

    def after(self, network: Network) -> Network:
        """Return the network in which the service is not being redeployed; it may have ended already, by `lab up`.

        Raises:
            Refused: there is no such service.

        """
        service = lookup.service(self, network, self.service)
        return lookup.with_service(network, msgspec.structs.replace(service, redeploying=False))


class AddVirtualMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A VM is made in a cloud service, in ``NETWORK/SUBNET`` or in no virtual network.

    Its private address is the lowest that its subnet has free. The first VM of a service may bring a reserved address
    for the service's default VIP.
    """

    service: str
    name: str
    subnet: str | None = None
    services: tuple[Service, ...] = ()
    public_ip: str | None = None
    domain_name_label: str | None = None
    reserved_ip: str | None = None
    size: str = "Small"
    availability_set: str | None = None

    def __str__(self) -> str:
        return f"vm create {self.service} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the VM.

        Raises:
            Refused: there is no such service, subnet or reserved address; there is a VM of that name; the subnet is
                full; or the service has VMs, and a VIP, already.
            UsageError: there is no public address left.

        """
        owner = lookup.service(self, network, self.service)
        path = ("virtual_machines", self.name)
        lookup.name(self, path)
        if self.public_ip is not None:
            lookup.title(self, (*path, "instance_public_ip", self.public_ip))
        lookup.unused(self, network.virtual_machines, path, "names of VMs are unique in the lab")
        network, vnet, subnet = self._home(network)
        taken = {i.private_ip_address for vm in network.vms_of(vnet) for i in vm.network_interfaces}
        address = next((a for a in subnet.usable() if a not in taken), None)
        if address is None:
            lookup.refuse(
                self,
                ("virtual_networks", vnet.name, "subnets", subnet.name),
                f"{subnet.address_prefix} has no address left",
                f"it has {max(0, subnet.address_prefix.num_addresses - 5)} for VMs",
                "choose a larger subnet",
            )
        own = None
        if self.public_ip is not None:
            own = InstancePublicIp(
                name=self.public_ip, address=free_address(network), domain_name_label=self.domain_name_label
            )
        made = VirtualMachine(
            name=self.name,
            virtual_network=vnet.name,
            subnet=subnet.name,
            private_ip_address=address,
            services=self.services,
            instance_public_ip=own,
            size=self.size,
            availability_set=self.availability_set,
        )
        network = network.including(made)
        changed = msgspec.structs.replace(
            owner,
            virtual_machines=(*owner.virtual_machines, self.name),
            virtual_ips=self._virtual_ips(network, owner),
        )
        return lookup.with_service(network, changed)

    def _home(self, network: Network) -> tuple[Network, VirtualNetwork, Subnet]:
        """Return where the VM will be; the platform's own network is made for the first VM in it."""
        if self.subnet is None:
            vnet = network.vnet(PLATFORM_NETWORK)
            if vnet is None:
                vnet = platform_network(free_address(network, descending=True))
                network = msgspec.structs.replace(network, virtual_networks=(*network.virtual_networks, vnet))
            return network, vnet, vnet.subnets[0]
        vnet, subnet = lookup.subnet(self, network, self.subnet)
        return network, vnet, subnet

    def _virtual_ips(self, network: Network, owner: CloudService) -> tuple[VirtualIp, ...]:
        if self.reserved_ip is None:
            return owner.virtual_ips
        lookup.reserved_ip(self, network, self.reserved_ip)
        if owner.virtual_machines:
            lookup.refuse(
                self,
                ("cloud_services", owner.name),
                f"VMs already ({', '.join(owner.virtual_machines)})",
                f"a reserved address comes with the first VM of a service, or is associated ({_RESERVED})",
                f"leave it out, then: lab reserved-ip associate {network.name} {self.reserved_ip} {owner.name}",
            )
        return tuple(
            msgspec.structs.replace(v, reserved_ip=self.reserved_ip) if v.name == owner.default_virtual_ip else v
            for v in owner.virtual_ips
        )
