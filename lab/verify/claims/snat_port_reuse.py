"""SNAT for outbound connections (2026-07-07): one public port for flows to two destinations."""

from collections.abc import Iterator, Sequence

from lab.azure.model import Network
from lab.verify.claims.claim import Finding, Trial, claim
from lab.verify.claims.kit.held_flows import held_trial, kept, occupy, of_protocol, opened, several_goals, wrong_number
from lab.verify.claims.kit.oracle import outbound_rules, speaking_freely, way_out
from lab.verify.experiment import Happened

#: Revisions that have a port be used again for another destination, and rules that give a VM a number of ports.
_REUSED = ("2020-10", "2022-03", "2026-07")


@claim(
    "N-SN-21",
    "load-balancer-outbound-connections.md (2026-07-07), example of port reuse",
    "Flows of a VM to two destinations may have one public port at the same time.",
    profiles=_REUSED,
    facts=("a TCP port serves two destinations at once", "a UDP port serves two destinations at once"),
)
def one_port_serves_two_destinations(network: Network) -> Iterator[Trial]:
    """Hold as many flows of a VM as it has ports to one host, and then as many to another, of each protocol."""
    hosts = several_goals(network)[:2]
    done = set()
    for vm in speaking_freely(network) if len(hosts) > 1 else ():
        rules = [rule for _, rule in outbound_rules(network, vm.name)]
        if way_out(network, vm).kind != "rule" or len(rules) != 1 or len(rules[0].protocols) != 1:
            continue
        (protocol,), ports = rules[0].protocols, rules[0].ports
        if protocol in done or not ports:
            continue
        done.add(protocol)
        steps = [kept(network, of_protocol(goals, protocol), ports) for _, goals in hosts]

        def check(steps: Sequence[Happened], ports: int = ports) -> Finding:
            first, second = steps
            both = len(set(first.seen) & set(second.seen))
            observed = f"{opened(first)}; then {opened(second)}; {both} ports at both"
            wrong = wrong_number(first, ports) or wrong_number(second, ports)
            wrong = wrong or ("" if both == ports else f"{both} of {ports} ports serve both destinations")
            return Finding(observed, wrong)

        names = " and ".join(host.name for host, _ in hosts)
        expected = f"{ports} flows each to {names} at once, from the same {ports} public ports"
        yield held_trial(f"{vm.name}, {protocol.upper()}", expected, occupy(network, vm, *steps), check)


CLAIMS = (one_port_serves_two_destinations,)
