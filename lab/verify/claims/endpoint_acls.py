"""Endpoints and their access lists: virtual-networks-acl.md (2016-03-15) and what is said of endpoints."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address

import msgspec

from lab.azure.model import AclRule, CloudService, InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import (
    UNUSED,
    Reached,
    alone,
    command,
    failed_command,
    first,
    flow,
    hosts,
    inside,
    listed,
    of_machines,
    operated,
    printed,
    reached,
)
from lab.verify.claims.kit.judges import judge_by, outcomes
from lab.verify.claims.kit.oracle import far_client
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.load_balancers import unheard
from lab.verify.experiment import SILENCE_S, Answers, Ask, Checked, Flow, Health, Members, Sweep, Swept, Watch

_ACL = "virtual-networks-acl.md (2016-03-15)"
_ENDPOINTS = f"{_ACL}; virtual-machines-common-classic-setup-endpoints.md"
_MOST_RULES = 50
_NEW = "vmOfATrial"


class _Guarded(msgspec.Struct, frozen=True):
    """An endpoint or set that has an access list."""

    reached: Reached
    rules: tuple[AclRule, ...]

    def lets(self, client: IPv4Address) -> bool:
        """Tell whether the list lets a client in: the lowest order that names it decides.

        Whom none names is let in, unless a rule permits somebody.
        """
        named = sorted((rule.order, rule.action) for rule in self.rules if client in rule.remote_subnet)
        if named:
            return named[0][1] == "permit"
        return "permit" not in {rule.action for rule in self.rules}

    def overruled(self, client: IPv4Address) -> bool:
        """Tell whether rules of both kinds name a client."""
        return len({rule.action for rule in self.rules if client in rule.remote_subnet}) > 1


def _guarded(network: Network) -> list[_Guarded]:
    return [_Guarded(one, one.rules()) for one in listed(network) if one.rules()]


def _trial(subject: str, found: Sequence[tuple[_Guarded, InternetHost]], expected: str) -> Trial:
    """Return a trial of who comes to endpoints: all VMs are watched, beginning with the first member.

    Several flows of each client, so that every member of a set would be sent some.
    """
    flows = [
        (g, host, g.reached.flow(host, awaited=g.lets(host.address)))
        for g, host in found
        for _ in range(1 if g.reached.endpoint.load_balanced_set is None else 8)
    ]

    sweep = Sweep(flows=tuple(one for _, _, one in flows))
    return Trial(subject, expected, (Stage((Health(), sweep)),), judge_by(partial(_let_or_lost, flows=flows)))


def _let_or_lost(_known: Members, swept: Swept, *, flows: list[tuple[_Guarded, InternetHost, Flow]]) -> Finding:
    came: dict[str, list[str]] = {}
    wrong = ""
    for (g, host, _), passage in zip(flows, swept.passages, strict=True):
        came.setdefault(str(g.reached), [])
        if passage.end and host.name not in came[str(g.reached)]:
            came[str(g.reached)].append(host.name)
        lets = g.lets(host.address)
        if passage.end and not lets:
            wrong = wrong or f"{host.name} ({host.address}) came to {passage.end} through {g.reached}"
        elif lets and not passage.end:
            wrong = wrong or f"{host.name} ({host.address}) did not come through {g.reached}"
    observed = "; ".join(f"{where}: {', '.join(names) or 'nobody'}" for where, names in came.items())
    doubt = "" if wrong else unheard([swept])
    return Finding(observed, wrong, doubt)


def _who(guarded: _Guarded, asking: Iterable[InternetHost]) -> str:
    names = [host.name for host in asking if guarded.lets(host.address)]
    return f"{guarded.reached}: {' and '.join(names) or 'nobody'}"


def _too_many() -> str:
    rules = ", ".join(f"{{order: {n}, action: deny, remote_subnet: 10.9.0.{n}/32}}" for n in range(_MOST_RULES + 1))
    return f"""\
name: many
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
cloud_services:
  shop:
    virtual_machines: [vm]
    endpoints:
      - {{name: a, virtual_machine: vm, local_port: 80, public_port: 80, acl: [{rules}]}}
"""


@claim(
    "N-AC-1",
    _ACL,
    f"An endpoint's access list has up to {_MOST_RULES} rules, of which the one with the lowest order decides.",
    facts=("the lowest order decides", "an endpoint has up to 50 rules"),
)
def lowest_order_decides(network: Network) -> Iterator[Trial]:
    both = [(g, host) for g in _guarded(network) for host in hosts(network) if g.overruled(host.address)]
    if both:
        expected = "; ".join(
            f"{host.name} {'let in' if g.lets(host.address) else 'denied'} at {g.reached}" for g, host in both
        )
        # Somebody whom the list lets in shows that the endpoint works.
        well = [(g, host) for g, _ in both for host in hosts(network) if g.lets(host.address)]
        yield _trial("clients that two rules name", [*both, *well], f"the lowest order decides: {expected}")
        yield fits(_too_many(), f"{_MOST_RULES + 1} access rules", f"at most {_MOST_RULES} access rules")


@claim(
    "N-AC-2",
    _ACL,
    "Without a list everybody may use an endpoint; a rule that permits denies all others, and rules that only deny "
    "permit all others.",
    facts=(
        "a rule that permits denies all others",
        "rules that only deny permit all others",
        "without a list everybody may",
    ),
)
def permit_denies_all_others(network: Network) -> Iterator[Trial]:
    asking = hosts(network)
    for guarded in _guarded(network):
        kinds = " and ".join(sorted({rule.action for rule in guarded.rules}))
        subject = f"{guarded.reached} of {guarded.reached.service.name} ({kinds})"
        yield _trial(subject, [(guarded, host) for host in asking], _who(guarded, asking))
    free = [one for one in alone(reached(network)) if any(g.reached.service is one.service for g in _guarded(network))]
    for one in free[:1]:
        open_to_all = _Guarded(one, ())
        subject = f"{one} of {one.service.name} (no list)"
        yield _trial(subject, [(open_to_all, host) for host in asking], _who(open_to_all, asking))


@claim(
    "N-AC-3",
    _ACL,
    "Nothing comes to a new VM but through its endpoints; what it sends is let out.",
    facts=("nothing comes to a new VM by itself", "what it sends is let out", "an endpoint leads to it"),
)
def new_vm_is_reached_by_endpoints_only(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    far = next((h for h in hosts(network) if any((s.kind, s.port) == ("http", 80) for s in h.services)), None)
    for service in of_machines(network):
        vms = [vm for vm in network.virtual_machines if vm.name in service.virtual_machines]
        used = [one for one in alone(reached(network)) if one.service is service]
        if client is None or far is None or not used or len(service.virtual_ips) > 1:
            continue
        yield _new_machine(service, used[0], vms[0], client, far)
        return


def _new_machine(
    service: CloudService,
    used: Reached,
    beside: VirtualMachine,
    client: InternetHost,
    far: InternetHost,
) -> Trial:
    made = msgspec.structs.replace(beside, name=_NEW)
    ports = (80, 3389, 5986, 8080, UNUSED)
    taken = {(e.protocol, e.public_port) for e in service.endpoints}
    closed = [port for port in ports if ("tcp", port) not in taken]
    flows = tuple(flow(client, used.address, "tcp", port, (made,), awaited=False) for port in closed)
    subnet = f"{beside.virtual_network}/{beside.subnet}"
    add = ("endpoint", "add", _NEW, "web", "--protocol", "tcp", "--local-port", "80", "--public-port", str(UNUSED))
    experiments = (
        command("vm", "create", service.name, _NEW, "--subnet", subnet, "--service", "http:80"),
        Sweep(flows=flows),
        inside(_NEW, "curl", "-sS", "-m", "3", f"http://{far.address}/"),
        command(*add),
        Ask(client=client.name, address=used.address, port=UNUSED, kind="http"),
    )

    expected = "nothing comes to it, what it sends is answered; an endpoint leads to it"
    return Trial(
        f"a new VM of {service.name}",
        expected,
        (operated(*experiments),),
        judge_by(partial(_reached_by_its_endpoint_only, closed=closed, far=far)),
    )


def _reached_by_its_endpoint_only(
    created: Checked,
    swept: Swept,
    fetched: Checked,
    added: Checked,
    answers: Answers,
    *,
    closed: list[int],
    far: InternetHost,
) -> Finding:
    node = (printed(fetched) or {}).get("node", "nobody")
    came = sum(bool(passage.end) for passage in swept.passages)
    after = first(answers).node or first(answers).outcome
    observed = f"{came} of {len(closed)} flows came in; {node} answered it; with an endpoint: {after}"
    wrong = failed_command(created, added)
    wrong = wrong or (f"{came} flows came in without an endpoint" if came else "")
    wrong = wrong or (f"what it sends is answered by {node}" if node != far.name else "")
    wrong = wrong or (f"its endpoint leads to {after}" if after != _NEW else "")
    doubt = "" if wrong else unheard([swept])
    return Finding(observed, wrong, doubt)


@claim(
    "N-AC-4",
    _ACL,
    "The list of one member of a load-balanced set is that of all; what is denied never comes to a VM.",
    facts=("the list of one member is that of all", "what is denied does not come to a VM"),
)
def list_of_one_member_is_that_of_all(network: Network) -> Iterator[Trial]:
    for guarded in _guarded(network):
        endpoint = guarded.reached.endpoint
        mates = guarded.reached.service.load_balanced_sets().get(endpoint.load_balanced_set or "", ())
        if sum(bool(mate.acl) for mate in mates) == 1 and len(mates) > 1:
            asking = hosts(network)
            subject = f"{endpoint.load_balanced_set} of {guarded.reached.service.name}"
            names = " and ".join(vm.name for vm in guarded.reached.vms)
            expected = f"{_who(guarded, asking)}; of others nothing at {names}"
            yield _trial(subject, [(guarded, host) for host in asking], expected)


@claim(
    "N-AC-5",
    _ENDPOINTS,
    "An endpoint leads a public port to a private port, by TCP or UDP; other virtual networks are outside, and "
    "need endpoints too.",
    facts=(
        "a public port leads to a private port",
        "an endpoint is for TCP or for UDP",
        "another network needs an endpoint too",
    ),
)
def endpoint_leads_a_port_to_a_port(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    every = alone(reached(network))
    udp = [one for one in every if one.kind == "udp"]
    for one in udp[:1]:
        if client is None:
            continue
        other = flow(client, one.address, "tcp", one.endpoint.public_port, one.vms, awaited=False)
        private = flow(client, one.address, "udp", one.endpoint.local_port, one.vms, awaited=False)

        expected = (
            f"UDP at {one.endpoint.public_port} leads to port {one.endpoint.local_port}, TCP and that port nowhere"
        )
        stage = Stage((one.ask(client.name), Sweep(flows=(other, private))))
        yield Trial(
            f"{one} of {one.service.name}", expected, (stage,), judge_by(partial(_led_to_the_private_port, one=one))
        )
    for vm in network.virtual_machines:
        apart = [one for one in every if one.kind == "http" and _is_apart(network, vm, one)]
        if not apart or network.service_of(vm.name) is None:
            continue
        yield _from_outside(vm, apart[0])
        return


def _led_to_the_private_port(answers: Answers, swept: Swept, *, one: Reached) -> Finding:
    answer = first(answers)
    observed = f"{one}/udp: {answer.node or answer.outcome} at port {answer.server_port}"
    came = [what for what, p in zip(("TCP", "its private port"), swept.passages, strict=True) if p.end]
    wrong = one.wrong(answers) or (f"flows to {' and '.join(came)} came in" if came else "")
    doubt = "" if wrong else unheard([swept])
    return Finding(observed, wrong, doubt)


def _is_apart(network: Network, vm: VirtualMachine, one: Reached) -> bool:
    """Tell whether a VM is in another network than an endpoint's VM, and no tunnel joins the two."""
    tunnelled = {connection.virtual_network for connection in network.connections}
    return one.vms[0].virtual_network != vm.virtual_network and vm.virtual_network not in tunnelled


def _from_outside(vm: VirtualMachine, one: Reached) -> Trial:
    target = one.vms[0]
    private = Flow(
        sender=vm.name,
        private=str(vm.private_ip_address),
        destination=str(target.private_ip_address),
        protocol="tcp",
        port=one.endpoint.local_port,
        passes=(Watch("VM wire", vm.name, vm.virtual_network),),
        ends=(Watch("node", target.name, target.virtual_network),),
        awaited=False,
    )

    asked = Ask(
        client=vm.name,
        address=str(target.private_ip_address),
        port=one.endpoint.local_port,
        kind="connect",
        timeout_s=SILENCE_S,
    )
    expected = f"silence at {target.private_ip_address}, an answer through {one}"
    stage = Stage((Sweep(flows=(private,)), asked, one.ask(vm.name)))
    return Trial(
        f"{vm.name} of {vm.virtual_network} to {target.name}",
        expected,
        (stage,),
        judge_by(partial(_reached_by_the_vip_only, target=target, one=one, vm=vm)),
    )


def _reached_by_the_vip_only(
    swept: Swept, asked: Answers, answers: Answers, *, target: VirtualMachine, one: Reached, vm: VirtualMachine
) -> Finding:
    answer = first(answers)
    observed = (
        f"at {target.private_ip_address}: {outcomes(asked)}; at {one.address}: {answer.node or answer.outcome}, "
        f"seen from {answer.client_address or 'nowhere'}"
    )
    wrong = one.wrong(answers)
    if swept.passages[0].end or first(asked).outcome != "timeout":
        wrong = f"{vm.name} reaches {target.name} without an endpoint"
    if not wrong and answer.client_address == str(vm.private_ip_address):
        wrong = f"{target.name} sees the private address of {vm.name}"
    doubt = "" if wrong else unheard([swept])
    return Finding(observed, wrong, doubt)


CLAIMS = (
    lowest_order_decides,
    permit_denies_all_others,
    new_vm_is_reached_by_endpoints_only,
    list_of_one_member_is_that_of_all,
    endpoint_leads_a_port_to_a_port,
)
