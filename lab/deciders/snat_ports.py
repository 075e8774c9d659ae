"""Which SNAT port a new flow takes: a pure decider, fed with flows, their ends, and the time.

``outbound_snat`` says which ports a VM may use; this file gives them out, one for each flow, as the
revision of the documents that is played says: what may share a port, which port is next, when one comes
back. No I/O: the agent asks for the first packet of each flow, tells what connection tracking saw, and does
what is answered. Times are seconds of any clock that only grows.

    decide   a grant, or None: refused; a flow that has a port keeps it
    closed   FIN or RST was seen: the port is held for its cool-down
    ended    connection tracking forgot the flow, by its idle timeout
    due      flows whose cool-down is over, which connection tracking must forget now

Flows that differ as much as the revision asks for may share a port. Those that do not are one *scope*, in
which each port is used once.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Address
from math import gcd
from random import Random
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from lab.flow import TCP, UDP, Flow, PortReuse, Transport
from lab.plan import SnatPolicy, SnatPool, SnatRange

_NAMES: dict[int, Transport] = {TCP: "tcp", UDP: "udp"}
_HIGH_USAGE = 0.75  # of a VM's ports: HighSnatPortUsage (load-balancer-health-event-logs.md, 2024-05-21)
_SEED = 0x5EED003  # fixed, so that the same flows take the same ports every time


class Grant(NamedTuple):
    """What a flow is seen with."""

    address: int
    port: int


class Alert(msgspec.Struct, frozen=True):
    """What the documents' logs tell of a public address."""

    kind: Literal["exhausted", "high usage"]
    node: str
    address: str
    protocol: Transport
    in_use: int
    allocated: int


class DestinationUsage(msgspec.Struct, frozen=True):
    """Ports in use to one destination, and flows to it that were refused; ``cooling``: those that cool down."""

    address: str
    port: int
    ports: int
    refused: int
    cooling: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one VM uses of one public address for one protocol.

    ``ports`` counts different port numbers, ``flows`` counts a port once for each scope it is used in: the two
    readings that the documents had in turn (Outbound connections, 2017-05-31; load-balancer-standard-overview.md,
    2017-09-28).
    ``cooling``: those of ``flows`` that are closed and held for their cool-down. ``given``: how often a port was
    taken for such a flow, so far. ``fullest``: the most ports in use in one scope; ``peak``: the most it ever was; both
    of all VMs where ports are on demand, and of both protocols where these share a scope. ``refused`` counts flows,
    however often each was sent again.
    """

    node: str
    address: str
    protocol: Transport
    allocated: int
    ports: int
    flows: int
    cooling: int
    given: int
    fullest: int
    peak: int
    refused: int
    destinations: tuple[DestinationUsage, ...]


class _FreeList:
    """The free ports of one range in one scope."""

    __slots__ = ("_first", "_lowest", "_next", "_random", "_returned", "_size", "_start", "_step", "in_use")

    def __init__(self, ports: SnatRange, random: Random, *, lowest: bool) -> None:
        self._first, self._size = ports.first, len(ports)
        self._random = random
        self._lowest = lowest
        self._start, self._step = 0, 1
        if not lowest:
            # A walk through the whole range, in an order that looks like none.
            self._start = random.randrange(self._size)
            self._step = max(1, int(self._size * 0.618))
            while gcd(self._step, self._size) != 1:
                self._step += 1
        self._next = 0  # steps of the walk that were made
        self._returned: list[int] = []  # ports taken on the walk and given back; a heap if lowest first
        self.in_use = 0

    def candidates(self) -> Iterator[int]:
        """Yield free ports in the order in which they are to be taken; each is gone from here once it is yielded."""
        returned = self._returned
        while returned:
            if self._lowest:
                yield heappop(returned)
            else:
                at = self._random.getrandbits(24) % len(returned)
                returned[at], returned[-1] = returned[-1], returned[at]
                yield returned.pop()
        while self._next < self._size:
            self._next += 1
            yield self._first + (self._start + (self._next - 1) * self._step) % self._size

    def give_back(self, port: int) -> None:
        """Take back a port that was given out from here."""
        self.in_use -= 1
        self.welcome(port)

    def welcome(self, port: int) -> None:
        """Return a port to the free list (idempotent)."""
        if not self._lowest:
            self._returned.append(port)
        elif port < self._first + self._next:  # others the walk still comes to, and lower ones first
            heappush(self._returned, port)


_ScopeKey: TypeAlias = tuple[int, ...]


class _Scope:
    """The ports in use that no two flows of a scope may share, and each range's free ones."""

    __slots__ = ("free", "key", "used")

    def __init__(self, key: _ScopeKey) -> None:
        self.key = key
        self.used: set[int] = set()
        self.free: dict[SnatRange, _FreeList] = {}

    def protocols(self) -> tuple[int, ...]:
        """Return the protocols whose flows the scope is of."""
        return (self.key[1],) if self.key[1] else (TCP, UDP)


class _Account:
    """What a VM has used of one public address for one protocol."""

    __slots__ = ("flows", "given", "ports", "refused")

    def __init__(self) -> None:
        self.ports: dict[int, int] = {}  # port: in how many scopes it is used
        self.flows = 0
        self.given = 0
        self.refused = 0


class _Allocation:
    """A port in use in a scope, by one flow; by all flows of one private socket where only that makes it unique."""

    __slots__ = ("account", "due", "flows", "free", "grant", "scope", "socket")

    def __init__(self, grant: Grant, scope: _Scope, free: _FreeList | None, account: _Account) -> None:
        self.grant = grant
        self.scope = scope
        self.free = free  # None: adopted with a port that is in none of the VM's ranges
        self.account = account
        self.flows: set[Flow] = set()
        self.socket: tuple[int, int, int] | None = None
        self.due: float | None = None  # closed: when the cool-down is over


class Ports:
    """The SNAT ports of one virtual network, and which flows have them."""

    def __init__(self, policy: SnatPolicy, pools: Iterable[SnatPool]) -> None:
        self._random = Random(_SEED)  # noqa: S311 - nothing secret
        self._scopes: dict[_ScopeKey, _Scope] = {}
        self._held: dict[Flow, _Allocation] = {}
        self._sockets: dict[tuple[int, int, int], _Allocation] = {}
        self._accounts: dict[tuple[str, str, int], _Account] = {}
        self._cooling: list[tuple[float, int, _Allocation, Flow]] = []  # a heap by the end of the cool-down
        self._count = 0
        self._peaks: dict[tuple[SnatRange, int], int] = {}  # by protocol
        self._refused: dict[Flow, float] = {}
        self._last_alert: dict[tuple[str, str], float] = {}
        self._alerts: list[Alert] = []
        self.policy = policy
        self._pools = {int(IPv4Address(pool.source)): pool for pool in pools}
        self._ranges = {
            (pool.node, protocol): tuple(share for share in pool.ranges if share.serves(name))
            for pool in self._pools.values()
            for protocol, name in _NAMES.items()
        }
        addresses = {share.address for pool in self._pools.values() for share in pool.ranges}
        self._numbers = {address: int(IPv4Address(address)) for address in addresses}
        self._taken = {
            address: frozenset(port for block in policy.blocks if block.address == address for port in block.ports())
            for address in addresses
        }
        self._allocated = {
            share: len(share) - sum(1 for port in self._taken[share.address] if port in share)
            for pool in self._pools.values()
            for share in pool.ranges
        }

    def knows(self, flow: Flow) -> bool:
        """Tell whether a flow of its VM and its protocol may be given a port here."""
        pool = self._pools.get(flow.source)
        return pool is not None and bool(self._ranges[pool.node, flow.protocol])

    # --- asking ---------------------------------------------------------------------------------

    def decide(self, flow: Flow, now_s: float) -> Grant | None:
        """Return what a flow is seen with, None if all the ports it may use are taken.

        Raises:
            KeyError: the flow's source is no VM of this network.
            IndexError: flows of its protocol are given no ports (``knows``).

        """
        held = self._held.get(flow)
        if held is not None:
            if held.due is None:
                return held.grant
            self._forget(flow, held)  # the same socket again, while its last flow cools down: another flow
        pool, reuse = self._pools[flow.source], self._reuse(flow)
        if reuse == "nothing":
            held = self._sockets.get(flow[:3])
            if held is not None and held.due is None:
                held.flows.add(flow)
                self._held[flow] = held
                return held.grant
        for share in self._in_turn(pool, flow):
            found = self._take(pool, share, flow, reuse)
            if found is not None:
                self._refused.pop(flow, None)
                in_use = found.free.in_use if found.free is not None else 0
                if in_use > _HIGH_USAGE * self.allocated(share):
                    self._tell("high usage", pool, share, flow.protocol, in_use, now_s)
                return found.grant
        self._refuse(pool, flow, now_s)
        return None

    def _reuse(self, flow: Flow) -> PortReuse:
        return self.policy.tcp_reuse if flow.protocol == TCP else self.policy.udp_reuse

    def _in_turn(self, pool: SnatPool, flow: Flow) -> tuple[SnatRange, ...]:
        """Return the VM's ranges for a flow's protocol in the order in which they are tried."""
        ranges = self._ranges[pool.node, flow.protocol]
        if len(ranges) < 2 or self.policy.sequential:
            return ranges
        start = _mixed(flow) % len(ranges)
        return ranges[start:] + ranges[:start]

    def _scope_of(self, address: int, flow: Flow, reuse: PortReuse) -> _Scope:
        shared = 0 if reuse == "destination address" and not self.policy.per_protocol else flow.protocol
        key: _ScopeKey
        if reuse == "destination address":
            key = (address, shared, flow.destination)
        elif reuse == "destination":
            key = (address, shared, flow.destination, flow.destination_port)
        else:
            key = (address, shared)
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = _Scope(key)
        return scope

    def _free(self, scope: _Scope, share: SnatRange) -> _FreeList:
        free = scope.free.get(share)
        if free is None:
            free = scope.free[share] = _FreeList(share, self._random, lowest=self.policy.order == "lowest")
        return free

    def _take(self, pool: SnatPool, share: SnatRange, flow: Flow, reuse: PortReuse) -> _Allocation | None:
        scope = self._scope_of(self._numbers[share.address], flow, reuse)
        free = self._free(scope, share)
        taken = self._taken[share.address]
        port = next((p for p in free.candidates() if p not in scope.used and p not in taken), None)
        if port is None:
            if not scope.used:
                del self._scopes[scope.key]
            return None
        self._use(scope, share, free)
        return self._hold(pool.node, share.address, flow, port, scope, free, reuse)

    def _use(self, scope: _Scope, share: SnatRange, free: _FreeList) -> None:
        free.in_use += 1
        for protocol in scope.protocols():
            self._peaks[share, protocol] = max(self._peaks.get((share, protocol), 0), free.in_use)

    def _hold(
        self, node: str, address: str, flow: Flow, port: int, scope: _Scope, free: _FreeList | None, reuse: PortReuse
    ) -> _Allocation:
        account = self._account(node, address, flow.protocol)
        held = _Allocation(Grant(scope.key[0], port), scope, free, account)
        held.flows.add(flow)
        scope.used.add(port)
        self._held[flow] = held
        if reuse == "nothing":
            held.socket = flow[:3]
            self._sockets[flow[:3]] = held
        account.flows += 1
        account.given += 1
        account.ports[port] = account.ports.get(port, 0) + 1
        return held

    def _account(self, node: str, address: str, protocol: int) -> _Account:
        key = (node, address, protocol)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account()
        return account

    def _refuse(self, pool: SnatPool, flow: Flow, now_s: float) -> None:
        share = self._in_turn(pool, flow)[0]
        if flow not in self._refused:
            self._account(pool.node, share.address, flow.protocol).refused += 1
        self._refused.pop(flow, None)
        self._refused[flow] = now_s  # oldest first
        self._tell("exhausted", pool, share, flow.protocol, self.allocated(share), now_s)

    # --- ends -----------------------------------------------------------------------------------

    def closed(self, flow: Flow, how: Literal["fin", "rst"], now_s: float) -> bool:
        """Begin a flow's cool-down; return whether connection tracking must forget the flow at once."""
        held = self._held.get(flow)
        if held is None or len(held.flows) > 1:
            return False
        hold_s = self.policy.rst_s if how == "rst" else self.policy.fin_s
        if hold_s <= 0:
            self._release(flow, held)
            return True
        if held.due is None or now_s + hold_s < held.due:
            self._cool(flow, held, now_s + hold_s)
        return False

    def _cool(self, flow: Flow, held: _Allocation, due_s: float) -> None:
        held.due = due_s
        self._count += 1
        heappush(self._cooling, (due_s, self._count, held, flow))

    def ended(self, flow: Flow, port: int) -> None:
        """Note that connection tracking has forgotten a flow that had ``port``; a cool-down goes on without it."""
        held = self._held.get(flow)
        if held is None or held.grant.port != port:
            return
        if held.due is None:
            self._release(flow, held)
        else:
            self._forget(flow, held)

    def lose(self, flow: Flow, now_s: float) -> None:
        """Note that a flow's port is taken by what is not known here; it is left alone for an idle timeout."""
        held = self._held.get(flow)
        if held is None:
            return
        self._forget(flow, held)
        if held.socket is not None and self._sockets.get(held.socket) is held:
            del self._sockets[held.socket]  # the socket's next flow gets another port
        if len(held.flows) > 1:
            held.flows.discard(flow)  # the others have theirs
        else:
            self._cool(flow, held, now_s + self.policy.idle_s)

    def due(self, now_s: float) -> list[Flow]:
        """Release the ports whose cool-down is over; return those of their flows that are still tracked."""
        flows = []
        while self._cooling and self._cooling[0][0] <= now_s:
            due, _, held, flow = heappop(self._cooling)
            if held.due != due:
                continue  # an RST after a FIN made it earlier
            if self._held.get(flow) is held:
                flows.append(flow)
            self._release(flow, held)
        while self._refused:
            first = next(iter(self._refused))
            if self._refused[first] > now_s - self.policy.idle_s:
                break
            del self._refused[first]
        return flows

    def next_due(self) -> float | None:
        """Return when the next cool-down is over, None if nothing cools down."""
        return self._cooling[0][0] if self._cooling else None

    def _forget(self, flow: Flow, held: _Allocation) -> None:
        """Take the flow's name off a port that stays held."""
        if self._held.get(flow) is held:
            del self._held[flow]

    def _release(self, flow: Flow, held: _Allocation) -> None:
        self._forget(flow, held)
        held.flows.discard(flow)
        if held.flows:
            return
        port, scope, account = held.grant.port, held.scope, held.account
        held.due = None
        if held.socket is not None and self._sockets.get(held.socket) is held:
            del self._sockets[held.socket]
        scope.used.discard(port)
        if held.free is not None:
            held.free.give_back(port)
        else:
            for share, free in scope.free.items():
                if port in share:
                    free.welcome(port)
        if not scope.used and self._scopes.get(scope.key) is scope:
            del self._scopes[scope.key]
        account.flows -= 1
        left = account.ports[port] - 1
        if left:
            account.ports[port] = left
        else:
            del account.ports[port]

    # --- changes --------------------------------------------------------------------------------

    def adopt(self, flow: Flow, grant: Grant, *, due_s: float | None = None) -> None:
        """Take over a flow that has its port already; ``due_s``: it is closed, and when its cool-down is over.

        A flow of no VM of this network, or from an address that is none of the VM's, is left alone.
        """
        pool, share = self._pools.get(flow.source), self._range(flow, grant)
        if pool is None or share is None or flow in self._held:
            return
        reuse = self._reuse(flow)
        held = self._sockets.get(flow[:3]) if reuse == "nothing" else None
        if held is not None and held.due is None and held.grant == grant:
            held.flows.add(flow)
            self._held[flow] = held
            return
        scope = self._scope_of(grant.address, flow, reuse)
        if grant.port in scope.used:
            return  # two flows that another revision let share a port: the first of them counts
        free = None
        if grant.port in share:
            free = self._free(scope, share)
            self._use(scope, share, free)
        held = self._hold(pool.node, share.address, flow, grant.port, scope, free, reuse)
        if due_s is not None:
            self._cool(flow, held, due_s)

    def changed(self, policy: SnatPolicy, pools: Iterable[SnatPool]) -> tuple["Ports", list[Flow]]:
        """Return the ports of another policy and other ranges, and the flows that lose theirs.

        A VM whose range got smaller loses the flows outside of the new one: half of the ports are reclaimed when
        a pool grows into the next tier (load-balancer-outbound-connections.md, 2018-02-05). All others keep
        their ports, wherever the ranges are now. So do cool-downs, also those whose flows are no longer tracked.
        """
        after = Ports(policy, pools)
        after._last_alert, after._refused = self._last_alert, self._refused

        def reclaimed(flow: Flow, grant: Grant) -> bool:
            old, new = self._range(flow, grant), after._range(flow, grant)
            return old is not None and new is not None and len(new) < len(old) and grant.port not in new

        for due, _, held, flow in self._cooling:
            if held.due == due and self._held.get(flow) is not held and not reclaimed(flow, held.grant):
                after.adopt(flow, held.grant, due_s=due)
                after._held.pop(flow, None)
        lost = []
        for flow, held in self._held.items():
            if reclaimed(flow, held.grant):
                lost.append(flow)
            else:
                after.adopt(flow, held.grant, due_s=held.due)
        for (node, address, protocol), account in self._accounts.items():
            kept = after._account(node, address, protocol)
            kept.given, kept.refused = account.given, account.refused
        ranges = {
            (pool.node, share.address, protocol): share
            for pool in self._pools.values()
            for protocol in _NAMES
            for share in self._ranges[pool.node, protocol]
        }
        for pool in after._pools.values():
            for protocol in _NAMES:
                for share in after._ranges[pool.node, protocol]:
                    old = ranges.get((pool.node, share.address, protocol), share)
                    peak = max(after._peaks.get((share, protocol), 0), self._peaks.get((old, protocol), 0))
                    after._peaks[share, protocol] = peak
        return after, lost

    def _range(self, flow: Flow, grant: Grant) -> SnatRange | None:
        pool = self._pools.get(flow.source)
        ranges = self._ranges[pool.node, flow.protocol] if pool else ()
        return next((r for r in ranges if self._numbers[r.address] == grant.address), None)

    # --- what is in use -------------------------------------------------------------------------

    def flows(self) -> Iterator[tuple[Flow, Grant]]:
        """Yield the flows that have a port and are tracked."""
        return ((flow, held.grant) for flow, held in self._held.items())

    def allocated(self, share: SnatRange) -> int:
        """Return how many ports of a VM's range may be given out: those that no rule has taken."""
        return self._allocated[share]

    def usage(self) -> list[Usage]:
        """Return what each VM uses of each address, by protocol; TCP and UDP also where nothing was ever used."""
        towards: dict[tuple[str, str, int], dict[tuple[int, int], list[int]]] = {}
        cooling: dict[_Account, int] = {}
        for due, _, held, _ in self._cooling:
            if held.due == due:
                cooling[held.account] = cooling.get(held.account, 0) + 1
        names = {number: address for address, number in self._numbers.items()}
        for flow, held in self._held.items():
            key = (self._node(flow), names.get(held.grant.address, ""), flow.protocol)
            counts = towards.setdefault(key, {}).setdefault(flow[3:], [0, 0, 0])
            counts[0] += 1
            counts[2] += held.due is not None
        for flow in self._refused:
            pool = self._pools.get(flow.source)
            if pool is not None and self.knows(flow):
                share = self._in_turn(pool, flow)[0]
                key = (pool.node, share.address, flow.protocol)
                towards.setdefault(key, {}).setdefault(flow[3:], [0, 0, 0])[1] += 1
        fullest: dict[tuple[SnatRange, int], int] = {}
        for scope in self._scopes.values():
            for share, free in scope.free.items():
                for protocol in scope.protocols():
                    fullest[share, protocol] = max(fullest.get((share, protocol), 0), free.in_use)
        found = []
        for pool in self._pools.values():
            for share in pool.ranges:
                for protocol in (p for p, name in _NAMES.items() if share.serves(name)):
                    key = (pool.node, share.address, protocol)
                    account = self._accounts.get(key) or _Account()
                    found.append(
                        Usage(
                            node=pool.node,
                            address=share.address,
                            protocol=_NAMES[protocol],
                            allocated=self.allocated(share),
                            ports=len(account.ports),
                            flows=account.flows,
                            cooling=cooling.get(account, 0),
                            given=account.given,
                            fullest=fullest.get((share, protocol), 0),
                            peak=self._peaks.get((share, protocol), 0),
                            refused=account.refused,
                            destinations=tuple(
                                DestinationUsage(str(IPv4Address(address)), port, used, refused, cooling_down)
                                for (address, port), (used, refused, cooling_down) in sorted(
                                    towards.get(key, {}).items(), key=lambda item: (-item[1][0], item[0])
                                )
                            ),
                        )
                    )
        return found

    def _node(self, flow: Flow) -> str:
        pool = self._pools.get(flow.source)
        return pool.node if pool else ""

    # --- what the logs tell ---------------------------------------------------------------------

    def alerts(self) -> list[Alert]:
        """Return what there is to tell since the last call."""
        told, self._alerts = self._alerts, []
        return told

    def _tell(
        self,
        kind: Literal["exhausted", "high usage"],
        pool: SnatPool,
        share: SnatRange,
        protocol: int,
        used: int,
        now_s: float,
    ) -> None:
        """Tell of an address once per episode: it is over when there was no reason to tell for ``alert_s``."""
        last = self._last_alert.get((kind, share.address))
        self._last_alert[kind, share.address] = now_s
        if last is None or now_s - last >= self.policy.alert_s:
            self._alerts.append(Alert(kind, pool.node, share.address, _NAMES[protocol], used, self.allocated(share)))


def _mixed(flow: Flow) -> int:
    """Return a number that depends on all of a flow, and is the same every time."""
    mixed = _SEED
    for part in flow:
        mixed = ((mixed ^ part) * 0x9E3779B1) & 0xFFFFFFFF
        mixed ^= mixed >> 15
    return mixed
