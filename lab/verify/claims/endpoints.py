"""What cloud services have in common with load balancers, and what their endpoints show."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from lab.azure.model import CloudService, Network, VirtualIp
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import (
    UNUSED,
    Reached,
    alone,
    command,
    failed_command,
    first,
    let,
    listed,
    nodes,
    operated,
    printed,
    reached,
    sets,
    show,
    silent,
    vips,
    vips_beside,
)
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.oracle import far_client
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.load_balancers import CHANCE, idle_endpoints, of_services, sample
from lab.verify.experiment import Answers, Ask, Checked, Health, Members, Run, Sweep, Swept, Watch

_DISTRIBUTION = "load-balancer-distribution-mode.md (2016-10-24)"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_PROBES = "load-balancer-custom-probe-overview.md (2016-10-24)"
#: What Get-AzureEndpoint prints, in this order.
_FIELDS = (
    *("LBSetName", "LocalPort", "Name", "Port", "Protocol", "Vip", "ProbePath", "ProbePort", "ProbeProtocol"),
    *("ProbeIntervalInSeconds", "ProbeTimeoutInSeconds", "EnableDirectServerReturn", "Acl"),
    *("InternalLoadBalancerName", "IdleTimeoutInMinutes", "LoadBalancerDistribution"),
)
_TRIES = 5


def _file(*endpoints: str) -> str:
    """Return a file with a service of two VMs, a and b."""
    lines = "".join(f"      - {{{endpoint}}}\n" for endpoint in endpoints)
    return f"""\
name: refused
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{a: {{subnet: v/s}}, b: {{subnet: v/s}}}}
cloud_services:
  shop:
    virtual_machines: [a, b]
    endpoints:
{lines}"""


def _member(vm: str, more: str) -> str:
    return f"name: e, load_balanced_set: x, virtual_machine: {vm}, local_port: 80, public_port: 80{more}"


# --- distribution -----------------------------------------------------------------------------


def _dm_2(network: Network) -> Iterator[Trial]:
    trials = list(of_services(network))
    yield from trials
    if trials:
        text = _file(_member("a", ", load_balancer_distribution: sourceIP"), _member("b", ""))
        words = '"e" of b differs from "e" of a in load_balancer_distribution'
        yield fits(text, "a distribution of one member of a set", words)


@claim(
    "N-DM-5",
    _DISTRIBUTION,
    "An endpoint shows its set, ports, VIP, probe, timeout and distribution; without a public port it gets one "
    "that is free.",
    facts=(
        "the fields are those of the document, in their order",
        "the set is shown",
        "the ports are shown",
        "the VIP is shown",
        "the probe is shown",
        "the idle timeout is shown",
        "the distribution is shown",
        "a port that is not named is free",
        "a default probe asks every 15 seconds",
        "a default probe waits 31 seconds",
    ),
)
def endpoint_shows_its_fields(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in alone(reached(network))[:1]:
        yield _shown(one)
    for one in alone(reached(network)):
        if client is not None and one.kind == "tcp" and one.endpoint.public_port >= 49152:
            yield _any_port(one, client.name)
            return


#: What it prints of an endpoint of a set, of which nothing is said but its ports and that it is probed by default.
_BY_DEFAULT = {
    "LBSetName": "setOfATrial",
    "LocalPort": "4322",
    "Name": "shownByATrial",
    "Port": "4323",
    "Protocol": "tcp",
    "ProbePort": "4322",
    "ProbeProtocol": "tcp",
    "ProbeIntervalInSeconds": "15",
    "ProbeTimeoutInSeconds": "31",
    "IdleTimeoutInMinutes": "4",
    "LoadBalancerDistribution": "none",
}


def _shown(one: Reached) -> Trial:
    """Return a trial of what is printed of an endpoint that is added by default."""
    vm, name = one.endpoint.virtual_machine, _BY_DEFAULT["Name"]
    virtual_ip = next(v for v in one.service.virtual_ips if v.name == one.service.default_virtual_ip)
    wanted = {**_BY_DEFAULT, "Vip": str(virtual_ip.address)}
    ports = ("--local-port", wanted["LocalPort"], "--public-port", wanted["Port"])
    added = command("endpoint", "add", vm, name, *ports, "--load-balanced-set", wanted["LBSetName"], "--default-probe")
    script = f"Get-AzureVM -ServiceName {one.service.name} -Name {vm} | Get-AzureEndpoint -Name {name}\n"

    stage = operated(added, Run(words=("replay", "{lab}", "{file}"), text=script, suffix=".ps1"))
    return Trial(f"an endpoint of {vm}", ", ".join(_FIELDS), (stage,), judge_by(partial(_fields_shown, wanted=wanted)))


def _fields_shown(made: Checked, done: Checked, *, wanted: dict[str, str]) -> Finding:
    lines = [line.split(":", 1) for line in done.said.splitlines() if ":" in line]
    found = {key.strip(): value.strip() for key, value in lines}
    observed = ", ".join(f"{key} {value}" for key, value in found.items() if value)
    wrong = failed_command(made, done)
    if not wrong and tuple(found) != _FIELDS:
        wrong = f"it has the fields {', '.join(found) or 'none'}"
    odd = [key for key, value in wanted.items() if not wrong and found[key] != value]
    return Finding(observed, wrong or (f"{odd[0]} is {found[odd[0]]} instead of {wanted[odd[0]]}" if odd else ""))


def _any_port(one: Reached, client: str) -> Trial:
    """Return a trial of endpoints without a public port: one of the file, and one that is added."""
    vm, service = one.vms[0].name, one.service
    added = command("endpoint", "add", vm, "anyPort", "--protocol", "tcp", "--local-port", str(UNUSED))

    stage = operated(one.ask(client), added, show(service))
    expected = "a port that is free, and leads to the VM"
    return Trial(
        f"endpoints of {vm} without a public port",
        expected,
        (stage,),
        judge_by(partial(_given_a_free_port, service=service, one=one)),
    )


def _given_a_free_port(
    answers: Answers, done: Checked, shown: Checked, *, service: CloudService, one: Reached
) -> Finding:
    endpoints = (printed(shown) or {}).get("endpoints", ())
    given = [e["public_port"] for e in endpoints if e["name"] == "anyPort"]
    taken = {(e.virtual_ip, e.public_port) for e in service.endpoints if e.protocol == "tcp"}
    observed = f"{one}: {first(answers).node or first(answers).outcome}; added: {given}"
    wrong = one.wrong(answers) or failed_command(done)
    if not wrong and (len(given) != 1 or not 1 <= given[0] <= 65535):
        wrong = "it was given no port"
    return Finding(observed, wrong or ("its port was taken" if (service.default_virtual_ip, given[0]) in taken else ""))


# --- idle timeout -----------------------------------------------------------------------------


def _it_1(network: Network) -> Iterator[Trial]:
    trials = list(idle_endpoints(network))
    yield from trials
    if trials:
        text = _file(
            "name: low, virtual_machine: a, local_port: 1, public_port: 1, idle_timeout_in_minutes: 3",
            "name: high, virtual_machine: a, local_port: 2, public_port: 2, idle_timeout_in_minutes: 31",
            _member("a", ", idle_timeout_in_minutes: 15"),
            _member("b", ""),
        )
        words = (
            "3; an idle timeout is 4 to 30 minutes",
            "31; an idle timeout is 4 to 30 minutes",
            'differs from "e" of a in idle_timeout_in_minutes',
        )
        yield fits(text, "3 minutes, 31 minutes, and those of one member", *words)
        allowed = _file(
            "name: low, virtual_machine: a, local_port: 1, public_port: 1, idle_timeout_in_minutes: 4",
            "name: high, virtual_machine: a, local_port: 2, public_port: 2, idle_timeout_in_minutes: 30",
            _member("a", ", idle_timeout_in_minutes: 15"),
            _member("b", ", idle_timeout_in_minutes: 15"),
        )
        yield fits(allowed, "4 minutes, 30 minutes, and those of all members")


@claim(
    "N-IT-2",
    _IDLE,
    "The endpoints of roles are in the service definition, and to change one takes a deployment upgrade.",
    facts=("a change in place is refused",),
)
def endpoints_of_roles_take_an_upgrade(network: Network) -> Iterator[Trial]:
    for service in [s for s in network.cloud_services if s.roles and s.endpoints][:1]:
        endpoint = service.endpoints[0]
        name = endpoint.load_balanced_set or ""
        longer = tuple(msgspec.structs.replace(e, idle_timeout_min=15) for e in service.endpoints)
        services = tuple(
            msgspec.structs.replace(s, endpoints=longer) if s is service else s for s in network.cloud_services
        )
        upgraded = msgspec.structs.replace(network, cloud_services=services)
        change = command("endpoint", "set-lb", service.name, name, "--idle-timeout-in-minutes", "15")

        stages = (operated(change), Stage((show(service),), upgraded))
        expected = "refused in place; with another service definition 15 minutes"
        yield Trial(f"{name} of {service.name}", expected, stages, judge_by(_refused_in_place))


def _refused_in_place(refused: Checked, shown: Checked) -> Finding:
    minutes = sorted({e["idle_timeout_min"] for e in (printed(shown) or {}).get("endpoints", ())})
    observed = f"exit {refused.status}: {refused.said[:200]}; with another definition {minutes}"
    wrong = let(refused, "a change of a role's endpoint", "takes a deployment upgrade")
    wrong = wrong or failed_command(shown)
    return Finding(observed, wrong or ("" if minutes == [15] else f"its timeouts are {minutes}"))


# --- probes -----------------------------------------------------------------------------------


def _hp_4(network: Network) -> Iterator[Trial]:
    if sets(listed(network)):
        text = _file(_member("a", ", probe: {port: 80}"), _member("b", ", probe: {port: 80, interval_in_seconds: 5}"))
        yield fits(text, "members of a set with other probes", '"e" of b differs from "e" of a in probe')


def _unheard_members(network: Network, *, probed: bool) -> list[Reached]:
    """Return the sets, with a probe or without, one of whose members does not listen."""
    return [
        one
        for one in sets(reached(network))
        if (one.endpoint.probe is not None) == probed
        and 0 < len(_listening(one)) < len(one.vms)
        and (one.endpoint.probe is None or one.endpoint.probe.port == one.endpoint.local_port)
    ]


def _listening(one: Reached) -> set[str]:
    port = one.endpoint.local_port
    return {vm.name for vm in one.vms if any((s.port, s.kind) == (port, one.kind) for s in vm.services)}


@claim(
    "N-HP-5",
    _PROBES,
    "A set is probed by default, or in a way of its own, or not at all; these exclude each other.",
    facts=(
        "a set is probed by default",
        "a set without a probe is not probed",
        "the ways to probe exclude each other",
    ),
)
def set_is_probed_by_default(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    probed, unprobed = (_unheard_members(network, probed=probed)[:1] for probed in (True, False))
    for by_default, without in zip(probed, unprobed, strict=False) if client is not None else ():
        assert client is not None
        count = max(8, sample(len(without.vms)))
        flows = Sweep(
            flows=tuple(
                msgspec.structs.replace(without.flow(client), source_port=31000 + number) for number in range(count)
            )
        )
        clash = ("--default-probe", "--no-probe", "--probe-port", "80")
        vm = by_default.endpoint.virtual_machine
        both = command("endpoint", "add", vm, "clash", "--local-port", "1", "--load-balanced-set", "x", *clash)

        expected = (
            f"{by_default}: only {' and '.join(sorted(_listening(by_default)))}; {without}, which is not probed: flows "
            f"to every member (of {count}, false alarm {CHANCE:g}); not both ways"
        )
        stage = Stage((Health(), by_default.ask(client.name, 8), flows, both))
        yield Trial(
            f"{by_default} and {without}",
            expected,
            (stage,),
            judge_by(partial(_probed_and_unprobed, by_default=by_default, without=without)),
        )


def _probed_and_unprobed(
    members: Members, answers: Answers, swept: Swept, refused: Checked, *, by_default: Reached, without: Reached
) -> Finding:
    known: Members = members
    shares = {vm.name: sum(p.end == vm.name for p in swept.passages) for vm in without.vms}
    told = ", ".join(f"{name} {share}" for name, share in shares.items())
    observed = f"{by_default}: {'/'.join(nodes(answers))}; {without}: {told}"
    deaf = [vm.name for vm in by_default.vms if vm.name not in _listening(by_default)]
    up = [name for name in deaf if by_default.key(name) not in known.down]
    wrong = f"the probe of {up[0]} succeeds" if up else ""
    wrong = wrong or by_default.wrong(answers)
    if not wrong and set(nodes(answers)) - _listening(by_default):
        wrong = f"{by_default} leads to {'/'.join(nodes(answers))}"
    asked = [vm.name for vm in without.vms if without.key(vm.name) in {*known.up, *known.down}]
    wrong = wrong or (f"{asked[0]} is probed in spite of it" if asked else "")
    idle = [name for name, share in shares.items() if not share]
    wrong = wrong or (f"none of the flows came to {idle[0]}" if idle else "")
    return Finding(observed, wrong or let(refused, "three ways to probe at once", "exclude each other"))


# --- addresses --------------------------------------------------------------------------------


def _mv_6(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in alone(reached(network)):
        vip = next(v for v in one.service.virtual_ips if v.name == one.endpoint.virtual_ip)
        if client is None or vip not in vips_beside(one.service) or vip.reserved_ip is not None:
            continue
        flow = msgspec.structs.replace(
            one.flow(client),
            passes=(Watch("host wire", client.name),),
            ends=(Watch("edge", one.vms[0].virtual_network),),
        )
        yield _tied(network, one, vip, one.ask(client.name), silent(flow))
        return


def _tied(network: Network, one: Reached, vip: VirtualIp, ask: Ask, lost: Sweep) -> Trial:
    using = [e for e in one.service.endpoints if e.virtual_ip == vip.name]
    taken = tuple(command("endpoint", "remove", e.virtual_machine, e.name) for e in using)
    expected = f"{vip.address} with endpoints, no address and no way there without"
    # A network of its own, though equal, has the endpoints given back before the second stage.
    again = Stage((ask,), msgspec.structs.replace(network))
    stages = (operated(ask, *taken, show(one.service), lost), again)
    judge = partial(_address_while_used, one=one, vip=vip)
    return Trial(f"{vip.name} of {one.service.name}", expected, stages, judge_by(judge))


def _address_while_used(before: Answers, *rest: Any, one: Reached, vip: VirtualIp) -> Finding:
    *removed, shown, swept, after = rest
    came = "something came" if swept.passages[0].end else "nothing came"
    known = vips(shown).get(vip.name, {}).get("Address", "not shown")
    observed = f"{nodes(before)[0]}; without endpoints {known or 'no address'}, {came}; with them {nodes(after)[0]}"
    wrong = one.wrong(before) or failed_command(*removed)
    wrong = wrong or (f"without endpoints its address is {known}" if known else "")
    wrong = wrong or ("its address still leads somewhere" if swept.passages[0].end else "") or one.wrong(after)
    if not wrong and not swept.passages[0].passed:
        return Finding(observed, doubt="the client sent nothing")
    return Finding(observed, wrong)


CLAIMS = (
    endpoint_shows_its_fields,
    endpoints_of_roles_take_an_upgrade,
    set_is_probed_by_default,
)
#: Trials that claims of other files have where there are cloud services.
MORE: dict[str, Callable[[Network], Iterable[Trial]]] = {
    "N-DM-2": _dm_2,
    "N-IT-1": _it_1,
    "N-HP-4": _hp_4,
    "N-MV-6": _mv_6,
}
