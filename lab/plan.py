"""The kernel's words: every object a lab is made of, as frozen values in a canonical order.

A ``Plan`` is what ``up`` makes, ``down`` removes and ``lab plan`` prints. It says *what* and
*why*, never how; no word of Azure's is needed to apply it. Two plans are compared by content,
and the difference is what a running lab is changed by.
"""

import shlex
from base64 import b32encode
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Literal, TypeAlias, TypeVar, get_args

import msgspec

from lab.flow import FinClose, PortOrder, PortRange, PortReuse

IFNAMSIZ = 15  # longest interface name: IFNAMSIZ of linux/if.h less the terminating zero
CHAIN_MAX = 28  # longest chain name: XT_EXTENSION_MAXNAMELEN less the terminating zero
COMMENT_MAX = 255  # longest comment: XT_MAX_COMMENT_LEN less the terminating zero

#: The interface of every node.
NODE_INTERFACE = "eth0"
#: Every prefix at once.
ANYWHERE = "0.0.0.0/0"
#: Prefix of every network namespace the lab makes; ``lab.<lab>.<place>``.
NAMESPACE_PREFIX = "lab"


def namespace(lab: str, place: str) -> str:
    """Return the name under /run/netns of a place. A lab's name has no dot, so it is unambiguous."""
    return f"{NAMESPACE_PREFIX}.{lab}.{place}"


def short(name: str, limit: int) -> str:
    """Return a name for the kernel, of at most ``limit`` characters: itself, or its beginning and a hash of the whole.

    Names of interfaces have no spaces. No name of a user's has a ``~``: what is shortened is like none of them.
    """
    name = name.replace(" ", "~")
    if len(name) <= limit:
        return name
    digest = b32encode(sha256(name.encode()).digest()).decode().lower()
    return f"{name[: limit - 7]}~{digest[:6]}"


def interface_to(place: str) -> str:
    """Return the name of the interface whose other end is at ``place``."""
    return short(place, IFNAMSIZ)


class Provenance(msgspec.Struct, frozen=True, order=True):
    """Which rule file asked for an item, for what, and where the documents say so."""

    rule: str
    entity: str
    source: str = ""

    def __str__(self) -> str:
        text = f"{self.rule}: {self.entity}"
        return (f"{text} ({self.source})" if self.source else text)[:COMMENT_MAX]


#: In the place of every item's own, where only what an item does is compared.
NO_WHY = Provenance("", "")


class _Item(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    place: str
    why: Provenance


class Namespace(_Item, frozen=True, kw_only=True, tag="place"):
    """A network namespace."""

    role: Literal["vm", "host", "site", "router", "load balancer", "gateway", "nat gateway", "internet"]

    def __str__(self) -> str:
        return f"namespace ({self.role})"


class Sysctl(_Item, frozen=True, kw_only=True, tag="sysctl"):
    """A file under /proc/sys, by its dotted path, as seen from the place."""

    key: str
    value: int

    def __str__(self) -> str:
        return f"sysctl {self.key} = {self.value}"


class VethPair(_Item, frozen=True, kw_only=True, tag="wire"):
    """A veth pair, both ends up."""

    interface: str
    peer_place: str
    peer_interface: str

    def __str__(self) -> str:
        return f"wire {self.interface} --- {self.peer_interface} in {self.peer_place}"


class Address(_Item, frozen=True, kw_only=True, tag="address"):
    """An address of an interface; always /32, so that no route comes with it."""

    interface: str
    address: str

    def __str__(self) -> str:
        return f"address {self.address}/32 on {self.interface}"


class Route(_Item, frozen=True, kw_only=True, tag="route"):
    """Where packets to ``destination`` go: out of an interface, or nowhere (``interface`` None)."""

    destination: str
    interface: str | None = None
    via: str | None = None
    table: int | None = None  # None: the main one; another is asked where a ``RoutingRule`` says so

    def __str__(self) -> str:
        text = f"route {self.destination} blackhole"
        if self.interface is not None:
            text = f"route {self.destination}" + (f" via {self.via}" if self.via else "") + f" dev {self.interface}"
        return text + ("" if self.table is None else f" table {self.table}")


class RoutingRule(_Item, frozen=True, kw_only=True, tag="routing-rule"):
    """Packets with a mark, from a prefix or from a wire ask a table of routes; rules of lower priority numbers first.

    ``specific``: a default route of the table does not count, and the next rule is asked.
    """

    table: int
    mark: int = 0
    mask: int = 0  # 0: whatever the mark
    source: str | None = None
    in_interface: str | None = None
    priority: int = 1000  # before the main table is asked for all, 32766, and the daemons' tables
    specific: bool = False

    def __str__(self) -> str:
        words = [f"fwmark {self.mark:#x}/{self.mask:#x}"] if self.mask else []
        words += [f"from {self.source}"] if self.source else []
        words += [f"iif {self.in_interface}"] if self.in_interface else []
        first = f" priority {self.priority}" if self.priority != 1000 else ""
        last = ", but for its default route" if self.specific else ""
        return f"routing rule{first} {' '.join(words)} table {self.table}{last}".replace("  ", " ")


class Timeout(_Item, frozen=True, kw_only=True, tag="timeout"):
    """How long TCP flows may be idle that a rule with the target ``CtTarget`` has given this name."""

    #: At most four characters: the kernel hands no more of it back, and tools write what they were handed.
    name: str
    seconds: int
    nominal_s: int  # in the documents' time

    def __str__(self) -> str:
        return f"timeout {self.name}: TCP flows may be idle for {self.seconds} s"


# --- packet filter rules ----------------------------------------------------------------------


class Terminal(msgspec.Struct, frozen=True, tag="verdict"):
    """Let the packet pass this chain, or not at all, or leave that to the chain that led here."""

    name: Literal["ACCEPT", "DROP", "RETURN"]

    def __str__(self) -> str:
        return f"-j {self.name}"


class Jump(msgspec.Struct, frozen=True, tag="jump"):
    """Jump to another chain."""

    chain: str

    def __str__(self) -> str:
        return f"-j {self.chain}"


class SourceNat(msgspec.Struct, frozen=True, tag="snat"):
    """Translate the source; ``ports`` is ``first-last``, or None to leave the port as it is."""

    address: str
    ports: str | None = None

    @property
    def to(self) -> str:
        """The translation in iptables' notation."""
        return f"{self.address}:{self.ports}" if self.ports else self.address

    def __str__(self) -> str:
        return f"-j SNAT --to-source {self.to}"


class DestinationNat(msgspec.Struct, frozen=True, tag="dnat"):
    """Translate the destination; ``port`` None leaves the port as it is."""

    address: str
    port: int | None = None

    @property
    def to(self) -> str:
        """The translation in iptables' notation."""
        return f"{self.address}:{self.port}" if self.port else self.address

    def __str__(self) -> str:
        return f"-j DNAT --to-destination {self.to}"


class HashMark(msgspec.Struct, frozen=True, tag="hmark"):
    """Mark the packet ``1 + hash(fields) mod modulus``; the seed is fixed, so a flow always gets the same mark."""

    fields: str
    modulus: int
    seed: int

    def __str__(self) -> str:
        return f"-j HMARK --hmark-tuple {self.fields} --hmark-mod {self.modulus} --hmark-rnd {self.seed}"


class Queue(msgspec.Struct, frozen=True, tag="queue"):
    """Ask a process that listens on the namespace's queue of this number; the packet is lost if none does."""

    number: int

    def __str__(self) -> str:
        return f"-j NFQUEUE --queue-num {self.number}"


class SetMark(msgspec.Struct, frozen=True, tag="set-mark"):
    """Set bits of the packet's mark, and leave its others; ``whole``: the mark is these bits and no others."""

    bits: int
    whole: bool = False

    def __str__(self) -> str:
        return f"-j MARK --{'set' if self.whole else 'or'}-mark {self.bits:#x}"


class FlowMark(msgspec.Struct, frozen=True, tag="flow-mark"):
    """Save these bits of a packet's mark in its flow, or mark the packet with those that its flow has."""

    action: Literal["save", "restore"]
    mask: int

    def __str__(self) -> str:
        return f"-j CONNMARK --{self.action}-mark --mask {self.mask:#x}"


class CtTarget(msgspec.Struct, frozen=True, tag="tracking"):
    """How flows that begin are tracked, unless a rule before this one has said so.

    ``timeout`` names their ``Timeout``, "" is that of all others; ``reported``: who listens is told when they end, and
    of nothing else about them. An event costs a fifth of a first packet.
    """

    timeout: str = ""
    reported: bool = False

    @property
    def events(self) -> str:
        """The events that are told; nothing here has a conntrack helper, and no event is one that cannot be said."""
        return "destroy" if self.reported else "helper"

    def __str__(self) -> str:
        return "-j CT" + (f" --timeout {self.timeout}" if self.timeout else "") + f" --ctevents {self.events}"


class Reset(msgspec.Struct, frozen=True, tag="reset"):
    """Answer a TCP segment with a reset, from where it was going."""

    def __str__(self) -> str:
        return "-j REJECT --reject-with tcp-reset"


class ClampSegments(msgspec.Struct, frozen=True, tag="clamp"):
    """Let no TCP connection that begins here agree on larger segments; bytes."""

    size: int

    def __str__(self) -> str:
        return f"--tcp-flags SYN,RST SYN -j TCPMSS --set-mss {self.size}"


Target: TypeAlias = (
    Terminal
    | Jump
    | SourceNat
    | DestinationNat
    | HashMark
    | Queue
    | SetMark
    | FlowMark
    | CtTarget
    | Reset
    | ClampSegments
)
Table = Literal["filter", "nat", "mangle", "raw"]
TABLES: tuple[Table, ...] = ("filter", "nat", "mangle", "raw")
BUILTIN_CHAINS = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


class Policy(_Item, frozen=True, kw_only=True, tag="policy"):
    """What a built-in chain does with packets that no rule took."""

    table: Table
    chain: str
    verdict: Literal["ACCEPT", "DROP"]

    def __str__(self) -> str:
        return f"-t {self.table} -P {self.chain} {self.verdict}"


class Rule(_Item, frozen=True, kw_only=True, tag="rule"):
    """A rule of a chain. Unlike all other items, rules have an order: that of the plan."""

    table: Table
    chain: str
    target: Target
    source: str | None = None
    destination: str | None = None
    protocol: Literal["tcp", "udp", "icmp", "esp"] | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    ctstate: str | None = None
    ctstatus: str | None = None  # with an exclamation mark in front: any but this
    mark: int | None = None
    mark_mask: int | None = None  # the bits of the mark that count; None: all
    source_ports: PortRange | None = None
    destination_ports: PortRange | None = None
    icmp_type: Literal["fragmentation-needed"] | None = None

    def __str__(self) -> str:
        options = {
            "-s": self.source,
            "-d": self.destination,
            "-i": self.in_interface,
            "-o": self.out_interface,
            "-p": self.protocol,
            "--sport": _range(self.source_ports),
            "--dport": _range(self.destination_ports),
            "--icmp-type": self.icmp_type,
            "--ctstate": self.ctstate,
            "--ctstatus": None if self.ctstatus is None or self.ctstatus[0] == "!" else self.ctstatus,
            "! --ctstatus": self.ctstatus[1:] if self.ctstatus is not None and self.ctstatus[0] == "!" else None,
            "--mark": self.mark if self.mark_mask is None else f"{self.mark:#x}/{self.mark_mask:#x}",
        }
        words = [f"{option} {value}" for option, value in options.items() if value is not None]
        return " ".join([f"-t {self.table} -A {self.chain}", *words, str(self.target)])


class Foreign(_Item, frozen=True, kw_only=True, tag="foreign"):
    """What a place of a running lab has beside what its plan says, in the notation of the tool that shows it."""

    text: str

    def __str__(self) -> str:
        return self.text


def _range(ports: PortRange | None) -> str | None:
    return None if ports is None else str(ports).replace("-", ":")


# --- what runs at a place ---------------------------------------------------------------------


class Server(_Item, frozen=True, kw_only=True, tag="server"):
    """A real server that listens at a place and answers as ``node``."""

    node: str
    kind: Literal["http", "https", "tcp", "udp", "dns", "ssh", "ftp", "resolver"]
    address: str
    port: int
    protocol: Literal["tcp", "udp"]

    def __str__(self) -> str:
        return f"{self.kind} server as {self.node} on {self.address}:{self.port}/{self.protocol}"


class Program(_Item, frozen=True, kw_only=True, tag="program"):
    """A program of the user's own that runs at a place, and what says that it is ready; ``folder``: where it starts."""

    name: str
    command: tuple[str, ...]
    port: int
    protocol: Literal["tcp", "udp"]
    environment: tuple[tuple[str, str], ...]
    folder: str
    ready_port: int
    ready_s: float
    restarts: bool

    def __str__(self) -> str:
        # Variables are not shown: they may hold what is secret.
        bound = f" on {self.port}/{self.protocol}" if self.port else ""
        return f"program {self.name}{bound}: {shlex.join(self.command)}"


class DnsRecord(_Item, frozen=True, kw_only=True, tag="record"):
    """A name that the resolver at a place answers."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"name {self.name} A {self.address}"


class Resolver(_Item, frozen=True, kw_only=True, tag="resolver"):
    """The resolv.conf of a node."""

    servers: tuple[str, ...]

    def __str__(self) -> str:
        return "resolv.conf " + " ".join(self.servers)


class HealthCheck(_Item, frozen=True, kw_only=True, tag="health-check"):
    """A member of a pool that is asked, from a place, whether it may receive new flows. Times in seconds."""

    load_balancer: str
    probe: str
    node: str
    protocol: Literal["Tcp", "Http"]
    source: str
    address: str
    port: int
    request_path: str
    interval_s: float
    timeout_s: float  # silence for so long is a failure
    failures: int  # in a row, that take a member out
    successes: int  # in a row, that bring back one that was taken out
    wrong_answer_counts: bool  # an answer that is not the right one is a failure as silence is; else it suffices

    @property
    def key(self) -> str:
        """Name of the check, unique in a plan."""
        return f"{self.load_balancer}/{self.probe}/{self.node}"

    @property
    def slowest_s(self) -> float:
        """The longest that a change of the member takes to be known."""
        return self.timeout_s + self.interval_s * max(self.failures, self.successes)

    def __str__(self) -> str:
        what = f"{self.protocol} {self.address}:{self.port}" + (self.request_path if self.protocol == "Http" else "")
        at_once = "" if self.wrong_answer_counts else " or a wrong answer"
        return (
            f"probe {self.key}: {what} every {self.interval_s:g} s, waits {self.timeout_s:g} s; "
            f"down after {self.failures}{at_once}, back after {self.successes}"
        )


class Backend(msgspec.Struct, frozen=True):
    """A node that a frontend's port leads to, and the key of its health check; empty: it always counts as up."""

    node: str
    address: str
    check: str
    mark: int = 0  # that of flows to it, where no address tells whose they are (floating IP)

    def __str__(self) -> str:
        return f"{self.node} ({self.check or 'always up'})"


class Backends(_Item, frozen=True, kw_only=True, tag="backends"):
    """The nodes that a public address and port lead to, and what happens when they are down. Times in seconds."""

    address: str
    port: int
    protocol: Literal["tcp", "udp"]
    members: tuple[Backend, ...]
    ends_tcp: bool  # established TCP flows end when all of them are down
    resource: str  # the documents' name for what the address belongs to
    log_s: float  # how often its state is logged; 0: never
    marked_at: str = ""  # the place whose flows have their member's mark, "" if their answers have its address

    def __str__(self) -> str:
        then = "end" if self.ends_tcp else "keep"
        log = f"; logged every {self.log_s:g} s" if self.log_s else ""
        return (
            f"backends of {self.address}:{self.port}/{self.protocol}: {' '.join(map(str, self.members)) or 'none'}; "
            f"all down: {then} TCP flows{log}"
        )


class DropFragments(_Item, frozen=True, kw_only=True, tag="drop-fragments"):
    """Fragments from these sources are lost at a place, but for those of ``exempt``."""

    sources: tuple[str, ...]
    exempt: tuple[str, ...]

    def __str__(self) -> str:
        kept = f", but for {' '.join(self.exempt)}" if self.exempt else ""
        return f"drop fragments from {' '.join(self.sources)}{kept}"


# --- SNAT ports that the agent gives out ------------------------------------------------------


class SnatRange(msgspec.Struct, frozen=True, omit_defaults=True):
    """Ports ``first`` to ``last`` of a public address, both included; of both protocols unless one is named."""

    address: str
    first: int
    last: int
    protocol: Literal["", "tcp", "udp"] = ""

    def serves(self, protocol: str) -> bool:
        """Tell whether flows of a protocol may be given these ports."""
        return self.protocol in ("", protocol)

    def ports(self) -> range:
        """Return the ports."""
        return range(self.first, self.last + 1)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.address}:{self.first}-{self.last}" + (f"/{self.protocol}" if self.protocol else "")


class SnatPolicy(_Item, frozen=True, kw_only=True, tag="snat-policy"):
    """How the flows of a place that are asked about on queue 0 are given ports; ``path/snat_ports`` decides by it."""

    router: str  # the place that the flows come from, where their first packets are sent on again
    tcp_reuse: PortReuse
    udp_reuse: PortReuse
    per_protocol: bool  # TCP and UDP have as many ports each
    order: PortOrder
    sequential: bool  # several ranges are used one after the other
    fin_close: FinClose
    fin_s: float  # how long a port is held after FIN, and after RST
    rst_s: float
    idle_s: float  # after which connection tracking forgets a flow
    alert_s: float  # an alert is over when there was no reason for it for so long
    blocks: tuple[SnatRange, ...]  # ports that rules have taken
    resources: tuple[tuple[str, str], ...]  # each address, and the documents' name for what it belongs to
    udp_s: float = 0.0  # how long a port is held after a UDP flow was idle for too long
    resent_by: str = ""  # the router's wire that first packets are sent on by; "": as its routes say
    kernel_s: int = 0  # the kernel's timers of TCP, if they are longer than flows may be idle; 0: they are idle_s
    tcp_idle: tuple[tuple[str, int], ...] = ()  # addresses whose TCP flows may be idle for another time

    def __str__(self) -> str:
        order = f"{self.order} first" + (", one address after the other" if self.sequential else "")
        taken = f", without {' '.join(map(str, self.blocks))}" if self.blocks else ""
        return (
            f"SNAT ports, {order}, unique for tcp {self.tcp_reuse}, udp {self.udp_reuse}"
            f"{', each protocol its own' if self.per_protocol else ''}; "
            f"back after {self.fin_close} FIN {self.fin_s:g} s, RST {self.rst_s:g} s, idle {self.idle_s:g} s"
            f"{f', UDP {self.udp_s:g} s later' if self.udp_s else ''}"
            f"{''.join(f', TCP from {address} idle {seconds} s' for address, seconds in self.tcp_idle)}{taken}"
        )


class SnatPool(_Item, frozen=True, kw_only=True, tag="snat-pool"):
    """The ports that a node's flows may be given."""

    node: str
    source: str
    ranges: tuple[SnatRange, ...]

    def __str__(self) -> str:
        return f"SNAT ports of {self.source}: {' '.join(map(str, self.ranges))}"


# --- idle flows whose ends are told -----------------------------------------------------------


class IdleReset(_Item, frozen=True, kw_only=True, tag="idle-reset"):
    """TCP flows to an address and port whose two ends are sent a reset when they time out; ``path/idle_reset``.

    ``outbound``: those from an address, to any port.
    """

    address: str
    port: int
    idle_s: int
    inside: tuple[str, ...]  # prefixes that are reached by the first wire, all else by the second
    inner_interface: str
    outer_interface: str
    outbound: bool = False

    def __str__(self) -> str:
        which = f"from {self.address}" if self.outbound else f"to {self.address}:{self.port}"
        return f"TCP reset of flows {which} that are idle for {self.idle_s} s"


# --- tunnels ----------------------------------------------------------------------------------


class RateLimit(_Item, frozen=True, kw_only=True, tag="shape"):
    """How much an interface sends at most."""

    interface: str
    mbit_s: int

    def __str__(self) -> str:
        return f"shape {self.interface} to {self.mbit_s} Mbit/s"


class IkeDaemon(_Item, frozen=True, kw_only=True, tag="charon"):
    """An IKE daemon; before ``ready_at`` (seconds since the epoch) it is not there yet.

    ``source`` is the address that programs beside the daemon speak from; empty where there are none.
    """

    kind: str  # as its owner calls it
    address: str
    ready_at: float
    source: str = ""

    def __str__(self) -> str:
        return f"charon ({self.kind}) on {self.address}" + (f" from {self.ready_at:.0f} on" if self.ready_at else "")


#: How the reason of a tunnel ends that is down for want of traffic only.
REBUILDS = "the next one rebuilds it"


class Tunnel(_Item, frozen=True, kw_only=True, tag="tunnel"):
    """A tunnel of the daemon at a place; its shared key is in no plan. Lifetimes in seconds.

    What is for ``remote`` is led into it; ``transit`` are prefixes that its peer may list beside ``local``. A tunnel
    that carries nothing for ``idle_s`` ends until there is something to carry; 0: it stays.
    """

    name: str
    peer: str
    version: Literal[1, 2]
    ike: tuple[str, ...]
    ike_lifetime_s: int
    esp: tuple[str, ...]
    esp_lifetime_s: int
    local: tuple[str, ...]
    remote: tuple[str, ...]
    transit: tuple[str, ...] = ()
    idle_s: float = 0.0
    connect: bool = True

    @property
    def selectors(self) -> tuple[tuple[str, str], ...]:
        """The pairs of prefixes that may pass, ours first: any to any with IKEv2, with IKEv1 each to each."""
        if self.version == 2:
            return ((ANYWHERE, ANYWHERE),)
        return tuple((one, other) for one in self.local for other in self.remote)

    def __str__(self) -> str:
        known = ",".join(self.local) + (f"(,{','.join(self.transit)})" if self.transit else "")
        text = f"tunnel {self.name} IKEv{self.version} to {self.peer}: {known} to {','.join(self.remote)}"
        text += f", {' '.join(f'{one}==={other}' for one, other in self.selectors)}"
        text += f"; {' '.join(self.ike)} {self.ike_lifetime_s} s; {' '.join(self.esp)} {self.esp_lifetime_s} s"
        text += f"; ends after {self.idle_s:g} s of silence" if self.idle_s else ""
        return text + ("" if self.connect else "; disconnected")


Item: TypeAlias = (
    Namespace
    | Sysctl
    | VethPair
    | Address
    | Route
    | RoutingRule
    | Timeout
    | Policy
    | Rule
    | Server
    | Program
    | DnsRecord
    | Resolver
    | HealthCheck
    | Backends
    | SnatPolicy
    | SnatPool
    | IdleReset
    | RateLimit
    | DropFragments
    | IkeDaemon
    | Tunnel
)
#: The order in which kinds are made, and printed.
KINDS: tuple[type[Item], ...] = get_args(Item)
_T = TypeVar("_T", bound=Item)


class Plan(msgspec.Struct, frozen=True):
    """All the items of a lab, in canonical order."""

    lab: str
    items: tuple[Item, ...]

    def of(self, kind: type[_T]) -> Iterator[_T]:
        """Yield the items of one kind, in order."""
        return (item for item in self.items if isinstance(item, kind))

    def places(self) -> tuple[str, ...]:
        """Return the names of the places."""
        return tuple(item.place for item in self.of(Namespace))

    def addresses(self) -> dict[str, str]:
        """Return each node's own address, by its place."""
        return {item.place: item.address for item in self.of(Address) if item.interface == NODE_INTERFACE}

    def tables(self) -> dict[tuple[str, Table], tuple[Policy | Rule, ...]]:
        """Return what each packet-filter table holds, by place and table."""
        found: dict[tuple[str, Table], list[Policy | Rule]] = {}
        for item in self.items:
            if isinstance(item, Policy | Rule):
                found.setdefault((item.place, item.table), []).append(item)
        return {key: tuple(items) for key, items in found.items()}

    def text(self) -> str:
        """Return the plan in words, one item a line under its place, each with its why."""
        lines = []
        for place, items in _by(self.items, lambda item: item.place):
            lines.append(f"{place}")
            lines += [f"  {item!s:<74}  # {item.why}" for item in items]
        return "\n".join(lines) + "\n"


def make(lab: str, items: Iterable[Item]) -> Plan:
    """Return the plan of ``items``: by kind, then by place and content; rules keep their order in their chain."""
    rank = {kind: i for i, kind in enumerate(KINDS)}

    def key(item: Item) -> tuple[int, str, str]:
        if isinstance(item, Rule):
            return rank[Rule], item.place, f"{item.table} {item.chain}"
        return rank[type(item)], item.place, str(item)

    return Plan(lab, tuple(sorted(items, key=key)))


def _by(items: Iterable[Item], key: Callable[[Item], str]) -> list[tuple[str, list[Item]]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


class Difference(msgspec.Struct, frozen=True):
    """What turns one plan into another; what a place has beside its plan goes, too."""

    gone: tuple[Item | Foreign, ...]
    new: tuple[Item, ...]

    def __bool__(self) -> bool:
        return bool(self.gone or self.new)

    def text(self) -> str:
        """Return the difference as ``-`` and ``+`` lines."""
        lines = [f"- {i.place}: {i}  # {i.why}" for i in self.gone] + [f"+ {i.place}: {i}  # {i.why}" for i in self.new]
        return "\n".join(lines) + ("\n" if lines else "")


def difference(old: Plan, new: Plan, beside: Iterable[Foreign] = ()) -> Difference:
    """Return what ``new`` lacks and adds. A table whose rules changed order counts as changed.

    ``beside``: what there is with ``old`` that is of no plan.
    """
    before, after = set(old.items), set(new.items)
    gone = tuple(i for i in old.items if i not in after)
    added = tuple(i for i in new.items if i not in before)
    tables_before, tables_after = old.tables(), new.tables()
    touched = {(i.place, i.table) for i in (*gone, *added) if isinstance(i, Policy | Rule)}
    moved = [
        key
        for key, rules in tables_after.items()
        if key not in touched and key in tables_before and rules != tables_before[key]
    ]
    for key in moved:
        gone += tables_before[key]
        added += tables_after[key]
    return Difference((*gone, *beside), added)


def encode(plan: Plan) -> bytes:
    """Return a plan as JSON."""
    return msgspec.json.encode(plan)


def decode(text: bytes) -> Plan:
    """Return the plan of a JSON text.

    Raises:
        msgspec.DecodeError: it is not one.

    """
    return msgspec.json.decode(text, type=Plan)
