"""Networks, local networks, gateways, keys and connections come, change and go.

The steps are those of VNet to VNet connection (2015-05-15).

A gateway takes its time to be built; when it will be ready is an argument of the operation.
"""

import re
from ipaddress import IPv4Address, IPv4Network

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import (
    Connection,
    GatewaySku,
    LocalNetwork,
    Network,
    Routing,
    Subnet,
    VirtualNetwork,
    VpnGateway,
    natural,
    ordered,
)
from lab.errors import did_you_mean
from lab.operations import lookup
from lab.operations.base import Operation

#: How long a gateway is usually built; seconds (VNet to VNet connection, 2015-05-15, creating a gateway: about 15
#: minutes).
BUILD_S = 15 * 60


class AddNetwork(msgspec.Struct, frozen=True):
    """A virtual network is created."""

    name: str
    location: str
    address_space: tuple[IPv4Network, ...]
    subnets: tuple[Subnet, ...] = ()

    def __str__(self) -> str:
        return f"network add {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with one more virtual network.

        Raises:
            Refused: there is one of that name.

        """
        lookup.unused(self, network.virtual_networks, ("virtual_networks", self.name))
        made = VirtualNetwork(
            name=self.name,
            location=self.location,
            subscription="default",
            address_space=self.address_space,
            subnets=tuple(sorted(self.subnets, key=lambda s: natural(s.name))),
            default_outbound_address=free_address(network, descending=True, spaces=self.address_space),
        )
        return network.including(made)


class AddSubnet(msgspec.Struct, frozen=True):
    """A virtual network gets another subnet, such as the gateway subnet."""

    network: str
    subnet: Subnet

    def __str__(self) -> str:
        return f"network subnet {self.network} {self.subnet.name}"

    def after(self, network: Network) -> Network:
        """Return the network with one more subnet.

        Raises:
            Refused: there is no such virtual network, or a subnet of that name.

        """
        vnet = lookup.virtual_network(self, network, self.network)
        lookup.unused(self, vnet.subnets, ("virtual_networks", vnet.name, "subnets", self.subnet.name))
        subnets = tuple(sorted((*vnet.subnets, self.subnet), key=lambda s: natural(s.name)))
        return network.including(msgspec.structs.replace(vnet, subnets=subnets))


class AddLocalNetwork(msgspec.Struct, frozen=True):
    """A local network is defined; the address of its VPN device may be a placeholder until the real one is known."""

    name: str
    address_space: tuple[IPv4Network, ...]
    address: IPv4Address

    def __str__(self) -> str:
        return f"local-network add {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with one more local network.

        Raises:
            Refused: there is one of that name.

        """
        lookup.unused(self, network.local_networks, ("local_networks", self.name))
        made = LocalNetwork(
            name=self.name,
            address_space=self.address_space,
            vpn_gateway_address=self.address,
            vpn_gateway=_owner(network, self.address),
        )
        return network.including(made)


class SetLocalNetwork(msgspec.Struct, frozen=True):
    """A local network gets other prefixes or another device address; None keeps the current value."""

    name: str
    address_space: tuple[IPv4Network, ...] | None = None
    address: IPv4Address | None = None

    def __str__(self) -> str:
        return f"local-network set {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the local network changed.

        Raises:
            Refused: there is no such local network.

        """
        site = lookup.local_network(self, network, self.name)
        address = self.address or site.vpn_gateway_address
        made = msgspec.structs.replace(
            site,
            address_space=self.address_space or site.address_space,
            vpn_gateway_address=address,
            vpn_gateway=_owner(network, address),
        )
        return network.including(made)


class CreateGateway(msgspec.Struct, frozen=True):
    """A virtual network gets its gateway, ready at a time (seconds since the epoch)."""

    network: str
    routing: Routing
    sku: GatewaySku
    ready_at: float

    def __str__(self) -> str:
        return f"gateway create {self.network}"

    def after(self, network: Network) -> Network:
        """Return the network with one more gateway.

        Raises:
            Refused: there is no such virtual network, or it has a gateway (HTTP 409).

        """
        vnet = lookup.virtual_network(self, network, self.network)
        if network.gateway(vnet.name):
            path = ("vpn_gateways", vnet.name)
            must = "a network has one gateway, created when NotProvisioned (HTTP 409); its routing cannot be changed"
            advice = f"delete it first, and lose its address: lab gateway delete {network.name} {vnet.name}"
            lookup.refuse(self, path, "is there already", must, advice)
        made = VpnGateway(
            virtual_network=vnet.name,
            routing=self.routing,
            sku=self.sku,
            address=free_address(network),
            ready_at=self.ready_at,
        )
        return network.including(made)


class DeleteGateway(msgspec.Struct, frozen=True):
    """A gateway goes, and its address with it; local networks keep the address that they were given."""

    network: str

    def __str__(self) -> str:
        return f"gateway delete {self.network}"

    def after(self, network: Network) -> Network:
        """Return the network without the gateway.

        Raises:
            Refused: there is none (HTTP 404).

        """
        gone = network.gateway(self.network)
        if gone is None:
            advice = did_you_mean(self.network, [g.virtual_network for g in network.vpn_gateways])
            found = f'no gateway of "{self.network}" (NotProvisioned, HTTP 404)'
            lookup.refuse(self, ("vpn_gateways",), found, "it must be there", advice)
        kept = tuple(g for g in network.vpn_gateways if g.virtual_network != self.network)
        sites = tuple(
            msgspec.structs.replace(s, vpn_gateway=None) if s.vpn_gateway == self.network else s
            for s in network.local_networks
        )
        released = (*network.released, gone.address)
        return msgspec.structs.replace(network, vpn_gateways=kept, local_networks=sites, released=released)


class Connect(msgspec.Struct, frozen=True):
    """A virtual network is connected to a local network, again or for the first time."""

    network: str
    site: str
    connect: bool = True

    def __str__(self) -> str:
        return f"gateway {'connect' if self.connect else 'disconnect'} {self.network} {self.site}"

    def after(self, network: Network) -> Network:
        """Return the network with the connection created, connected or disconnected.

        Raises:
            Refused: there is no such virtual network or local network; or there is nothing to disconnect.

        """
        lookup.virtual_network(self, network, self.network)
        lookup.local_network(self, network, self.site)
        if self.connect and _connection(network, self.network, self.site) is None:
            # Azure generates a key at first, which the other side does not know.
            made = Connection(virtual_network=self.network, local_network=self.site)
            return msgspec.structs.replace(network, connections=ordered((*network.connections, made)))
        return _with_connection(self, network, self.network, self.site, connect=self.connect)


class SetKey(msgspec.Struct, frozen=True):
    """A connection gets a shared key, as by Set-AzureVNetGatewayKey."""

    network: str
    site: str
    key: str

    def __str__(self) -> str:
        return f"gateway key set {self.network} {self.site}"

    def __repr__(self) -> str:
        """Leave the key out of all that is printed."""
        return str(self)

    def after(self, network: Network) -> Network:
        """Return the network with the key.

        Raises:
            Refused: there is no such connection, or it is no key.

        """
        if not re.fullmatch(r"[A-Za-z0-9]{1,128}", self.key):
            lookup.refuse(
                self,
                ("connections", f"{self.network} to {self.site}", "shared_key"),
                f"a key of {len(self.key)} characters, not shown here",
                "a shared key is 1 to 128 letters and digits (vpn-gateway-vpn-faq.md, 2016-03-10)",
                "choose another",
            )
        return _with_connection(self, network, self.network, self.site, shared_key=self.key)


def _connection(network: Network, name: str, site: str) -> Connection | None:
    found = (c for c in network.connections if (c.virtual_network, c.local_network) == (name, site))
    return next(found, None)


def _with_connection(operation: Operation, network: Network, name: str, site: str, **values: object) -> Network:
    old = _connection(network, name, site)
    if old is None:
        known = [f"{c.virtual_network} {c.local_network}" for c in network.connections]
        advice = did_you_mean(f"{name} {site}", known)
        must = "a network must be connected to the local network first"
        lookup.refuse(operation, ("connections",), f'no connection of "{name}" to "{site}"', must, advice)
    new = msgspec.structs.replace(old, **values)
    return msgspec.structs.replace(network, connections=tuple(new if c is old else c for c in network.connections))


def _owner(network: Network, address: IPv4Address) -> str | None:
    """Return the virtual network whose gateway has an address."""
    return next((g.virtual_network for g in network.vpn_gateways if g.address == address), None)
