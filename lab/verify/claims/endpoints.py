"""What endpoints of cloud services show, and how their sets are probed."""

from collections.abc import Iterator
from functools import partial

import msgspec

from lab.azure.model import CloudService, Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import (
    UNUSED,
    Reached,
    alone,
    command,
    failed_command,
    first,
    let,
    nodes,
    operated,
    printed,
    reached,
    sets,
    show,
)
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.oracle import far_client
from lab.verify.claims.kit.sampling import CHANCE, sample
from lab.verify.experiment import Answers, Checked, Health, Members, Run, Sweep, Swept

_DISTRIBUTION = "load-balancer-distribution-mode.md (2016-10-24)"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_PROBES = "load-balancer-custom-probe-overview.md (2016-10-24)"
#: What Get-AzureEndpoint prints, in this order.
_FIELDS = (
    *("LBSetName", "LocalPort", "Name", "Port", "Protocol", "Vip", "ProbePath", "ProbePort", "ProbeProtocol"),
    *("ProbeIntervalInSeconds", "ProbeTimeoutInSeconds", "EnableDirectServerReturn", "Acl"),
    *("InternalLoadBalancerName", "IdleTimeoutInMinutes", "LoadBalancerDistribution"),
)


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


CLAIMS = (
    endpoint_shows_its_fields,
    endpoints_of_roles_take_an_upgrade,
    set_is_probed_by_default,
)
