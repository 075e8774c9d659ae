"""What is sent, where it is watched, and what was seen there: the words between claims and probes.

Claims ask for experiments and judge observations; only ``probe`` knows how either comes about.
Places are named as in the plan. A flow is watched where it arrives, by a capture that has nothing
to do with the rules that translate it.
"""

from typing import Any, Literal, TypeAlias

import msgspec

Protocol = Literal["tcp", "udp", "icmp", "esp"]
Form = Literal["open", "middle", "large"]
Outcome = Literal["answered", "refused", "timeout"]


class _Experiment(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something to do with real packets."""


class _Observation(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was seen."""


class Watch(msgspec.Struct, frozen=True):
    """Where incoming packets are captured.

    ``node``: a node's interface. ``public wire``: what comes out of a virtual network. ``edge``: what comes into a
    virtual network's load balancer from outside, ``edge inside``: from its router. ``router``: what comes into a
    virtual network's router from its load balancer, ``gateway inside``: from its gateway, ``peering inside``: from
    the router of its peer ``network``. ``gateway``: what comes into its gateway, from its router or out of a
    tunnel. ``gateway wire``: what comes out of its gateway to the internet. ``NAT gateway inside``: what comes into
    the NAT gateway ``name`` from the router of ``network``, ``NAT gateway wire``: what comes out of it to the
    internet. ``VM wire``, ``host wire``: what a node has sent, at the other end of its wire. ``network`` is the
    virtual network of a VM, ``interface`` the number of one of its interfaces; 0 is the primary one.
    """

    kind: Literal[
        "node",
        "public wire",
        "edge",
        "edge inside",
        "router",
        "gateway inside",
        "peering inside",
        "gateway",
        "gateway wire",
        "NAT gateway inside",
        "NAT gateway wire",
        "VM wire",
        "host wire",
    ]
    name: str
    network: str = ""
    interface: int = 0

    def __str__(self) -> str:
        return self.name if self.kind == "node" else f"the {self.kind} of {self.name}"


class Send(_Experiment, frozen=True, kw_only=True):
    """Send the first packet of ``count`` flows from a node and watch for it.

    ``form``: ``open`` begins a flow, ``middle`` is a TCP segment of a flow that never began, ``large`` is
    a datagram of 3,000 bytes, in fragments. ``port`` None: one that no earlier experiment has used.
    ``first_source_port`` None: likewise; otherwise the flows' source ports begin there.
    ``private`` is the sender's own address, which must be seen on no watched wire; nor may any other address
    that is not public on a public one.
    """

    sender: str
    private: str
    destination: str
    protocol: Protocol = "tcp"
    port: int | None = None
    first_source_port: int | None = None
    count: int = 1
    form: Form = "open"
    watches: tuple[Watch, ...]
    lost: int = 0  # so many are meant to be, and are not waited for
    forgotten: bool = False  # the load balancer of the public wire watched forgets the sender's flows afterwards
    controlled: bool = True  # False: what arrives is itself the control of something else
    untranslated: bool = False  # True: the sender's own address is what must arrive


class Seen(msgspec.Struct, frozen=True):
    """One flow's first packet as it arrived."""

    number: int  # which of the flows sent, from 0
    source: str
    source_port: int
    destination: str
    destination_port: int


class Arrivals(_Observation, frozen=True, kw_only=True):
    """What arrived of a ``Send``, by watch in its order."""

    sent: int
    source_ports: tuple[int, ...]  # as the sender chose them, by flow
    control: bool  # a packet from the internet itself arrived at the last watch, after the flows
    seen: tuple[tuple[Seen, ...], ...]
    strays: tuple[str, ...]  # packets with a source that must not be there, in words
    seconds: float  # from the first packet sent to the last one seen


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One flow among many, and where its first packet must be seen if it is to tell anything.

    ``passes``: where it comes by on its way to what decides about it. ``ends``: where it is seen if it is let, at one
    of them. ``source_port`` 0: one that no earlier flow has used. ``awaited`` False: it is meant to be lost, so it
    need not be waited for. ``looks``: where it is told what its packet looks like.
    """

    sender: str
    private: str
    destination: str
    protocol: Protocol
    port: int = 0
    source_port: int = 0
    passes: tuple[Watch, ...]
    ends: tuple[Watch, ...]
    looks: tuple[Watch, ...] = ()
    awaited: bool = True


class Sweep(_Experiment, frozen=True, kw_only=True):
    """Send the first packet of many different flows at once, and watch for each of them where it may arrive.

    Every node that is watched is also sent a packet from the other end of its wire, which no rule concerns.
    ``forgotten_by``: virtual networks whose load balancer and router forget the flows afterwards.
    """

    flows: tuple[Flow, ...]
    forgotten_by: tuple[str, ...] = ()


class FlowResult(msgspec.Struct, frozen=True):
    """What became of one flow of a sweep: whether it came by all that it must, the node it arrived at, and for whom."""

    passed: bool
    end: str = ""  # empty: nowhere
    destination: str = ""  # ADDRESS:PORT that its packet had there
    looks: tuple[Seen | None, ...] = ()  # in the order of the flow's; None: it did not come there


class Swept(_Observation, frozen=True, kw_only=True):
    """What became of the flows of a ``Sweep``, in their order."""

    passages: tuple[FlowResult, ...]
    deaf: tuple[str, ...]  # nodes whose capture did not see the packet from the other end of the wire


#: How long to wait for an answer, and how long to listen to what must stay silent; within a lab an answer
#: takes a millisecond.
ANSWER_S, SILENCE_S = 5.0, 0.5


class Ask(_Experiment, frozen=True, kw_only=True):
    """Connect ``count`` times to a real server, as a program in the node would, and read what it answers."""

    client: str
    address: str
    port: int
    kind: Literal["http", "https", "tcp", "udp", "connect"]  # connect: say nothing, as to a server we do not know
    count: int = 1
    source_port: int = 0  # 0: any
    timeout_s: float = ANSWER_S


class Answer(msgspec.Struct, frozen=True):
    """One conversation: what the server said it saw, and over TLS the certificate that it showed."""

    outcome: Outcome
    node: str = ""
    client_address: str = ""
    client_port: int = 0
    server_address: str = ""
    server_port: int = 0
    subject: str = ""  # common name of the certificate
    fingerprint: str = ""  # SHA-256 of it, hexadecimal


class Answers(_Observation, frozen=True, kw_only=True):
    """The conversations of an ``Ask``."""

    answers: tuple[Answer, ...]


class Login(_Experiment, frozen=True, kw_only=True):
    """Run the system's ssh client against a node, and read what its sshd wrote to auth.log."""

    client: str
    host: str
    address: str
    port: int


class AuthLog(_Observation, frozen=True, kw_only=True):
    """New lines of auth.log, and the peers they name."""

    lines: tuple[str, ...]
    peers: tuple[str, ...]


class Lookup(_Experiment, frozen=True, kw_only=True):
    """Run the system's nslookup in a node."""

    client: str
    name: str
    server: str = ""  # empty: the node's own, in their order


class Names(_Observation, frozen=True, kw_only=True):
    """The addresses nslookup printed, and all it said."""

    addresses: tuple[str, ...]
    said: str


class Track(_Experiment, frozen=True, kw_only=True):
    """Open a flow, and list the entries that a virtual network's load balancer tracks of it, before and after."""

    send: Send
    network: str


class Entry(msgspec.Struct, frozen=True):
    """A tracked flow: as the sender opened it, and where its replies go to and come from."""

    source_port: int
    reply_address: str
    reply_port: int
    far_address: str = ""
    far_port: int = 0


class Tracked(_Observation, frozen=True, kw_only=True):
    """Entries of the flow before and after its first packet, and that packet at the far side."""

    before: tuple[Entry, ...]
    after: tuple[Entry, ...]
    arrivals: Arrivals


class Return(_Experiment, frozen=True, kw_only=True):
    """Open a UDP flow, let its far end answer it, and let a stranger send to the same translated port."""

    send: Send
    far: str
    stranger: str
    stranger_address: str


class Returned(_Observation, frozen=True, kw_only=True):
    """What reached the node that opened the flow."""

    source: str  # the flow as its far end saw it; empty if it saw nothing
    source_port: int
    answered: bool  # the far end's packet came in
    intruded: bool  # the stranger's packet came in


class Goal(msgspec.Struct, frozen=True):
    """A service of the lab that flows are held to: it names the source that it sees."""

    address: str
    port: int
    kind: Literal["tcp", "udp"]


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Open flows with real sockets, to goals in turn, and hold those that are answered.

    ``keepalive_s``: have the node's kernel ask for a sign of life over TCP after so many seconds of silence.
    ``lost``: so many are meant to meet silence, and are not waited for. ``within_s``: a flow that meets silence is
    tried again, as another flow, for so many seconds: what is claimed is when there is room.
    """

    goals: tuple[Goal, ...]
    count: int
    keepalive_s: int = 0
    lost: int = 0
    within_s: float = 0.0


class Talk(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say something over flows that are held: the ``first`` so many that were opened, or all; ``lost`` as in `Open`."""

    first: int | None = None
    lost: int = 0


class End(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End the flows that were opened first, as a program closes them or with a reset.

    ``side``: only that side closes, and the other one keeps the flow open; the far side must be the experiment's own.
    """

    count: int
    how: Literal["fin", "rst"]
    side: Literal["both", "VM", "far side"] = "both"


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Let time pass: what is claimed is a length of time."""

    seconds: float


class ShowPorts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask ``lab ports`` what the node uses."""


class ShowEvents(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask ``lab events`` for all records."""


Step: TypeAlias = Open | Talk | End | Pause | ShowPorts | ShowEvents


class HoldFlows(_Experiment, frozen=True, kw_only=True):
    """Hold real flows from a node, and see what becomes of them, step by step.

    Before the first step of a VM's, flows that earlier experiments left are forgotten, and their ports are waited for,
    ``settle_s`` seconds at most. After the last step all flows are ended with a reset. ``far_side``: a node in which
    the experiment itself serves TCP at ``far_port``: it names the source that it sees, and may close first, or never.
    """

    client: str
    private: str
    network: str  # empty: the client is an outside host, whose flows take no ports
    gateway: str = ""  # the NAT gateway that its flows leave by; empty: the load balancer of its network
    steps: tuple[Step, ...]
    settle_s: float = 0.0
    far_side: str = ""
    far_port: int = 0


class Source(msgspec.Struct, frozen=True, order=True):
    """What a far side saw a flow come from."""

    address: str
    port: int


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What ``lab ports`` says of the node, for one address and protocol."""

    address: str
    protocol: str
    allocated: int
    ports: int
    flows: int
    peak: int
    refused: int


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one step. Moments are seconds from the beginning of the first step."""

    began: float = 0.0
    answered: int = 0
    refused: int = 0
    silent: int = 0
    seen: tuple[Source, ...] = ()  # of the flows that were answered, in the order in which they are held
    moments: tuple[float, ...] = ()  # at which these were answered
    used: tuple[Used, ...] = ()
    records: tuple[dict[str, Any], ...] = ()


class Occupied(_Observation, frozen=True, kw_only=True):
    """What came of the steps of an ``HoldFlows``, in their order."""

    steps: tuple[Happened, ...]


class IdleFlows(_Experiment, frozen=True, kw_only=True):
    """Open flows to a rule, leave them alone, and listen at both ends for what is said of their end.

    The server is a program of the experiment's own, which says one thing and never closes. There are three flows of
    one kind each, opened in this order: UDP, TCP that the client has closed on its side, TCP.
    """

    client: str
    server: str
    address: str
    port: int  # of the frontend, and of the server
    server_port: int
    wait_s: float


class Told(msgspec.Struct, frozen=True):
    """A reset, or an ICMP message, that reached an end of a flow: ``seconds`` after the flow's last packet there."""

    end: Literal["client", "server"]
    what: str
    seconds: float
    believed: bool  # its sequence number is what the end acknowledged last


class LeftFlow(msgspec.Struct, frozen=True):
    """What came of one flow that was left alone."""

    kind: Literal["udp", "half closed", "tcp"]
    answered: bool  # the server had said its thing
    told: tuple[Told, ...]
    ended: bool = False  # the client's own kernel says that the connection was reset


class Left(_Observation, frozen=True, kw_only=True):
    """What came of the flows of a ``IdleFlows``, in their order."""

    flows: tuple[LeftFlow, ...]


class Transfer(_Experiment, frozen=True, kw_only=True):
    """Get a file from an FTP server with a real client.

    ``active``: the server opens the data connection, and the client takes it only from the server's address and the
    port below that of commands (RFC 959, 3.2). ``passive``: the client opens it, to a port that the server names.
    """

    client: str
    address: str
    mode: Literal["active", "passive"]
    port: int = 21
    file: str = "lab.json"
    timeout_s: float = ANSWER_S


class Begun(msgspec.Struct, frozen=True):
    """A TCP connection's first packet, as it was seen at the client."""

    source: str
    source_port: int
    destination: str
    destination_port: int

    def __str__(self) -> str:
        return f"{self.source}:{self.source_port} to {self.destination}:{self.destination_port}"


class Transferred(_Observation, frozen=True, kw_only=True):
    """What the client got, all that it said, and the connections that began at it."""

    got: str
    said: str
    control: tuple[Begun, ...]
    data: tuple[Begun, ...]


class Health(_Experiment, frozen=True, kw_only=True):
    """Wait until the load balancers have judged every member, and tell what they know.

    Those named in ``up`` and ``down`` are waited for until they are so, or for as long as that may take.
    """

    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


class Members(_Observation, frozen=True, kw_only=True):
    """Members of pools as ``load balancer/probe/VM``, and why those that are down are."""

    up: tuple[str, ...]
    down: dict[str, str]
    since: dict[str, float] = {}  # when each came to be as it is, in seconds since the epoch


class OpenFlows(_Experiment, frozen=True, kw_only=True):
    """Open flows to a service, keep them open beyond this experiment, and tell who answers."""

    client: str
    address: str
    port: int
    kind: Literal["tcp", "udp"]
    count: int
    timeout_s: float = ANSWER_S


class ReuseFlows(_Experiment, frozen=True, kw_only=True):
    """Say something over the flows that an earlier ``OpenFlows`` left open, tell who answers each, and end them."""

    kept: OpenFlows
    timeout_s: float = ANSWER_S


class Listen(_Experiment, frozen=True, kw_only=True):
    """Begin to capture the TCP connections to a port of a node; ``CaptureConnections`` tells of them."""

    node: str
    port: int


class Listening(_Observation, frozen=True, kw_only=True):
    """The capture has begun."""

    since: float  # seconds since the epoch


class CaptureConnections(_Experiment, frozen=True, kw_only=True):
    """Capture at a node until so many connections to a port have ended, or for a time, and tell of them.

    All that was captured since ``Listen`` counts; without one, the capture begins now.
    """

    node: str
    port: int
    connections: int = 0
    deadline_s: float


class ObservedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP connection as the node saw it. Times in seconds since the epoch."""

    source: str
    destination: str
    began: float
    answer: Literal["", "open", "reset"]  # what the node said to its first packet
    ended: float | None = None  # when the one who began it closed it, or reset it
    how: Literal["", "fin", "reset"] = ""
    closed: bool = False  # both sides have sent their FIN, and both were acknowledged
    cut: bool = False  # the node reset it after it had been open


class Heard(_Observation, frozen=True, kw_only=True):
    """Connections in the order in which they began."""

    control: bool  # a packet from the other end of the node's wire was captured too
    knocks: tuple[ObservedConnection, ...]


class ProbeLog(_Experiment, frozen=True, kw_only=True):
    """Ask `lab events --probes` until it has so many more records of each frontend's port, or for a time."""

    records: int
    deadline_s: float


class Logged(_Observation, frozen=True, kw_only=True):
    """The text that `lab events --probes -o json` prints, and how many records it had at first."""

    text: str
    before: int


class Counted(_Experiment, frozen=True, kw_only=True):
    """Ask ``lab show`` for the public addresses that count as the user's."""


class PublicAddresses(_Observation, frozen=True, kw_only=True):
    """The addresses that ``lab show`` counts."""

    addresses: tuple[str, ...]


class CheckFile(_Experiment, frozen=True, kw_only=True):
    """Give a topology to ``lab check``."""

    text: str


class Checked(_Observation, frozen=True, kw_only=True):
    """How a command of the lab's own ended, and what it said. Times in seconds since the epoch."""

    status: int
    said: str
    began: float = 0.0
    ended: float = 0.0


class TunnelFlows(_Experiment, frozen=True, kw_only=True):
    """Send flows to what is behind a tunnel, and watch the public wires of the gateways at its ends meanwhile."""

    send: Send
    networks: tuple[str, ...]


class Outer(msgspec.Struct, frozen=True):
    """Packets of one kind that left a gateway: IKE, ESP ("udp 4500" or "esp"), or whatever else it was."""

    network: str
    kind: str  # "udp 500", "ike 4500", "keepalive", "udp 4500", "esp", and so on
    source: str
    destination: str
    packets: int


class Crossed(_Observation, frozen=True, kw_only=True):
    """The flows as they arrived, and all that was on the wires between."""

    arrivals: Arrivals
    outer: tuple[Outer, ...]


class Tunnels(_Experiment, frozen=True, kw_only=True):
    """Ask ``lab gateway show`` until connections of a network are as wanted, or for as long as it may take.

    ``wanted`` empty: as soon as none is Connecting. ``silence_s``: after so long without a packet, which is let pass.
    """

    network: str
    wanted: Literal["", "Connected", "NotConnected"] = ""
    silence_s: float = 0.0


class Connection(msgspec.Struct, frozen=True):
    """A connection as ``lab gateway show`` has it."""

    site: str
    state: str
    reason: str
    message: str = ""
    event: int = 0
    version: int = 0
    local: tuple[str, ...] = ()  # the selectors of its own side
    remote: tuple[str, ...] = ()
    ike: str = ""
    esp: str = ""
    ike_rekey_s: int = 0
    esp_life_s: int = 0
    established: str = ""  # when it was connected last


class Passed(msgspec.Struct, frozen=True):
    """What ``lab gateway show`` had of a gateway at a time, in seconds since the epoch, until it was something else."""

    status: str
    address: str
    at: float


class Gateway(_Observation, frozen=True, kw_only=True):
    """A gateway as ``lab gateway show`` has it."""

    kind: str
    sku: str
    state: str
    status: str
    address: str
    fields: tuple[str, ...]  # names of all that is shown of a connection
    connections: tuple[Connection, ...]
    waited_s: float = 0.0  # until they were as wanted
    passed: tuple[Passed, ...] = ()  # what was seen of it meanwhile, each once


class Meter(_Experiment, frozen=True, kw_only=True):
    """Send flows through a tunnel, and wait until the counters at both of its ends have seen them."""

    send: Send
    network: str
    site: str
    far_network: str
    far_site: str


class Metered(_Observation, frozen=True, kw_only=True):
    """How many inner bytes were sent, and by how many the counters rose."""

    sent: int
    egress: int
    ingress: int


class Flood(_Experiment, frozen=True, kw_only=True):
    """Send as much as goes to several destinations at once, and count what leaves a gateway.

    On a busy machine it is tried again, until so many bits per second were ``offered``, and so many ``carried``.
    """

    client: str
    addresses: tuple[str, ...]
    network: str
    seconds: float
    offered: float = 0.0
    carried: float = 0.0


class Flooded(_Observation, frozen=True, kw_only=True):
    """Bits per second that left the gateway, by outer destination, and those that the client offered."""

    offered: float
    rates: dict[str, float]


class Segments(_Experiment, frozen=True, kw_only=True):
    """Connect to a server and ask the kernel how large the segments of the connection may be."""

    client: str
    address: str
    port: int


class SegmentSize(_Observation, frozen=True, kw_only=True):
    """Largest segment in bytes, as the far side said it; 0: the server did not answer."""

    size: int


class Run(_Experiment, frozen=True, kw_only=True):
    """Run the lab's command line; a word ``{file}`` is a file of ``text``, ``{lab}`` the lab itself."""

    words: tuple[str, ...]
    text: str = ""
    suffix: str = ".lab.yaml"


class Execute(_Experiment, frozen=True, kw_only=True):
    """Run a program in a node, from the folder of the topology file, and end it after ``timeout_s``."""

    node: str
    command: tuple[str, ...]
    timeout_s: float


class Executed(_Observation, frozen=True, kw_only=True):
    """How a program ended, None: it did not in time; and what it printed."""

    status: int | None
    output: str
    error: str


class Failed(_Observation, frozen=True, kw_only=True):
    """The experiment itself could not be done."""

    reason: str


Experiment: TypeAlias = (
    Send
    | Sweep
    | Ask
    | Login
    | Lookup
    | Track
    | Return
    | Transfer
    | HoldFlows
    | IdleFlows
    | Health
    | OpenFlows
    | ReuseFlows
    | Listen
    | CaptureConnections
    | ProbeLog
    | Counted
    | CheckFile
    | TunnelFlows
    | Tunnels
    | Meter
    | Flood
    | Segments
    | Run
    | Execute
)
Observation: TypeAlias = (
    Arrivals
    | Swept
    | Answers
    | AuthLog
    | Names
    | Tracked
    | Returned
    | Transferred
    | Occupied
    | Left
    | Members
    | Listening
    | Heard
    | Logged
    | PublicAddresses
    | Checked
    | Crossed
    | Gateway
    | Metered
    | Flooded
    | SegmentSize
    | Executed
    | Failed
)


class Request(msgspec.Struct, frozen=True):
    """What the prober is asked: experiments in one lab, one after another."""

    lab: str
    experiments: tuple[Experiment, ...]


class Reply(msgspec.Struct, frozen=True):
    """Its answer: an observation for each experiment, and the seconds each took."""

    observations: tuple[Observation, ...]
    seconds: tuple[float, ...]
