"""A network configuration file replaces what it describes: networks, local networks, DNS servers, connections.

All of it or nothing (Set-AzureVNetConfig). What such a file does not hold stays: VMs, load balancers, gateways, and
the keys of connections that stay.
"""

from ipaddress import IPv4Address, IPv4Network

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import (
    GATEWAY_SUBNET,
    PLATFORM_NETWORK,
    Connection,
    LocalNetwork,
    Network,
    Subnet,
    VirtualNetwork,
    interface_path,
    natural,
    ordered,
)
from lab.errors import Problem
from lab.formats.netcfg import Configuration, Site, Vnet
from lab.operations.base import Refused


class ImportConfiguration(msgspec.Struct, frozen=True):
    """A configuration takes the place of the network's own."""

    configuration: Configuration
    file: str

    def __str__(self) -> str:
        return f"import netcfg {self.file}"

    def after(self, network: Network) -> Network:
        """Return the network with the file's configuration.

        Raises:
            Refused: a VM or a gateway would lose its network or subnet, or a running network would be moved.

        """
        names = {server.name: server.address for server in self.configuration.dns}
        given: set[IPv4Address] = set()
        devices = [site.address for site in self.configuration.sites]
        spaces = [prefix for vnet in self.configuration.vnets for prefix in vnet.address_space]
        spaces += [prefix for site in self.configuration.sites for prefix in site.address_space]
        vnets = [v for v in network.virtual_networks if v.name == PLATFORM_NETWORK]
        for vnet in self.configuration.vnets:
            old = network.vnet(vnet.name)
            if old is not None:
                default = old.default_outbound_address
            else:
                default = free_address(network, descending=True, avoid=(*devices, *given), spaces=spaces)
                given.add(default)
            made = VirtualNetwork(
                name=vnet.name,
                location=vnet.location,
                affinity_group=vnet.affinity_group,
                subscription=old.subscription if old else "default",
                address_space=vnet.address_space,
                subnets=_subnets(vnet, old),
                default_outbound_address=default,
                dns_servers=tuple(names[name] for name in vnet.dns),
            )
            vnets.append(made)
        sites = [_site(network, site) for site in self.configuration.sites]
        keys = {(c.virtual_network, c.local_network): c for c in network.connections}
        connections = [
            keys.get((vnet.name, site), Connection(virtual_network=vnet.name, local_network=site))
            for vnet in self.configuration.vnets
            for site in vnet.sites
        ]
        made_network = msgspec.structs.replace(
            network,
            virtual_networks=tuple(sorted(vnets, key=lambda v: natural(v.name))),
            local_networks=tuple(sorted(sites, key=lambda s: natural(s.name))),
            connections=ordered(connections),
            dns_servers=self.configuration.dns,
        )
        if problems := self._lost(network, made_network):
            raise Refused(self, problems)
        return made_network

    def _lost(self, before: Network, after: Network) -> list[Problem]:
        """Return what would be left without a place, or be moved to another."""
        problems = []
        users = [
            (interface_path(vm.name, interface.name), vm.virtual_network, interface.subnet, "a VM keeps its subnet")
            for vm in before.virtual_machines
            for interface in vm.network_interfaces
        ]
        users += [
            (("vpn_gateways", g.virtual_network), g.virtual_network, GATEWAY_SUBNET, "a gateway keeps its subnet")
            for g in before.vpn_gateways
        ]
        for path, network, subnet, must in users:
            now = _prefix(after, network, subnet)
            if after.vnet(network) is None:
                problems.append(_problem(path, f'"{network}" is not in the file', f"{must}, and its network"))
            elif now is None:
                problems.append(_problem(path, f'"{network}/{subnet}" is not in the file', must))
            elif now != (was := _prefix(before, network, subnet)):
                found = f'"{network}/{subnet}" is {now} in the file, and {was} in the lab'
                problems.append(_problem(path, found, f"{must} as it is while it is in use"))
        for vnet in after.virtual_networks:
            old = before.vnet(vnet.name)
            if old and (old.location, old.affinity_group) != (vnet.location, vnet.affinity_group):
                found = f'"{vnet.location or vnet.affinity_group}", and it is in "{old.location or old.affinity_group}"'
                must = "the location of a virtual network cannot be changed (VNet to VNet connection, "
                "2015-05-15, create)"
                problems.append(_problem(("virtual_networks", vnet.name, "location"), found, must))
        return problems


def _problem(path: tuple[str, ...], found: str, must: str) -> Problem:
    return Problem(path=path, found=found, must=must, advice="export the configuration, and begin with that")


def _prefix(network: Network, vnet: str, subnet: str) -> IPv4Network | None:
    """Return the prefix of a subnet, None if it is not there."""
    found = network.vnet(vnet)
    return next((s.address_prefix for s in (found.subnets if found else ()) if s.name == subnet), None)


def _subnets(vnet: Vnet, old: VirtualNetwork | None) -> tuple[Subnet, ...]:
    groups = {subnet.name: subnet.network_security_group for subnet in (old.subnets if old else ())}
    made = [
        Subnet(name=name, address_prefix=prefix, network_security_group=groups.get(name))
        for name, prefix in vnet.subnets
    ]
    return tuple(sorted(made, key=lambda s: natural(s.name)))


def _site(network: Network, site: Site) -> LocalNetwork:
    old = next((s for s in network.local_networks if s.name == site.name), None)
    owner = next((g.virtual_network for g in network.vpn_gateways if g.address == site.address), None)
    return LocalNetwork(
        name=site.name,
        address_space=site.address_space,
        vpn_gateway_address=site.address,
        vpn_gateway=owner,
        vpn_device=old.vpn_device if old else None,
    )
