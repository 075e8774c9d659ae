"""Halves of peerings come, change and go while a lab runs.

Source: virtual-network-manage-peering.md (2024-06-27). Deleting a half leaves the other one Disconnected; that must be
deleted before a new pair is made (virtual-networks-faq.md, 2019-02-12).
"""

import msgspec

from lab.azure import peerings
from lab.azure.model import Network, Peering, VirtualNetwork
from lab.operations import lookup
from lab.operations.base import Operation

_FAQ = "virtual-networks-faq.md (2019-02-12)"


class Switches(msgspec.Struct, frozen=True):
    """What a half lets the other network do; None keeps the current value, or means the default of a new one."""

    allow_virtual_network_access: bool | None = None
    allow_forwarded_traffic: bool | None = None
    allow_gateway_transit: bool | None = None
    use_remote_gateways: bool | None = None

    def on(self, peering: Peering) -> Peering:
        """Return a half with these switches."""
        given = {key: getattr(self, key) for key in self.__struct_fields__}
        return msgspec.structs.replace(peering, **{key: value for key, value in given.items() if value is not None})


class CreatePeering(msgspec.Struct, frozen=True):
    """A network is given its half of a peering with another one."""

    virtual_network: str
    name: str
    remote: str
    switches: Switches = Switches()

    def __str__(self) -> str:
        return f"peering create {self.virtual_network} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the half.

        Raises:
            Refused: a network is not there, the name is taken, or the other half is Disconnected.

        """
        vnet, remote = (_vnet(self, network, name) for name in (self.virtual_network, self.remote))
        path = _path(self.virtual_network, self.name)
        lookup.title(self, path)
        if any(peering.name == self.name for peering in vnet.peerings):
            lookup.refuse(self, path, "is there already", "a name is given once", "choose another")
        theirs = peerings.half(remote, vnet.name)
        if theirs is not None and theirs.disconnected:
            lookup.refuse(
                self,
                path,
                f'"{theirs.name}" of "{remote.name}" is Disconnected',
                f"the other half is Initiated, or not there yet ({_FAQ}): RemotePeeringIsDisconnected",
                f"delete it first: lab peering delete {network.name} {remote.name} {theirs.name}",
            )
        made = self.switches.on(Peering(name=self.name, remote_virtual_network=self.remote))
        return _with(network, vnet, (*vnet.peerings, made))


class SetPeering(msgspec.Struct, frozen=True):
    """A half changes what it lets the other network do."""

    virtual_network: str
    name: str
    switches: Switches

    def __str__(self) -> str:
        return f"peering set {self.virtual_network} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the half as it is to be.

        Raises:
            Refused: it is not there.

        """
        vnet = _vnet(self, network, self.virtual_network)
        found = _half(self, vnet, self.name)
        return _with(network, vnet, tuple(self.switches.on(p) if p == found else p for p in vnet.peerings))


class DeletePeering(msgspec.Struct, frozen=True):
    """A half is deleted; the other one is Disconnected then, or deleted as well with ``both``."""

    virtual_network: str
    name: str
    both: bool = False

    def __str__(self) -> str:
        return f"peering delete {self.virtual_network} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network without the half.

        Raises:
            Refused: it is not there.

        """
        vnet = _vnet(self, network, self.virtual_network)
        found = _half(self, vnet, self.name)
        made = _with(network, vnet, tuple(p for p in vnet.peerings if p != found))
        remote = network.vnet(found.remote_virtual_network)
        theirs = peerings.half(remote, vnet.name)
        if remote is None or theirs is None:
            return made
        left = () if self.both else (msgspec.structs.replace(theirs, disconnected=True),)
        return _with(made, remote, tuple(q for p in remote.peerings for q in (left if p == theirs else (p,))))


def _path(vnet: str, name: str) -> tuple[str, ...]:
    return ("virtual_networks", vnet, "peerings", name)


def _vnet(operation: Operation, network: Network, name: str) -> VirtualNetwork:
    return lookup.named(operation, network.virtual_networks, "virtual network", name, ("virtual_networks",))


def _half(operation: Operation, vnet: VirtualNetwork, name: str) -> Peering:
    path = ("virtual_networks", vnet.name, "peerings")
    return lookup.named(operation, vnet.peerings, "peering", name, path, f'"{vnet.name}"')


def _with(network: Network, vnet: VirtualNetwork, halves: tuple[Peering, ...]) -> Network:
    made = msgspec.structs.replace(vnet, peerings=halves)
    return msgspec.structs.replace(
        network, virtual_networks=tuple(made if one.name == vnet.name else one for one in network.virtual_networks)
    )
