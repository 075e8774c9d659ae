"""The way out of each VM, by the documents: the addresses it is seen with, its SNAT ports, what binds it, and why.

``WAYS`` is the whole decision. It is made without the rules that play it, so the two can be held against each other;
only what the documents leave open, and a lab therefore chooses, is taken from ``azure.outbound``, and which VMs have no
default address.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from ipaddress import IPv4Address
from typing import Literal

import msgspec

from lab.azure.model import (
    PLATFORM_NETWORK,
    BackendPool,
    Frontend,
    InboundNatRule,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    OutboundRule,
    Subnet,
    VirtualMachine,
    natural,
)
from lab.azure.outbound import picked, place, without_default
from lab.flow import PortRange, Transport
from lab.predict import documents

Kind = Literal["none", "NAT gateway", "instance-level public IP", "load balancer", "default outbound"]
#: What is considered before every way out: a route for all of the internet (predict/routed.py).
ROUTE = "user-defined route"
_NAT: Kind = "NAT gateway"
_OWN: Kind = "instance-level public IP"
_BALANCED: Kind = "load balancer"
_DEFAULT: Kind = "default outbound"
_NONE: Kind = "none"
_BOTH: tuple[Transport, ...] = ("tcp", "udp")


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """A way out that was considered: whether it applies, why or why not, and what would make it apply."""

    way: str
    kind: Kind
    applies: bool
    because: str
    document: str
    change: str = ""
    short: str = ""  # what binds the VM, or what is missing, in a few words
    frontends: tuple[tuple[LoadBalancer, Frontend], ...] = ()
    protocols: tuple[Transport, ...] = _BOTH  # of the flows that it is a way out for


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a VM is seen with, and the ports of it that the VM's flows may be given."""

    address: IPv4Address
    ports: PortRange | None = None  # None: the ports stay as the VM chose them
    count: int = 0  # SNAT ports, without those that rules take
    alone: bool = True  # no other VM takes these ports
    sharers: int = 1  # VMs that are seen with the address, this one included
    bound_by: tuple[str, ...] = ()  # in a few words each
    protocol: Transport | None = None  # of the flows that are given these ports; None: any

    def serves(self, protocol: str) -> bool:
        """Tell whether flows of a protocol may be given these ports."""
        return self.protocol in (None, protocol)


class WayOut(msgspec.Struct, frozen=True, kw_only=True):
    """How a VM's flows leave for public addresses."""

    vm: str
    kind: Kind
    supplies: tuple[Supply, ...]
    bound_by: tuple[str, ...]
    because: str  # the way that is taken, in a sentence
    document: str
    considered: tuple[Considered, ...]

    @property
    def reason(self) -> str:
        """What binds the VM, or why only the platform's address is left, in a few words."""
        if self.kind != _DEFAULT or any(found.way == ROUTE for found in self.considered):
            return ", ".join(self.bound_by)
        unsaid = ("no NAT rule", "no outbound rule")
        missing = [found.short for found in self.considered if found.kind == _BALANCED and found.short not in unsaid]
        return f"default: {', '.join(missing)}"

    def of(self, protocol: str) -> tuple[Supply, ...]:
        """Return what flows of a protocol may be given."""
        return tuple(supply for supply in self.supplies if supply.serves(protocol))

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """The addresses that the VM may be seen with."""
        return tuple(dict.fromkeys(supply.address for supply in self.supplies))


# --- the decision -----------------------------------------------------------------------------


def _off(_facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    if vm.power_state == "Deallocated":
        because = f"{vm.name} is deallocated, so it sends nothing"
        yield _applies(_NONE, "power state", because, documents.OUTBOUND, "deallocated")


def _nat_gateway(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    gateway = facts.network.nat_gateway_of(vm.virtual_network, vm.subnet)
    source, where = facts.profile.sources["nat_gateways"], f"subnet `{vm.virtual_network}/{vm.subnet}`"
    if gateway is not None:
        because = f"{where} has NAT gateway `{gateway.name}`, which goes before every other way"
        yield _applies(_NAT, _NAT, because, documents.NAT_GATEWAY, f"NAT gateway {gateway.name}")
    elif facts.profile.nat_gateways and vm.virtual_network != PLATFORM_NETWORK:
        because, change = f"{where} has no NAT gateway", f"Name a NAT gateway in {where.replace('`', '')}."
        yield _fails(_NAT, _NAT, because, source, "no NAT gateway", change)


def _own_address(_facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    own = vm.instance_public_ip
    if own is None:
        change = f"Give {vm.name} an instance_public_ip."
        yield _fails(_OWN, _OWN, f"{vm.name} has no public IP of its own", documents.OUTBOUND, "no public IP", change)
    else:
        because = f"{vm.name} has instance-level public IP `{own.name}`, which goes before every load balancer"
        yield _applies(_OWN, _OWN, because, documents.OUTBOUND, f"public IP {own.name}")


def _outbound_rule(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    for lb, pool in facts.pools.get(vm.name, ()):
        for rule in (rule for rule in lb.outbound_rules if rule.backend_pool == pool.name):
            ports = f"{rule.ports:,} ports each" if rule.ports else "as many ports as the table says"
            because = (
                f"outbound rule `{rule.name}` of `{lb.name}` gives VMs of `{pool.name}` {ports}, for {_named(rule)}"
            )
            bound = tuple((lb, lb.frontend(name)) for name in rule.frontends)
            short = f"outbound rule {rule.name} of {lb.name}"
            document = facts.profile.sources["outbound_rules"]
            yield _applies(_BALANCED, "outbound rule", because, document, short, bound, rule.protocols)


def _named(rule: OutboundRule) -> str:
    return " and ".join(protocol.upper() for protocol in rule.protocols)


def _load_balancing_rule(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    way = "load-balancing rule"
    if not facts.pools.get(vm.name):
        change = f"Put {vm.name} into a backend pool, and add a load-balancing rule for the pool."
        yield _fails(_BALANCED, way, f"{vm.name} is in no backend pool", documents.SOURCE_IP, "in no pool", change)
    for lb, pool in facts.pools.get(vm.name, ()):
        document = facts.binding_document(lb)
        rules = [rule for rule in lb.load_balancing_rules if rule.backend_pool == pool.name]
        for rule in rules:
            words = f"{facts.word(lb, 'rule')} `{rule.name}` of `{lb.name}`"
            because = f"{words} leads from `{rule.frontend}` to {vm.name}, as a member of `{pool.name}`"
            short = f"rule {rule.name} of {lb.name}"
            bound = ((lb, lb.frontend(rule.frontend)),)
            if lb.is_private(rule):
                because = f"{words} leads to {vm.name} from a private address, by which nothing leaves"
                change = "Add a public load balancer with an outbound rule, or a NAT gateway."
                yield _fails(_BALANCED, way, because, documents.INTERNAL, f"rule {rule.name} is internal", change)
            elif rule.disable_outbound_snat:
                because = f"{words} leads to {vm.name}, but with disable_outbound_snat: it is for what comes in alone"
                change = f"Add an outbound rule for `{pool.name}`."
                source = facts.profile.sources["outbound_rules"]
                yield _fails(_BALANCED, way, because, source, f"rule {rule.name} is inbound only", change)
            elif "load_balancing_rule" in facts.profile.binding(lb.sku):
                protocols = facts.translated(lb, rule)
                if protocols != _BOTH:
                    because += f"; it has flows of {rule.protocol.upper()} alone translated"
                    document = facts.profile.sources["standard_protocols"]
                yield _applies(_BALANCED, way, because, document, short, bound, protocols)
        outward = any(rule.backend_pool == pool.name for rule in lb.outbound_rules)
        if not rules and not outward and "backend_pool" not in facts.profile.binding(lb.sku):
            because = f"{vm.name} is in pool `{pool.name}` of `{lb.name}`, but no rule refers to this pool; "
            change = f"Add a load-balancing rule for `{pool.name}`" + facts.or_nat_rule(lb, vm)
            short = f"pool {pool.name} has no rule"
            yield _fails(_BALANCED, way, because + "membership alone binds nothing", document, short, change)


def _inbound_nat_rule(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    way = "inbound NAT rule"
    if not facts.nat_rules.get(vm.name):
        yield _fails(
            _BALANCED, way, f"no inbound NAT rule or endpoint names {vm.name}", documents.SOURCE_IP, "no NAT rule"
        )
    for lb, rule in facts.nat_rules.get(vm.name, ()):
        document, name = facts.binding_document(lb), rule.name.removeprefix(facts.prefix(lb, vm))
        words = f"{facts.word(lb, 'NAT rule')} `{name}` of `{lb.name}` names {vm.name}"
        if lb.is_private(rule):
            because = f"{words}, at a private address, by which nothing leaves"
            yield _fails(_BALANCED, way, because, documents.INTERNAL, f"NAT rule {name} is internal")
        elif "inbound_nat_rule" in facts.profile.binding(lb.sku):
            short = f"{facts.word(lb, 'NAT rule in short')} {name} of {lb.name}"
            bound = ((lb, lb.frontend(rule.frontend)),)
            protocols = facts.translated(lb, rule)
            yield _applies(_BALANCED, way, f"{words}, at `{rule.frontend}`", document, short, bound, protocols)
        else:
            because = f"{words}, but gives no way out at a {lb.sku} load balancer in this revision"
            change = f"Add a load-balancing rule for a pool that {vm.name} is in."
            yield _fails(_BALANCED, way, because, document, f"NAT rule {name} is inbound only", change)


def _backend_pool(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    for lb, pool in facts.pools.get(vm.name, ()):
        if "backend_pool" in facts.profile.binding(lb.sku) and lb.addressed():
            because = f"{vm.name} is in pool `{pool.name}` of `{lb.name}`, and this revision asks for no rule"
            bound = tuple((lb, frontend) for frontend in lb.addressed())
            short = f"pool {pool.name} of {lb.name}"
            yield _applies(_BALANCED, "backend pool", because, facts.binding_document(lb), short, bound)


def _default(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    if vm.name in facts.without_default:
        change = (
            f"Add a load-balancing rule or an outbound rule for a pool that {vm.name} is in, or give it a public IP."
        )
        if facts.private(vm):
            change = f"Give subnet {vm.virtual_network}/{vm.subnet} a NAT gateway, or default_outbound_access: true."
        yield _fails(_DEFAULT, _DEFAULT, _shut(facts, vm), _shut_by(facts, vm), "", change)
    else:
        because = "the platform picks an address for VMs that nothing else gives one; it is in no list of yours"
        yield _applies(_DEFAULT, _DEFAULT, because, documents.OUTBOUND, "the platform")


def _none(facts: "Outbound", vm: VirtualMachine) -> Iterator[Considered]:
    if vm.name in facts.without_default:
        short = (
            "no default outbound in a private subnet" if facts.private(vm) else "no default outbound behind Standard"
        )
        yield _applies(_NONE, "no way out", _shut(facts, vm), _shut_by(facts, vm), short)


def _shut_by(facts: "Outbound", vm: VirtualMachine) -> str:
    """Return the document that takes the platform's address from a VM."""
    if not facts.private(vm):
        return facts.profile.sources["standard_default"]
    said = facts.subnet(vm).default_outbound_access is not None
    return documents.PRIVATE_SUBNET if said else facts.profile.sources["default_outbound_access"]


def _shut(facts: "Outbound", vm: VirtualMachine) -> str:
    """Say why a VM never has the platform's address."""
    if facts.private(vm):
        subnet = facts.subnet(vm)
        unsaid = "" if subnet.default_outbound_access is False else ", as new ones are unless they say otherwise"
        return f"subnet `{vm.virtual_network}/{subnet.name}` is private{unsaid}: there is no default outbound"
    lb = next(
        (lb.name for lb in facts.network.balancers if lb.sku == "Standard" and vm.name in lb.virtual_machines()), ""
    )
    if lb:
        return f"behind a Standard load balancer there is no default outbound, and {vm.name} is behind `{lb}`"
    if vm.instance_public_ip is not None:
        return f"{vm.name} has a Standard public IP, and with it no default outbound"
    return (
        f"a VM of {vm.name}'s availability set `{vm.availability_set}` has a Standard load balancer or public IP, "
        "so that none of the set has default outbound"
    )


_Ask = Callable[["Outbound", VirtualMachine], Iterator[Considered]]

#: The ways out, first those that go before all others. The first line of which a way applies decides; where several of
#: one line apply, the VM is seen with the addresses of all of them. A way may be one for flows of one protocol alone:
#: then those of the other do not leave, whatever the lines below it say.
_FRONTENDS: tuple[_Ask, ...] = (_outbound_rule, _load_balancing_rule, _inbound_nat_rule, _backend_pool)
WAYS: tuple[tuple[_Ask, ...], ...] = (
    (_off,),
    (_nat_gateway,),
    (_own_address,),
    _FRONTENDS,
    (_default,),
    (_none,),
)


def _binding(taken: list[Considered], supply: Supply) -> Iterator[str]:
    """Yield what binds a VM to one of its addresses, in a few words each."""
    for found in taken:
        is_here = not found.frontends or any(frontend.address == supply.address for _, frontend in found.frontends)
        if is_here and supply.protocol in (None, *found.protocols):
            yield found.short


def _applies(
    kind: Kind,
    way: str,
    because: str,
    document: str,
    short: str,
    frontends: tuple[tuple[LoadBalancer, Frontend], ...] = (),
    protocols: tuple[Transport, ...] = _BOTH,
) -> Considered:
    return Considered(
        way=way,
        kind=kind,
        applies=True,
        because=because,
        document=document,
        short=short,
        frontends=frontends,
        protocols=protocols,
    )


def _fails(kind: Kind, way: str, because: str, document: str, short: str, change: str = "") -> Considered:
    return Considered(way=way, kind=kind, applies=False, because=because, document=document, short=short, change=change)


# --- a network's ------------------------------------------------------------------------------

_WORDS = {
    "rule": ("load-balancing rule", "load-balanced set"),
    "NAT rule": ("inbound NAT rule", "endpoint"),
    "NAT rule in short": ("NAT rule", "endpoint"),
}


#: Ports of outbound rules are given in multiples of so many (load-balancer-outbound-rules-overview.md, 2018-09-24).
_BLOCK = 8


def _first(given: tuple[IPv4Address, PortRange, bool]) -> IPv4Address:
    return given[0]


class Outbound:
    """The ways out of a network's VMs; what they have in common is worked out once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.profile = network.profile
        self.classic = {service.name for service in network.cloud_services}
        self.without_default = without_default(network)
        #: Told apart only where a load balancer's rules tell them apart.
        self.protocols = _BOTH if any(self.profile.protocol_counts(lb.sku) for lb in network.balancers) else _BOTH[:1]
        self.pools: dict[str, list[tuple[LoadBalancer, BackendPool]]] = {}
        self.nat_rules: dict[str, list[tuple[LoadBalancer, InboundNatRule]]] = {}
        for lb in network.balancers:
            for pool in lb.pools:
                for member in pool.members:
                    self.pools.setdefault(member, []).append((lb, pool))
            for rule in lb.inbound_nat_rules:
                self.nat_rules.setdefault(rule.virtual_machine, []).append((lb, rule))

    def of(self, vm: VirtualMachine) -> WayOut:
        """Return the way out of a VM."""
        asked = [[found for ask in line for found in ask(self, vm)] for line in WAYS]
        taken = next(([found for found in line if found.applies] for line in asked if any(f.applies for f in line)), [])
        kind = taken[0].kind
        return WayOut(
            vm=vm.name,
            kind=kind,
            supplies=tuple(
                msgspec.structs.replace(supply, bound_by=tuple(dict.fromkeys(_binding(taken, supply))))
                for supply in self._supplies(vm, kind)
            ),
            bound_by=tuple(dict.fromkeys(found.short for found in taken)),
            because=taken[0].because,
            document=taken[0].document,
            considered=tuple(
                msgspec.structs.replace(found, document=found.document) for line in asked for found in line
            ),
        )

    def all(self) -> tuple[WayOut, ...]:
        """Return the way out of each VM, in the order of the file."""
        return tuple(self.of(vm) for vm in self.network.virtual_machines)

    def subnet(self, vm: VirtualMachine) -> Subnet:
        """Return the subnet of a VM."""
        subnets = self.network.virtual_network(vm.virtual_network).subnets
        return next(subnet for subnet in subnets if subnet.name == vm.subnet)

    def private(self, vm: VirtualMachine) -> bool:
        """Tell whether a VM's subnet gives no VM the platform's address."""
        said = self.subnet(vm).default_outbound_access
        return not (self.profile.default_outbound_access if said is None else said)

    def word(self, lb: LoadBalancer, what: str) -> str:
        """Return what a rule is called: a cloud service has sets and endpoints."""
        return _WORDS[what][lb.name in self.classic]

    def translated(self, lb: LoadBalancer, rule: LoadBalancingRule | InboundNatRule) -> tuple[Transport, ...]:
        """Return the protocols of the flows that a rule is a way out for."""
        return (rule.protocol,) if self.profile.protocol_counts(lb.sku) else _BOTH

    def prefix(self, lb: LoadBalancer, vm: VirtualMachine) -> str:
        """Return what the rule that an endpoint makes has before the endpoint's name."""
        return f"{vm.name}-" if lb.name in self.classic else ""

    def binding_document(self, lb: LoadBalancer) -> str:
        """Return the document that says what binds a VM to a frontend."""
        return self.profile.sources[f"binding_{lb.sku.lower()}"]

    def or_nat_rule(self, lb: LoadBalancer, vm: VirtualMachine) -> str:
        """Return the end of the advice to add a rule."""
        if "inbound_nat_rule" not in self.profile.binding(lb.sku):
            return "."
        return f", or an inbound NAT rule for {vm.name}."

    # --- addresses and ports -----------------------------------------------------------------

    @cached_property
    def _bound(self) -> dict[Transport, dict[str, tuple[tuple[LoadBalancer, Frontend], ...]]]:
        """The frontends that each VM which shares its address is bound to, by protocol, VMs in their natural order."""
        found: dict[Transport, dict[str, tuple[tuple[LoadBalancer, Frontend], ...]]] = {p: {} for p in self.protocols}
        for vm in sorted(self.network.virtual_machines, key=lambda vm: natural(vm.name)):
            own = vm.instance_public_ip or vm.released_public_ip
            if own or self.network.nat_gateway_of(vm.virtual_network, vm.subnet):
                continue
            ways = [considered for ask in _FRONTENDS for considered in ask(self, vm)]
            for protocol, of_it in found.items():
                pairs = (pair for way in ways if protocol in way.protocols for pair in way.frontends)
                of_it[vm.name] = tuple({frontend.address: (lb, frontend) for lb, frontend in pairs}.values())
        return found

    @cached_property
    def _turns(self) -> dict[Transport, dict[IPv4Address, dict[str, int]]]:
        """The VMs that are bound to each address, by protocol, each with its number."""
        turns: dict[Transport, dict[IPv4Address, dict[str, int]]] = {}
        for protocol, bound in self._bound.items():
            of_it = turns.setdefault(protocol, {})
            for vm, pairs in bound.items():
                for _, frontend in pairs:
                    at = of_it.setdefault(frontend.address, {})
                    at[vm] = len(at)
        return turns

    def sharers(self, address: IPv4Address) -> tuple[str, ...]:
        """Return the VMs that are seen with an address."""
        bound = self._bound_to.get(address)
        if bound is not None:
            return bound
        if address in self._behind_gateways:
            return self._behind_gateways[address]
        return tuple(vm for vm, supply in self._defaults.items() if supply.address == address)

    @cached_property
    def _behind_gateways(self) -> dict[IPv4Address, tuple[str, ...]]:
        """The VMs that are seen with each address of a NAT gateway."""
        found: dict[IPv4Address, tuple[str, ...]] = {}
        for vm in sorted(self.network.virtual_machines, key=lambda vm: natural(vm.name)):
            gateway = self.network.nat_gateway_of(vm.virtual_network, vm.subnet)
            for address in gateway.addresses if gateway else ():
                found[address] = (*found.get(address, ()), vm.name)
        return found

    def _of_gateway(self, vm: VirtualMachine) -> tuple[Supply, ...]:
        """Return what a VM has of its subnet's NAT gateway: any port of each address."""
        gateway = self.network.nat_gateway_of(vm.virtual_network, vm.subnet)
        first, wanted = self.profile.nat_first_port, self.network.overrides.nat_gateway_ports
        ports = PortRange(first, first + wanted - 1 if wanted else 65535)
        return tuple(
            Supply(
                address=address,
                ports=ports,
                count=ports.last - ports.first + 1,
                alone=len(self.sharers(address)) == 1,
                sharers=len(self.sharers(address)),
            )
            for address in (gateway.addresses if gateway else ())
        )

    @cached_property
    def _bound_to(self) -> dict[IPv4Address, tuple[str, ...]]:
        """The VMs that are bound to each address, for flows of any protocol."""
        found: dict[IPv4Address, dict[str, int]] = {}
        for of_it in self._turns.values():
            for address, vms in of_it.items():
                found.setdefault(address, {}).update(vms)
        return {address: tuple(vms) for address, vms in found.items()}

    def _supplies(self, vm: VirtualMachine, kind: Kind) -> tuple[Supply, ...]:
        match kind:
            case "NAT gateway":
                return self._of_gateway(vm)
            case "instance-level public IP":
                assert vm.instance_public_ip is not None
                return (Supply(address=vm.instance_public_ip.address),)
            case "load balancer":
                return self._of_frontends(vm.name)
            case "default outbound":
                return (self._defaults[vm.name],)
            case _:
                return ()

    def _of_frontends(self, vm: str) -> tuple[Supply, ...]:
        """Return what a VM has of frontends: once where both protocols have the same ports of an address."""
        by_protocol = {protocol: self._of_protocol(vm, protocol) for protocol in self.protocols}
        if len(by_protocol) == 1:
            return by_protocol["tcp"]
        found = []
        for protocol, supplies in by_protocol.items():
            other = {(s.address, s.ports) for p, theirs in by_protocol.items() if p != protocol for s in theirs}
            for supply in supplies:
                if (supply.address, supply.ports) not in other:
                    found.append(msgspec.structs.replace(supply, protocol=protocol))
                elif protocol == "tcp":
                    found.append(supply)
        return tuple(sorted(found, key=lambda supply: (supply.address, supply.protocol or "")))

    def _of_protocol(self, vm: str, protocol: Transport) -> tuple[Supply, ...]:
        """Return what flows of a protocol of a VM have of frontends."""
        by_balancer: dict[str, list[tuple[LoadBalancer, Frontend]]] = {}
        for lb, frontend in self._bound[protocol][vm]:
            by_balancer.setdefault(lb.name, []).append((lb, frontend))
        chosen: list[tuple[LoadBalancer, Frontend]] = []
        for of_one in by_balancer.values():
            lb = of_one[0][0]
            if len(of_one) > 1 and self.profile.frontends(lb.sku) == "one at random":
                chosen.append((lb, picked(vm, [frontend for _, frontend in of_one])))
            else:
                chosen += of_one
        chosen.sort(key=lambda pair: pair[1].address)
        said = {f.address: ports for _, f in chosen if (ports := self._allocated.get((vm, f.address, protocol)))}
        by_table = [(lb, frontend.address) for lb, frontend in chosen if frontend.address not in said]
        given = [(address, *self._share(lb, self._turns[protocol][address], vm)) for lb, address in by_table]
        if len(given) > 1 and self.profile.frontends(by_table[0][0].sku) == "capped":
            most = self.profile.port_tiers[0].ports // len(given)
            given = [(address, PortRange(p.first, min(p.last, p.first + most - 1)), a) for address, p, a in given]
        given += [(address, ports, True) for address, ports in said.items()]
        return tuple(self._supply(address, ports, alone=alone) for address, ports, alone in sorted(given, key=_first))

    @cached_property
    def _allocated(self) -> dict[tuple[str, IPv4Address, Transport], PortRange]:
        """The ports of outbound rules that say how many a VM has: of all the rule's addresses together."""
        found: dict[tuple[str, IPv4Address, Transport], PortRange] = {}
        every = range(self.profile.snat_first_port, self.profile.snat_last_port + 1)
        rules = [(lb, rule) for lb in self.network.balancers for rule in lb.outbound_rules if rule.ports]
        for lb, rule in rules:
            blocks, more = divmod(rule.ports // _BLOCK, len(rule.frontends))
            for number, name in enumerate(rule.frontends):
                address, size = lb.frontend(name).address, _BLOCK * (blocks + (number < more))
                free = [port for port in every if port not in self._taken.get(address, ())]
                for turn, vm in enumerate(lb.pool(rule.backend_pool).members if size else ()):
                    ports = PortRange(free[turn * size], free[(turn + 1) * size - 1])
                    found.update({(vm, address, protocol): ports for protocol in rule.protocols})
        return found

    def _share(self, lb: LoadBalancer, turns: dict[str, int], vm: str) -> tuple[PortRange, bool]:
        """Return the ports of a frontend that a VM has, and whether it has them alone."""
        wanted = self.network.overrides.snat_ports_per_vm
        every = PortRange(self.profile.snat_first_port, self.profile.snat_last_port)
        if wanted is None and self.profile.allocation(lb.sku) == "on demand":
            return every, len(turns) == 1
        by_table = None if wanted else self.profile.ports_per_vm(self._reported(turns))
        if by_table is not None:
            begin = every.first + place(turns[vm], by_table, self.profile.port_tiers[0])
            return PortRange(begin, begin + by_table - 1), True
        size = max(1, min(wanted or 1, (every.last - every.first + 1) // len(turns)))
        begin = every.first + turns[vm] * size
        return PortRange(begin, begin + size - 1), True

    def _reported(self, turns: dict[str, int]) -> int:
        """Return the size of the pool that the table is asked for: VMs that are redeployed may count twice."""
        services = (service for service in self.network.cloud_services if service.redeploying)
        twice = {vm for service in services for vm in service.virtual_machines}
        if not self.profile.redeploying_counts_twice:
            return len(turns)
        return max(len(turns), min(len(turns) + len(twice & turns.keys()), self.profile.port_tiers[-1].pool_size))

    @cached_property
    def _defaults(self) -> dict[str, Supply]:
        """What VMs that nothing binds have of the platform's address of their virtual network."""
        found: dict[str, Supply] = {}
        together = Counter(vm.availability_set for vm in self.network.virtual_machines if vm.availability_set)
        first, last = self.profile.snat_first_port, self.profile.snat_last_port
        for vnet in self.network.virtual_networks:
            vms = [vm for vm in self.network.vms_of(vnet) if self._is_left(vm.name)]
            wanted, begin, address = self.network.overrides.snat_ports_per_vm, first, vnet.default_outbound_address
            sizes = [
                wanted or self.profile.ports_per_vm(together[vm.availability_set] if vm.availability_set else 1) or 1
                for vm in vms
            ]
            if sum(sizes) > last - first + 1:
                sizes = [max(1, min(size, (last - first + 1) // len(vms))) for size in sizes]
            for vm, size in zip(vms, sizes, strict=True):
                alone = not (wanted is None and self.profile.default_allocation == "on demand")
                ports = PortRange(begin, begin + size - 1) if alone else PortRange(first, last)
                found[vm.name] = Supply(
                    address=address,
                    ports=ports,
                    count=ports.last - ports.first + 1,
                    alone=alone or len(vms) == 1,
                    sharers=len(vms),
                )
                begin += size
        return found

    def _is_left(self, vm: str) -> bool:
        """Tell whether only the platform's address is left for a VM."""
        return vm not in self.without_default and all(bound.get(vm) == () for bound in self._bound.values())

    def _supply(self, address: IPv4Address, ports: PortRange, *, alone: bool) -> Supply:
        count = sum(port not in self._taken.get(address, ()) for port in range(ports.first, ports.last + 1))
        return Supply(address=address, ports=ports, count=count, alone=alone, sharers=len(self.sharers(address)))

    @cached_property
    def _taken(self) -> dict[IPv4Address, set[int]]:
        """The ports that rules take out of what SNAT may use, in aligned blocks."""
        size = self.profile.rule_block
        found: dict[IPv4Address, set[int]] = {}
        for lb in self.network.balancers if size else ():
            for rule in lb.rules():
                first = rule.frontend_port // size * size
                found.setdefault(lb.frontend(rule.frontend).address, set()).update(range(first, first + size))
        return found


def rule_at(
    network: Network, address: IPv4Address, protocol: str, port: int, inside: str = ""
) -> tuple[LoadBalancer, LoadBalancingRule | InboundNatRule] | None:
    """Return the rule that listens at a public address and port; ``inside``: at a private one of that network."""
    for lb in network.balancers:
        names = {f.name for f in lb.frontends if (f.address, f.virtual_network) == (address, inside)}
        for rule in lb.rules():
            if rule.frontend in names and rule.listens(protocol, port):
                return lb, rule
    return None
