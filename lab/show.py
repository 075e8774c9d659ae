"""What a running lab looks like to its user, read from its record, plan and health; no privilege needed."""

from ipaddress import IPv4Address, IPv4Network

import msgspec

from lab.kernel import apply, netns
from lab.kernel.record import MemberHealth, Record, existing, names
from lab.plan import Address, Jump, Place, Plan, Route, Rule, Server, SourceNat, Wire, namespace


class Outbound(msgspec.Struct, frozen=True):
    """One translation that a VM's flows may be given, and who asked for it."""

    address: str
    ports: str
    how: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A VM or an outside host."""

    name: str
    role: str
    address: str
    namespace: str
    there: bool
    services: tuple[str, ...]
    outbound: tuple[Outbound, ...]
    health: dict[str, MemberHealth]


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """A lab of this machine."""

    name: str
    state: str
    profile: str
    time_scale: int
    file: str
    created: float
    nodes: tuple[Node, ...]
    public_addresses: dict[str, str]
    agent: bool


#: What the platform's own address is for, in a why of outbound_snat; no name of a user's has a space.
_DEFAULT = "default address of "
_HOW = {"instance_public_ip": "instance-level public IP", "outbound_snat": "SNAT"}


def labs() -> list[Lab]:
    """Return all labs of this machine."""
    return [describe(name) for name in names()]


def describe(name: str) -> Lab:
    """Return one lab.

    Raises:
        UsageError: there is no such lab.

    """
    folder, record = existing(name)
    plan = folder.plan() if folder.plan_file.exists() else Plan(name, ())
    health = folder.health()
    return Lab(
        name=name,
        state=_state(record),
        profile=record.profile,
        time_scale=record.time_scale,
        file=record.file,
        created=record.created,
        nodes=_nodes(plan, health),
        public_addresses=_public_addresses(plan),
        agent=apply.agent_alive(record),
    )


def _state(record: Record) -> str:
    if record.state != "running":
        return f"interrupted while {record.state}; `lab up` or `lab down` heals it"
    if not apply.is_whole(record):
        return "damaged: a namespace is missing; `lab up` heals it"
    if not apply.agent_alive(record):
        return "servers and probes are not running; `lab up` heals it"
    return "running"


def _nodes(plan: Plan, health: dict[str, MemberHealth]) -> tuple[Node, ...]:
    addresses = {a.place: a.address for a in plan.of(Address) if a.interface == "eth0"}
    services: dict[str, list[str]] = {}
    for server in plan.of(Server):
        services.setdefault(server.place, []).append(f"{server.kind}:{server.port}/{server.protocol}")
    edges = {wire.peer_place: wire.place for wire in plan.of(Wire)}  # node to its router
    rules: dict[str, list[Rule]] = {}
    for rule in plan.of(Rule):
        if rule.table == "nat":
            rules.setdefault(rule.place, []).append(rule)
    found = []
    for place in plan.of(Place):
        if place.role not in ("vm", "host"):
            continue
        name, address = place.place, addresses[place.place]
        edge = edges[name].replace("router.", "lb.", 1)
        found.append(
            Node(
                name=name,
                role=place.role,
                address=address,
                namespace=namespace(plan.lab, name),
                there=netns.exists(namespace(plan.lab, name)),
                services=tuple(services.get(name, ())),
                outbound=outbound(rules.get(edge, []), address) if place.role == "vm" else (),
                health={key: state for key, state in health.items() if key.endswith(f"/{name}")},
            )
        )
    return tuple(found)


def outbound(rules: list[Rule], address: str, chain: str = "POSTROUTING") -> tuple[Outbound, ...]:
    """Return the source translations that rules of the nat table give to flows of an address.

    The first rule that matches decides; rules that differ only in the mark of the flow are alternatives.
    """
    found: dict[Outbound, None] = {}
    for rule in rules:
        if rule.chain != chain or not _matches(rule, address):
            continue
        if isinstance(rule.target, Jump):
            for inner in outbound(rules, address, rule.target.chain):
                found[inner] = None
        elif isinstance(rule.target, SourceNat):
            how = _HOW.get(rule.why.rule, rule.why.rule)
            how = f"default {how}" if rule.why.entity.startswith(_DEFAULT) else how
            found[Outbound(rule.target.address, rule.target.ports or "unchanged", how)] = None
        # TCP is followed by its UDP twin, so only a new kind of answer ends the search.
        if found and chain == "POSTROUTING" and (rule.protocol in (None, "udp")):
            break
    return tuple(found)


def _matches(rule: Rule, address: str) -> bool:
    return rule.source is None or IPv4Address(address) in IPv4Network(rule.source)


def _public_addresses(plan: Plan) -> dict[str, str]:
    """Return the public addresses that count as the user's, with what they belong to.

    The platform's default address is not among them (seed 002, standalone VM).
    """
    return {
        route.destination.removesuffix("/32"): route.why.entity
        for route in plan.of(Route)
        if route.place == "internet" and route.via is not None and not route.why.entity.startswith(_DEFAULT)
    }
