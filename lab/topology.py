"""A topology file becomes a ``Network``, or every problem in it with its line.

Four steps. YAML becomes plain data and a table of positions. The data is validated against
the file's shape (pydantic); what does not fit is reported and cut out, so that the rest can
still be checked. Names are resolved and addresses allocated. Last, ``model.violations``
checks what must hold between the parts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lab import model, profile
from lab.errors import Problem, TopologyError, UsageError, did_you_mean
from lab.flow import Destination, PortRange

#: A file of 1,000 VMs takes about 0.1 MB; what is larger is not a topology.
MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 400_000
SUFFIX = ".lab.yaml"

#: Words of the vocabulary that this version reads but cannot play.
NOT_PLAYED = {
    "cloud_services": "classic cloud services",
    "reserved_ips": "reserved addresses",
    "network_security_groups": "network security groups",
    "network_security_group": "network security groups",
    "vpn_gateways": "VPN gateways",
    "local_networks": "VPN gateways",
    "connections": "VPN gateways",
    "network_interfaces": "several network interfaces",
}

Position = tuple[str, ...]


# --- the shape of the file --------------------------------------------------------------------


def _from_text(parse: Callable[[str], Any]) -> BeforeValidator:
    def convert(value: object) -> object:
        return parse(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else value

    return BeforeValidator(convert)


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError("not an IPv4 address, such as 10.1.0.4") from None


def _prefix(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"has host bits set; the prefix is {IPv4Network(text, strict=False)}") from None
        raise ValueError("not an IPv4 prefix, such as 10.1.0.0/24") from None


def _service(text: str) -> model.Service:
    match = re.fullmatch(r"(http|https|tcp|udp|dns|ssh):(\d{1,5})(?:/(tcp|udp))?", text)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ValueError("not KIND:PORT with a kind of http, https, tcp, udp, dns, ssh and a port of 1-65535")
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
        raise ValueError(f"{len(value)} instance-level public IPs; a VM has at most one (seed 004)")  # noqa: TRY004
    return value


_NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,62}$"
Name = Annotated[str, Field(pattern=_NAME)]
Address = Annotated[IPv4Address, _from_text(_address)]
Prefix = Annotated[IPv4Network, _from_text(_prefix)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Positive = Annotated[int, Field(ge=1, strict=True)]
ServiceText = Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(_service)]
Protocol = Literal["Tcp", "Udp"]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Host(_File):
    address: Address
    services: tuple[ServiceText, ...] = ()


class _Subnet(_File):
    address_prefix: Prefix


class _VirtualNetwork(_File):
    location: str = "China North"
    subscription: str = "default"
    address_space: Annotated[tuple[Prefix, ...], Field(min_length=1)]
    subnets: dict[Name, Annotated[_Subnet, BeforeValidator(_subnet)]] = Field(default_factory=dict)
    dns_servers: tuple[Address, ...] = ()


class _InstancePublicIp(_File):
    name: Name
    address: Address | None = None
    domain_name_label: str | None = None


class _VirtualMachine(_File):
    subnet: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")] | None = None
    private_ip_address: Address | None = None
    services: tuple[ServiceText, ...] = ()
    instance_public_ip: Annotated[_InstancePublicIp | None, BeforeValidator(_one_public_ip)] = None
    availability_set: Name | None = None


class _Probe(_File):
    protocol: Literal["Tcp", "Http"] = "Tcp"
    port: Port
    request_path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/"
    interval_in_seconds: Positive = 15
    number_of_probes: Positive = 2


class _LoadBalancingRule(_File):
    frontend: str
    backend_pool: str
    probe: str | None = None
    protocol: Protocol = "Tcp"
    frontend_port: Port
    backend_port: Port
    load_distribution: Literal["Default", "SourceIP", "SourceIPProtocol"] = "Default"
    idle_timeout_in_minutes: Positive = 4


class _InboundNatRule(_File):
    frontend: str
    virtual_machine: str
    protocol: Protocol = "Tcp"
    frontend_port: Port
    backend_port: Port


class _LoadBalancer(_File):
    sku: Literal["Basic", "Standard"] = "Basic"
    frontend_ip_configurations: Annotated[dict[Name, Address | None], Field(min_length=1)]
    backend_address_pools: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    probes: dict[Name, _Probe] = Field(default_factory=dict)
    load_balancing_rules: dict[Name, _LoadBalancingRule] = Field(default_factory=dict)
    inbound_nat_rules: dict[Name, _InboundNatRule] = Field(default_factory=dict)


class _Overrides(_File):
    snat_ports_per_vm: Annotated[int, Field(ge=1, le=64511, strict=True)] | None = None
    time_scale: Annotated[int, Field(ge=1, le=240, strict=True)] = 1


class _Expectation(_File):
    sender: Annotated[str, Field(alias="from")]
    to: Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(Destination.parse)]
    source_ip: Address | None = None
    source_port: Annotated[Any, Field(json_schema_extra={"type": "string"}), _from_text(PortRange.parse)] = None
    answered_by: tuple[str, ...] = ()
    outcome: Literal["answered", "refused", "timeout"] | None = None
    claim: str | None = None


class _Topology(_File):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
    profile: Annotated[str, AfterValidator(_profile_name)] = profile.SEEDS
    internet: dict[Name, _Host] = Field(default_factory=dict)
    virtual_networks: dict[Name, _VirtualNetwork] = Field(default_factory=dict)
    virtual_machines: dict[Name, _VirtualMachine] = Field(default_factory=dict)
    load_balancers: dict[Name, _LoadBalancer] = Field(default_factory=dict)
    overrides: _Overrides = _Overrides()
    expect: tuple[_Expectation, ...] = ()


# --- YAML -------------------------------------------------------------------------------------


class _Positions:
    """Lines of the keys and values of a file, by their path."""

    def __init__(self) -> None:
        self.lines: dict[Position, int] = {}
        self.problems: list[tuple[int, Problem]] = []
        self.nodes = 0

    def line(self, path: Position) -> int:
        """Return the line of a path, or of the nearest part of it that the file has."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def _scalar(node: yaml.ScalarNode) -> object:
    """Read a scalar as YAML 1.2 does: no dates, no ``yes``, no base-60 numbers."""
    if node.style:  # quoted: text as it stands
        return node.value
    text = node.value
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d+\.\d+", text):
        return float(text)
    return text


def _data(node: yaml.Node, path: Position, positions: _Positions) -> object:
    positions.nodes += 1
    if positions.nodes > MAX_NODES:
        raise yaml.YAMLError(f"more than {MAX_NODES} values, aliases included")
    positions.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_data(child, (*path, str(i)), positions) for i, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node)
    mapping: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else repr(key_node.value)
        if key.startswith("x-"):
            continue
        where = (*path, key)
        line = key_node.start_mark.line + 1
        if key in mapping:
            problem = Problem(
                path=where,
                found=f'"{key}" is here a second time; the first is on line {positions.lines[where]}',
                must="a key appears once",
                advice="remove or rename one of them",
            )
            positions.problems.append((line, problem))
            continue
        positions.lines[where] = line
        mapping[key] = _data(value_node, where, positions)
    return mapping


# --- the shape is checked, and what does not fit cut out --------------------------------------


def _shape_problems(data: dict[str, Any]) -> Iterator[tuple[Position, Problem]]:
    """Yield what does not fit the file's shape, and cut it out of ``data``.

    The first round finds every problem. Cutting may leave a parent without a required part;
    later rounds cut such parents too, and have nothing new to say.
    """
    for message in (True, False, False, False, False, False, False):
        try:
            _Topology.model_validate(data)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                path = _file_path(data, item["loc"])
                if message:
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


def _shape_problem(path: Position, item: Any) -> Problem:
    kind, found = item["type"], item["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return Problem(path=path[:-1], found=f'no "{path[-1]}"', must=f'"{path[-1]}" is required', advice="add it")
    shown = _shown(found)
    context = item.get("ctx", {})
    if kind == "value_error":
        return Problem(path=path, found=shown, must=str(context["error"]), advice="correct it")
    if kind == "literal_error":
        must = f"it must be {context['expected']}"
        known = re.findall(r"'([^']*)'", context["expected"])
        close = did_you_mean(str(found), known)
        return Problem(path=path, found=shown, must=must, advice=close if "mean" in close else "use one of them")
    if kind == "string_pattern_mismatch":
        return Problem(path=path, found=shown, must=_pattern_text(context["pattern"]), advice="rename it")
    must = item["msg"].replace("Input should be", "it must be").replace("Tuple", "the list")
    return Problem(path=path, found=shown, must=must[:1].lower() + must[1:], advice="correct it")


def _pattern_text(pattern: str) -> str:
    if pattern == _NAME:
        return "a name begins with a letter and has up to 63 letters, digits, dots, dashes and underscores"
    if "/" in pattern and "[^/]" in pattern:
        return 'a subnet reference is NETWORK/SUBNET, such as "vnet1/front"'
    if pattern.startswith("^/"):
        return 'a request path begins with "/"'
    return "a lab's name begins with a lower-case letter and has up to 20 lower-case letters, digits and dashes"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value)
    return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"' if isinstance(value, str) else text


def _unknown_key(path: Position) -> Problem:
    key = path[-1]
    if key in NOT_PLAYED:
        return Problem(
            path=path,
            found=f'"{key}"',
            must=f"this version does not play {NOT_PLAYED[key]} yet",
            advice='remove it, or put "x-" before the key to keep it in the file',
        )
    return Problem(
        path=path,
        found=f'unknown key "{key}"',
        must='keys are those of the vocabulary, or begin with "x-"',
        advice=did_you_mean(key, _siblings(path)),
    )


def _siblings(path: Position) -> Iterable[str]:
    """Return the keys that may stand where an unknown one was found."""
    cls: Any = _Topology
    for part in path[:-1]:
        if isinstance(cls, type) and issubclass(cls, _File):
            field = next((f for n, f in cls.model_fields.items() if part in (n, f.alias)), None)
            cls = _element(field.annotation) if field else None
    if isinstance(cls, type) and issubclass(cls, _File):
        return [f.alias or n for n, f in cls.model_fields.items()]
    return _all_keys()


def _element(annotation: Any) -> Any:
    """Return the file class inside ``dict[Name, X]``, ``tuple[X, ...]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, _File):
        return annotation
    return next((found for arg in getattr(annotation, "__args__", ()) if (found := _element(arg)) is not None), None)


# --- names are resolved and addresses allocated -----------------------------------------------


class _Builder:
    """Turns a valid shape into a ``Network``, collecting the names that lead nowhere.

    What was cut out of the file is in ``cut``: a name that leads there has its problem already.
    """

    def __init__(self, raw: _Topology, cut: frozenset[str], time_scale: int | None) -> None:
        self.raw = raw
        self.cut = cut
        self.time_scale = time_scale
        self.problems: list[Problem] = []

    def _dangling(self, path: Position, what: str, name: str, known: Iterable[str]) -> bool:
        names = list(known)
        if name in names:
            return False
        if name not in self.cut:
            self.problems.append(
                Problem(
                    path=path,
                    found=f'no {what} "{name}"',
                    must=f"it must name a {what} of this file",
                    advice=did_you_mean(name, names),
                )
            )
        return True

    def network(self) -> model.Network:
        raw = self.raw
        networks = self._virtual_networks()
        taken = self._given_public_addresses()
        free = model.allocate_public(taken)
        # The order of allocation is fixed: load balancers first, then VMs, each by name.
        load_balancers = tuple(self._load_balancer(n, raw.load_balancers[n], free) for n in _ordered(raw.load_balancers))
        vms = self._virtual_machines(networks, free)
        overrides = model.Overrides(
            snat_ports_per_vm=raw.overrides.snat_ports_per_vm, time_scale=self.time_scale or raw.overrides.time_scale
        )
        return model.Network(
            name=raw.name,
            profile=profile.resolve(raw.profile),
            internet=tuple(
                model.InternetHost(name=n, address=raw.internet[n].address, services=raw.internet[n].services)
                for n in _ordered(raw.internet)
            ),
            virtual_networks=networks,
            virtual_machines=vms,
            load_balancers=load_balancers,
            overrides=overrides,
            expectations=tuple(_expectation(e) for e in raw.expect),
        )

    def _given_public_addresses(self) -> set[IPv4Address]:
        raw = self.raw
        given = {h.address for h in raw.internet.values()}
        given |= {a for lb in raw.load_balancers.values() for a in lb.frontend_ip_configurations.values() if a}
        own = [vm.instance_public_ip for vm in raw.virtual_machines.values() if vm.instance_public_ip]
        return given | {ip.address for ip in own if ip.address}

    def _virtual_networks(self) -> tuple[model.VirtualNetwork, ...]:
        found = [
            model.VirtualNetwork(
                name=name,
                location=raw.location,
                subscription=raw.subscription,
                address_space=raw.address_space,
                subnets=tuple(
                    model.Subnet(name=n, address_prefix=raw.subnets[n].address_prefix) for n in _ordered(raw.subnets)
                ),
                dns_servers=raw.dns_servers,
            )
            for name, raw in ((n, self.raw.virtual_networks[n]) for n in _ordered(self.raw.virtual_networks))
        ]
        if any(vm.subnet is None for vm in self.raw.virtual_machines.values()):
            space = model.PLATFORM_SPACE
            found.append(
                model.VirtualNetwork(
                    name=model.PLATFORM_NETWORK,
                    location="",
                    subscription="",
                    address_space=(space,),
                    subnets=(model.Subnet(name=model.PLATFORM_NETWORK, address_prefix=space),),
                )
            )
        return tuple(found)

    def _virtual_machines(
        self, networks: tuple[model.VirtualNetwork, ...], free: Iterator[IPv4Address]
    ) -> tuple[model.VirtualMachine, ...]:
        subnets = {f"{n.name}/{s.name}": (n, s) for n in networks for s in n.subnets}
        home: dict[str, str] = {}
        for name in _ordered(self.raw.virtual_machines):
            reference = self.raw.virtual_machines[name].subnet
            where = reference or f"{model.PLATFORM_NETWORK}/{model.PLATFORM_NETWORK}"
            known = [s for s in subnets if not s.startswith(model.PLATFORM_NETWORK + "/")]
            if where in subnets:
                home[name] = where
            elif not {where, where.split("/")[0], where.split("/")[1]} & self.cut:
                self._dangling(("virtual_machines", name, "subnet"), "subnet", where, known)
        addresses: dict[str, IPv4Address] = {}
        for reference, (_, subnet) in subnets.items():
            wanted = {n: self.raw.virtual_machines[n].private_ip_address for n, ref in home.items() if ref == reference}
            given, left_over = model.allocate_private(subnet, wanted)
            addresses |= given
            self.problems += [
                Problem(
                    path=("virtual_machines", name, "subnet"),
                    found=f'subnet "{reference}" ({subnet.address_prefix}) has no address left',
                    must=f"it has {max(0, subnet.address_prefix.num_addresses - 5)} for VMs",
                    advice="choose a larger subnet",
                )
                for name in left_over
            ]
        return tuple(
            model.VirtualMachine(
                name=name,
                virtual_network=subnets[home[name]][0].name,
                subnet=subnets[home[name]][1].name,
                private_ip_address=addresses[name],
                services=raw.services,
                instance_public_ip=_instance_public_ip(raw.instance_public_ip, free),
                availability_set=raw.availability_set,
            )
            for name, raw in ((n, self.raw.virtual_machines[n]) for n in _ordered(self.raw.virtual_machines))
            if name in addresses
        )

    def _load_balancer(self, name: str, raw: _LoadBalancer, free: Iterator[IPv4Address]) -> model.LoadBalancer:
        path = ("load_balancers", name)
        machines = self.raw.virtual_machines
        pools = []
        for pool in _ordered(raw.backend_address_pools):
            members = raw.backend_address_pools[pool]
            where = (*path, "backend_address_pools", pool)
            kept = [
                m for i, m in enumerate(members) if not self._dangling((*where, str(i)), "virtual machine", m, machines)
            ]
            pools.append(model.BackendPool(name=pool, members=tuple(sorted(kept, key=model.natural))))
        return model.LoadBalancer(
            name=name,
            sku=raw.sku,
            frontends=tuple(
                model.Frontend(name=n, address=raw.frontend_ip_configurations[n] or next(free))
                for n in _ordered(raw.frontend_ip_configurations)
            ),
            pools=tuple(pools),
            probes=tuple(
                model.HealthProbe(
                    name=n,
                    protocol=probe.protocol,
                    port=probe.port,
                    request_path=probe.request_path,
                    interval_s=probe.interval_in_seconds,
                    number_of_probes=probe.number_of_probes,
                )
                for n, probe in ((n, raw.probes[n]) for n in _ordered(raw.probes))
            ),
            load_balancing_rules=tuple(
                rule for n in _ordered(raw.load_balancing_rules) if (rule := self._load_balancing_rule(path, raw, n))
            ),
            inbound_nat_rules=tuple(
                rule for n in _ordered(raw.inbound_nat_rules) if (rule := self._inbound_nat_rule(path, raw, n))
            ),
        )

    def _load_balancing_rule(self, path: Position, lb: _LoadBalancer, name: str) -> model.LoadBalancingRule | None:
        raw = lb.load_balancing_rules[name]
        where = (*path, "load_balancing_rules", name)
        references = [
            ("frontend", "frontend", raw.frontend, lb.frontend_ip_configurations),
            ("backend_pool", "backend pool", raw.backend_pool, lb.backend_address_pools),
        ]
        if raw.probe is not None:
            references.append(("probe", "probe", raw.probe, lb.probes))
        if any([self._dangling((*where, key), what, named, known) for key, what, named, known in references]):  # noqa: C419 - all of them are reported
            return None
        return model.LoadBalancingRule(
            name=name,
            frontend=raw.frontend,
            backend_pool=raw.backend_pool,
            probe=raw.probe,
            protocol="udp" if raw.protocol == "Udp" else "tcp",
            frontend_port=raw.frontend_port,
            backend_port=raw.backend_port,
            load_distribution=raw.load_distribution,
            idle_timeout_min=raw.idle_timeout_in_minutes,
        )

    def _inbound_nat_rule(self, path: Position, lb: _LoadBalancer, name: str) -> model.InboundNatRule | None:
        raw = lb.inbound_nat_rules[name]
        where = (*path, "inbound_nat_rules", name)
        lost = [
            self._dangling((*where, "frontend"), "frontend", raw.frontend, lb.frontend_ip_configurations),
            self._dangling(
                (*where, "virtual_machine"), "virtual machine", raw.virtual_machine, self.raw.virtual_machines
            ),
        ]
        if any(lost):
            return None
        return model.InboundNatRule(
            name=name,
            frontend=raw.frontend,
            virtual_machine=raw.virtual_machine,
            protocol="udp" if raw.protocol == "Udp" else "tcp",
            frontend_port=raw.frontend_port,
            backend_port=raw.backend_port,
        )


def _instance_public_ip(raw: _InstancePublicIp | None, free: Iterator[IPv4Address]) -> model.InstancePublicIp | None:
    if raw is None:
        return None
    address = raw.address or next(free)
    return model.InstancePublicIp(name=raw.name, address=address, domain_name_label=raw.domain_name_label)


def _expectation(raw: _Expectation) -> model.Expectation:
    return model.Expectation(
        sender=raw.sender,
        to=raw.to,
        source_ip=raw.source_ip,
        source_port=raw.source_port,
        answered_by=raw.answered_by,
        outcome=raw.outcome,
        claim=raw.claim,
    )


def _ordered(names: Mapping[str, object]) -> list[str]:
    return sorted(names, key=model.natural)


# --- the whole --------------------------------------------------------------------------------


def parse(text: str, file: str, *, time_scale: int | None = None) -> model.Network:
    """Turn the text of a topology file into a network.

    ``time_scale`` replaces the file's own. ``file`` is named in messages.

    Raises:
        TopologyError: with every problem of the text, in the order of its lines.

    """
    positions = _Positions()
    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        data = _data(node, (), positions) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = f"{error.problem or error.context}"
        raise TopologyError([f"{file}:{line}: found {problem}; a topology is YAML; correct this line"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise TopologyError([f"{file}:1: found {reason}; a topology is YAML; see `lab check --help`"]) from None
    if not isinstance(data, dict):
        found = "an empty file" if data is None else _shown(data)
        advice = 'begin with "name: NAME"; the bundled topologies are examples'
        raise TopologyError([f"{file}:1: found {found}; a topology is a mapping of keys; {advice}"])
    problems = list(positions.problems)
    cut: set[str] = set()
    for path, problem in _shape_problems(data):
        problems.append((positions.line(path), problem))
        cut.update(path)
    # A file whose name does not fit is still checked to its end.
    builder = _Builder(_Topology.model_validate({"name": "unnamed", **data}), frozenset(cut), time_scale)
    network = builder.network()
    problems += [(positions.line(p.path), p) for p in (*builder.problems, *model.violations(network))]
    if problems:
        ordered = sorted(problems, key=lambda item: item[0])
        raise TopologyError(f"{file}:{line}: {problem}" for line, problem in ordered)
    return network


def read(file: Path) -> str:
    """Return the text of a topology file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        TopologyError: it is too large or not text.

    """
    try:
        if file.is_dir():
            raise UsageError(f"{file}: a folder; a topology file is needed; name a file such as {file}/NAME{SUFFIX}")
        size = file.stat().st_size
        if size > MAX_BYTES:
            limit = MAX_BYTES // (1024 * 1024)
            raise TopologyError([f"{file}:1: found {size:,} bytes; a topology has at most {limit} MiB; split it"])
        raw = file.read_bytes()
    except FileNotFoundError:
        near = did_you_mean(file.name, [p.name for p in file.parent.glob(f"*{SUFFIX}")] if file.parent.is_dir() else [])
        raise UsageError(f"{file}: no such file; a topology file is needed; {near}") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; the file must be readable; check its permissions") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TopologyError([f"{file}:{line}: found bytes that are not UTF-8; a topology is a text file"]) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TopologyError([f"{file}:{line}: found a NUL byte; a topology is a text file"])
    return text


def load(file: Path, *, time_scale: int | None = None) -> model.Network:
    """Read and check a topology file; see ``read`` and ``parse`` for what is raised."""
    return parse(read(file), str(file), time_scale=time_scale)


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft-07) of a topology file."""
    made = _Topology.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    made["definitions"] = made.pop("$defs")
    made["patternProperties"] = {"^x-": {}}
    for definition in made["definitions"].values():
        definition["patternProperties"] = {"^x-": {}}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "lab topology", **made}
