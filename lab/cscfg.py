"""The service configuration file (.cscfg) of a cloud service with roles: what it says of instance-level public IPs.

Schema: seed 004's sample; schema-cscfg-networkconfiguration.md (2023-02-21); load-balancer-tcp-idle-timeout.md
(2016-10-24) for the timeout. Settings and certificates are the application's and left alone. Of the network, what a
topology says elsewhere must agree with it, and what the lab does not play is refused.
"""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from lab.errors import Problem, TopologyError, did_you_mean
from lab.model import PLATFORM_NETWORK, CloudService, InstancePublicIp, Network

NAMESPACE = "http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration"
#: Far more than any service's configuration has.
MAX_BYTES = 1024 * 1024
#: What the sample of seed 004 says of the instances' operating system, which the lab has no say in.
_SYSTEM = {"osFamily": "4", "osVersion": "*", "schemaVersion": "2014-01.2.3"}
#: Parts of NetworkConfiguration that are not taken from such a file.
_REFUSED = ("AccessControls", "EndpointAcls", "Dns", "LoadBalancers")
_DEFAULT_IDLE_MIN = 4


class PublicIp(msgspec.Struct, frozen=True):
    """What each instance of a role is given: an address of its own, under this name."""

    name: str
    domain_name_label: str | None = None
    idle_timeout_min: int = _DEFAULT_IDLE_MIN


class Role(msgspec.Struct, frozen=True):
    """A role."""

    name: str
    instances: int
    public_ip: PublicIp | None = None
    subnets: tuple[str, ...] = ()


class Configuration(msgspec.Struct, frozen=True):
    """All of a file; of what may be elsewhere too, only that which must agree."""

    service: str
    roles: tuple[Role, ...]
    virtual_network: str | None = None
    reserved_ip: str | None = None


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
        try:
            # Nothing may be before an XML declaration, and what is pasted out of a page is indented.
            root = fromstring(text.strip(), forbid_dtd=True)
        except (ET.ParseError, DefusedXmlException, ValueError) as error:
            raise TopologyError([f"{self.file}: {error}; a service configuration is plain XML; correct it"]) from None
        if root.tag != _tag("ServiceConfiguration"):
            must = f"the root is ServiceConfiguration of {NAMESPACE}"
            raise TopologyError([f"{self.file}: {root.tag}; {must}; export one for an example"])
        service = self.name("ServiceConfiguration", root, "serviceName")
        roles: dict[str, Role] = {}
        for element in root.iterfind(_tag("Role")):
            name = self.name("Role", element)
            if name in roles:
                self.problem(f"Role {name}", "a second one of that name", "names are given once", "rename one")
            roles[name] = Role(name, self.instances(name, element))
        networks = list(root.iterfind(_tag("NetworkConfiguration")))
        if len(networks) > 1:
            self.problem(
                "ServiceConfiguration", f"{len(networks)} NetworkConfiguration", "it has at most one", "keep one"
            )
        for network in networks[:1]:
            self.refuse(network)
            for address in network.iterfind(f"{_tag('AddressAssignments')}/{_tag('InstanceAddress')}"):
                self.instance_address(address, roles)
        return Configuration(
            service,
            tuple(roles.values()),
            _first(networks, "VirtualNetworkSite"),
            _first(networks, "AddressAssignments/ReservedIPs/ReservedIP"),
        )

    def name(self, where: str, element: ET.Element, attribute: str = "name") -> str:
        found = element.get(attribute, "").strip()
        if not found:
            self.problem(where, f"no {attribute}", "it must have one", f'add it: {attribute}="…"')
        return found

    def number(self, where: str, text: str | None) -> int:
        if text is None or not text.strip().isdecimal() or len(text) > 6:
            self.problem(where, f'"{text or ""}"', "it must be a whole number", "correct it")
            return 1
        return int(text)

    def instances(self, role: str, element: ET.Element) -> int:
        found = element.find(_tag("Instances"))
        return self.number(f"Role {role}: Instances", None if found is None else found.get("count"))

    def refuse(self, network: ET.Element) -> None:
        for part in _REFUSED:
            if network.find(_tag(part)) is not None:
                must = "the lab takes only addresses of role instances from such a file"
                self.problem("NetworkConfiguration", part, must, "remove it; give it in the topology")

    def instance_address(self, element: ET.Element, roles: dict[str, Role]) -> None:
        name = element.get("roleName", "").strip()
        where = f"InstanceAddress {name}".rstrip()
        if name not in roles:
            found = f'no Role "{name}"' if name else "no roleName"
            self.problem(where, found, "it must name a Role of this file", did_you_mean(name, list(roles)))
            return
        if roles[name].public_ip or roles[name].subnets:
            self.problem(where, "a second one for that role", "a role has at most one", "join them")
        listed = list(element.iterfind(f"{_tag('PublicIPs')}/{_tag('PublicIP')}"))
        if len(listed) > 1:
            found = f"{len(listed)} PublicIP"
            self.problem(where, found, "an instance has at most one public IP (seed 004)", "keep one")
        for public in listed[:1]:
            own = self.name(f"{where}: PublicIP", public)
            idle = public.get("idleTimeoutInMinutes")
            timeout = _DEFAULT_IDLE_MIN if idle is None else self.number(f"{where}: idleTimeoutInMinutes", idle)
            made = PublicIp(own, public.get("domainNameLabel"), timeout)
            roles[name] = msgspec.structs.replace(roles[name], public_ip=made)
        subnets = tuple(subnet.get("name", "") for subnet in element.iterfind(f"{_tag('Subnets')}/{_tag('Subnet')}"))
        roles[name] = msgspec.structs.replace(roles[name], subnets=subnets)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _first(networks: list[ET.Element], path: str) -> str | None:
    """Return the name of the first element of a path."""
    here = "/".join(map(_tag, path.split("/")))
    found = networks[0].find(here) if networks else None
    return None if found is None else found.get("name")


# --- a file and a network ---------------------------------------------------------------------


def service_of(network: Network, configuration: Configuration) -> CloudService | None:
    """Return the service that a file is for; names of services are compared as DNS does."""
    named = configuration.service.lower()
    return next((service for service in network.cloud_services if service.name.lower() == named), None)


def problems(network: Network, configuration: Configuration) -> Iterator[Problem]:
    """Yield what a file says otherwise than the network that it is for."""
    service = service_of(network, configuration)
    if service is None:
        yield Problem(
            path=("cloud_services",),
            found=f'no cloud service "{configuration.service}"',
            must="serviceName must name a service of the topology",
            advice=did_you_mean(configuration.service, [s.name for s in network.cloud_services]),
        )
        return
    path = ("cloud_services", service.name)
    known, given = {role.name for role in service.roles}, {role.name: role for role in configuration.roles}
    for name in given:
        if name not in known:
            yield Problem(
                path=(*path, "roles"),
                found=f'no role "{name}"',
                must="each Role of the file must be a role of the service",
                advice=did_you_mean(name, sorted(known)),
            )
    for name in sorted(known - given.keys()):
        yield Problem(
            path=(*path, "roles", name),
            found=f'no Role "{name}" in the file',
            must="a service configuration has every role of its service",
            advice="add it",
        )
    home, subnets = _places(network, service)
    if configuration.virtual_network is not None and configuration.virtual_network != home:
        yield _other(path, "VirtualNetworkSite", configuration.virtual_network, home)
    for role in configuration.roles:
        if role.subnets and role.name in subnets and role.subnets != (subnets[role.name],):
            yield _other((*path, "roles", role.name), "Subnets", ", ".join(role.subnets), subnets[role.name])
    reserved = _reserved(service)
    if configuration.reserved_ip is not None and configuration.reserved_ip != reserved:
        yield _other(path, "ReservedIP", configuration.reserved_ip, reserved)


def _places(network: Network, service: CloudService) -> tuple[str | None, dict[str, str]]:
    """Return the virtual network of a service, and the subnet of each of its roles; None and nothing: none."""
    vms = {role.name: network.vm(role.instance(0)) for role in service.roles}
    homes = {name: vm for name, vm in vms.items() if vm is not None and vm.virtual_network != PLATFORM_NETWORK}
    home = next((vm.virtual_network for vm in homes.values()), None)
    return home, {name: vm.subnet for name, vm in homes.items()}


def _reserved(service: CloudService) -> str | None:
    return next((vip.reserved_ip for vip in service.virtual_ips if vip.reserved_ip), None)


def _other(path: tuple[str, ...], what: str, given: str, known: str | None) -> Problem:
    return Problem(
        path=path,
        found=f'{what} "{given}", and the topology has {known or "none"}',
        must="the file and the topology must agree",
        advice="change one of the two",
    )


def write(network: Network, service: CloudService) -> str:
    """Return the service configuration file of a service with roles."""
    ET.register_namespace("", NAMESPACE)
    root = ET.Element(_tag("ServiceConfiguration"), {"serviceName": service.name, **_SYSTEM})
    for role in service.roles:
        element = _element(root, "Role", name=role.name)
        _element(element, "Instances", count=str(role.instances))
        _element(element, "ConfigurationSettings")
    body = _element(root, "NetworkConfiguration")
    home, subnets = _places(network, service)
    if home is not None:
        _element(body, "VirtualNetworkSite", name=home)
    assignments = _element(body, "AddressAssignments")
    for role in service.roles:
        vm = network.vm(role.instance(0))
        own = None if vm is None else vm.instance_public_ip
        if own is None and role.name not in subnets:
            continue
        address = _element(assignments, "InstanceAddress", roleName=role.name)
        if role.name in subnets:
            _element(_element(address, "Subnets"), "Subnet", name=subnets[role.name])
        if own is not None:
            _element(_element(address, "PublicIPs"), "PublicIP", **_attributes(own))
    reserved = _reserved(service)
    if reserved is not None:
        _element(_element(assignments, "ReservedIPs"), "ReservedIP", name=reserved)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _attributes(own: InstancePublicIp) -> dict[str, str]:
    found = {"name": own.name}
    if own.domain_name_label is not None:
        found["domainNameLabel"] = own.domain_name_label
    if own.idle_timeout_min != _DEFAULT_IDLE_MIN:
        found["idleTimeoutInMinutes"] = str(own.idle_timeout_min)
    return found


def _element(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, _tag(tag), attributes)
