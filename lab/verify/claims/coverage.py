"""How much of the documents is proved: each of their statements, and what is missing of it.

A statement has the id of its claim. A statement with a claim counts as proved unless a table below says less. The
tables are corrected when a claim is: the tests hold them against the trials of the bundled topologies.
"""

from typing import Literal

import msgspec

from lab.verify.claims import CATALOGUE, find

State = Literal["proved", "refusal", "partial", "absent"]
#: How many statements each document, or group of documents, has; they are numbered from 1. S: of one document. N: of
#: other documents, as they were then. T: of documents as they are today.
FAMILIES: dict[str, int] = {
    "S0": 15,
    "S1": 8,
    "S2": 19,
    "S3": 24,
    "S4": 13,
    "N-SN": 22,
    "N-OR": 10,
    "N-NG": 5,
    "N-IT": 4,
    "N-DM": 6,
    "N-HP": 15,
    "N-ML": 5,
    "N-NS": 11,
    "N-AC": 5,
    "N-RI": 4,
    "N-IL": 1,
    "N-MV": 6,
    "N-GW": 14,
    "N-NC": 3,
    "N-CS": 1,
    "N-DN": 3,
    "T-OR": 22,
    "T-NG": 24,
    "T-DO": 12,
    "T-IL": 12,
    "T-UR": 22,
    "T-PE": 15,
}
#: Statements whose whole content is that something is refused. A refusal is recognised by its reason.
REFUSED: frozenset[str] = frozenset(
    {
        "N-OR-2",
        "S0-5",
        "S1-5",
        "S3-14",
        "S3-20",
        "N-IT-3",
        "N-MV-3",
        "N-NS-7",
        "N-GW-6",
        "N-GW-11",
        "T-OR-2",
        "T-OR-4",
        "T-OR-5",
        "T-OR-8",
        "T-OR-11",
        "T-OR-12",
        "T-NG-15",
        "T-PE-4",
        "T-UR-10",
    }
)
#: Statements with a claim that leaves something out, and what.
MISSING: dict[str, str] = {
    "N-SN-2": "what a Standard load balancer of 2017-09 preallocates; the sizes of pools",
    "N-SN-13": "a NAT gateway comes first (2026-07-07)",
    "N-SN-20": "secondary IP configurations have no way out by a load balancer",
    "N-SN-22": "the address may change; a public IP of another interface ends it",
    "N-IT-2": "the timeout of an instance's own address is changed without an upgrade",
    "N-ML-1": "classic services write no record; the names of the containers",
    "N-ML-4": "pending connections; SYN count, health, data path availability, bytes and packets; frontend ports",
    "N-ML-5": "data path availability; events that are told again every 5 and 60 minutes",
    "N-NS-9": "the tags of 2025 for the platform's services",
    "N-AC-5": "the endpoints that the portal makes by itself",
    "N-RI-1": "a network of an affinity group takes no reserved address",
    "N-RI-4": "internal VIPs of a deployment, local sites and virtual networks of a subscription",
    "N-GW-1": "200 Mbit/s of HighPerformance; point-to-site clients",
    "N-GW-3": "proposals of policy-based gateways; PFS and dead peer detection",
    "N-GW-4": "the order of what is offered; PFS of the responder",
    "N-GW-5": "all but the first proposal; the responder's PFS",
    "N-GW-14": "the statuses 409 and 404; diagnostics",
    "N-CS-1": "access lists and DNS servers of a service configuration file, which are refused",
    "N-DN-2": "a restart that takes up changed servers; servers of a service configuration file; 180 services",
    "T-OR-22": "1,500 load-balancing and NAT rules; 300 rules of a NIC; 5,000 VMs of a pool; 10,000 configurations",
    "T-NG-1": "a route of the user's goes before the gateway",
    "T-NG-5": "TCP and UDP have as many ports each",
    "T-NG-8": "how long a flow may be half open",
    "T-NG-9": "a keepalive of either side counts; the timeout of UDP flows",
    "T-NG-11": "a segment from outside is reset as well, and nothing is sent when the time is over",
    "T-NG-12": "another port of the host that was spoken with",
    "T-NG-14": "800 subnets; SQL managed instances; NICs in failed state; deleting a gateway that is attached",
    "T-NG-18": "ICMP echo of a StandardV2 gateway",
    "T-NG-19": "fragments that come from outside",
    "T-IL-1": "it is reached through tunnels and peerings; the address of a VM",
    "T-IL-3": "a second interface, a proxy or floating IP as ways out",
    "T-IL-4": "an own address, a NAT gateway or an outbound rule ends it",
    "T-IL-8": "a public load balancer has none",
    "T-IL-9": "another internal load balancer of its members; a public one may be added",
    "T-IL-12": "a second public load balancer; availability sets in different pools; backend ports used twice",
    "T-UR-8": "the example's two tables, and its eight destinations",
    "T-UR-12": "a guest that does not forward although its interface may",
    "T-UR-14": "an appliance that does not translate",
    "T-UR-20": "a gateway that a peer lends, ExpressRoute, Route Server",
    "T-UR-21": "1,000 routes with Virtual Network Manager; 200 tables",
    "T-PE-1": "a peering with a classic network",
    "T-PE-5": "a rule of a group that names the addresses lets flows pass although access is off",
    "T-PE-7": "flows through a remote gateway, which the lab plays",
    "T-PE-8": "effective routes",
    "T-PE-11": "public frontends",
    "T-PE-14": "1,000 with Virtual Network Manager; moving a peered network, peering across clouds",
}
#: Statements that the claims of others prove, which say the same: those claims, the statement in our words, and what of
#: it they leave out, "" if nothing.
PROVED_BY: dict[str, tuple[tuple[str, ...], str, str]] = {
    "N-OR-1": (
        ("T-OR-1", "T-OR-2", "T-OR-9", "T-OR-14", "T-OR-15"),
        "Outbound rules have frontends, ports, timeout, reset, protocol and pool; Standard public ones only.",
        "",
    ),
    "N-OR-3": (
        ("T-OR-2", "T-OR-3", "T-OR-4", "T-OR-5", "T-OR-6"),
        "64,000 ports for each frontend address, granted in multiples of eight; more is refused; 0 is the table's.",
        "",
    ),
    "N-OR-4": (
        ("T-OR-12", "T-OR-13"),
        "A rule with disableOutboundSnat gives no outbound; it must be set beside an outbound rule.",
        "",
    ),
    "N-OR-5": (
        ("T-OR-16",),
        "Outbound rules are beside load-balancing rules, and do not concern VMs with an address of their own.",
        "a VM of an outbound rule on one frontend and a load-balancing rule on another leaves by both",
    ),
    "N-OR-6": (("T-OR-15",), "At the idle timeout an outbound flow ends in silence, or with a reset to both ends.", ""),
    "N-OR-7": (("T-OR-14",), "Outbound translation carries no ICMP.", ""),
    "N-OR-8": (("T-OR-11",), "Two outbound rules of one frontend and protocol are refused.", ""),
    "N-OR-10": (
        ("T-OR-4", "T-OR-15"),
        "Ports by hand: frontends times 64,000 over instances; the idle timeout is 4 to 120 minutes.",
        "",
    ),
    "N-NG-1": (
        ("T-NG-4", "T-NG-5", "T-NG-6"),
        "A NAT gateway has up to 16 addresses with 64,512 ports each, on demand, picked at random.",
        "TCP and UDP have as many ports each",
    ),
    "N-NG-2": (
        ("T-NG-8",),
        "Its ports rest 65 s after FIN, 16 s after RST, 30 s half open, 65 s for UDP.",
        "how long a flow may be half open",
    ),
    "N-NG-3": (
        ("T-NG-9", "T-NG-11"),
        "Its TCP idle timeout is 4 to 120 minutes; later traffic of a dead flow draws a reset to its sender.",
        "the timeout of UDP flows; nothing is sent when the time is over",
    ),
    "N-NG-4": (
        ("T-NG-14", "T-NG-15", "T-NG-18", "T-NG-19"),
        "Two gateways of a subnet, a gateway subnet, Basic resources beside it, ICMP and fragments: refused.",
        "50,000 flows of an address to one destination, 2,000,000 in all",
    ),
    "N-NG-5": (
        ("T-NG-6",),
        "The example: four flows, of which two to different destinations share a port.",
        "the addresses and ports of the example",
    ),
}
#: Statements without a claim, in our words.
ABSENT: dict[str, str] = {
    "T-OR-7": "By the table a VM has at most 1,024 ports of all frontends together (2026-07-07).",
    "T-OR-10": "A frontend may be a public IP prefix, each address of which adds 64,000 ports.",
    "T-OR-17": "Only the primary configuration of each network interface is served.",
    "T-OR-18": "All VMs of an availability set belong to the pool of an outbound rule.",
    "T-OR-21": "VMs that a pool names by address keep the default outbound address.",
    "T-NG-3": "Attaching a gateway takes effect for new flows; flows of the former way out go on.",
    "T-NG-10": "A UDP keepalive counts for its own direction only.",
    "T-NG-13": "Removing an address of a gateway ends the flows on it, and no others.",
    "T-NG-16": "Secondary IP configurations and interfaces are served.",
    "T-NG-17": "A Standard gateway has Standard addresses; no routing preference, no DDoS protection.",
    "T-NG-20": "A route for 0.0.0.0/0 to an appliance or gateway goes before the NAT gateway.",
    "T-NG-21": "An address carries 50,000 flows to one destination endpoint, a gateway 2,000,000 in all.",
    "T-NG-22": "Active FTP does not work, passive FTP with one address only.",
    "T-NG-23": "A peered network uses a gateway only by way of an appliance.",
    "T-NG-24": "A StandardV2 gateway logs its flows by the minute.",
    "T-DO-1": "New deployments lose default outbound after 2026-03-31; earlier texts say 2025-09-30.",
    "T-DO-4": "A NAT gateway, a load balancer or a public IP on any interface of a VM ends default outbound.",
    "T-DO-5": "In a private subnet routes to the internet lead nowhere without an explicit way out.",
    "T-DO-6": "Storage of the same region stays reachable from a private subnet.",
    "T-DO-7": "Default outbound carries no fragments and no ICMP, and its address may change.",
    "T-DO-8": "Making a subnet private takes effect for a VM after it was deallocated.",
    "T-DO-9": "Removing an explicit way out brings default outbound back, where the subnet is not private.",
    "T-DO-10": "Basic load balancers are retired on 2025-09-30, and those that are there remain.",
    "T-DO-11": "Basic and Standard are not mixed: load balancer and address, pool, VM, availability set.",
    "T-DO-12": "A Standard public IP is static, and closed to what no security group lets in.",
    "T-IL-5": "One member of a Standard load balancer puts its whole availability set under Standard rules.",
    "T-IL-6": "Internal Standard frontends are closed to what no security group allows; their network is allowed.",
    "T-IL-7": "Probes of internal load balancers come from 168.63.129.16; members are of their network.",
    "T-IL-10": "A route to the frontend of an HA-ports rule makes its appliances the next hop, both ways the same one.",
    "T-IL-11": "HA ports carry no fragments, and no idle flow of theirs is reset.",
    "T-UR-1": "System routes: each range of the network, the internet, and reserved ranges that lead nowhere.",
    "T-UR-2": "A route to nowhere drops in silence.",
    "T-UR-3": "A network within a reserved range leaves its route, one that is or has it takes it.",
    "T-UR-5": "Of equal prefixes a user's route goes before one of BGP, and that before a system route.",
    "T-UR-6": "System routes of the network, peerings and service endpoints go before longer ones of BGP.",
    "T-UR-7": "Routes to service endpoints, and whether a route table overrides them.",
    "T-UR-9": "A default route to an appliance or gateway takes the routes to nowhere away.",
    "T-UR-11": "The address of an appliance is of the own network or a peer's; of an internal frontend, too.",
    "T-UR-13": "An appliance in the subnet that it serves is led to itself.",
    "T-UR-16": "A stateful firewall drops answers to what a public load balancer let in, unless a route leads them.",
    "T-UR-17": "Traffic between subnets is bent to an appliance, with the own subnet left alone.",
    "T-UR-18": "Service tags as prefixes: 25 in a table, and which of equal ones decides.",
    "T-UR-19": "disableBgpRoutePropagation keeps routes of gateways out of the table's subnets.",
    "T-UR-22": "A user's route identical to a system route makes both ineffective, by one report.",
    "T-PE-9": "A route may lead to an appliance or an internal frontend of a peer.",
    "T-PE-10": "Between two networks with both a peering and gateways the peering carries what passes.",
    "T-PE-13": "An address space is changed while it is peered; the peer knows it after a synchronisation.",
    "T-PE-15": "A peering of some subnets alone: others have the route, and their packets are lost.",
}


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of the documents, and how far it is proved."""

    id: str
    state: State
    statement: str
    missing: str = ""
    proved_by: tuple[str, ...] = ()  # the claims of others that say the same


def statements() -> list[Statement]:
    """Return every statement of the documents, in their order."""
    numbered = [f"{family}-{number}" for family, count in FAMILIES.items() for number in range(1, count + 1)]
    return [_statement(one) for one in numbered]


def _statement(one: str) -> Statement:
    claim = find(one)
    if one in PROVED_BY:
        others, words, missing = PROVED_BY[one]
        refusal = all(other in REFUSED for other in others)
        state: State = "partial" if missing else "refusal" if refusal else "proved"
        return Statement(id=one, state=state, statement=words, missing=missing, proved_by=others)
    if claim is None:
        return Statement(id=one, state="absent", statement=ABSENT[one], missing="all of it")
    if one in MISSING:
        return Statement(id=one, state="partial", statement=claim.statement, missing=MISSING[one])
    return Statement(id=one, state="refusal" if one in REFUSED else "proved", statement=claim.statement)


def promises() -> list[str]:
    """Return the ids of claims that are no statement of a document: the lab's own promises."""
    known = {statement.id for statement in statements()}
    return [claim.id for claim in CATALOGUE if claim.id not in known]
