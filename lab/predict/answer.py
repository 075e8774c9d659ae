"""What is said of an explained flow: whether it arrives, what it is seen with, when it ends, and why not otherwise."""

from collections.abc import Iterator, Sequence

from lab.azure.model import Network
from lab.azure.security_groups import STANDARD, Decision
from lab.predict import documents, forecast, reaction
from lab.predict.forecast import Forecast
from lab.predict.outbound import Outbound, WayOut, rule_at

#: What stands for every address outside that the topology does not name.
INTERNET = "internet"
#: What a port serves, by what makes it unique.
REUSE = {
    "destination address": "one flow to each destination address",
    "destination": "one flow to each destination address, port and protocol",
    "nothing": "one flow in all",
}
_BEFORE = {
    "NAT gateway": "a NAT gateway",
    "instance-level public IP": "an instance-level public IP",
    "load balancer": "a load balancer",
    "default outbound": "the platform's address",
    "none": "the power state",
}


def _by(decision: Decision | None) -> str:
    """Return the rule that was the last word, as part of a line."""
    if decision is None:
        return ""
    return f" by rule {decision.rule} of {decision.group}, {decision.direction.lower()} at {decision.vm}"


class Answer:
    """One flow, put into words."""

    def __init__(self, network: Network, predicted: Forecast, way_out: WayOut | None, outbound: Outbound) -> None:
        self.network = network
        self.predicted = predicted
        self.way_out = way_out
        self.outbound = outbound

    def lines(self, sources: Sequence[object]) -> Iterator[str]:
        """Yield the answer: whether it arrives, what it is seen with, how many there may be, when it ends."""
        predicted, profile = self.predicted, self.network.profile
        words = {"Allow": "allowed", "Deny": "denied", "NoWay": "no way", "Depends": "it depends"}
        reason = reaction.said(predicted) if predicted.access != "Depends" else ""  # each way says its own below
        by = _by(predicted.decision)
        yield f"{predicted.sender} to {predicted.to}, {predicted.service}: {words[predicted.access]}{by}{reason}"
        if predicted.access == "Depends":
            for way in predicted.ways:
                to = f" to {way.end}" if way.access == "Allow" else ""
                why = f": {way.obstacle}" if way.obstacle else ""
                yield f"{words[way.access]}{to}{_by(way.decisions[-1] if way.decisions else None)}{why}"
        if self.way_out is not None and predicted.access in ("Allow", "Depends"):
            yield f"the far side sees {' or '.join(map(str, sources))}"
            yield from self.supply(self.way_out)
        if predicted.access in ("Allow", "Depends") and predicted.service.protocol != "icmp":
            yield from self.idle()
        if INTERNET in (predicted.sender, predicted.to):
            here = predicted.source if predicted.sender == INTERNET else predicted.destination
            yield f"{here} stands for any address outside"
        if predicted.access in ("Allow", "Depends"):
            yield f"by the documents of profile {profile.name}"

    def supply(self, way_out: WayOut) -> Iterator[str]:
        """Yield how many flows there may be at once."""
        profile = self.network.profile
        supplies = way_out.of(self.predicted.service.protocol)
        for supply in supplies:
            if supply.ports is None:
                yield f"{supply.address}: {way_out.vm}'s own, no SNAT port is taken"
                continue
            others = [name for name in self.outbound.sharers(supply.address) if name != way_out.vm]
            named = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
            kind = "preallocated to it" if supply.alone else f"shared with {named}"
            beside = f"; the address is shared with {named}" if supply.alone and others else ""
            yield f"{supply.address}: {supply.count:,} SNAT ports, {kind}{beside}"
        if way_out.kind == "NAT gateway":
            yield f"a port serves {REUSE['destination']} ({profile.sources['nat_fin_s']})"
        elif any(supply.ports for supply in supplies):
            yield f"a port serves {REUSE[profile.tcp_reuse]} ({profile.sources['tcp_reuse']})"

    def idle(self) -> Iterator[str]:
        """Yield when an idle flow ends."""
        profile = self.network.profile
        seconds, source = profile.idle_timeout_s, profile.sources["idle_timeout_s"]
        destination, service, told = self.predicted.destination, self.predicted.service, ""
        public = self.way_out is not None
        vm = self.network.vm(self.predicted.sender)
        gateway = self.network.nat_gateway_of(vm.virtual_network, vm.subnet) if vm and public else None
        if gateway is not None:
            tcp = service.protocol == "tcp"
            seconds, source = gateway.idle_timeout_min * 60 if tcp else profile.nat_udp_idle_s, documents.NAT_GATEWAY
            told = ", in silence; a later segment is reset" if tcp else ""
        if destination is not None and gateway is None:
            vm = self.network.vm(self.predicted.sender)
            inside = forecast.home_of_frontend(self.network, vm, destination) if vm is not None else ""
            found = rule_at(self.network, destination, service.protocol, service.port, inside)
            own = [v.instance_public_ip for v in self.network.virtual_machines if v.instance_public_ip]
            theirs = next((ip for ip in own if ip.address == destination), None)
            if found is not None and service.protocol == "tcp":
                seconds, source, public = found[1].idle_timeout_min * 60, documents.IDLE, True
                told = ", and both ends are reset" if found[1].tcp_reset else ""
            elif theirs is not None and service.protocol == "tcp":
                seconds, source, public = theirs.idle_timeout_min * 60, documents.IDLE, True
            elif found is None and self.way_out is not None and service.protocol == "tcp":
                seconds, told, source = self._of_outbound_rule(self.way_out) or (seconds, told, source)
        if public:
            yield f"a flow without packets for {seconds} s is forgotten{told or ', in silence'} ({source})"

    def _of_outbound_rule(self, way_out: WayOut) -> tuple[int, str, str] | None:
        """Return how long a TCP flow of an outbound rule may be idle, what its ends are told, and by which document."""
        addresses = {supply.address for supply in way_out.of("tcp") if supply.ports is not None}
        for lb in self.network.balancers:
            for rule in (rule for rule in lb.outbound_rules if "tcp" in rule.protocols):
                if addresses & {lb.frontend(name).address for name in rule.frontends}:
                    told = ", and both ends are reset" if rule.tcp_reset else ""
                    return rule.idle_timeout_min * 60, told, self.network.profile.sources["outbound_idle_min"]
        return None

    def not_otherwise(self) -> Iterator[str]:
        """Yield each way out that was considered and is not taken, and why."""
        if self.way_out is None:
            return
        for found in self.way_out.considered:
            if not found.applies:
                yield f"{found.way}: {found.because} ({found.document})"
            elif found.kind not in (self.way_out.kind, "none"):
                yield f"{found.way}: it applies, but {_BEFORE[self.way_out.kind]} goes before it ({found.document})"

    def changes(self) -> Iterator[str]:
        """Yield what would change the answer."""
        for decision in (way.decisions[-1] for way in self.predicted.ways if way.access == "Deny"):
            if decision.group == STANDARD:
                yield f"Give {decision.vm} a network security group that allows it inbound."
            else:
                yield (
                    f"Add a rule to {decision.group} that allows it {decision.direction.lower()}, "
                    f"with a priority below {decision.priority}."
                )
        destination, service = self.predicted.destination, self.predicted.service
        ours = destination is not None and forecast.home_of_address(self.network, destination)
        listed = any("access list" in way.obstacle for way in self.predicted.ways)
        if listed:
            yield f"Permit the client in the access list of the endpoint for {service} at {destination}."
        elif self.predicted.access == "NoWay" and ours:
            yield f"Add a load-balancing rule or an inbound NAT rule for {service} at {destination}."
        yield from reaction.changes(self.network, self.predicted)
        if self.way_out is not None:
            kind = self.way_out.kind
            protocol = self.predicted.service.protocol
            if kind != "load balancer" or self.way_out.of(protocol):
                yield from (found.change for found in self.way_out.considered if found.change and found.kind != kind)
            elif protocol != "icmp":
                yield f"Add an outbound rule for {protocol.upper()} to a pool that {self.way_out.vm} is in."
