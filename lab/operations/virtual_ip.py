"""VIPs of a cloud service come and go (Multiple VIPs, 2015-07-23: Add-AzureVirtualIP, Remove-AzureVirtualIP)."""

import msgspec

from lab.azure.model import Network, VirtualIp, natural
from lab.operations import lookup


class AddVirtualIp(msgspec.Struct, frozen=True):
    """A cloud service gets another VIP, which is a name only: it has an address once an endpoint uses it."""

    service: str
    name: str

    def __str__(self) -> str:
        return f"vip add {self.service} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the VIP.

        Raises:
            Refused: there is no such service, or it has a VIP of that name.

        """
        service = lookup.service(self, network, self.service)
        path = ("cloud_services", service.name, "virtual_ips", self.name)
        lookup.title(self, path)
        lookup.unused(self, service.virtual_ips, path, "a VIP's name is unique in its service")
        found = sorted((*service.virtual_ips, VirtualIp(name=self.name)), key=lambda v: natural(v.name))
        return lookup.with_service(network, msgspec.structs.replace(service, virtual_ips=tuple(found)))


class RemoveVirtualIp(msgspec.Struct, frozen=True):
    """A cloud service loses a VIP that no endpoint uses."""

    service: str
    name: str

    def __str__(self) -> str:
        return f"vip remove {self.service} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network without the VIP.

        Raises:
            Refused: there is no such service or VIP, an endpoint uses it, or it is the default one.

        """
        service = lookup.service(self, network, self.service)
        virtual_ip = lookup.virtual_ip(self, service, self.name)
        path = ("cloud_services", service.name, "virtual_ips", virtual_ip.name)
        if endpoints := service.endpoints_of(virtual_ip.name):
            names = ", ".join(f'"{e.name}" of {e.virtual_machine}' for e in endpoints)
            lookup.refuse(
                self,
                path,
                f"{len(endpoints)} endpoint{'s' if len(endpoints) > 1 else ''} ({names})",
                "a VIP can be removed only while no endpoint is associated with it (Multiple VIPs, 2015-07-23, "
                "remove a VIP)",
                "remove them, or move their sets to another VIP",
            )
        if virtual_ip.name == service.default_virtual_ip:
            lookup.refuse(
                self,
                path,
                "the default VIP",
                f"the name of the service leads to it, so it stays as long as {service.name} (Multiple VIPs, "
                f"2015-07-23)",
                "remove another",
            )
        kept = tuple(v for v in service.virtual_ips if v is not virtual_ip)
        return lookup.with_service(network, msgspec.structs.replace(service, virtual_ips=kept))
