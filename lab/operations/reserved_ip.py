"""Public addresses are reserved, given to cloud services, taken from them, and released.

As New- and Remove-AzureReservedIP, Set- and Remove-AzureReservedIPAssociation do
(virtual-networks-reserved-public-ip.md, 2016-02-10). The address is the platform's choice: there is no parameter for
one. It is that of a service's VIP, never a VM's: there is no parameter for a VM either.
"""

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import CloudService, Network, ReservedIp, VirtualIp
from lab.operations import lookup
from lab.operations.base import Operation

SOURCE = "virtual-networks-reserved-public-ip.md, 2016-02-10"


class ReserveIp(msgspec.Struct, frozen=True, kw_only=True):
    """An address is reserved: another one, or the one that a service's VIP has, which stays in use.

    ``virtual_ip`` None: the default one.
    """

    name: str
    location: str
    label: str = ""
    service: str | None = None
    virtual_ip: str | None = None

    def __str__(self) -> str:
        return f"reserved-ip create {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the reserved address.

        Raises:
            Refused: there is one of that name; or no such service, or it has no address that could be kept.
            UsageError: there is no address left.

        """
        path = ("reserved_ips", self.name)
        lookup.title(self, path)
        lookup.unused(self, network.reserved_ips, path)
        if self.service is None:
            address = free_address(network)
        else:
            service = _service(self, network, self.service)
            virtual_ip = _virtual_ip(self, service, self.virtual_ip)
            _not_reserved(self, network, service, virtual_ip)
            if virtual_ip.address is None:
                lookup.refuse(
                    self,
                    ("cloud_services", service.name, "virtual_ips", virtual_ip.name),
                    "no address",
                    f"what is reserved of a service is the address that its VIP has ({SOURCE})",
                    "start a VM of the service, or reserve an address and associate it",
                )
            address = virtual_ip.address
            kept = msgspec.structs.replace(virtual_ip, reserved_ip=self.name)
            network = network.including(_with_vip(service, kept))
        reserved = ReservedIp(name=self.name, address=address, location=self.location, label=self.label)
        return network.including(reserved)


class ReleaseIp(msgspec.Struct, frozen=True):
    """A reserved address that no service uses goes back to the platform."""

    name: str

    def __str__(self) -> str:
        return f"reserved-ip delete {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network without the reserved address.

        Raises:
            Refused: there is none of that name, or it is in use.

        """
        reserved = lookup.reserved_ip(self, network, self.name)
        if user := network.user_of(self.name):
            service, virtual_ip = user
            lookup.refuse(
                self,
                ("reserved_ips", self.name),
                f'in use by {virtual_ip.name} of "{service.name}"',
                f"a reserved address that is in use cannot be deleted ({SOURCE})",
                f"take it from the service first: {_disassociate(network, self.name, service)}",
            )
        kept = tuple(r for r in network.reserved_ips if r is not reserved)
        return msgspec.structs.replace(network, reserved_ips=kept)


class AssociateIp(msgspec.Struct, frozen=True):
    """A service's VIP gets a reserved address in the place of its own; ``virtual_ip`` None: the default one."""

    name: str
    service: str
    virtual_ip: str | None = None

    def __str__(self) -> str:
        return f"reserved-ip associate {self.name} {self.service}"

    def after(self, network: Network) -> Network:
        """Return the network in which the VIP has the reserved address, and has given its own back.

        Raises:
            Refused: there is no such address, service or VIP; it names a VM; or the VIP has a reserved one.

        """
        lookup.reserved_ip(self, network, self.name)
        service = _service(self, network, self.service)
        virtual_ip = _virtual_ip(self, service, self.virtual_ip)
        _not_reserved(self, network, service, virtual_ip)
        given = msgspec.structs.replace(
            virtual_ip, reserved_ip=self.name, released=virtual_ip.address or virtual_ip.released
        )
        return lookup.with_service(network, _with_vip(service, given))


class DisassociateIp(msgspec.Struct, frozen=True):
    """A service's VIP loses its reserved address, and is given a dynamic one; the reservation stays."""

    name: str
    service: str

    def __str__(self) -> str:
        return f"reserved-ip disassociate {self.name} {self.service}"

    def after(self, network: Network) -> Network:
        """Return the network in which the VIP has a dynamic address again.

        Raises:
            Refused: there is no such address or service, or the service does not use it.
            UsageError: there is no address left.

        """
        lookup.reserved_ip(self, network, self.name)
        service = _service(self, network, self.service)
        virtual_ip = next((v for v in service.virtual_ips if v.reserved_ip == self.name), None)
        if virtual_ip is None:
            user = network.user_of(self.name)
            advice = f'it is in use by "{user[0].name}"' if user else "it is in use by no service"
            path = ("cloud_services", service.name, "virtual_ips")
            lookup.refuse(self, path, f'none has "{self.name}"', f"one must have it ({SOURCE})", advice)
        return lookup.with_service(
            network, _with_vip(service, msgspec.structs.replace(virtual_ip, reserved_ip=None, address=None))
        )


def _service(operation: Operation, network: Network, name: str) -> CloudService:
    if network.cloud_service(name) is None and network.vm(name) is not None:
        owner = network.service_of(name)
        lookup.refuse(
            operation,
            ("virtual_machines", name),
            "a virtual machine",
            f"a reserved address is a VIP's of a cloud service, never a VM's own ({SOURCE})",
            f"name its service: {owner.name}" if owner else "name a cloud service",
        )
    return lookup.service(operation, network, name)


def _virtual_ip(operation: Operation, service: CloudService, name: str | None) -> VirtualIp:
    return lookup.virtual_ip(operation, service, name or service.default_virtual_ip)


def _not_reserved(operation: Operation, network: Network, service: CloudService, virtual_ip: VirtualIp) -> None:
    if virtual_ip.reserved_ip is not None:
        lookup.refuse(
            operation,
            ("cloud_services", service.name, "virtual_ips", virtual_ip.name),
            f'it has "{virtual_ip.reserved_ip}"',
            f"a VIP has one address ({SOURCE})",
            f"take that one from it first: {_disassociate(network, virtual_ip.reserved_ip, service)}",
        )


def _disassociate(network: Network, name: str, service: CloudService) -> str:
    return f"lab reserved-ip disassociate {network.name} {name} {service.name}"


def _with_vip(service: CloudService, made: VirtualIp) -> CloudService:
    found = tuple(made if v.name == made.name else v for v in service.virtual_ips)
    return msgspec.structs.replace(service, virtual_ips=found)
