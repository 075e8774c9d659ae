"""The shape of a topology file: its keys, and what each may hold; the JSON schema comes from here too.

What does not fit is reported and cut out, so that the rest of the file can still be checked.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
)

from lab.azure import model, profile
from lab.azure.addresses import is_address, read_address, read_prefix
from lab.errors import Problem, did_you_mean
from lab.flow import Destination, PortRange
from lab.topology import values
from lab.topology.descriptions import describe
from lab.topology.text import Position

#: Longest shared key of a connection (vpn-gateway-vpn-faq.md, 2016-03-10).
MAX_KEY = 128
#: As many as the pool that the instances of a role make has ports for, in any revision.
MAX_INSTANCES = 1000


def _from_text(parse: Callable[[str], Any]) -> BeforeValidator:
    def convert(value: object) -> object:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return parse(str(value))
        raise ValueError("it must be text; correct it")

    return BeforeValidator(convert)


def _service(text: str) -> model.Service:
    match = re.fullmatch(r"(http|https|tcp|udp|dns|ssh|ftp):([0-9]{1,5})(?:/(tcp|udp))?", text)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ValueError("not KIND:PORT with a kind of http, https, tcp, udp, dns, ssh, ftp and a port of 1-65535")
    kind, port, protocol = match[1], int(match[2]), match[3]
    natural = "udp" if kind in ("udp", "dns") else "tcp"
    if protocol not in (None, natural) and kind != "dns":
        raise ValueError(f"{kind} runs over {natural} only")
    return model.Service(kind=kind, port=port, protocol=natural)  # type: ignore[arg-type]


def _subnet(value: object) -> object:
    """Read the short form: the prefix alone."""
    return {"address_prefix": value} if isinstance(value, str) else value


def _profile_name(name: str) -> str:
    if name not in profile.NAMES:
        raise ValueError(f"no such revision; {did_you_mean(name, profile.NAMES)}")
    return name


def _one_public_ip(value: object) -> object:
    if isinstance(value, list):
        found = f"{len(value)} instance-level public IPs"
        raise ValueError(f"{found}; a VM has at most one (Instance level public IP, 2016-02-10)")  # noqa: TRY004
    return value


def _shared_key(value: object) -> object:
    # Whatever is wrong with a key, it is not shown.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9]+", value) or len(value) > MAX_KEY:
        raise ValueError(
            f"a shared key is 1 to {MAX_KEY} letters and digits (vpn-gateway-vpn-faq.md, 2016-03-10); "
            "choose another, and quote it if it is a number"
        )
    return value


#: Service tags as they are written, classic names included, without underscores and in small letters.
_TAGS: dict[str, model.Tag] = {
    "virtualnetwork": "VirtualNetwork",
    "azureloadbalancer": "AzureLoadBalancer",
    "internet": "Internet",
}
#: What stands for any address and any port of a security rule.
ANY_ADDRESS, ANY_PORT = "*", PortRange(0, 65535)
_TAG_NAMES = ("VirtualNetwork", "VIRTUAL_NETWORK", "AzureLoadBalancer", "AZURE_LOADBALANCER", "Internet", "INTERNET")


def _rule_address(text: str) -> str:
    """Read ``*``, a service tag, a prefix or an address."""
    if re.fullmatch(r"[A-Za-z][A-Za-z_.]*", text):
        tag = _TAGS.get(text.replace("_", "").lower())
        if tag is None:
            raise ValueError(f"no such service tag; {did_you_mean(text, _TAG_NAMES)}")
        return tag
    return ANY_ADDRESS if text in ("*", "0.0.0.0/0") else str(read_prefix(f"{text}/32" if is_address(text) else text))


def _rule_ports(text: str) -> PortRange:
    """Read ``*``, a port or a range of ports, from 0 to 65535."""
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text.strip())
    if text == "*":
        return ANY_PORT
    if not match:
        raise ValueError("not a port, a range such as 1024-65535, or *")
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last <= 65535:
        raise ValueError("ports are within 0-65535, lower port first")
    return PortRange(first, last)


def _any_case(*words: str) -> BeforeValidator:
    """Read these words whatever their case, as in TCP and Tcp; any other stays as it is written, for its problem."""
    known = {word.lower(): word for word in words}
    return BeforeValidator(lambda value: known.get(value.lower(), value) if isinstance(value, str) else value)


def _role(value: object) -> object:
    """Read the short form: the number of instances alone."""
    return {"instances": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _lenient_prefix(text: str) -> IPv4Network:
    """Read a prefix whose host bits may be set, as in the documents' own example 175.1.0.1/24."""
    return read_prefix(text, host_bits=True, example="65.0.0.0/8")


def _instead_of(alone: str) -> AfterValidator:
    """Refuse a list beside the key that gives one value alone."""

    def check(value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if info.data.get(alone) is not None:
            raise ValueError(f'it must not stand beside "{alone}"; remove one of the two')
        return value

    return AfterValidator(check)


def _one_group(value: object) -> object:
    if isinstance(value, list):
        limit = "a subnet or VM has at most one (virtual-networks-nsg.md, 2016-02-11)"
        raise ValueError(  # noqa: TRY004
            f"{len(value)} network security groups; {limit}; name one that has the rules of all"
        )
    return value


def _one_gateway(value: object) -> object:
    if isinstance(value, list):
        raise ValueError(  # noqa: TRY004 - pydantic asks for it
            f"{len(value)} NAT gateways; a subnet has at most one (nat-gateway-resource.md, 2023-07-10); name one"
        )
    return value


def _of_http(path: str, info: ValidationInfo) -> str:
    # A protocol that is none has its problem already, and is not in the data.
    if str(info.data.get("protocol")).lower() == "tcp":
        raise ValueError("only an HTTP probe asks for a path; remove it, or choose HTTP")
    return path


def _probe_word(value: object) -> object:
    if value not in ("default", "none"):
        close = did_you_mean(str(value), ("default", "none"))
        advice = close if "mean" in close else "use one of them"
        raise ValueError(f"it must be 'default', 'none' or a mapping; {advice}")
    return value


Name = Annotated[str, Field(pattern=model.NAME)]
#: Of what is no node and has no name in DNS.
Title = Annotated[str, Field(pattern=model.TITLE)]
Address = Annotated[IPv4Address, _from_text(read_address)]
Prefix = Annotated[IPv4Network, _from_text(read_prefix)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
AnyPort = Annotated[int, Field(ge=0, le=65535, strict=True)]
Positive = Annotated[int, Field(ge=1, strict=True)]
ServiceText = Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(_service)]
Protocol = Literal["Tcp", "Udp"]
RemoteSubnet = Annotated[IPv4Network, _from_text(_lenient_prefix)]
RuleAddress = Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(_rule_address)]
RulePorts = Annotated[
    Any, Field(json_schema_extra={"anyOf": [{"type": "string"}, {"type": "integer"}]}), _from_text(_rule_ports)
]
RuleAddresses = Annotated[tuple[RuleAddress, ...], Field(min_length=1)]
RulePortsList = Annotated[tuple[RulePorts, ...], Field(min_length=1)]
Group = Annotated[str | None, BeforeValidator(_one_group)]
#: The validator comes second: what is no path is told so first.
RequestPath = Annotated[str, Field(pattern=r"^/[!-~]*$"), AfterValidator(_of_http)]
SubnetReference = Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Program(_File):
    """A program of your own that runs in a node as long as its lab does; it is given as a list of arguments."""

    name: Name | None = None
    command: Annotated[values.Arguments, Field(alias="exec")]
    port: Port | None = None
    protocol: Annotated[Literal["tcp", "udp"], _any_case("tcp", "udp")] = "tcp"
    env: values.Environment = Field(default_factory=dict)
    cwd: values.Word = ""
    ready: values.Readiness | None = None
    restart: Literal["always", "never"] = "always"


#: A server of the lab's own as a text, or a program as a mapping: what is said of it is said of the form that it has.
ServiceOrProgram = Annotated[
    Annotated[ServiceText, Tag("server")] | Annotated[Program, Tag("program")],
    Discriminator(lambda value: "program" if isinstance(value, dict | Program) else "server"),
]


class Host(_File):
    """A host outside Azure."""

    address: Address
    services: tuple[ServiceOrProgram, ...] = ()


class Subnet(_File):
    """A range of a virtual network."""

    address_prefix: Prefix
    network_security_group: Group = None
    nat_gateway: Annotated[str | None, BeforeValidator(_one_gateway)] = None
    default_outbound_access: Annotated[bool, Field(strict=True)] | None = None


class NatGateway(_File):
    """What flows of the subnets that name it leave by; an address left out (`null`) is allocated."""

    sku: Literal["Standard"] = "Standard"
    public_ip_addresses: tuple[Address | None, ...] = ()
    public_ip_prefixes: tuple[Prefix, ...] = ()
    idle_timeout_in_minutes: Annotated[int, Field(strict=True)] = 4


class Peering(_File):
    """One half of a peering with another virtual network of the file, which needs the other half as well."""

    remote_virtual_network: str
    allow_virtual_network_access: Annotated[bool, Field(strict=True)] = True
    allow_forwarded_traffic: Annotated[bool, Field(strict=True)] = False
    allow_gateway_transit: Annotated[bool, Field(strict=True)] = False
    use_remote_gateways: Annotated[bool, Field(strict=True)] = False


class VirtualNetwork(_File):
    """A private address space."""

    location: str = "China North"
    subscription: str = "default"
    address_space: Annotated[tuple[Prefix, ...], Field(min_length=1)]
    subnets: dict[Title, Annotated[Subnet, BeforeValidator(_subnet, json_schema_input_type=str | Subnet)]] = Field(
        default_factory=dict
    )
    dns_servers: tuple[Address, ...] = ()
    peerings: dict[Title, Peering] = Field(default_factory=dict)


class InstancePublicIp(_File):
    """A public address of one VM's own; left out, one is allocated."""

    name: Title
    address: Address | None = None
    domain_name_label: str | None = None
    idle_timeout_in_minutes: Annotated[int, Field(strict=True)] = 4
    sku: Literal["Basic", "Standard"] = "Basic"


class NetworkInterface(_File):
    """One of several network interfaces of a VM; the first by name is the primary one unless another says it is."""

    subnet: SubnetReference
    private_ip_address: Address | None = None
    network_security_group: Group = None
    primary: Annotated[bool, Field(strict=True)] = False


class VirtualMachine(_File):
    """A VM; without a subnet it belongs to no virtual network."""

    subnet: SubnetReference | None = None
    private_ip_address: Address | None = None
    network_interfaces: dict[Name, NetworkInterface] = Field(default_factory=dict)
    services: tuple[ServiceOrProgram, ...] = ()
    instance_public_ip: Annotated[InstancePublicIp | None, BeforeValidator(_one_public_ip)] = None
    availability_set: Title | None = None
    size: Name = "Small"
    network_security_group: Group = None
    loopback_addresses: tuple[Address, ...] = ()


class PrivateFrontend(_File):
    """A frontend of an internal load balancer: an address in a subnet; left out, one is allocated."""

    subnet: SubnetReference
    private_ip_address: Address | None = None


#: What is said of a frontend is said of the form that it has: a public address, or a mapping.
_Frontend = Annotated[
    Annotated[Address | None, Tag("public")] | Annotated[PrivateFrontend, Tag("private")],
    Discriminator(lambda value: "private" if isinstance(value, dict | PrivateFrontend) else "public"),
]


class Probe(_File):
    """How a load balancer asks a VM whether it may receive new flows."""

    protocol: Literal["Tcp", "Http"] = "Tcp"
    port: Port
    request_path: RequestPath = "/"
    interval_in_seconds: Positive | None = None  # 15 or 5, by the profile
    number_of_probes: Positive = 2
    probe_threshold: Annotated[int, Field(ge=1, le=100)] | None = None
    no_healthy_backends_behavior: Literal["AllProbedDown", "AllProbedUp"] = "AllProbedDown"


class LoadBalancingRule(_File):
    """Frontend and port to a pool and port; `protocol: All` with both ports 0 is an HA-ports rule."""

    frontend: str
    backend_pool: str
    probe: str | None = None
    protocol: Literal["Tcp", "Udp", "All"] = "Tcp"
    frontend_port: AnyPort
    backend_port: AnyPort
    load_distribution: Literal["Default", "SourceIP", "SourceIPProtocol"] = "Default"
    idle_timeout_in_minutes: Positive = 4
    enable_floating_ip: bool = False
    enable_tcp_reset: bool = False
    disable_outbound_snat: bool = False


class OutboundRule(_File):
    """The frontends that flows of a pool's VMs leave by; without a number of ports, or with 0, the table's."""

    frontends: Annotated[tuple[str, ...], Field(min_length=1)]
    backend_pool: str
    protocol: Literal["Tcp", "Udp", "All"] = "All"
    allocated_outbound_ports: Annotated[int, Field(ge=0, strict=True)] = 0
    idle_timeout_in_minutes: Positive = 4
    enable_tcp_reset: bool = False


class InboundNatRule(_File):
    """Frontend and port to one VM and port."""

    frontend: str
    virtual_machine: str
    protocol: Protocol = "Tcp"
    frontend_port: Port
    backend_port: Port
    idle_timeout_in_minutes: Positive = 4
    enable_floating_ip: bool = False
    enable_tcp_reset: bool = False


class LoadBalancer(_File):
    """A load balancer of the Resource Manager model, with public frontends or private ones."""

    sku: Literal["Basic", "Standard"] = "Basic"
    frontend_ip_configurations: Annotated[dict[Name, _Frontend], Field(min_length=1)]
    backend_address_pools: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    probes: dict[Name, Probe] = Field(default_factory=dict)
    load_balancing_rules: dict[Name, LoadBalancingRule] = Field(default_factory=dict)
    inbound_nat_rules: dict[Name, InboundNatRule] = Field(default_factory=dict)
    outbound_rules: dict[Name, OutboundRule] = Field(default_factory=dict)


class AclRule(_File):
    """Who may use an endpoint."""

    order: Annotated[int, Field(ge=0, strict=True)]
    action: Annotated[Literal["permit", "deny"], _any_case("permit", "deny")]
    remote_subnet: RemoteSubnet
    description: str = ""


class EndpointProbe(_File):
    """A probe of a load-balanced set's own: `port` left out is the endpoint's local port."""

    protocol: Annotated[Literal["tcp", "http"], _any_case("tcp", "http")] = "tcp"
    port: Port | None = None
    path: RequestPath = "/"
    interval_in_seconds: Positive = 15
    timeout_in_seconds: Positive = 31


#: What is said of a probe is said of the form that it has: a word, or a mapping.
_EndpointProbe = Annotated[
    Annotated[Literal["default", "none"], BeforeValidator(_probe_word), Tag("word")]
    | Annotated[EndpointProbe, Tag("described")],
    Discriminator(lambda value: "described" if isinstance(value, dict | EndpointProbe) else "word"),
]


class Endpoint(_File):
    """A public port of a VIP that leads to a VM, or to every instance of a role.

    `probe` is for members of a load-balanced set: `default`, `none`, or a mapping.
    """

    name: Title
    virtual_machine: str | None = None
    role: str | None = None
    protocol: Annotated[Literal["tcp", "udp"], _any_case("tcp", "udp")] = "tcp"
    local_port: Port
    public_port: Port | None = None
    virtual_ip: str | None = None
    load_balanced_set: Title | None = None
    probe: _EndpointProbe | None = None
    idle_timeout_in_minutes: Positive = 4
    load_balancer_distribution: Literal["none", "sourceIP", "sourceIPProtocol"] = "none"
    direct_server_return: bool = False
    acl: tuple[AclRule, ...] = ()


class VirtualIp(_File):
    """A VIP; it has an address once an endpoint uses it."""

    reserved_ip: str | None = None
    address: Address | None = None


class Role(_File):
    """A role of a PaaS service; each instance is a VM of its own."""

    instances: Annotated[int, Field(ge=1, le=MAX_INSTANCES, strict=True)] = 1
    subnet: SubnetReference | None = None
    services: tuple[ServiceText, ...] = ()
    instance_public_ip: Annotated[InstancePublicIp | None, BeforeValidator(_one_public_ip)] = None


class CloudService(_File):
    """A classic cloud service, of virtual machines or of roles.

    The name of the service leads to `default_virtual_ip`, which left out is the first by name; without `virtual_ips`
    there is one, Vip1. While it is `redeploying`, its VMs count twice for SNAT ports, in revisions that say so.
    """

    location: str = "China North"
    subscription: str = "default"
    virtual_machines: tuple[str, ...] = ()
    roles: dict[Name, Annotated[Role, BeforeValidator(_role, json_schema_input_type=int | Role)]] = Field(
        default_factory=dict
    )
    virtual_ips: dict[Title, VirtualIp] = Field(default_factory=dict)
    default_virtual_ip: str | None = None
    endpoints: tuple[Endpoint, ...] = ()
    redeploying: bool = False


class ReservedIp(_File):
    """A public address that stays the user's; left out, one is allocated."""

    address: Address | None = None
    location: str = "China North"
    label: str = ""


class VpnGateway(_File):
    """The gateway of the virtual network that it is named after."""

    routing: Literal["dynamic", "static"]
    sku: Literal["Basic", "Standard", "HighPerformance"] = "Standard"
    address: Address | None = None
    bandwidth: Literal["unlimited", "documented"] = "unlimited"


class VpnDevice(_File):
    """The lab's own VPN device of a site, which is the site's host too."""

    private_ip_address: Address | None = None
    services: tuple[ServiceText, ...] = ()


class LocalNetwork(_File):
    """A site that tunnels lead to: of `vpn_gateway` and `vpn_gateway_address`, one."""

    address_space: Annotated[tuple[Prefix, ...], Field(min_length=1)]
    vpn_gateway: str | None = None
    vpn_gateway_address: Address | None = None
    vpn_device: VpnDevice | None = None


class Connection(_File):
    """A virtual network's tunnel to a local network."""

    virtual_network: str
    local_network: str
    shared_key: Annotated[str, BeforeValidator(_shared_key)] | None = None


class SecurityRule(_File):
    """A rule of a network security group; addresses and ports are given alone, as a list, or not at all: any."""

    name: Title
    priority: Annotated[int, Field(strict=True)]
    direction: Annotated[Literal["Inbound", "Outbound"], _any_case("Inbound", "Outbound")]
    access: Annotated[Literal["Allow", "Deny"], _any_case("Allow", "Deny")]
    protocol: Annotated[Literal["*", "Tcp", "Udp", "Icmp"], _any_case("*", "Tcp", "Udp", "Icmp")] = "*"
    source_address_prefix: RuleAddress | None = None
    source_address_prefixes: Annotated[RuleAddresses, _instead_of("source_address_prefix")] = ()
    source_port_range: RulePorts | None = None
    source_port_ranges: Annotated[RulePortsList, _instead_of("source_port_range")] = ()
    destination_address_prefix: RuleAddress | None = None
    destination_address_prefixes: Annotated[RuleAddresses, _instead_of("destination_address_prefix")] = ()
    destination_port_range: RulePorts | None = None
    destination_port_ranges: Annotated[RulePortsList, _instead_of("destination_port_range")] = ()


class Overrides(_File):
    """Departures from the documents, for experiments."""

    snat_ports_per_vm: Annotated[int, Field(ge=1, le=64511, strict=True)] | None = None
    nat_gateway_ports: Annotated[int, Field(ge=1, le=64512, strict=True)] | None = None
    time_scale: Annotated[int, Field(ge=1, le=240, strict=True)] = 1


class Expectation(_File):
    """An assertion that `lab verify` judges: of a flow to somewhere, or of a program that is run in a node."""

    sender: Annotated[str, Field(alias="from")]
    to: Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(Destination.parse)] | None = None
    run: values.Arguments | None = None
    exit_status: Annotated[int, Field(ge=0, le=255, strict=True)] | None = None
    output: values.Word | None = None
    output_matches: values.Pattern | None = None
    timeout_in_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    source_ip: Address | None = None
    source_port: Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(PortRange.parse)] | None = None
    answered_by: tuple[str, ...] = ()
    outcome: Literal["answered", "refused", "timeout"] | None = None
    claim: str | None = None


class Topology(_File):
    """A topology file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
    profile: Annotated[str, AfterValidator(_profile_name)] = profile.SEEDS
    internet: dict[Name, Host] = Field(default_factory=dict)
    virtual_networks: dict[Title, VirtualNetwork] = Field(default_factory=dict)
    virtual_machines: dict[Name, VirtualMachine] = Field(default_factory=dict)
    load_balancers: dict[Name, LoadBalancer] = Field(default_factory=dict)
    nat_gateways: dict[Name, NatGateway] = Field(default_factory=dict)
    cloud_services: dict[Name, CloudService] = Field(default_factory=dict)
    reserved_ips: dict[Title, ReservedIp] = Field(default_factory=dict)
    vpn_gateways: dict[Title, VpnGateway] = Field(default_factory=dict)
    local_networks: dict[Title, LocalNetwork] = Field(default_factory=dict)
    connections: tuple[Connection, ...] = ()
    network_security_groups: dict[Title, tuple[SecurityRule, ...]] = Field(default_factory=dict)
    overrides: Overrides = Overrides()
    expect: tuple[Expectation, ...] = ()


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft-07) of a topology file."""
    made = Topology.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    made["definitions"] = made.pop("$defs")
    describe(made)
    made["patternProperties"] = {"^x-": {}}
    for definition in made["definitions"].values():
        definition["patternProperties"] = {"^x-": {}}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "lab topology", **made}


def machines(topology: Topology) -> int:
    """Return how many VMs a file has, instances of roles included."""
    roles = [role for service in topology.cloud_services.values() for role in service.roles.values()]
    return len(topology.virtual_machines) + sum(role.instances for role in roles)


# --- what does not fit ---


def problems_of(data: dict[str, Any]) -> Iterator[tuple[Position, Problem]]:
    """Yield what does not fit the file's shape, and cut it out of ``data``.

    The first round finds every problem. Cutting may leave a parent without a required part;
    later rounds cut such parents too, and have nothing new to say.
    """
    for message in (True, False, False, False, False, False, False):
        try:
            Topology.model_validate(data)
        except ValidationError as error:
            items = error.errors(include_url=False)
            # All places are found before the first is cut: what is cut has no parts any more.
            paths = [_file_path(data, item["loc"]) for item in items]
            # A list whose every part is wrong is also too short; its parts have said so.
            above = {item["loc"][:end] for item in items for end in range(len(item["loc"]))} if message else set()
            for path, item in zip(paths, items, strict=True):
                if message and not (item["type"] == "too_short" and item["loc"] in above):
                    yield path, _shape_problem(path, item)
                _cut(data, path[:-1] if item["type"] == "missing" else path)
            _drop_cut(data)
        else:
            return


def _file_path(data: object, loc: tuple[int | str, ...]) -> Position:
    """Keep of pydantic's location what is in the file, or is missing from it."""
    path: list[str] = []
    here: object = data
    for part in loc:
        if isinstance(here, dict) and part not in here and part not in _all_keys():
            continue
        if isinstance(here, list) and not isinstance(part, int):
            continue
        if not isinstance(here, dict | list):
            break
        path.append(str(part))
        if isinstance(here, dict):
            here = here.get(str(part))
        elif isinstance(part, int) and part < len(here):
            here = here[part]
    return tuple(path)


def _models() -> Iterator[type[_File]]:
    return iter(_File.__subclasses__())


@cache
def _all_keys() -> frozenset[str]:
    return frozenset(field.alias or name for cls in _models() for name, field in cls.model_fields.items())


_CUT = object()


def _cut(data: Any, path: Position) -> None:
    here = data
    for part in path[:-1]:
        here = here[int(part)] if isinstance(here, list) else here[part] if isinstance(here, dict) else _CUT
        if here is _CUT:  # went with its parent
            return
    if path and isinstance(here, list):
        here[int(path[-1])] = _CUT  # dropped after the round: the others keep their index until then
    elif path:
        here[path[-1]] = _CUT


def _drop_cut(here: Any) -> None:
    if isinstance(here, list):
        here[:] = [item for item in here if item is not _CUT]
    else:
        for key in [key for key, value in here.items() if value is _CUT]:
            del here[key]
    for child in here.values() if isinstance(here, dict) else here:
        if isinstance(child, dict | list):
            _drop_cut(child)


#: What must hold, by the kind of pydantic's error.
_MUST = {
    "int_type": "it must be a whole number",
    "string_type": "it must be text",
    "tuple_type": "it must be a list",
    "dict_type": "it must be a mapping",
    "model_type": "it must be a mapping",
    "too_short": "it must not be empty",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "greater_than": "it must be more than {gt}",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
}


def _shape_problem(path: Position, item: Any) -> Problem:
    kind, found = item["type"], item["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return Problem(path=path[:-1], found=f'no "{path[-1]}"', must=f'"{path[-1]}" is required', advice="add it")
    value = shown(found) if path[-1:] != ("shared_key",) else f"a key of {len(str(found))} characters, not shown here"
    context = item.get("ctx", {})
    if kind == "value_error":
        must, _, advice = str(context["error"]).partition("; ")
        return Problem(path=path, found=value, must=must, advice=advice or "correct it")
    if kind == "literal_error":
        must = f"it must be {context['expected']}"
        known = re.findall(r"'([^']*)'", context["expected"])
        close = did_you_mean(str(found), known)
        return Problem(path=path, found=value, must=must, advice=close if "mean" in close else "use one of them")
    if kind == "string_pattern_mismatch":
        return Problem(path=path, found=value, must=_pattern_text(context["pattern"]), advice="correct it")
    must = _MUST[kind].format(**context) if kind in _MUST else str(item["msg"])
    return Problem(path=path, found=value, must=must, advice="correct it")


def _pattern_text(pattern: str) -> str:
    if pattern == model.NAME:
        return model.NAME_WORDS
    if pattern == model.TITLE:
        return model.TITLE_WORDS
    if "/" in pattern and "[^/]" in pattern:
        return 'a subnet reference is NETWORK/SUBNET, such as "vnet1/front"'
    if pattern.startswith("^/"):
        return 'a request path begins with "/"'
    return "a lab's name begins with a lower-case letter and has up to 20 lower-case letters, digits and dashes"


def shown(value: object) -> str:
    """Return a value as messages show it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"' if isinstance(value, str) else text


def _unknown_key(path: Position) -> Problem:
    key = path[-1]
    return Problem(
        path=path,
        found=f'unknown key "{key}"',
        must='keys are those of the vocabulary, or begin with "x-"',
        advice=did_you_mean(key, _siblings(path)),
    )


def _siblings(path: Position) -> Iterable[str]:
    """Return the keys that may stand where an unknown one was found."""
    cls: Any = Topology
    named = False  # the next part is a name of the user's, or a place in a list
    for part in path[:-1]:
        if named:
            named = False
        elif isinstance(cls, type) and issubclass(cls, _File):
            field = next((f for n, f in cls.model_fields.items() if part in (n, f.alias)), None)
            cls = _element(field.annotation) if field else None
            named = field is not None and get_origin(field.annotation) in (dict, tuple)
    if isinstance(cls, type) and issubclass(cls, _File):
        return [f.alias or n for n, f in cls.model_fields.items()]
    return _all_keys()


def _element(annotation: Any) -> Any:
    """Return the file class inside ``dict[Name, X]``, ``tuple[X, ...]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, _File):
        return annotation
    return next((found for arg in getattr(annotation, "__args__", ()) if (found := _element(arg)) is not None), None)
