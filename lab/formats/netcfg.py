"""The NetworkConfiguration file of classic networks: read as values, written from a network.

Schema: jj157100 (2015); the published template closes LocalNetworkSiteRef at once, real files nest Connection in
it, and both are read. What the lab does not play is refused, not dropped.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from xml.etree import ElementTree as ET

import msgspec

from lab.azure.addresses import read_address, read_prefix
from lab.azure.model import PLATFORM_NETWORK, TITLE, TITLE_WORDS, DnsServer, Network
from lab.errors import TopologyError
from lab.formats import xml
from lab.formats.xml import Part

NAMESPACE = "http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration"
#: What a file may have. Point-to-site is described, and refused where it is used.
_SCHEMA = {
    "NetworkConfiguration": Part((), {"VirtualNetworkConfiguration": 1}),
    "VirtualNetworkConfiguration": Part((), {"Dns": 1, "LocalNetworkSites": 1, "VirtualNetworkSites": 1}),
    "Dns": Part((), {"DnsServers": 1}),
    "DnsServers": Part((), {"DnsServer": None}),
    "DnsServer": Part(("name", "IPAddress"), {}),
    "LocalNetworkSites": Part((), {"LocalNetworkSite": None}),
    "LocalNetworkSite": Part(("name",), {"AddressSpace": 1, "VPNGatewayAddress": 1}),
    "AddressSpace": Part((), {"AddressPrefix": None}),
    "AddressPrefix": Part((), {}),
    "VPNGatewayAddress": Part((), {}),
    "VirtualNetworkSites": Part((), {"VirtualNetworkSite": None}),
    "VirtualNetworkSite": Part(
        ("name", "Location", "AffinityGroup"), {"AddressSpace": 1, "Subnets": 1, "DnsServersRef": 1, "Gateway": 1}
    ),
    "Subnets": Part((), {"Subnet": None}),
    "Subnet": Part(("name",), {"AddressPrefix": 1}),
    "DnsServersRef": Part((), {"DnsServerRef": None}),
    "DnsServerRef": Part(("name",), {}),
    "Gateway": Part(("profile",), {"VPNClientAddressPool": 1, "ConnectionsToLocalNetwork": 1}),
    "VPNClientAddressPool": Part((), {"AddressPrefix": None}),
    "ConnectionsToLocalNetwork": Part((), {"LocalNetworkSiteRef": None}),
    "LocalNetworkSiteRef": Part(("name",), {"Connection": 1}),
    "Connection": Part(("type",), {}),
}
#: A file of the most that a subscription may have is far smaller.
MAX_BYTES = 1024 * 1024


class Site(msgspec.Struct, frozen=True):
    """A local network site."""

    name: str
    address_space: tuple[IPv4Network, ...]
    address: IPv4Address


class Vnet(msgspec.Struct, frozen=True):
    """A virtual network site; ``sites`` are the local network sites that it is connected to."""

    name: str
    location: str
    affinity_group: str | None
    address_space: tuple[IPv4Network, ...]
    subnets: tuple[tuple[str, IPv4Network], ...]
    dns: tuple[str, ...]
    sites: tuple[str, ...]


class Configuration(msgspec.Struct, frozen=True):
    """All of a file."""

    dns: tuple[DnsServer, ...]
    sites: tuple[Site, ...]
    vnets: tuple[Vnet, ...]


def read(text: str, file: str) -> Configuration:
    """Return what a file says.

    Raises:
        TopologyError: with every problem of the file; it is taken whole or not at all.

    """
    reader = _Reader(file)
    made = reader.read(text)
    if reader.problems:
        raise TopologyError(reader.problems)
    return made


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[str] = []

    def problem(self, where: str, found: str, must: str, advice: str) -> None:
        self.problems.append(f"{self.file}: {where}: {found}; {must}; {advice}")

    def read(self, text: str) -> Configuration:
        root = xml.parsed(text, self.file, "network configuration")
        if root.tag != f"{{{NAMESPACE}}}NetworkConfiguration":
            must = f"the root is NetworkConfiguration of {NAMESPACE}"
            raise TopologyError([f"{self.file}: {root.tag}; {must}; export one for an example"])
        for one in xml.unfit(root, NAMESPACE, _SCHEMA):
            self.problem(f"{one.where}, line {xml.line_of(one.element)}", one.found, one.must, one.advice)
        dns = tuple(
            DnsServer(name=name, address=address)
            for element, name in self.named(root, "DnsServer")
            if (address := self.address(f"DnsServer {name}", element.get("IPAddress"))) is not None
        )
        sites = tuple(site for e, name in self.named(root, "LocalNetworkSite") if (site := self.site(e, name)))
        vnets = tuple(self.vnet(e, name) for e, name in self.named(root, "VirtualNetworkSite"))
        for vnet in vnets:
            where = f"VirtualNetworkSite {vnet.name}"
            for what, names, known in (
                ("DnsServer", vnet.dns, {d.name for d in dns}),
                ("LocalNetworkSite", vnet.sites, {e.get("name") for e in self.all(root, "LocalNetworkSite")}),
            ):
                for name in names:
                    if name not in known:
                        self.problem(where, f'no {what} "{name}"', "it must be defined in this file", "define it")
        return Configuration(dns, sites, vnets)

    def all(self, parent: ET.Element, tag: str) -> Iterator[ET.Element]:
        return parent.iter(f"{{{NAMESPACE}}}{tag}")

    def named(self, root: ET.Element, tag: str) -> Iterator[tuple[ET.Element, str]]:
        """Yield elements with their names, which are given once, whatever their case."""
        seen: set[str] = set()
        for element in self.all(root, tag):
            name = element.get("name", "")
            if not name:
                self.problem(tag, "no name", "it must have one", "add it")
            elif not re.fullmatch(TITLE, name):
                self.problem(tag, f'"{name[:80]}"', TITLE_WORDS, "rename it")
            elif name.lower() in seen:
                self.problem(f"{tag} {name}", "a second one of that name", "names are given once", "rename one")
            else:
                seen.add(name.lower())
                yield element, name

    def address(self, where: str, text: str | None) -> IPv4Address | None:
        try:
            return read_address((text or "").strip())
        except ValueError:
            self.problem(where, f'"{text or ""}"', "it must have an IPv4 address", "a placeholder will do")
            return None

    def prefixes(self, where: str, parents: Iterable[ET.Element]) -> tuple[IPv4Network, ...]:
        found = []
        for element in (e for parent in parents for e in self.all(parent, "AddressPrefix")):
            text = (element.text or "").strip()
            try:
                found.append(read_prefix(text))
            except ValueError as error:
                must, _, advice = str(error).partition("; ")
                self.problem(where, f'"{text}"', must, advice or "correct it")
        if not found:
            self.problem(where, "no AddressPrefix", "there must be one", "add it")
        return tuple(found)

    def site(self, element: ET.Element, name: str) -> Site | None:
        where = f"LocalNetworkSite {name}"
        space = self.prefixes(where, self.all(element, "AddressSpace"))
        text = element.findtext(f"{{{NAMESPACE}}}VPNGatewayAddress")
        address = self.address(f"{where}: VPNGatewayAddress", text)
        return Site(name, space, address) if address is not None else None

    def vnet(self, element: ET.Element, name: str) -> Vnet:
        where = f"VirtualNetworkSite {name}"
        location, group = element.get("Location"), element.get("AffinityGroup")
        if (location is None) == (group is None):
            found = "Location and AffinityGroup" if location else "neither Location nor AffinityGroup"
            self.problem(where, found, "it has one of the two", "keep one")
        for key, value in (("Location", location), ("AffinityGroup", group)):
            if value is not None and not re.fullmatch(TITLE, value):
                self.problem(where, f'{key} "{value[:80]}"', TITLE_WORDS, "correct it")
        for pool in self.all(element, "VPNClientAddressPool"):
            if len(pool):
                self.problem(where, "VPNClientAddressPool", "point-to-site is not played", "remove it")
        sites = []
        for reference in self.all(element, "LocalNetworkSiteRef"):
            for connection in self.all(reference, "Connection"):
                if connection.get("type") != "IPsec":
                    kind = connection.get("type")
                    self.problem(where, f'Connection type "{kind}"', "tunnels are IPsec", "remove it, or use IPsec")
            sites.append(reference.get("name", ""))
        dns = [reference.get("name", "") for reference in self.all(element, "DnsServerRef")]
        for what, names in (("LocalNetworkSiteRef", sites), ("DnsServerRef", dns)):
            for name_ in sorted({one for one in names if names.count(one) > 1}):
                self.problem(where, f'a second {what} "{name_}"', "each is referred to once", "remove one")
        return Vnet(
            name=name,
            location=location or "",
            affinity_group=group,
            address_space=self.prefixes(where, self.all(element, "AddressSpace")),
            subnets=tuple(
                (subnet, prefixes[0])
                for e, subnet in self.named(element, "Subnet")
                if (prefixes := self.prefixes(f"{where}: Subnet {subnet}", [e]))
            ),
            dns=tuple(dns),
            sites=tuple(sites),
        )


def write(network: Network) -> str:
    """Return a network's configuration file; keys, VMs and gateways' addresses are not part of such a file."""
    ET.register_namespace("", NAMESPACE)
    root = _element(None, "NetworkConfiguration")
    body = _element(root, "VirtualNetworkConfiguration")
    vnets = [v for v in network.virtual_networks if v.name != PLATFORM_NETWORK]
    names = {server.address: server.name for server in reversed(network.dns_servers)}
    used = [address for vnet in vnets for address in vnet.dns_servers]
    names |= {address: f"dns-{address}" for address in used if address not in names}
    servers = _element(_element(body, "Dns"), "DnsServers")
    for address, name in sorted(names.items(), key=lambda item: item[1]):
        _element(servers, "DnsServer", name=name, IPAddress=str(address))
    sites = _element(body, "LocalNetworkSites")
    for site in network.local_networks:
        element = _element(sites, "LocalNetworkSite", name=site.name)
        _space(element, site.address_space)
        _element(element, "VPNGatewayAddress").text = str(site.vpn_gateway_address)
    listed = _element(body, "VirtualNetworkSites")
    for vnet in vnets:
        where = {"AffinityGroup": vnet.affinity_group} if vnet.affinity_group else {"Location": vnet.location}
        element = _element(listed, "VirtualNetworkSite", name=vnet.name, **where)
        _space(element, vnet.address_space)
        subnets = _element(element, "Subnets")
        for subnet in vnet.subnets:
            _element(_element(subnets, "Subnet", name=subnet.name), "AddressPrefix").text = str(subnet.address_prefix)
        if vnet.dns_servers:
            references = _element(element, "DnsServersRef")
            for address in vnet.dns_servers:
                _element(references, "DnsServerRef", name=names[address])
        connected = network.sites_of(vnet.name)
        if connected:
            connections = _element(_element(element, "Gateway"), "ConnectionsToLocalNetwork")
            for site in connected:
                _element(_element(connections, "LocalNetworkSiteRef", name=site.name), "Connection", type="IPsec")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _element(parent: ET.Element | None, tag: str, **attributes: str) -> ET.Element:
    if parent is None:
        return ET.Element(f"{{{NAMESPACE}}}{tag}", attributes)
    return ET.SubElement(parent, f"{{{NAMESPACE}}}{tag}", attributes)


def _space(parent: ET.Element, prefixes: Iterable[IPv4Network]) -> None:
    space = _element(parent, "AddressSpace")
    for prefix in prefixes:
        _element(space, "AddressPrefix").text = str(prefix)
