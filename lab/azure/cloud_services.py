"""Cloud services: which of their VIPs have an address, and what must hold of their parts.

A VIP other than the default one has an address only while an endpoint uses it (Multiple VIPs, 2015-07-23), and all of
a service's
dynamic addresses go when its last VM is deallocated: started again, it may have others (Multiple VIPs, 2015-07-23;
reserved-public-ip,
2016-02-10, says which stay).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from uuid import NAMESPACE_URL, uuid5

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import (
    AclRule,
    CloudService,
    Endpoint,
    EndpointProbe,
    Network,
    ReservedIp,
    VirtualIp,
    VirtualMachine,
)
from lab.errors import Problem

_SEED = "Multiple VIPs, 2015-07-23"
_LIMITS = "virtual-network-ip-addresses-overview-classic.md, 2016-02-11"
_RESERVED = "virtual-networks-reserved-public-ip.md, 2016-02-10"
_ACL = "virtual-networks-acl.md, 2016-03-15"
_IDLE = "load-balancer-tcp-idle-timeout.md, 2016-10-24"
_PROBES = "schema-csdef-loadbalancerprobe.md, 2015-04-14"
#: VIPs of one service (deployment), and access rules of one endpoint.
MAX_VIRTUAL_IPS = 5
MAX_ACL_RULES = 50
#: The shortest interval and timeout of an endpoint's probe, seconds, in all revisions: those of load balancers differ.
MIN_PROBE_INTERVAL_S = 5
MIN_PROBE_TIMEOUT_S = 11
#: What fields of an endpoint are called in a file, where it is not the same.
KEYS = {"idle_timeout_min": "idle_timeout_in_minutes", "load_distribution": "load_balancer_distribution"}
#: Public ports that are given to endpoints which name none.
_FIRST_DYNAMIC_PORT = 49152


#: What names of services end in (Instance level public IP, 2016-02-10).
SUFFIX = "cloudapp.net"


def host_name(service: CloudService) -> str:
    """Return the name of a service, which leads to its default VIP."""
    return f"{service.name}.{SUFFIX}"


def is_programmed(service: CloudService, virtual_ip: VirtualIp) -> bool:
    """Tell whether the name of the service leads to a VIP: ``IsDnsProgrammed`` of the documents."""
    return virtual_ip.name == service.default_virtual_ip


def is_billed(service: CloudService, virtual_ip: VirtualIp) -> bool:
    """Tell whether a VIP is paid for: every one but the default, once an endpoint uses it.

    Source: Multiple VIPs, 2015-07-23.
    """
    return not is_programmed(service, virtual_ip) and bool(service.endpoints_of(virtual_ip.name))


def access_list(service: CloudService, endpoint: Endpoint) -> tuple[AclRule, ...]:
    """Return an endpoint's access rules, the one that decides first; the list of one member of a set is that of all."""
    mates = service.load_balanced_sets().get(endpoint.load_balanced_set or "", (endpoint,))
    found = next((mate.acl for mate in mates if mate.acl), ())
    return tuple(sorted(found, key=lambda rule: rule.order))


def permits(rules: tuple[AclRule, ...], client: IPv4Address) -> bool:
    """Tell whether access rules, in their order, let a client in.

    A source that no rule names is let in unless the list permits another (virtual-networks-acl.md, 2016-03-15).
    """
    for rule in rules:
        if client in rule.remote_subnet:
            return rule.action == "permit"
    return all(rule.action == "deny" for rule in rules)


def free_port(endpoints: Iterable[Endpoint], virtual_ip: str, protocol: str, named: Iterable[int] = ()) -> int:
    """Return the public port of an endpoint that names none: the lowest dynamic one that its VIP has free.

    ``named``: ports that are not to be taken either.
    """
    taken = {e.public_port for e in endpoints if (e.virtual_ip, e.protocol) == (virtual_ip, protocol)} | {*named}
    return next(port for port in range(_FIRST_DYNAMIC_PORT, 65536) if port not in taken)


def with_addresses(
    service: CloudService, network: Network, give: Callable[[CloudService, VirtualIp], IPv4Address]
) -> CloudService:
    """Return a service in which exactly those VIPs have an address that must; ``give`` finds new dynamic ones."""
    is_allocated = any(vm.power_state != "Deallocated" for vm in _machines(network, service))

    def settled(vip: VirtualIp) -> VirtualIp:
        used = is_allocated and (is_programmed(service, vip) or bool(service.endpoints_of(vip.name)))
        reserved = None if vip.reserved_ip is None else network.reserved_ip(vip.reserved_ip)
        if not used:
            released = vip.address if vip.address is not None and reserved is None else vip.released
            return msgspec.structs.replace(vip, address=None, released=released)
        if reserved is not None:
            return msgspec.structs.replace(vip, address=reserved.address)
        if vip.address is not None and all(vip.address != r.address for r in network.reserved_ips):
            return vip
        return msgspec.structs.replace(vip, address=give(service, vip))

    return msgspec.structs.replace(service, virtual_ips=tuple(settled(vip) for vip in service.virtual_ips))


def settled(network: Network) -> Network:
    """Return the network in which VIPs have the addresses that its endpoints, VMs and reservations call for.

    A VIP that needs an address is given the one its file plans for it, or the lowest that is free; in both cases
    never the one that it gave back before.

    Raises:
        UsageError: there is no address left.

    """
    given: set[IPv4Address] = set()

    def give(_service: CloudService, vip: VirtualIp) -> IPv4Address:
        # One that was planned for this VIP goes to no other, unless something has it.
        held = network.taken_addresses(planned=False) | given | {vip.released}
        found = vip.planned
        if found is None or found in held:
            found = free_address(network, avoid=held)
        given.add(found)
        return found

    services = tuple(with_addresses(service, network, give) for service in network.cloud_services)
    return msgspec.structs.replace(network, cloud_services=services)


# --- in the documents' words ---------------------------------------------------------------------


def shown_virtual_ip(service: CloudService, virtual_ip: VirtualIp) -> dict[str, str]:
    """Return a VIP as ``(Get-AzureDeployment …).VirtualIPs`` prints it; blank where it has nothing.

    Source: Multiple VIPs, 2015-07-23.
    """
    return {
        "Address": str(virtual_ip.address or ""),
        "IsDnsProgrammed": "True" if is_programmed(service, virtual_ip) else "",
        "Name": virtual_ip.name,
        "ReservedIPName": virtual_ip.reserved_ip or "",
        "ExtensionData": "",
    }


def shown_reserved_ip(network: Network, reserved: ReservedIp) -> dict[str, str]:
    """Return a reserved address as Get-AzureReservedIP prints it (virtual-networks-reserved-public-ip.md, 2016-02-10).

    The deployment of a service has the service's name. An address has the same GUID for ever.
    """
    user = network.user_of(reserved.name)
    name = user[0].name if user else ""
    return {
        "ReservedIPName": reserved.name,
        "Address": str(reserved.address),
        "Id": str(uuid5(NAMESPACE_URL, f"reserved_ips/{network.name}/{reserved.name}")),
        "Label": reserved.label,
        "Location": reserved.location,
        "State": "Created",
        "InUse": str(user is not None),
        "ServiceName": name,
        "DeploymentName": name,
    }


# --- what must hold ---------------------------------------------------------------------------


def violations(network: Network) -> Iterator[Problem]:
    """Yield everything about cloud services and reserved addresses that the documents do not allow."""
    balancers = {lb.name for lb in network.load_balancers}
    names: dict[str, str] = {}
    for service in network.cloud_services:
        path = ("cloud_services", service.name)
        other = names.setdefault(service.name.lower(), service.name)
        if other != service.name:
            yield Problem(
                path=path,
                found=f'"{other}" is also under cloud_services',
                must="the name of a service is a name in DNS, and given once, whatever its case",
                advice="rename one of the two",
            )
        if service.name in balancers:
            yield Problem(
                path=path,
                found=f'"{service.name}" is also under load_balancers',
                must="a cloud service is a load balancer too, and their names are unique",
                advice="rename one of the two",
            )
        yield from _members(network, path, service)
        yield from _virtual_ips(path, service)
        # What is wrong with a role's endpoint is wrong at each of its instances.
        yield from dict.fromkeys(_endpoints(network, path, service))
        yield from dict.fromkeys(_sets(path, service))
    yield from _memberships(network)
    yield from _reserved(network)


def _members(network: Network, path: tuple[str, ...], service: CloudService) -> Iterator[Problem]:
    homes = sorted({vm.virtual_network for vm in _machines(network, service)})
    if len(homes) > 1:
        yield Problem(
            path=(*path, "virtual_machines"),
            found=f"VMs of {', '.join(homes)}",
            must="a cloud service cannot span virtual networks, connected or not (VNet to VNet connection, "
            "2015-05-15, What to know)",
            advice="make one service for each virtual network",
        )
    instances = {role.instance(number) for role in service.roles for number in range(role.instances)}
    others = [name for name in service.virtual_machines if name not in instances]
    if service.roles and others:
        yield Problem(
            path=(*path, "virtual_machines"),
            found=f"virtual machines ({', '.join(others)}) beside roles",
            must="a cloud service holds virtual machines (IaaS) or roles (PaaS)",
            advice="make two services",
        )


def _machines(network: Network, service: CloudService) -> list[VirtualMachine]:
    return [vm for vm in network.virtual_machines if vm.name in service.virtual_machines]


def _virtual_ips(path: tuple[str, ...], service: CloudService) -> Iterator[Problem]:
    if service.roles and len(service.virtual_ips) > 1:
        yield Problem(
            path=(*path, "virtual_ips"),
            found=f"{len(service.virtual_ips)} VIPs of a service with roles",
            must=f"several VIPs are for services of virtual machines only ({_SEED}, Limitations)",
            advice="keep one VIP",
        )
    if len(service.virtual_ips) > MAX_VIRTUAL_IPS:
        yield Problem(
            path=(*path, "virtual_ips"),
            found=f"{len(service.virtual_ips)} VIPs",
            must=f"a service has at most {MAX_VIRTUAL_IPS} VIPs ({_LIMITS})",
            advice="remove some, or make two services",
        )
    reserved = [vip for vip in service.virtual_ips if vip.reserved_ip]
    # Of virtual machines, each VIP may have one (Associate Reserved IP Address, element VirtualIPName): what says
    # otherwise is the schema of a service's configuration file, and only a service with roles has such a file.
    if service.roles and len(reserved) > 1:
        yield Problem(
            path=(*path, "virtual_ips"),
            found=f"{len(reserved)} reserved addresses in one service with roles",
            must="its deployment has at most one (schema-cscfg-networkconfiguration.md, 2023-02-21)",
            advice="keep one: " + " or ".join(f'"{vip.reserved_ip}" of {vip.name}' for vip in reserved),
        )


def _places(service: CloudService) -> tuple[int, ...]:
    """Return the place of each endpoint in the file, where a role has one for all of its instances."""
    role_of = {role.instance(number): role.name for role in service.roles for number in range(role.instances)}
    found: list[int] = []
    before: tuple[str, str | None] = ("", None)
    for endpoint in service.endpoints:
        here = (endpoint.name, role_of.get(endpoint.virtual_machine))
        same = bool(found) and here[1] is not None and here == before
        found.append(found[-1] if same else (found[-1] + 1 if found else 0))
        before = here
    return tuple(found)


def at_roles(network: Network, problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield problems with those of a role's instances where the role is, once each: what instances have, it says."""
    owners = {
        role.instance(number): ("cloud_services", service.name, "roles", role.name)
        for service in network.cloud_services
        for role in service.roles
        for number in range(role.instances)
    }
    said: set[Problem] = set()
    for problem in problems:
        where = problem.path
        if where[:1] == ("virtual_machines",) and where[1:2] and where[1] in owners:
            where = (*owners[where[1]], *where[2:])
        placed = msgspec.structs.replace(problem, path=where)
        if placed not in said:
            said.add(placed)
            yield placed


def naming_endpoint(network: Network, problem: Problem) -> Problem:
    """Return a problem that names an endpoint, for who has no file to count its place in."""
    match problem.path:
        case ("cloud_services", name, "endpoints", place, *rest) if place.isdecimal():
            service = network.cloud_service(name)
            assert service is not None
            endpoint = service.endpoints[_places(service).index(int(place))]
            return msgspec.structs.replace(problem, path=(*problem.path[:3], endpoint.name, *rest))
    return problem


def _endpoints(network: Network, path: tuple[str, ...], service: CloudService) -> Iterator[Problem]:
    names: set[tuple[str, str]] = set()
    ports: dict[tuple[str, str, int], Endpoint] = {}
    targets: dict[tuple[str, str, int], Endpoint] = {}
    groups = {(n.name, s.name): s.network_security_group for n in network.virtual_networks for s in n.subnets}
    for place, endpoint in zip(_places(service), service.endpoints, strict=True):
        where = (*path, "endpoints", str(place))
        if (endpoint.virtual_machine, endpoint.name) in names:
            yield Problem(
                path=(*where, "name"),
                found=f'a second endpoint "{endpoint.name}" of {endpoint.virtual_machine}',
                must="an endpoint's name is unique at its VM",
                advice="choose another name, or remove the first",
            )
        names.add((endpoint.virtual_machine, endpoint.name))
        port = (endpoint.virtual_ip, endpoint.protocol, endpoint.public_port)
        other = ports.setdefault(port, endpoint)
        if other is not endpoint and (
            endpoint.load_balanced_set is None or endpoint.load_balanced_set != other.load_balanced_set
        ):
            yield Problem(
                path=(*where, "public_port"),
                found=f'{endpoint.public_port}/{endpoint.protocol} of {endpoint.virtual_ip} is used by "{other.name}" '
                f"of {other.virtual_machine}",
                must="a port of a VIP has one endpoint or one load-balanced set",
                advice="choose another public port or VIP, or make both members of one set",
            )
        target = (endpoint.virtual_machine, endpoint.protocol, endpoint.local_port)
        # With direct server return a flow ends at the VIP's own address in the VM.
        same = endpoint if endpoint.direct_server_return else targets.setdefault(target, endpoint)
        if same is not endpoint:
            yield Problem(
                path=(*where, "local_port"),
                found=f"{endpoint.virtual_machine}:{endpoint.local_port}/{endpoint.protocol} is also the target of "
                f'"{same.name}"',
                must="every endpoint needs its own port at the VM (load-balancer-multivip-overview.md, 2016-08-11)",
                advice="choose another local port",
            )
        if endpoint.direct_server_return and endpoint.local_port != endpoint.public_port:
            yield Problem(
                path=(*where, "local_port"),
                found=f"{endpoint.local_port} for public port {endpoint.public_port}",
                must="with direct server return nothing is translated, so both are the same port "
                "(load-balancer-multivip-overview.md, 2016-08-11)",
                advice="use one port for both",
            )
        probed = endpoint.probe
        for key, number in (
            ("public_port", endpoint.public_port),
            ("local_port", endpoint.local_port),
            ("probe.port", probed.port if probed else 1),
        ):
            if not 1 <= number <= 65535:
                yield Problem(
                    path=(*where, *key.split(".")), found=f"{number}", must="a port is 1 to 65535", advice="correct it"
                )
        yield from _probe((*where, "probe"), endpoint.probe)
        if not 4 <= endpoint.idle_timeout_min <= 30:
            yield Problem(
                path=(*where, "idle_timeout_in_minutes"),
                found=f"{endpoint.idle_timeout_min}",
                must=f"an idle timeout is 4 to 30 minutes ({_IDLE})",
                advice="use a value from 4 to 30",
            )
        vm = network.vm(endpoint.virtual_machine)
        group = vm and (vm.network_security_group or groups[vm.virtual_network, vm.subnet])
        if vm and group and access_list(service, endpoint):
            yield Problem(
                path=(*where, "acl"),
                found=f"an access list beside the network security group of {vm.name}",
                must="a VM has one or the other (virtual-networks-nsg.md, 2016-02-11)",
                advice="remove the list or the group",
            )
        yield from _acl(where, endpoint)


def _probe(where: tuple[str, ...], probe: EndpointProbe | None) -> Iterator[Problem]:
    if probe is None:
        return
    for key, seconds, least in (
        ("interval", probe.interval_s, MIN_PROBE_INTERVAL_S),
        ("timeout", probe.timeout_s, MIN_PROBE_TIMEOUT_S),
    ):
        if seconds < least:
            yield Problem(
                path=(*where, f"{key}_in_seconds"),
                found=f"{seconds}",
                must=f"the shortest {key} is {least} s ({_PROBES})",
                advice="use a longer one; --time-scale makes a lab's clock run faster",
            )
    if probe.protocol == "Tcp" and probe.path != "/":
        yield Problem(
            path=(*where, "path"),
            found=f'"{probe.path}"',
            must="only an HTTP probe asks for a path",
            advice="remove it, or choose HTTP",
        )


def _acl(where: tuple[str, ...], endpoint: Endpoint) -> Iterator[Problem]:
    if len(endpoint.acl) > MAX_ACL_RULES:
        yield Problem(
            path=(*where, "acl"),
            found=f"{len(endpoint.acl)} rules",
            must=f"an endpoint has at most {MAX_ACL_RULES} access rules ({_ACL})",
            advice="use larger subnets",
        )
    for order, count in Counter(rule.order for rule in endpoint.acl).items():
        if count > 1:
            yield Problem(
                path=(*where, "acl"),
                found=f"{count} rules of order {order}",
                must=f"the rule with the lowest order decides, so each needs its own ({_ACL})",
                advice="give each another order",
            )


def _sets(path: tuple[str, ...], service: CloudService) -> Iterator[Problem]:
    for name, members in service.load_balanced_sets().items():
        first = members[0]
        for member in members[1:]:
            here, there = member.shared(), first.shared()
            different = [KEYS.get(f, f) for f in here.__struct_fields__ if getattr(here, f) != getattr(there, f)]
            if different:
                yield Problem(
                    path=(*path, "endpoints", str(_places(service)[service.endpoints.index(member)])),
                    found=f'"{member.name}" of {member.virtual_machine} differs from "{first.name}" of '
                    f"{first.virtual_machine} in {', '.join(different)}",
                    must=f'members of a load-balanced set ("{name}") have all but their names alike '
                    "(load-balancer-custom-probe-overview.md, 2016-10-24)",
                    advice="make them alike, or change the set as a whole",
                )
        lists = {member.acl for member in members if member.acl}
        if len(lists) > 1:
            yield Problem(
                path=(*path, "endpoints"),
                found=f'{len(lists)} access lists in the set "{name}"',
                must=f"the list of one member is that of all ({_ACL})",
                advice="give one member the list",
            )


def _memberships(network: Network) -> Iterator[Problem]:
    owner: dict[str, str] = {}
    for service in network.cloud_services:
        for name in service.virtual_machines:
            if name in owner:
                yield Problem(
                    path=("cloud_services", service.name, "virtual_machines"),
                    found=f'"{name}" is also in "{owner[name]}"',
                    must="a VM is in one cloud service, once",
                    advice="remove it from one of the two",
                )
            owner.setdefault(name, service.name)
    for lb in network.load_balancers:
        for name in sorted(lb.virtual_machines() & owner.keys()):
            yield Problem(
                path=("load_balancers", lb.name),
                found=f'"{name}" is in the cloud service "{owner[name]}"',
                must="a VM is of the classic or of the Resource Manager model (Instance level public IP, "
                "2016-02-10, Important)",
                advice="give it an endpoint instead, or take it out of the service",
            )


def _reserved(network: Network) -> Iterator[Problem]:
    users: dict[str, list[str]] = {}
    most, source = network.profile.reserved_ips_max, network.profile.sources["reserved_ips_max"]
    if len(network.reserved_ips) > most:
        yield Problem(
            path=("reserved_ips",),
            found=f"{len(network.reserved_ips)} reserved addresses",
            must=f"a subscription has at most {most} ({source})",
            advice="remove some",
        )
    homes = {vm.name: network.virtual_network(vm.virtual_network) for vm in network.virtual_machines}
    for service in network.cloud_services:
        grouped = [homes[vm] for vm in service.virtual_machines if vm in homes and homes[vm].affinity_group]
        for vip in service.virtual_ips:
            if vip.reserved_ip is None:
                continue
            where = ("cloud_services", service.name, "virtual_ips", vip.name, "reserved_ip")
            users.setdefault(vip.reserved_ip, []).append(f"{service.name}/{vip.name}")
            reserved = network.reserved_ip(vip.reserved_ip)
            if reserved is not None and reserved.location != service.location:
                yield Problem(
                    path=where,
                    found=f'"{reserved.name}" of {reserved.location} for a service of {service.location}',
                    must=f"a reserved address is for services of its own region ({_RESERVED})",
                    advice="reserve one there",
                )
            if grouped:
                yield Problem(
                    path=where,
                    found=f'"{vip.reserved_ip}" for VMs of "{grouped[0].name}", which is in the affinity group '
                    f'"{grouped[0].affinity_group}"',
                    must=f"a reserved address is for VMs of regional virtual networks only ({_RESERVED})",
                    advice="use a network with a location",
                )
    for name, vips in users.items():
        if len(vips) > 1:
            yield Problem(
                path=("reserved_ips", name),
                found=f"one address for {' and '.join(vips)}",
                must=f"a reserved address is one VIP's ({_RESERVED})",
                advice="reserve another",
            )
