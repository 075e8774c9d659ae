"""nat-gateway-resource.md and default-outbound-access.md: what leaves a subnet, with which port, and for how long."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from lab.azure.model import NatGateway, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import (
    MORE,
    again_after,
    held_trial,
    kept,
    occupy,
    of_protocol,
    opened,
    several_goals,
    too_early,
    too_late,
    wrong_number,
)
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, refused, send
from lab.verify.claims.kit.oracle import (
    far_client,
    far_host,
    matches,
    nat_gateway,
    outbound_rules,
    private,
    scaled,
    speaking_freely,
    way_out,
)
from lab.verify.claims.kit.ways import ways_trial
from lab.verify.experiment import Answers, Arrivals, Ask, End, Goal, Happened, Open, Pause, Return, Returned, Talk

_RESOURCE_2022 = "nat-gateway-resource.md (2022-02-25)"
_RESOURCE = "nat-gateway-resource.md (2023-07-10)"
_DEFAULT = "default-outbound-access.md (2025-12-03)"
_BASIC = "hashicorp/terraform-provider-azurerm#18570 (2022-09-29)"

_KNOWN = ("2022-03", "2026-07")
_PRIVATE = ("2026-07",)
_PORTS, _FIRST_PORT, _LAST_PORT = 64_512, 1024, 65_535
#: Seconds of the documents' timers: after FIN, after RST by the year of the text, half open, after an idle UDP flow.
_FIN_S, _UDP_S, _IDLE_S = 65, 65, 240
_RST_S = {"2022-03": 20, "2026-07": 16}
_HALF_OPEN_S = {"2022-03": 25, "2026-07": 30}
_FLOWS, _MANY, _FEW = 64, 1500, 2
_PORT = 15_000  # that nothing listens on
_ALIVE = 0.86  # of an idle timeout of 5 minutes: longer than the 4 of the default
#: As many flows of one VM as have source ports of their own.
_EACH = 32_000


def _behind(network: Network) -> list[tuple[VirtualMachine, NatGateway]]:
    """Return the VMs whose subnet has a NAT gateway, with it."""
    found = [(vm, nat_gateway(network, vm)) for vm in speaking_freely(network)]
    return [(vm, gateway) for vm, gateway in found if gateway is not None]


def _limited(network: Network) -> tuple[VirtualMachine, int] | None:
    """Return a VM behind a gateway with so few ports of one address that a few flows take them all."""
    ports = network.overrides.nat_gateway_ports
    found = [vm for vm, gateway in _behind(network) if len(way_out(network, vm).addresses) == 1]
    return (found[0], ports) if found and ports is not None and ports <= _FLOWS else None


def _goal(network: Network, kind: str) -> tuple[Goal, ...]:
    return next((offered[:1] for _, goals in several_goals(network) if (offered := of_protocol(goals, kind))), ())


@claim(
    "T-NG-1",
    f"{_RESOURCE_2022}, coexistence of outbound and inbound connectivity",
    "What a subnet with a NAT gateway sends to the internet leaves by the gateway, whatever else its VMs have.",
    profiles=_KNOWN,
    facts=("before an address of its own", "before an outbound rule", "before the default address"),
)
def gateway_goes_before_every_other_way(network: Network) -> Iterator[Trial]:
    """Take a VM with nothing else, one with an address of its own, and one with an outbound rule."""
    found: dict[tuple[bool, bool], VirtualMachine] = {}
    for vm, _ in _behind(network):
        found.setdefault((vm.instance_public_ip is not None, bool(outbound_rules(network, vm.name))), vm)
    if len(found) > 2:
        control = [vm for vm in speaking_freely(network) if way_out(network, vm).kind == "default"][:1]
        yield from ways_trial("ways out beside it", network, [*found.values(), *control])


@claim(
    "T-NG-2",
    f"{_RESOURCE_2022}, coexistence of outbound and inbound connectivity",
    "What comes in by a VM's own address, or by a load balancer, is answered there, beside a NAT gateway.",
    profiles=_KNOWN,
    facts=("what comes in by an address of its own is answered", "and what comes in by a load balancer"),
)
def what_comes_in_is_answered_where_it_came(network: Network) -> Iterator[Trial]:
    """Ask a VM at its own address, and another at its frontend."""
    client = far_client(network)
    targets: dict[str, tuple[str, int]] = {}
    for vm, _ in _behind(network):
        ports = [service.port for service in vm.services if service.kind == "tcp"]
        if vm.instance_public_ip is not None and ports:
            targets[vm.name] = str(vm.instance_public_ip.address), ports[0]
        for lb in network.load_balancers:
            for rule in lb.load_balancing_rules:
                if lb.targets(rule) == (vm.name,) and rule.backend_port in ports:
                    targets[vm.name] = str(lb.frontend(rule.frontend).address), rule.frontend_port
    if client is None or len(targets) < 2:
        return
    asks = tuple(Ask(client=client.name, address=to, port=port, kind="tcp") for to, port in targets.values())

    def check(*observations: Any) -> Finding:
        told: dict[str, Answers] = dict(zip(targets, observations, strict=True))
        ends = {name: answers.answers[0] for name, answers in told.items()}
        observed = "; ".join(f"{name}: {end.outcome} {end.node}" for name, end in ends.items())
        wrong = [name for name, end in ends.items() if (end.outcome, end.node) != ("answered", name)]
        return Finding(observed, f"{wrong[0]} did not answer" if wrong else "")

    expected = "; ".join(f"{name} answers at {to}:{port}" for name, (to, port) in targets.items())
    yield Trial("own address and frontend", expected, (Stage(asks),), judge_by(check))


@claim(
    "T-NG-4",
    f"{_RESOURCE}, SNAT ports",
    "An address of a NAT gateway has 64,512 ports, from 1024 to 65535; a gateway has at most 16 addresses.",
    profiles=_KNOWN,
    facts=("an address has 64,512 ports", "and no more", "17 addresses are refused", "prefixes are /28 to /31"),
)
def address_has_64512_ports(network: Network) -> Iterator[Trial]:
    """Open more flows to one destination than there are ports."""
    far = far_host(network)
    single = [vm for vm, _ in _behind(network) if len(way_out(network, vm).addresses) == 1]
    if far is not None and len(single) > 1 and network.overrides.nat_gateway_ports is None:
        # Of two VMs, as one has not so many source ports; the first one's next flows have others.
        more = _PORTS - 2 * _EACH + MORE
        sends = (
            send(network, single[0], far, "udp", _EACH, beyond_ports=True, kept=True, port=_PORT),
            send(network, single[1], far, "udp", _EACH, beyond_ports=True, kept=True, port=_PORT),
            send(
                network, single[0], far, "udp", more, beyond_ports=True, lost=MORE, port=_PORT, first_source_port=1024
            ),
        )

        # No port is held any more by flows of other claims.
        free = tuple(occupy(network, vm) for vm in single[:2])

        def check(*observations: Any) -> Finding:
            came = of_type(observations, Arrivals)
            ports = sorted(seen.source_port for arrivals in came for seen in arrivals.seen[-1])
            wrong = len(set(ports)) != _PORTS or len(ports) != _PORTS
            wrong = wrong or (ports[0], ports[-1]) != (_FIRST_PORT, _LAST_PORT)
            observed = f"{len(ports)} flows from ports {ports[0]}-{ports[-1]}" if ports else "nothing"
            return Finding(observed, f"{len(set(ports))} different ports for {len(ports)} flows" if wrong else "")

        names = " and ".join(vm.name for vm in single[:2])
        yield Trial(
            names, f"{_PORTS:,} flows to one destination, and no more", (Stage((*free, *sends)),), judge_by(check)
        )
    if _behind(network):
        many = ", ".join(f"40.1.1.{number}" for number in range(1, 18))
        yield refused(_file(f"public_ip_addresses: [{many}]"), "17 addresses", "at most 16 addresses", allowed=_file())
        yield refused(_file("public_ip_prefixes: [40.1.1.0/27]"), "a prefix of /27", "/28 to /31", allowed=_file())


@claim(
    "T-NG-5",
    f"{_RESOURCE}, SNAT ports",
    "The ports of a NAT gateway are taken on demand, any by any VM of any of its subnets.",
    profiles=_KNOWN,
    facts=("a VM takes as many as it asks for", "of the whole range", "VMs of other subnets too"),
)
def ports_are_for_every_vm(network: Network) -> Iterator[Trial]:
    """Open more flows of one VM than a load balancer gives it ports, and some of a VM in another subnet."""
    far = far_host(network)
    by_gateway: dict[str, dict[str, VirtualMachine]] = {}
    for vm, gateway in _behind(network):
        by_gateway.setdefault(gateway.name, {}).setdefault(vm.subnet, vm)
    pairs = [list(of_it.values())[:2] for of_it in by_gateway.values() if len(of_it) > 1]
    if far is None or not pairs or network.overrides.nat_gateway_ports is not None:
        return
    sends = tuple(send(network, vm, far, "udp", _MANY, beyond_ports=True) for vm in pairs[0])

    def check(*observations: Any) -> Finding:
        observed = "; ".join(map(arrived, observations))
        for vm, arrivals in zip(pairs[0], observations, strict=True):
            ports = sorted(seen.source_port for seen in arrivals.seen[-1])
            if len(ports) < _MANY:
                return Finding(observed, f"{vm.name}: {_MANY - len(ports)} flows got no port")
            # Of so many that are anywhere in it, some are in its first and in its last eighth.
            if ports[0] > _FIRST_PORT + _PORTS // 8 or ports[-1] < _LAST_PORT - _PORTS // 8:
                return Finding(observed, f"{vm.name}: its ports are {ports[0]}-{ports[-1]} only")
        return Finding(observed, "")

    names = " and ".join(vm.name for vm in pairs[0])
    yield Trial(names, f"{_MANY} flows each, from all of the range", (Stage(sends),), judge_by(check))


@claim(
    "T-NG-6",
    "nat-gateway-snat.md (2023-07-06), selection and reuse of ports",
    "A NAT gateway picks ports at random, each for one flow to a destination and for flows to others meanwhile.",
    profiles=_KNOWN,
    facts=("in no order", "a port serves several destinations at once"),
)
def ports_are_picked_at_random(network: Network) -> Iterator[Trial]:
    """Open many flows to each of two destinations, of a VM whose gateway has one address."""
    far = far_host(network)
    single = [vm for vm, _ in _behind(network) if len(way_out(network, vm).addresses) == 1]
    if far is None or not single or network.overrides.nat_gateway_ports is not None:
        return
    vm = single[-1]
    sends = (
        send(network, vm, far, "udp", 2 * _MANY, beyond_ports=True, kept=True),
        send(network, vm, far, "udp", 2 * _MANY, beyond_ports=True),
    )

    def check(*observations: Any) -> Finding:
        first, second = ([seen.source_port for seen in arrivals.seen[-1]] for arrivals in observations)
        observed = "; ".join(map(arrived, observations))
        if min(len(set(first)), len(set(second))) < 2 * _MANY:
            return Finding(observed, "a port was seen for two flows to one destination")
        ups = sum(one < other for one, other in pairwise(first)) / len(first)
        if not 0.2 < ups < 0.8:
            return Finding(observed, "the ports are in order")
        return Finding(observed, "" if set(first) & set(second) else "no port was seen at both destinations")

    expected = "ports in no order, some of them for both destinations at once"
    yield Trial(vm.name, expected, (Stage(sends),), judge_by(check))


@claim(
    "T-NG-7",
    "Azure NAT Gateway FAQ (2024-12-10)",
    "Of several addresses of a NAT gateway each connection is given one at random.",
    profiles=_KNOWN,
    facts=("every address of it is used", "those of a prefix too"),
)
def every_address_is_used(network: Network) -> Iterator[Trial]:
    """Open flows of a VM whose gateway has an address and a prefix."""
    far = far_host(network)
    several = [vm for vm, gateway in _behind(network) if gateway.public_ip_addresses and gateway.public_ip_prefixes]
    for vm in several[:1] if far is not None else ():
        way = way_out(network, vm)

        def check(*observations: Any, wanted: frozenset[str] = way.addresses) -> Finding:
            (arrivals,) = observations
            missing = sorted(wanted - {seen.source for seen in arrivals.seen[-1]})
            return Finding(arrived(arrivals), f"none was seen from {', '.join(missing)}" if missing else "")

        assert far is not None
        flows = send(network, vm, far, "tcp", _FLOWS)
        yield Trial(vm.name, f"from each of {way}", (Stage((flows,)),), judge_by(check))


@claim(
    "T-NG-8",
    f"{_RESOURCE_2022} and {_RESOURCE}, port reuse timers",
    "A port goes to the same destination again 65 s after FIN, 16 s after RST (2022: 20 s), 65 s after a UDP flow was "
    "idle for 4 minutes, and when a half-open flow ends after 30 s (2022: 25 s).",
    profiles=_KNOWN,
    facts=("65 s after FIN", "16 or 20 s after RST", "65 s after an idle UDP flow", "other destinations at once"),
)
def port_rests_before_its_destination_has_it_again(network: Network) -> Iterator[Trial]:
    """Take all ports, close some flows, and ask for flows until there are any."""
    limited, tcp, udp = _limited(network), _goal(network, "tcp"), _goal(network, "udp")
    if limited is None or not tcp or not udp:
        return
    vm, ports = limited
    fin, rst = scaled(network, _FIN_S), scaled(network, _RST_S[network.profile.name])
    elsewhere = next((of_protocol(goals, "tcp")[:1] for _, goals in several_goals(network)[1:]), ())
    steps = (
        kept(network, tcp, ports),
        End(count=_FEW, how="fin"),
        End(count=_FEW, how="rst"),
        kept(network, elsewhere, _FEW),
        kept(network, tcp, _FEW, within_s=2 * rst + 1),
        kept(network, tcp, _FEW, within_s=1.5 * fin),
        kept(network, tcp, _FEW, lost=_FEW),
    )

    def check(steps: Sequence[Happened]) -> Finding:
        full, closing, resetting, other, after_rst, after_fin, more = steps
        observed = (
            f"{opened(full)}; ports of flows closed by RST {again_after(after_rst, resetting)}, of flows closed by FIN "
            f"{again_after(after_fin, closing)}; elsewhere {opened(other)}; then {opened(more)}"
        )
        wrong = wrong_number(full, ports) or wrong_number(other, _FEW)
        wrong = wrong or too_early(after_rst, resetting, rst) or wrong_number(after_rst, _FEW)
        wrong = wrong or too_early(after_fin, closing, fin) or wrong_number(after_fin, _FEW)
        wrong = wrong or too_late(after_rst, rst) or too_late(after_fin, fin)
        return Finding(observed, wrong or wrong_number(more, 0, _FEW))

    expected = f"ports come back {rst:.2f} s after RST and {fin:.2f} s after FIN, and at once for another destination"
    yield held_trial(f"{vm.name}, TCP", expected, occupy(network, vm, *steps), check)
    rest = scaled(network, _IDLE_S + _UDP_S)
    idle = (Open(goals=udp, count=ports), Open(goals=udp, count=1, within_s=1.5 * rest))

    def check_udp(steps: Sequence[Happened]) -> Finding:
        full, again = steps
        observed = f"{opened(full)}; ports {again_after(again, full)}"
        wrong = wrong_number(full, ports) or too_early(again, full, rest) or wrong_number(again, 1)
        return Finding(observed, wrong or too_late(again, rest))

    expected = f"a port comes back {rest:.2f} s after the last datagram"
    yield held_trial(f"{vm.name}, UDP", expected, occupy(network, vm, *idle), check_udp)


@claim(
    "T-NG-9",
    f"{_RESOURCE}, TCP idle timeout",
    "A TCP flow through a NAT gateway may be idle for as long as the gateway says: 4 to 120 minutes, 4 by default.",
    profiles=_KNOWN,
    facts=("an idle flow lives until then", "and no longer", "other values are refused"),
)
def idle_flow_ends_when_the_gateway_says(network: Network) -> Iterator[Trial]:
    """Say nothing for less than that on a flow, and then for more."""
    limited, tcp = _limited(network), _goal(network, "tcp")
    for minutes in (3, 121) if _behind(network) else ():
        text = _file(more=f", idle_timeout_in_minutes: {minutes}")
        yield refused(text, f"{minutes} minutes", "4 to 120 minutes", allowed=_file())
    if limited is None or not tcp:
        return
    vm, _ = limited
    gateway = nat_gateway(network, vm)
    assert gateway is not None
    idle = scaled(network, gateway.idle_timeout_min * 60)
    shorter, longer = idle * _ALIVE, idle + 2.0
    steps = (Open(goals=tcp, count=_FEW), Pause(seconds=shorter), Talk(), Pause(seconds=longer), Talk(lost=_FEW))

    def check(steps: Sequence[Happened]) -> Finding:
        first, _, alive, _, dead = steps
        observed = f"after {shorter:.1f} s: {opened(alive)}; after {longer:.1f} s more: {opened(dead)}"
        wrong = wrong_number(first, _FEW)
        if not wrong and alive.answered != _FEW:
            wrong = f"{_FEW - alive.answered} flows ended within {shorter:.1f} s"
        return Finding(
            observed, wrong or (f"{dead.answered} flows went on after {longer:.1f} s" if dead.answered else "")
        )

    expected = f"flows go on after {shorter:.1f} s of silence, and are over after {longer:.1f} s of it: {idle:g} s"
    yield held_trial(vm.name, expected, occupy(network, vm, *steps), check)


@claim(
    "T-NG-11",
    f"{_RESOURCE}, TCP reset",
    "When a NAT gateway gets a segment of a flow that it does not know any more, it sends its sender a reset.",
    profiles=_KNOWN,
    facts=("a later segment is answered by a reset", "a flow that was used meanwhile goes on"),
)
def later_segment_is_reset(network: Network) -> Iterator[Trial]:
    """Let some flows be idle for too long, keep others alive, and speak on all of them."""
    limited, tcp = _limited(network), _goal(network, "tcp")
    if limited is None or not tcp:
        return
    vm, _ = limited
    gateway = nat_gateway(network, vm)
    assert gateway is not None
    idle = scaled(network, gateway.idle_timeout_min * 60)
    alive = kept(network, tcp, _FEW)
    steps = (Open(goals=tcp, count=_FEW), alive, Pause(seconds=idle + 2.0), Talk(lost=_FEW))

    def check(steps: Sequence[Happened]) -> Finding:
        first, second, _, said = steps
        wrong = wrong_number(first, _FEW) or wrong_number(second, _FEW)
        if not wrong and said.refused != _FEW:
            wrong = f"{said.refused} of {_FEW} flows that were idle were reset"
        if not wrong and said.answered != _FEW:
            wrong = f"{said.answered} of {_FEW} flows that were kept alive went on"
        return Finding(f"after {idle:g} s: {opened(said)}", wrong)

    expected = f"{_FEW} flows that were idle for {idle:g} s are reset, {_FEW} that were kept alive go on"
    yield held_trial(vm.name, expected, occupy(network, vm, *steps), check)


@claim(
    "T-NG-12",
    f"{_RESOURCE}, NAT gateway architecture",
    "A NAT gateway lets in what answers a flow from inside, and nothing else.",
    profiles=_KNOWN,
    facts=("an answer comes in", "what was not asked for does not"),
)
def nothing_unasked_comes_in(network: Network) -> Iterator[Trial]:
    """Let the far end of a flow answer, and a stranger send to the flow's port."""
    far, stranger = far_host(network), far_client(network)
    if far is None or stranger is None or far == stranger:
        return
    for vm, _ in _behind(network)[:1]:
        way = way_out(network, vm)
        flow = Return(
            send=send(network, vm, far, "udp", 1),
            far=far.name,
            stranger=stranger.name,
            stranger_address=str(stranger.address),
        )

        def check(*observations: Any, vm: VirtualMachine = vm) -> Finding:
            back: Returned = observations[0]
            come = {True: "came in", False: "did not come in"}
            observed = f"the answer {come[back.answered]}; the stranger's packet {come[back.intruded]}"
            if not back.source or not matches(network, way_out(network, vm), back.source):
                return Finding(observed, f"seen from {back.source or 'nowhere'}")
            if back.intruded:
                return Finding(observed, "a stranger reached the VM through the flow's port")
            return Finding(observed, "" if back.answered else "the answer did not reach the VM")

        expected = f"seen from {way}; the answer comes in, a stranger's packet does not"
        yield Trial(vm.name, expected, (Stage((flow,)),), judge_by(check))


@claim(
    "T-NG-14",
    f"{_RESOURCE}, subnets",
    "A subnet has one NAT gateway, all subnets of a gateway are in one virtual network, and none is a gateway subnet.",
    profiles=_KNOWN,
    facts=("two gateways are refused", "two virtual networks are refused", "a gateway subnet is refused"),
)
def gateway_is_for_subnets_of_one_network(network: Network) -> Iterator[Trial]:
    if _behind(network):
        two = _file(subnet="{address_prefix: 10.0.0.0/24, nat_gateway: [natgw, natgw]}")
        yield refused(two, "two NAT gateways", "at most one", allowed=_file())
        other = (
            "  other: {address_space: [10.2.0.0/16], subnets: {s: {address_prefix: 10.2.0.0/24, nat_gateway: natgw}}}\n"
        )
        yield refused(_file(networks=other), "two virtual networks", "in one virtual network", allowed=_file())
        shut = ", GatewaySubnet: {address_prefix: 10.0.9.0/24, nat_gateway: natgw}"
        yield refused(_file(subnets=shut), "a gateway subnet", "not used with a gateway subnet", allowed=_file())


@claim(
    "T-NG-15",
    f"{_BASIC}; {_RESOURCE}, limitations",
    "A subnet with a NAT gateway has no Basic load balancer and no Basic public IP.",
    profiles=_KNOWN,
    facts=("a Basic public IP is refused", "a Basic load balancer is refused"),
)
def basic_resources_are_refused(network: Network) -> Iterator[Trial]:
    code = "SubnetWithNatGatewayAndBasicSkuResourceNotAllowed"
    if _behind(network):
        for sku, what in (("Basic", "a Basic public IP"),):
            own = ", instance_public_ip: {name: ip, address: 40.1.2.1, sku: %s}"
            yield refused(_file(vm=own % sku), what, code, allowed=_file(vm=own % "Standard"))
        balancer = (
            "load_balancers: {lb: {sku: %s, frontend_ip_configurations: {f: 40.1.2.1}, "
            "backend_address_pools: {p: [vm]}}}\n"
        )
        text, allowed = _file(end=balancer % "Basic"), _file(end=balancer % "Standard")
        yield refused(text, "a Basic load balancer", code, allowed=allowed)


@claim(
    "T-NG-18",
    f"{_RESOURCE}, protocols",
    "A NAT gateway carries TCP and UDP, and no ICMP.",
    profiles=_KNOWN,
    facts=("no ICMP leaves",),
)
def no_icmp_leaves(network: Network) -> Iterator[Trial]:
    """Send echo requests of a VM that has an address of its own, which would carry them."""
    far = far_host(network)
    owners = [vm for vm, _ in _behind(network) if vm.instance_public_ip]
    for vm in owners[:1] if far is not None else ():
        assert far is not None
        yield _lost(vm, send(network, vm, far, "icmp", _FEW, lost=_FEW), "no echo request leaves")


@claim(
    "T-NG-19",
    f"{_RESOURCE}, limitations",
    "Fragments do not pass a NAT gateway.",
    profiles=_KNOWN,
    facts=("a datagram in fragments is lost",),
)
def no_fragment_passes(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for vm, _ in _behind(network)[:1] if far is not None else ():
        assert far is not None
        yield _lost(vm, send(network, vm, far, "udp", _FEW, form="large", lost=_FEW), "no fragment leaves")


def _lost(vm: VirtualMachine, flows: Any, expected: str) -> Trial:
    def check(*observations: Any) -> Finding:
        (arrivals,) = observations
        left = [seen for of_it in arrivals.seen for seen in of_it]
        return Finding(arrived(arrivals), f"left from {left[0].source}" if left else "")

    return Trial(vm.name, expected, (Stage((flows,)),), judge_by(check))


# --- private subnets --------------------------------------------------------------------------


@claim(
    "T-DO-2",
    f"{_DEFAULT}, when default outbound access is disabled",
    "New virtual networks have private subnets after 2026-03-31, unless a subnet says otherwise.",
    profiles=_PRIVATE,
    facts=("a subnet that says nothing is private", "one that says otherwise is not"),
)
def new_subnets_are_private(network: Network) -> Iterator[Trial]:
    """Take a VM in a subnet that says nothing, and one in a subnet that allows it."""
    said = {(v.name, s.name): s.default_outbound_access for v in network.virtual_networks for s in v.subnets}
    vms = [vm for vm in speaking_freely(network) if way_out(network, vm).kind in ("none", "default")]
    alone = {vm.name for vm in vms} - {name for lb in network.balancers for name in lb.virtual_machines()}
    new, old = (
        [vm for vm in vms if vm.name in alone and said[vm.virtual_network, vm.subnet] is value]
        for value in (None, True)
    )
    if new and old:
        yield from ways_trial("by what the subnet says", network, [new[0], old[0]])


@claim(
    "T-DO-3",
    f"{_DEFAULT}, private subnets",
    "A private subnet gives its VMs no default outbound; explicit ways out of its VMs work.",
    profiles=_PRIVATE,
    facts=(
        "no default address in a private subnet",
        "an own address works",
        "an outbound rule works",
        "a NAT gateway works",
    ),
)
def private_subnet_has_no_default_outbound(network: Network) -> Iterator[Trial]:
    """Take, of the VMs of private subnets, one of each way out."""
    found: dict[str, VirtualMachine] = {}
    for vm in speaking_freely(network):
        if private(network, vm):
            found.setdefault(way_out(network, vm).kind, vm)
    if len(found) > 2:
        yield from ways_trial("private subnets", network, list(found.values()))


# --- what is refused --------------------------------------------------------------------------


def _file(
    addresses: str = "public_ip_addresses: [40.1.1.1]",
    *,
    more: str = "",
    subnet: str = "{address_prefix: 10.0.0.0/24, nat_gateway: natgw}",
    subnets: str = "",
    networks: str = "",
    vm: str = "",
    end: str = "",
) -> str:
    """Return a topology with a NAT gateway."""
    return f"""\
name: chosen
profile: 2022-03
nat_gateways: {{natgw: {{{addresses}{more}}}}}
virtual_networks:
  v: {{address_space: [10.0.0.0/16], subnets: {{s: {subnet}{subnets}}}}}
{networks}virtual_machines: {{vm: {{subnet: v/s{vm}}}}}
{end}"""


CLAIMS = (
    gateway_goes_before_every_other_way,
    what_comes_in_is_answered_where_it_came,
    address_has_64512_ports,
    ports_are_for_every_vm,
    ports_are_picked_at_random,
    every_address_is_used,
    port_rests_before_its_destination_has_it_again,
    idle_flow_ends_when_the_gateway_says,
    later_segment_is_reset,
    nothing_unasked_comes_in,
    gateway_is_for_subnets_of_one_network,
    basic_resources_are_refused,
    no_icmp_leaves,
    no_fragment_passes,
    new_subnets_are_private,
    private_subnet_has_no_default_outbound,
)
