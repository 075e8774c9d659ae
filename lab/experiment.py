"""What is sent, where it is watched, and what was seen there: the words between claims and probes.

Claims ask for experiments and judge observations; only ``probe`` knows how either comes about.
Places are named as in the plan. A flow is watched where it arrives, by a capture that has nothing
to do with the rules that translate it.
"""

from typing import Literal, TypeAlias

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

    ``node``: a node's interface. ``public wire``: what comes out of a virtual network. ``edge``: what comes
    into a virtual network's load balancer from outside, ``edge inside``: from its router.
    """

    kind: Literal["node", "public wire", "edge", "edge inside"]
    name: str

    def __str__(self) -> str:
        return self.name if self.kind == "node" else f"the {self.kind} of {self.name}"


class Send(_Experiment, frozen=True, kw_only=True):
    """Send the first packet of ``count`` flows from a node and watch for it.

    ``form``: ``open`` begins a flow, ``middle`` is a TCP segment of a flow that never began, ``large`` is
    a datagram of 3,000 bytes, in fragments. ``port`` None: one that no earlier experiment has used.
    ``private`` is the sender's own address, which must be seen on no watched wire; nor may any other address
    that is not public on a public one.
    """

    sender: str
    private: str
    destination: str
    protocol: Protocol = "tcp"
    port: int | None = None
    count: int = 1
    form: Form = "open"
    watches: tuple[Watch, ...]
    all_arrive: bool = True  # False: some are meant to be lost, so waiting for them may be cut short
    controlled: bool = True  # False: what arrives is itself the control of something else


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


#: How long to wait for an answer, and how long to listen to what must stay silent; within a lab an answer
#: takes a millisecond.
ANSWER_S, SILENCE_S = 3.0, 0.5


class Ask(_Experiment, frozen=True, kw_only=True):
    """Connect ``count`` times to a real server, as a program in the node would, and read what it answers."""

    client: str
    address: str
    port: int
    kind: Literal["http", "https", "tcp", "udp", "connect"]  # connect: say nothing, as to a server we do not know
    count: int = 1
    timeout_s: float = ANSWER_S


class Answer(msgspec.Struct, frozen=True):
    """One conversation; the last five are what the server said it saw."""

    outcome: Outcome
    node: str = ""
    client_address: str = ""
    client_port: int = 0
    server_address: str = ""
    server_port: int = 0


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
    server: str


class Names(_Observation, frozen=True, kw_only=True):
    """The addresses nslookup printed, and all it said."""

    addresses: tuple[str, ...]
    said: str


class Track(_Experiment, frozen=True, kw_only=True):
    """Open a flow, and list the entries that a virtual network's load balancer tracks of it, before and after."""

    send: Send
    network: str


class Entry(msgspec.Struct, frozen=True):
    """A tracked flow: as the sender opened it, and where its replies go."""

    source_port: int
    reply_address: str
    reply_port: int


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


class Health(_Experiment, frozen=True, kw_only=True):
    """Wait until the load balancers have judged every member, and tell what they know."""


class Members(_Observation, frozen=True, kw_only=True):
    """Members of pools as ``load balancer/probe/VM``, and why those that are down are."""

    up: tuple[str, ...]
    down: dict[str, str]


class Counted(_Experiment, frozen=True, kw_only=True):
    """Ask ``lab show`` for the public addresses that count as the user's."""


class PublicAddresses(_Observation, frozen=True, kw_only=True):
    """The addresses that ``lab show`` counts."""

    addresses: tuple[str, ...]


class CheckFile(_Experiment, frozen=True, kw_only=True):
    """Give a topology to ``lab check``."""

    text: str


class Checked(_Observation, frozen=True, kw_only=True):
    """How ``lab check`` ended, and what it said."""

    status: int
    said: str


class Failed(_Observation, frozen=True, kw_only=True):
    """The experiment itself could not be done."""

    reason: str


Experiment: TypeAlias = Send | Ask | Login | Lookup | Track | Return | Health | Counted | CheckFile
Observation: TypeAlias = (
    Arrivals | Answers | AuthLog | Names | Tracked | Returned | Members | PublicAddresses | Checked | Failed
)


class Request(msgspec.Struct, frozen=True):
    """What the prober is asked: experiments in one lab, one after another."""

    lab: str
    experiments: tuple[Experiment, ...]


class Reply(msgspec.Struct, frozen=True):
    """Its answer: an observation for each experiment, and the seconds each took."""

    observations: tuple[Observation, ...]
    seconds: tuple[float, ...]
