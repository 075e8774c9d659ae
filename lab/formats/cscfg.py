"""The service configuration file (.cscfg) of a cloud service with roles: what it says of instance-level public IPs.

Schema: Instance level public IP (2016-02-10) sample; schema-cscfg-networkconfiguration.md (2023-02-21);
load-balancer-tcp-idle-timeout.md
(2016-10-24) for the timeout. Settings and certificates are the application's and left alone. Of the network, what a
topology says elsewhere must agree with it, and what the lab does not play is refused.
"""

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree as ET

import msgspec

from lab.azure.addresses import read_whole
from lab.azure.model import PLATFORM_NETWORK, TITLE, TITLE_WORDS, CloudService, InstancePublicIp, Network
from lab.errors import Problem, TopologyError, did_you_mean
from lab.formats import xml
from lab.formats.xml import Part

NAMESPACE = "http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration"
#: Far more than any service's configuration has.
MAX_BYTES = 1024 * 1024
#: What the sample of Instance level public IP, 2016-02-10 says of the instances' operating system, which the lab has
#: no say in.
_SYSTEM = {"osFamily": "4", "osVersion": "*", "schemaVersion": "2014-01.2.3"}
#: Parts of NetworkConfiguration that are not taken from such a file.
_REFUSED = ("AccessControls", "EndpointAcls", "Dns", "LoadBalancers")
#: What a file may have where addresses are. Of the application's parts of a file none is asked.
_SCHEMA = {
    "ServiceConfiguration": Part(None, {"NetworkConfiguration": 1, "Role": None}),
    "NetworkConfiguration": Part(
        (), {"AddressAssignments": 1, "VirtualNetworkSite": 1, **dict.fromkeys(_REFUSED, None)}
    ),
    "VirtualNetworkSite": Part(("name",), {}),
    "AddressAssignments": Part((), {"InstanceAddress": None, "ReservedIPs": 1}),
    "InstanceAddress": Part(("roleName",), {"PublicIPs": 1, "Subnets": 1}),
    "PublicIPs": Part((), {"PublicIP": None}),
    "PublicIP": Part(("domainNameLabel", "idleTimeoutInMinutes", "name"), {}),
    "Subnets": Part((), {"Subnet": None}),
    "Subnet": Part(("name",), {}),
    "ReservedIPs": Part((), {"ReservedIP": 1}),
    "ReservedIP": Part(("name",), {}),
}
#: Keys of a role in a topology, as they are called in such a file.
_KEYS = {
    "domain_name_label": "domainNameLabel",
    "idle_timeout_in_minutes": "idleTimeoutInMinutes",
    "instances": "Instances",
    "name": "name",
}
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
    file: str = ""
    #: Where the file has what a path in a service of a topology is about.
    places: Mapping[tuple[str, ...], str] = {}


def located(configuration: Configuration, problem: Problem) -> str:
    """Return a problem that a file makes in a network, at the place of the file that it is about.

    One of another part of the network is the file's too, but keeps its own path.
    """
    match problem.path:
        case ("cloud_services", _, *rest) | ("cloud_services", *rest):
            path, key = tuple(rest), ""
            if path not in configuration.places and path and path[-1] in _KEYS:
                path, key = path[:-1], f"{_KEYS[path[-1]]}: "
            if path in configuration.places:
                return f"{configuration.places[path]}: {key}{msgspec.structs.replace(problem, path=())}"
    return f"{configuration.file}: {problem}"


def read(text: str, file: str) -> Configuration:
    """Return what a file says.

    Raises:
        TopologyError: with every problem of the file; it is taken whole or not at all.

    """
    reader = _Reader(file)
    made = reader.read(text)
    if reader.problems:
        raise TopologyError(text for _, text in sorted(reader.problems, key=lambda problem: problem[0]))
    return made


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[tuple[int, str]] = []
        self.places: dict[tuple[str, ...], str] = {}

    def place(self, element: ET.Element, where: str) -> str:
        return f"{self.file}:{xml.line_of(element)}: {where}"

    def problem(self, element: ET.Element, where: str, found: str, must: str, advice: str) -> None:
        line = xml.line_of(element)
        self.problems.append((line, f"{self.place(element, where)}: {found}; {must}; {advice}"))

    def read(self, text: str) -> Configuration:
        root = xml.parsed(text, self.file, "service configuration")
        if root.tag != _tag("ServiceConfiguration"):
            must = f"the root is ServiceConfiguration of {NAMESPACE}"
            raise TopologyError([f"{self.file}: {root.tag}; {must}; export one for an example"])
        for one in xml.unfit(root, NAMESPACE, _SCHEMA):
            self.problem(*one)
        service = self.name("ServiceConfiguration", root, "serviceName")
        self.places[()] = self.place(root, "ServiceConfiguration")
        roles: dict[str, Role] = {}
        for element in root.iterfind(_tag("Role")):
            name = self.name("Role", element)
            if name in roles:
                self.problem(element, f"Role {name}", "a second one of that name", "names are given once", "rename one")
            self.places["roles", name] = self.place(element, f"Role {name}")
            roles[name] = Role(name, self.instances(name, element))
        networks = list(root.iterfind(_tag("NetworkConfiguration")))
        for network in networks[:1]:
            self.refuse(network)
            for address in network.iterfind(f"{_tag('AddressAssignments')}/{_tag('InstanceAddress')}"):
                self.instance_address(address, roles)
        return Configuration(
            service,
            tuple(roles.values()),
            _first(networks, "VirtualNetworkSite"),
            _first(networks, "AddressAssignments/ReservedIPs/ReservedIP"),
            self.file,
            self.places,
        )

    def name(self, where: str, element: ET.Element, attribute: str = "name") -> str:
        found = element.get(attribute, "").strip()
        if not found:
            self.problem(element, where, f"no {attribute}", "it must have one", f'add it: {attribute}="…"')
        elif not re.fullmatch(TITLE, found):
            self.problem(element, where, f'"{found[:80]}"', TITLE_WORDS, "rename it")
        return found

    def number(self, element: ET.Element, where: str, text: str | None) -> int:
        number = read_whole((text or "").strip())
        if number is None or number >= 1_000_000:
            self.problem(element, where, f'"{text or ""}"', "it must be a whole number", "correct it")
            return 1
        return number

    def instances(self, role: str, element: ET.Element) -> int:
        found = element.find(_tag("Instances"))
        count = None if found is None else found.get("count")
        return self.number(element if found is None else found, f"Role {role}: Instances", count)

    def refuse(self, network: ET.Element) -> None:
        for part in _REFUSED:
            for element in network.findall(_tag(part)):
                must = "the lab takes only addresses of role instances from such a file"
                self.problem(element, "NetworkConfiguration", part, must, "remove it; give it in the topology")

    def instance_address(self, element: ET.Element, roles: dict[str, Role]) -> None:
        name = element.get("roleName", "").strip()
        where = f"InstanceAddress {name}".rstrip()
        if name not in roles:
            found = f'no Role "{name}"' if name else "no roleName"
            self.problem(element, where, found, "it must name a Role of this file", did_you_mean(name, list(roles)))
            return
        if roles[name].public_ip or roles[name].subnets:
            self.problem(element, where, "a second one for that role", "a role has at most one", "join them")
        listed = list(element.iterfind(f"{_tag('PublicIPs')}/{_tag('PublicIP')}"))
        if len(listed) > 1:
            found = f"{len(listed)} PublicIP"
            self.problem(
                listed[1],
                where,
                found,
                "an instance has at most one public IP (Instance level public IP, 2016-02-10)",
                "keep one",
            )
        for public in listed[:1]:
            own = self.name(f"{where}: PublicIP", public)
            idle = public.get("idleTimeoutInMinutes")
            timeout = _DEFAULT_IDLE_MIN if idle is None else self.number(public, f"{where}: idleTimeoutInMinutes", idle)
            self.places["roles", name, "instance_public_ip"] = self.place(public, f"{where}: PublicIP")
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
                path=(*path, "roles", name),
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
    if configuration.virtual_network is not None and not _is_network(configuration.virtual_network, home):
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


def _is_network(given: str, name: str | None) -> bool:
    """Tell whether a file means a virtual network: by its name, or as "Group RG NAME", one of resource group RG."""
    words = given.split(" ", 2)
    return given == name or (len(words) == 3 and words[0] == "Group" and words[2] == name)


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
