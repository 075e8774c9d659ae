"""Azure's words: the network a topology file describes, as frozen values.

One section per resource, in the order of the file. ``Network`` holds them by name;
what must hold between them is in ``invariants``. Nothing here knows how a packet is treated.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import chain
from typing import Literal

import msgspec

from lab.azure.profile import Profile, SecurityProtocol, Sku
from lab.azure.programs import Execution, Program
from lab.flow import Destination, PortRange, Transport

ServiceKind = Literal["http", "https", "tcp", "udp", "dns", "ssh", "ftp"]
ProbeProtocol = Literal["Tcp", "Http"]
Distribution = Literal["Default", "SourceIP", "SourceIPProtocol"]
Outcome = Literal["answered", "refused", "timeout"]
Routing = Literal["dynamic", "static"]
GatewaySku = Literal["Basic", "Standard", "HighPerformance"]
Direction = Literal["Inbound", "Outbound"]
AclAction = Literal["permit", "deny"]
#: As Get-AzureVM prints it (Instance level public IP, 2016-02-10). A stopped VM keeps what it was given, a
#: deallocated one gives it back.
PowerState = Literal["Started", "Stopped", "Deallocated"]
Access = Literal["Allow", "Deny"]
#: Names that a security rule may give instead of a prefix (virtual-networks-nsg.md, 2016-02-11: default tags).
Tag = Literal["VirtualNetwork", "AzureLoadBalancer", "Internet"]

#: Source of every health probe, and the address of the resolver that Azure provides
#: (load-balancer-custom-probe-overview.md, 2016-10-24).
PLATFORM_ADDRESS = IPv4Address("168.63.129.16")
#: Azure keeps the first four addresses of a subnet (network, gateway, two for its DNS) and the last.
RESERVED_AT_START = 4
GATEWAY_SUBNET = "GatewaySubnet"
#: Addresses for documentation (RFC 5737): what public addresses are taken from when the file names none.
DOCUMENTATION_NETWORKS = tuple(IPv4Network(n) for n in ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"))
#: The resolver of the outside hosts; RFC 5737, never given to anything else.
PUBLIC_RESOLVER = IPv4Address("192.0.2.53")
#: A VM that names no subnet belongs to no virtual network; the platform numbers it from here
#: (Instance level public IP, 2016-02-10 shows 100.74.118.91 for such a VM; RFC 6598).
PLATFORM_NETWORK = "_platform"
PLATFORM_SPACE = IPv4Network("100.64.0.0/10")
#: What names of nodes, and of what has a name in DNS, are, as a pattern.
NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,62}$"
#: What names of other resources are: Azure lets some have spaces, such as the endpoint "Remote Desktop".
TITLE = r"^[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,78}[A-Za-z0-9._-])?$"
#: What they are, in words.
NAME_WORDS = "a name begins with a letter and has up to 63 letters, digits, dots, dashes and underscores"
TITLE_WORDS = (
    "a name begins with a letter or digit and has up to 80 letters, digits, dots, dashes, underscores and spaces, "
    "with no space at its end"
)
#: Parts of a node's name, between its dots: what a resolver asks for.
_LABELS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_][A-Za-z0-9_-]*)*")


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value, compared by content."""


class Service(_Value, frozen=True, kw_only=True):
    """A server that runs inside a node: ``kind:port[/udp]``."""

    kind: ServiceKind
    port: int
    protocol: Transport

    def __str__(self) -> str:
        return f"{self.kind}:{self.port}" + ("/udp" if self.protocol == "udp" and self.kind == "dns" else "")


class InternetHost(_Value, frozen=True, kw_only=True):
    """A host outside Azure."""

    name: str
    address: IPv4Address
    services: tuple[Service, ...] = ()
    programs: tuple[Program, ...] = ()


class Subnet(_Value, frozen=True, kw_only=True):
    """A range of a virtual network that VMs are placed in."""

    name: str
    address_prefix: IPv4Network
    network_security_group: str | None = None
    nat_gateway: str | None = None
    #: Its VMs may be given the platform's address; None: as the revision has it for new virtual networks.
    default_outbound_access: bool | None = None

    @property
    def gateway(self) -> IPv4Address:
        """The subnet's first host address, which the router answers for."""
        return self.address_prefix.network_address + 1

    def usable(self) -> Iterator[IPv4Address]:
        """Yield the addresses a VM may have, lowest first."""
        first = int(self.address_prefix.network_address) + RESERVED_AT_START
        for number in range(first, int(self.address_prefix.broadcast_address)):
            yield IPv4Address(number)


class Peering(_Value, frozen=True, kw_only=True):
    """One half of a peering: what a virtual network lets the other one do. What two halves are is in ``peerings``."""

    name: str
    remote_virtual_network: str
    allow_virtual_network_access: bool = True
    allow_forwarded_traffic: bool = False
    allow_gateway_transit: bool = False
    use_remote_gateways: bool = False
    #: The other half was deleted; only a peering that is made anew is joined with another one.
    disconnected: bool = False


class VirtualNetwork(_Value, frozen=True, kw_only=True):
    """A private address space with its subnets."""

    name: str
    location: str
    subscription: str
    address_space: tuple[IPv4Network, ...]
    subnets: tuple[Subnet, ...]
    #: What VMs without another way out are seen with: the platform's choice, which cannot be
    #: configured and is in no list of the user's addresses (Outbound connections, 2017-05-31, standalone VM).
    default_outbound_address: IPv4Address
    dns_servers: tuple[IPv4Address, ...] = ()
    #: Where a network configuration file names one in the place of a location.
    affinity_group: str | None = None
    peerings: tuple[Peering, ...] = ()


class NatGateway(_Value, frozen=True, kw_only=True):
    """What flows of whole subnets to public addresses leave by, with any port of any of its addresses."""

    name: str
    public_ip_addresses: tuple[IPv4Address, ...] = ()
    public_ip_prefixes: tuple[IPv4Network, ...] = ()
    idle_timeout_min: int = 4

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Every address that flows may be seen with: those of a prefix are all used, the first and last too."""
        return tuple(sorted({address for address, _ in self.public_addresses()}))

    def public_addresses(self) -> Iterator[tuple[IPv4Address, tuple[str, ...]]]:
        """Yield every address with its path in the file; of a prefix that is too large, which is refused, none."""
        path = ("nat_gateways", self.name)
        for index, address in enumerate(self.public_ip_addresses):
            yield address, (*path, "public_ip_addresses", str(index))
        for index, prefix in enumerate(self.public_ip_prefixes):
            for address in prefix if prefix.prefixlen >= 28 else ():
                yield address, (*path, "public_ip_prefixes", str(index))


class DnsServer(_Value, frozen=True, kw_only=True):
    """A DNS server's name in a network configuration file; what makes it serve is elsewhere."""

    name: str
    address: IPv4Address


class InstancePublicIp(_Value, frozen=True, kw_only=True):
    """A public address of one VM's own (ILPIP)."""

    name: str
    address: IPv4Address
    domain_name_label: str | None = None
    idle_timeout_min: int = 4
    #: A Standard one lets nothing in that no security group allows.
    sku: Sku = "Basic"


class NetworkInterface(_Value, frozen=True, kw_only=True):
    """A network interface of a VM."""

    name: str
    subnet: str
    private_ip_address: IPv4Address
    network_security_group: str | None = None


class VirtualMachine(_Value, frozen=True, kw_only=True):
    """A virtual machine. Its subnet, private address and security group are those of its primary interface."""

    name: str
    virtual_network: str
    subnet: str
    private_ip_address: IPv4Address
    services: tuple[Service, ...] = ()
    programs: tuple[Program, ...] = ()
    instance_public_ip: InstancePublicIp | None = None
    availability_set: str | None = None
    #: What it is called; a lab's VMs are all as large as the machine.
    size: str = "Small"
    network_security_group: str | None = None
    power_state: PowerState = "Started"
    #: Frontends' addresses that the guest has on a loopback interface of its own, as rules with floating IP ask for.
    loopback_addresses: tuple[IPv4Address, ...] = ()
    #: What it had as instance-level public IP when it was deallocated, and asks for again when it is started.
    released_public_ip: InstancePublicIp | None = None
    #: The primary interface's name, where a file gives interfaces, and those beside it, in the file's order.
    primary_interface: str = ""
    secondary_interfaces: tuple[NetworkInterface, ...] = ()

    @property
    def network_interfaces(self) -> tuple[NetworkInterface, ...]:
        """All interfaces, the primary one first."""
        primary = NetworkInterface(
            name=self.primary_interface,
            subnet=self.subnet,
            private_ip_address=self.private_ip_address,
            network_security_group=self.network_security_group,
        )
        return (primary, *self.secondary_interfaces)

    def interface_with(self, address: IPv4Address) -> NetworkInterface:
        """Return the interface that has an address; the primary one if none has it."""
        interfaces = self.network_interfaces
        return next((i for i in interfaces if i.private_ip_address == address), interfaces[0])


def listeners(node: InternetHost | VirtualMachine) -> list[Service | Program]:
    """Return what listens on a port in a node."""
    return [*node.services, *(program for program in node.programs if program.port)]


class Frontend(_Value, frozen=True, kw_only=True):
    """An address of a load balancer: a public one or, of an internal load balancer, a private one in a subnet."""

    name: str
    address: IPv4Address
    #: The file names no address: the frontend has one only while a rule leads to a VM (``LoadBalancer.has_address``).
    dynamic: bool = False
    #: Of a private one: where its address is.
    virtual_network: str = ""
    subnet: str = ""

    @property
    def private(self) -> bool:
        """Whether the address is one of a virtual network."""
        return bool(self.subnet)


class BackendPool(_Value, frozen=True, kw_only=True):
    """The VMs a load-balancing rule may send to."""

    name: str
    members: tuple[str, ...]


class HealthProbe(_Value, frozen=True, kw_only=True):
    """How a load balancer asks a VM whether it may receive new flows."""

    name: str
    protocol: ProbeProtocol
    port: int
    request_path: str
    #: None: the default of the revision that is played.
    interval_s: int | None
    number_of_probes: int
    #: So many failures in a row take a member out, and as many successes bring it back; None: as the revision says.
    threshold: int | None = None
    #: Where no member answers, new flows go to all of them.
    all_probed_up: bool = False


class LoadBalancingRule(_Value, frozen=True, kw_only=True):
    """Frontend and port to a pool and port."""

    name: str
    frontend: str
    backend_pool: str
    probe: str | None
    protocol: Transport
    #: 0, as the backend port then is: every port. An HA-ports rule of a file is two of these, one for each protocol.
    frontend_port: int
    backend_port: int
    load_distribution: Distribution
    idle_timeout_min: int
    #: Direct server return: the destination stays the frontend's, and the VM must have it.
    floating_ip: bool = False
    #: Both ends of a TCP flow that times out are told.
    tcp_reset: bool = False
    #: Flows that the pool's VMs open do not leave by the frontend for this rule's sake.
    disable_outbound_snat: bool = False

    @property
    def ports(self) -> PortRange | None:
        """The ports of the frontend that the rule is for; None: all."""
        return PortRange(self.frontend_port, self.frontend_port) if self.frontend_port else None

    def listens(self, protocol: str, port: int) -> bool:
        """Tell whether the rule is for flows of a protocol to a port of its frontend."""
        return protocol == self.protocol and self.frontend_port in (0, port)


class OutboundRule(_Value, frozen=True, kw_only=True):
    """The frontends that flows of a pool's VMs leave by, and with how many ports each."""

    name: str
    frontends: tuple[str, ...]
    backend_pool: str
    protocols: tuple[Transport, ...]
    #: Of each VM, on all frontends together; 0: as the table of the revision says for a pool of its size.
    ports: int
    idle_timeout_min: int = 4
    tcp_reset: bool = False


class InboundNatRule(_Value, frozen=True, kw_only=True):
    """Frontend and port to one VM and port."""

    name: str
    frontend: str
    virtual_machine: str
    protocol: Transport
    frontend_port: int
    backend_port: int
    idle_timeout_min: int = 4
    floating_ip: bool = False
    tcp_reset: bool = False

    @property
    def ports(self) -> PortRange:
        """The port of the frontend that the rule is for."""
        return PortRange(self.frontend_port, self.frontend_port)

    def listens(self, protocol: str, port: int) -> bool:
        """Tell whether the rule is for flows of a protocol to a port of its frontend."""
        return (protocol, port) == (self.protocol, self.frontend_port)


class LoadBalancer(_Value, frozen=True, kw_only=True):
    """A load balancer of the Resource Manager model."""

    name: str
    sku: Sku
    frontends: tuple[Frontend, ...]
    pools: tuple[BackendPool, ...]
    probes: tuple[HealthProbe, ...]
    load_balancing_rules: tuple[LoadBalancingRule, ...]
    inbound_nat_rules: tuple[InboundNatRule, ...]
    outbound_rules: tuple[OutboundRule, ...] = ()

    def frontend(self, name: str) -> Frontend:
        """Return a frontend that is known to be there."""
        return next(f for f in self.frontends if f.name == name)

    def pool(self, name: str) -> BackendPool:
        """Return a pool that is known to be there."""
        return next(p for p in self.pools if p.name == name)

    def rules(self) -> tuple["LoadBalancingRule | InboundNatRule", ...]:
        """Return the rules of both kinds."""
        return (*self.load_balancing_rules, *self.inbound_nat_rules)

    def targets(self, rule: "LoadBalancingRule | InboundNatRule") -> tuple[str, ...]:
        """Return the names of the VMs that a rule may lead to."""
        return self.pool(rule.backend_pool).members if isinstance(rule, LoadBalancingRule) else (rule.virtual_machine,)

    def has_address(self, frontend: Frontend) -> bool:
        """Tell whether a frontend has its address.

        A dynamic one gets it with the first rule that ties it to a VM, and loses it with the last
        (note on dynamic public addresses, 2018-11-09).
        """
        outward = any(frontend.name in r.frontends and self.pool(r.backend_pool).members for r in self.outbound_rules)
        inward = any(r.frontend == frontend.name and self.targets(r) for r in self.rules())
        return not frontend.dynamic or inward or outward

    def addressed(self) -> tuple[Frontend, ...]:
        """Return the public frontends that have an address."""
        return tuple(f for f in self.frontends if not f.private and self.has_address(f))

    def reachable(self) -> tuple[Frontend, ...]:
        """Return the frontends that have an address, public or private."""
        return tuple(f for f in self.frontends if f.private or self.has_address(f))

    def is_private(self, rule: "LoadBalancingRule | InboundNatRule") -> bool:
        """Tell whether a rule listens at a private address."""
        return self.frontend(rule.frontend).private

    def probe(self, name: str) -> HealthProbe:
        """Return a probe that is known to be there."""
        return next(p for p in self.probes if p.name == name)

    def virtual_machines(self) -> frozenset[str]:
        """Return every VM that a pool or an inbound NAT rule names."""
        pooled = {member for pool in self.pools for member in pool.members}
        return frozenset(pooled | {rule.virtual_machine for rule in self.inbound_nat_rules})


class AclRule(_Value, frozen=True, kw_only=True):
    """Who may use an endpoint; of an endpoint's rules the one with the lowest order decides."""

    order: int
    action: AclAction
    remote_subnet: IPv4Network
    description: str = ""


class EndpointProbe(_Value, frozen=True, kw_only=True):
    """How the members of a load-balanced set are asked whether they may receive new flows; seconds."""

    protocol: ProbeProtocol
    port: int
    path: str = "/"
    interval_s: int = 15
    timeout_s: int = 31

    @property
    def failures(self) -> int:
        """How many probes in a row must fail within the timeout."""
        return max(1, self.timeout_s // max(1, self.interval_s))


class Endpoint(_Value, frozen=True, kw_only=True):
    """A public port of a VIP that leads to a private port of one VM, or of each member of a load-balanced set.

    Every member of a set has an endpoint of its own; what they share is repeated in each.
    """

    name: str
    virtual_machine: str
    protocol: Transport
    local_port: int
    public_port: int
    virtual_ip: str
    load_balanced_set: str | None = None
    probe: EndpointProbe | None = None
    idle_timeout_min: int = 4
    load_distribution: Distribution = "Default"
    direct_server_return: bool = False
    acl: tuple[AclRule, ...] = ()

    def shared(self) -> "Endpoint":
        """Return what all members of a load-balanced set must have alike."""
        return msgspec.structs.replace(self, name="", virtual_machine="", acl=())


class VirtualIp(_Value, frozen=True, kw_only=True):
    """A VIP of a cloud service; unless it is the default one it has no address until an endpoint uses it.

    Source: Multiple VIPs, 2015-07-23.
    """

    name: str
    address: IPv4Address | None = None
    reserved_ip: str | None = None
    #: The dynamic address that it is to have first, where the file says so.
    planned: IPv4Address | None = None
    #: A dynamic address that it gave back; it is not given the same one again.
    released: IPv4Address | None = None


class Role(_Value, frozen=True, kw_only=True):
    """A role of a PaaS service; its instances are VMs, named ``ROLE_IN_0`` and so on."""

    name: str
    instances: int

    def instance(self, number: int) -> str:
        """Return the name of an instance, counted from 0."""
        return f"{self.name}_IN_{number}"


class CloudService(_Value, frozen=True, kw_only=True):
    """A classic cloud service: VMs, or instances of roles, behind VIPs with endpoints."""

    name: str
    location: str
    subscription: str
    virtual_machines: tuple[str, ...]
    virtual_ips: tuple[VirtualIp, ...]
    #: The VIP that the service's name leads to.
    default_virtual_ip: str
    roles: tuple[Role, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    #: Its deployment is being changed: some revisions count its VMs twice meanwhile.
    redeploying: bool = False

    def virtual_ip(self, name: str) -> VirtualIp | None:
        """Return the VIP of that name."""
        return next((v for v in self.virtual_ips if v.name == name), None)

    def endpoints_of(self, virtual_ip: str) -> tuple[Endpoint, ...]:
        """Return the endpoints that use a VIP."""
        return tuple(e for e in self.endpoints if e.virtual_ip == virtual_ip)

    def load_balanced_sets(self) -> dict[str, tuple[Endpoint, ...]]:
        """Return the endpoints of each load-balanced set, by its name."""
        found: dict[str, tuple[Endpoint, ...]] = {}
        for endpoint in self.endpoints:
            if endpoint.load_balanced_set is not None:
                found[endpoint.load_balanced_set] = (*found.get(endpoint.load_balanced_set, ()), endpoint)
        return found

    def load_balancer(self) -> "LoadBalancer":
        """Return the load balancer that the service is: VIPs that have an address, sets, and single endpoints.

        A set is a pool with a rule and, unless its members have none, a probe, all of its name; an endpoint
        without a set is an inbound NAT rule, named after its VM and itself.
        """
        sets = self.load_balanced_sets()
        probes = {name: members[0].probe for name, members in sets.items()}
        return LoadBalancer(
            name=self.name,
            sku="Basic",
            frontends=tuple(Frontend(name=v.name, address=v.address) for v in self.virtual_ips if v.address),
            pools=tuple(
                BackendPool(name=name, members=tuple(sorted((m.virtual_machine for m in members), key=natural)))
                for name, members in sets.items()
            ),
            probes=tuple(
                HealthProbe(
                    name=name,
                    protocol=probe.protocol,
                    port=probe.port,
                    request_path=probe.path,
                    interval_s=probe.interval_s,
                    number_of_probes=probe.failures,
                )
                for name, probe in probes.items()
                if probe is not None
            ),
            load_balancing_rules=tuple(
                LoadBalancingRule(
                    name=name,
                    frontend=first.virtual_ip,
                    backend_pool=name,
                    probe=None if probes[name] is None else name,
                    protocol=first.protocol,
                    frontend_port=first.public_port,
                    backend_port=first.local_port,
                    load_distribution=first.load_distribution,
                    idle_timeout_min=first.idle_timeout_min,
                    floating_ip=first.direct_server_return,
                )
                for name, (first, *_) in sets.items()
                if self._has_address(first)
            ),
            inbound_nat_rules=tuple(
                InboundNatRule(
                    name=f"{endpoint.virtual_machine}/{endpoint.name}",
                    frontend=endpoint.virtual_ip,
                    virtual_machine=endpoint.virtual_machine,
                    protocol=endpoint.protocol,
                    frontend_port=endpoint.public_port,
                    backend_port=endpoint.local_port,
                    idle_timeout_min=endpoint.idle_timeout_min,
                    floating_ip=endpoint.direct_server_return,
                )
                for endpoint in self.endpoints
                if endpoint.load_balanced_set is None and self._has_address(endpoint)
            ),
        )

    def _has_address(self, endpoint: Endpoint) -> bool:
        virtual_ip = self.virtual_ip(endpoint.virtual_ip)
        return virtual_ip is not None and virtual_ip.address is not None


class ReservedIp(_Value, frozen=True, kw_only=True):
    """A public address that stays the user's whatever becomes of the service whose VIP has it."""

    name: str
    address: IPv4Address
    location: str
    label: str = ""


class VpnGateway(_Value, frozen=True, kw_only=True):
    """A virtual network's gateway: dynamic routing is IKEv2 and route-based, static is IKEv1 and policy-based."""

    virtual_network: str
    routing: Routing
    sku: GatewaySku
    address: IPv4Address
    #: Whether all its tunnels share the bandwidth of its SKU, or what the machine gives.
    shaped: bool = False
    #: When it is built; seconds since the epoch. Before that it has no address to show and no tunnel.
    ready_at: float = 0.0


class VpnDevice(_Value, frozen=True, kw_only=True):
    """The far end of a site that is no virtual network: one node that is both the VPN device and the site's host."""

    private_ip_address: IPv4Address
    services: tuple[Service, ...] = ()


class LocalNetwork(_Value, frozen=True, kw_only=True):
    """What a virtual network's tunnel leads to: prefixes behind the address of a VPN device."""

    name: str
    address_space: tuple[IPv4Network, ...]
    vpn_gateway_address: IPv4Address
    #: The virtual network whose gateway has that address, where the file names it.
    vpn_gateway: str | None = None
    #: Made by the lab, where the site is none of its virtual networks.
    vpn_device: VpnDevice | None = None


class Connection(_Value, frozen=True, kw_only=True):
    """A virtual network's tunnel to a local network."""

    virtual_network: str
    local_network: str
    #: None: the one that Azure generates, which the other side does not know.
    shared_key: str | None = None
    connect: bool = True

    def __repr__(self) -> str:
        """Leave the key out of whatever is printed."""
        return f"Connection({self.virtual_network} to {self.local_network})"


class SecurityRule(_Value, frozen=True, kw_only=True):
    """What a network security group does with some of the flows in one direction; empty stands for any.

    Addresses are prefixes and tags, as text: ``10.1.0.0/24``, ``Internet``.
    """

    name: str
    priority: int
    direction: Direction
    access: Access
    protocol: SecurityProtocol
    sources: tuple[str, ...] = ()
    source_ports: tuple[PortRange, ...] = ()
    destinations: tuple[str, ...] = ()
    destination_ports: tuple[PortRange, ...] = ()


class SecurityGroup(_Value, frozen=True, kw_only=True):
    """A network security group: the rules of its user, in the order of the file. The default rules are not among them.

    What rules do is in ``security_groups``.
    """

    name: str
    rules: tuple[SecurityRule, ...] = ()


class Overrides(_Value, frozen=True, kw_only=True):
    """Departures from the documents, for experiments; printed with every verdict."""

    snat_ports_per_vm: int | None = None
    nat_gateway_ports: int | None = None
    time_scale: int = 1

    def __str__(self) -> str:
        parts = [f"snat_ports_per_vm={self.snat_ports_per_vm}"] if self.snat_ports_per_vm else []
        parts += [f"nat_gateway_ports={self.nat_gateway_ports}"] if self.nat_gateway_ports else []
        parts += [f"time_scale={self.time_scale}"] if self.time_scale != 1 else []
        return " ".join(parts)


class Expectation(_Value, frozen=True, kw_only=True, tag=True):
    """What a user says must be seen; judged by ``lab verify``."""

    sender: str
    to: Destination
    source_ip: IPv4Address | None = None
    source_port: PortRange | None = None
    answered_by: tuple[str, ...] = ()
    outcome: Outcome | None = None
    claim: str | None = None


class Network(_Value, frozen=True, kw_only=True):
    """All of a topology: what is, and nothing about how it is built."""

    name: str
    profile: Profile
    internet: tuple[InternetHost, ...] = ()
    virtual_networks: tuple[VirtualNetwork, ...] = ()
    virtual_machines: tuple[VirtualMachine, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()
    nat_gateways: tuple[NatGateway, ...] = ()
    cloud_services: tuple[CloudService, ...] = ()
    reserved_ips: tuple[ReservedIp, ...] = ()
    vpn_gateways: tuple[VpnGateway, ...] = ()
    local_networks: tuple[LocalNetwork, ...] = ()
    connections: tuple[Connection, ...] = ()
    dns_servers: tuple[DnsServer, ...] = ()
    network_security_groups: tuple[SecurityGroup, ...] = ()
    overrides: Overrides = Overrides()
    expectations: tuple[Expectation | Execution, ...] = ()
    #: Addresses of gateways that were deleted while a lab runs: no other gateway gets them.
    released: tuple[IPv4Address, ...] = ()

    def host(self, name: str) -> InternetHost | None:
        """Return the outside host of that name."""
        return next((h for h in self.internet if h.name == name), None)

    def vm(self, name: str) -> VirtualMachine | None:
        """Return the virtual machine of that name."""
        return next((v for v in self.virtual_machines if v.name == name), None)

    def vnet(self, name: str) -> VirtualNetwork | None:
        """Return the virtual network of that name."""
        return next((v for v in self.virtual_networks if v.name == name), None)

    def nat_gateway_of(self, vnet: str, subnet: str) -> NatGateway | None:
        """Return the NAT gateway of a subnet; one without an address does nothing."""
        if not self.nat_gateways:
            return None
        found = self.vnet(vnet)
        name = next((s.nat_gateway for s in found.subnets if s.name == subnet), None) if found is not None else None
        return next((g for g in self.nat_gateways if g.name == name and g.addresses), None)

    def cloud_service(self, name: str) -> CloudService | None:
        """Return the cloud service of that name."""
        return next((s for s in self.cloud_services if s.name == name), None)

    def service_of(self, vm: str) -> CloudService | None:
        """Return the cloud service that a VM is in."""
        return next((s for s in self.cloud_services if vm in s.virtual_machines), None)

    def reserved_ip(self, name: str) -> ReservedIp | None:
        """Return the reserved address of that name."""
        return next((r for r in self.reserved_ips if r.name == name), None)

    def user_of(self, reserved_ip: str) -> tuple[CloudService, VirtualIp] | None:
        """Return the VIP that has a reserved address, with its service."""
        vips = ((service, vip) for service in self.cloud_services for vip in service.virtual_ips)
        return next(((service, vip) for service, vip in vips if vip.reserved_ip == reserved_ip), None)

    @property
    def balancers(self) -> tuple[LoadBalancer, ...]:
        """Every load balancer: those of the Resource Manager model, and each cloud service as the one it is."""
        return (*self.load_balancers, *(service.load_balancer() for service in self.cloud_services))

    def gateway(self, network: str) -> VpnGateway | None:
        """Return the gateway of a virtual network."""
        return next((g for g in self.vpn_gateways if g.virtual_network == network), None)

    def local_network(self, name: str) -> LocalNetwork:
        """Return a local network that is known to be there."""
        return next(n for n in self.local_networks if n.name == name)

    def sites_of(self, network: str) -> tuple[LocalNetwork, ...]:
        """Return the local networks that a virtual network has a connection to."""
        return tuple(self.local_network(c.local_network) for c in self.connections if c.virtual_network == network)

    def security_group(self, name: str) -> SecurityGroup | None:
        """Return the network security group of that name."""
        return next((g for g in self.network_security_groups if g.name == name), None)

    def virtual_network(self, name: str) -> VirtualNetwork:
        """Return a virtual network that is known to be there."""
        return next(n for n in self.virtual_networks if n.name == name)

    def vms_of(self, network: VirtualNetwork) -> tuple[VirtualMachine, ...]:
        """Return the VMs of one virtual network, in the order of ``natural``."""
        return tuple(v for v in self.virtual_machines if v.virtual_network == network.name)

    def running(self, network: VirtualNetwork) -> tuple[VirtualMachine, ...]:
        """Return the VMs of one virtual network that are started."""
        return tuple(v for v in self.vms_of(network) if v.power_state == "Started")

    def way_out(self, vm: VirtualMachine, destination: IPv4Address) -> NetworkInterface:
        """Return the interface that a VM's packets leave by: the one in the destination's subnet, else the primary one.

        A secondary interface has no default gateway (virtual-networks-multiple-nics.md, 2016-02-02).
        """
        prefixes = {s.name: s.address_prefix for s in self.virtual_network(vm.virtual_network).subnets}
        interfaces = vm.network_interfaces
        return next((i for i in interfaces if destination in prefixes[i.subnet]), interfaces[0])

    def load_balancers_of(self, network: VirtualNetwork) -> tuple[LoadBalancer, ...]:
        """Return the load balancers, cloud services among them, whose VMs are in one virtual network.

        One with a private frontend is where that is; one that names no VM yet has its addresses at the first network.
        """
        home = {vm.name: vm.virtual_network for vm in self.virtual_machines}
        first = self.virtual_networks[0].name if self.virtual_networks else ""
        pairs = [(lb, sorted(lb.virtual_machines())) for lb in self.load_balancers]
        pairs += [(service.load_balancer(), list(service.virtual_machines)) for service in self.cloud_services]
        private = {lb.name: frontend.virtual_network for lb, frontend in self.private_frontends()}
        return tuple(
            lb
            for lb, vms in pairs
            if (private.get(lb.name) or next((home[vm] for vm in vms if vm in home), first)) == network.name
        )

    def private_frontends(self) -> Iterator[tuple[LoadBalancer, Frontend]]:
        """Yield the frontends of internal load balancers."""
        return ((lb, frontend) for lb in self.load_balancers for frontend in lb.frontends if frontend.private)

    def floating(self) -> dict[str, tuple[IPv4Address, ...]]:
        """Return, by VM, the addresses of the frontends whose rules with floating IP lead to it."""
        found: dict[str, set[IPv4Address]] = {}
        for lb in self.balancers:
            for rule in lb.rules():
                for name in lb.targets(rule) if rule.floating_ip else ():
                    found.setdefault(name, set()).add(lb.frontend(rule.frontend).address)
        return {name: tuple(sorted(addresses)) for name, addresses in found.items()}

    def public_addresses(self) -> Iterator[tuple[IPv4Address, tuple[str, ...]]]:
        """Yield every public address the file gives or lets be allocated, with its path in the file."""
        for host in self.internet:
            yield host.address, ("internet", host.name, "address")
        for vm in self.virtual_machines:
            if vm.instance_public_ip:
                yield vm.instance_public_ip.address, ("virtual_machines", vm.name, "instance_public_ip", "address")
        for lb in self.load_balancers:
            for frontend in (f for f in lb.frontends if not f.private):
                yield frontend.address, ("load_balancers", lb.name, "frontend_ip_configurations", frontend.name)
        yield from chain.from_iterable(nat.public_addresses() for nat in self.nat_gateways)
        for service in self.cloud_services:
            for vip in service.virtual_ips:
                if vip.address and not vip.reserved_ip:
                    yield vip.address, ("cloud_services", service.name, "virtual_ips", vip.name)
        for reserved in self.reserved_ips:
            yield reserved.address, ("reserved_ips", reserved.name, "address")
        for gateway in self.vpn_gateways:
            yield gateway.address, ("vpn_gateways", gateway.virtual_network, "address")
        for site in self.local_networks:
            if site.vpn_device:
                yield site.vpn_gateway_address, ("local_networks", site.name, "vpn_gateway_address")

    def taken_addresses(self, *, planned: bool = True) -> frozenset[IPv4Address]:
        """Return every public address that must not be given out: something has it, or the user has named it.

        ``planned``: also those that VIPs without an address are to have first.
        """
        taken = {address for address, _ in self.public_addresses()}
        taken |= {vnet.default_outbound_address for vnet in self.virtual_networks}
        taken |= {site.vpn_gateway_address for site in self.local_networks}
        taken |= {PUBLIC_RESOLVER, *self.released}
        if planned:
            vips = (vip for service in self.cloud_services for vip in service.virtual_ips)
            taken |= {vip.planned for vip in vips if vip.planned is not None}
        return frozenset(taken)

    def including(self, made: "Resource") -> "Network":
        """Return the network with a resource in the place of the one of its name, or added in the order of names."""
        field, key = _LISTS[type(made)]
        name = getattr(made, key)
        there = getattr(self, field)
        if any(getattr(one, key) == name for one in there):
            found = tuple(made if getattr(one, key) == name else one for one in there)
        else:
            found = tuple(sorted((*there, made), key=lambda one: natural(getattr(one, key))))
        return msgspec.structs.replace(self, **{field: found})

    def private_ranges(self) -> tuple[IPv4Network, ...]:
        """Return the ranges of virtual networks and of what is behind tunnels; no address in them is public."""
        spaces = [vnet.address_space for vnet in self.virtual_networks]
        spaces += [site.address_space for site in self.local_networks]
        return tuple(prefix for space in spaces for prefix in space)

    def addresses(self) -> dict[str, IPv4Address]:
        """Return every address of the network by its path in the file, given or allocated."""
        found = {".".join(path): address for address, path in self.public_addresses()}
        for service in self.cloud_services:
            for vip in service.virtual_ips:
                # A reserved address is its VIP's too: a file that reserves none leaves the VIP the one it has.
                if vip.address:
                    found[f"cloud_services.{service.name}.virtual_ips.{vip.name}"] = vip.address
        for vnet in self.virtual_networks:
            found[f"virtual_networks.{vnet.name}.default_outbound_address"] = vnet.default_outbound_address
        for vm in self.virtual_machines:
            for interface in vm.network_interfaces:
                path = ".".join((*interface_path(vm.name, interface.name), "private_ip_address"))
                found[path] = interface.private_ip_address
        for lb, frontend in self.private_frontends():
            path = f"load_balancers.{lb.name}.frontend_ip_configurations.{frontend.name}"
            found[f"{path}.private_ip_address"] = frontend.address
        return found


Resource = CloudService | LocalNetwork | ReservedIp | SecurityGroup | VirtualMachine | VirtualNetwork | VpnGateway
#: Where a network has its resources of a kind, and which field names one.
_LISTS: dict[type, tuple[str, str]] = {
    CloudService: ("cloud_services", "name"),
    LocalNetwork: ("local_networks", "name"),
    ReservedIp: ("reserved_ips", "name"),
    SecurityGroup: ("network_security_groups", "name"),
    VirtualMachine: ("virtual_machines", "name"),
    VirtualNetwork: ("virtual_networks", "name"),
    VpnGateway: ("vpn_gateways", "virtual_network"),
}


def interface_path(vm: str, interface: str) -> tuple[str, ...]:
    """Return where a file has the keys of an interface; "" is the only one of a VM that lists none."""
    path = ("virtual_machines", vm)
    return (*path, "network_interfaces", interface) if interface else path


def platform_network(default_outbound_address: IPv4Address) -> VirtualNetwork:
    """Return the network of VMs that belong to no virtual network."""
    return VirtualNetwork(
        name=PLATFORM_NETWORK,
        location="",
        subscription="default",
        address_space=(PLATFORM_SPACE,),
        subnets=(Subnet(name=PLATFORM_NETWORK, address_prefix=PLATFORM_SPACE),),
        default_outbound_address=default_outbound_address,
    )


def is_reachable_name(name: str) -> bool:
    """Tell whether a node of that name can be found by it: resolvers ask for no empty part, and never for localhost."""
    return bool(_LABELS.fullmatch(name)) and name.lower().rpartition(".")[2] != "localhost"


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts ``web2`` before ``web10``."""
    return tuple((int(p), "") if "0" <= p[0] <= "9" else (-1, p) for p in re.split(r"([0-9]+)", name) if p)


def ordered(connections: Iterable[Connection]) -> tuple[Connection, ...]:
    """Return connections in the one order that they have in every network."""
    return tuple(sorted(connections, key=lambda c: (natural(c.virtual_network), natural(c.local_network))))


def documentation_addresses(*, descending: bool = False) -> Iterator[IPv4Address]:
    """Yield the addresses that are given out where a file names none."""
    yield from reversed(_documentation_addresses()) if descending else _documentation_addresses()


@functools.cache
def _documentation_addresses() -> tuple[IPv4Address, ...]:
    return tuple(a for network in DOCUMENTATION_NETWORKS for a in network.hosts() if a != PUBLIC_RESOLVER)


def encode(network: Network) -> bytes:
    """Return a network as JSON, the same text for the same network."""
    return msgspec.json.encode(network, enc_hook=str, order="deterministic")


def without_keys(network: Network) -> Network:
    """Return a network as anybody may see it: without the shared keys of its connections."""
    connections = tuple(msgspec.structs.replace(c, shared_key=None) for c in network.connections)
    return msgspec.structs.replace(network, connections=connections)


def decode(text: bytes) -> Network:
    """Return the network of a JSON text.

    Raises:
        msgspec.DecodeError: it is not one.

    """
    return msgspec.json.decode(text, type=Network, dec_hook=lambda kind, value: kind(value))
