"""The gateways of a running lab: their daemons, kept alive, and their tunnels, kept connected.

A part of the agent, which hands it the plan. What follows from what is seen is decided by
``vpn_gateway.Connectivity``; here is only the carrying: of plan items to daemons, of events back, and of time.
"""

import asyncio
import contextlib
import hashlib
import itertools
import shutil
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from lab.deciders.tunnel import Connectivity, begins, idleness, impossible, is_idle, reason, was_idle
from lab.errors import KernelError, LabError
from lab.kernel import charon, daemons, netns, tunnel_routes
from lab.kernel.charon import Esp, Vici
from lab.kernel.state import GatewayState, StateDir, TunnelState, replace
from lab.plan import ANYWHERE, NO_WHY, IkeDaemon, Plan, Route, Tunnel, namespace

Keys = Mapping[tuple[str, str], str | None]

_TICK_S = 0.5  # how often counters are read when nothing happens
_WRITE_S = 0.02  # how often what is known is compared with what was written
_RESTART_S = 0.2  # how soon a daemon that ended is started again


class Counters:
    """Inner bytes of one tunnel, over all its security associations: each has counters of its own, from 0."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def note(self, child: Mapping[str, Any]) -> None:
        """Remember what a child says of itself."""
        if "bytes-in" in child:
            self._seen[f"{child.get('uniqueid')} {child.get('spi-in')}"] = (
                int(child["bytes-in"]),
                int(child["bytes-out"]),
            )

    def resume(self, received: int, sent: int) -> None:
        """Count on from what was counted before, of which the associations that are there are a part."""
        now_received, now_sent = self.total()
        self._seen["before"] = max(0, received - now_received), max(0, sent - now_sent)

    def total(self) -> tuple[int, int]:
        """Return the bytes that came in and those that went out."""
        return sum(i for i, _ in self._seen.values()), sum(o for _, o in self._seen.values())


class Loaded(msgspec.Struct, frozen=True):
    """A tunnel that a daemon knows, as it was told."""

    tunnel: Tunnel
    key: str  # a digest of it, "" if there is none
    number: int


class Handover(msgspec.Struct, frozen=True):
    """What a later agent must know of a daemon to go on with it."""

    esp: Esp
    starts: int
    started: float
    loaded: dict[str, Loaded]


class Gateway:
    """One daemon and its tunnels."""

    def __init__(self, folder: StateDir, item: IkeDaemon, esp: Esp) -> None:
        self.folder = folder
        self.item = item
        self.esp: Esp = esp
        self.own = folder.gateways / item.place
        self.handover_file = self.own / "handover.json"
        self.log = folder.log / f"{item.place}.charon.log"
        self.vici = Vici(self._heard)
        self.process: daemons.Attended | None = None
        self.tunnels: dict[str, Tunnel] = {}
        self.loaded: dict[str, tuple[Tunnel, str]] = {}
        self.known: dict[str, Connectivity] = {}
        self.listed: dict[str, dict[str, Any]] = {}  # the associations that the daemon is just listing
        self.carried: dict[str, dict[str, Any]] = {}  # those it listed last
        self.counters: dict[str, Counters] = {}
        self.keys: dict[str, str | None] = {}
        self.outward: tuple[Route, ...] = ()  # the way to the internet
        self.facing: dict[str, Tunnel] = {}  # the other ends of our tunnels, where they are the lab's too
        self.numbers: dict[str, int] = {}  # of our tunnels, kept as long as they are loaded
        self.led: dict[str, Tunnel] = {}  # those that packets are led into
        self.silent: dict[str, tuple[tuple[int, int], float]] = {}  # bytes of each, and since when there were no more
        self.ended: dict[str, str] = {}  # associations that we ended and the daemon may still list
        self.listener: tunnel_routes.Listener | None = None  # while a tunnel waits for something to carry
        self.starts = 0
        self.started = 0.0
        self.peers: list[Gateway] = []  # those at the other ends
        self.settled = asyncio.Event()  # the plan has been followed, as far as it could be
        self.stirred = asyncio.Event()
        self.turn = asyncio.Lock()  # one thing at a time: following a plan, or looking after tunnels

    @property
    def creating(self) -> bool:
        """Whether the gateway is still being built."""
        return self.item.ready_at > time.time()

    # --- the daemon ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the daemon, wait until it listens, and load what it has to know.

        Raises:
            LabError: it does not start.

        """
        where = namespace(self.folder.lab, self.item.place)
        for left in charon.running(self.own):
            daemons.Adopted(left).end()
        self.handover_file.unlink(missing_ok=True)
        if self.esp == "kernel":
            netns.run_in(where, charon.forget)
        self.started = time.time()
        self.process = charon.start(where, self.own, self.esp, self.log)
        self.starts += 1
        try:
            await self._open(self.process)
        except LabError as error:
            raise LabError(
                f"{self.item.place}: {error}; it must run while its lab does; its last words: "
                f"{charon.last_words(self.log)}"
            ) from None
        self.loaded = {}
        self.carried = {}
        await self.load()

    async def _open(self, process: daemons.Attended) -> None:
        self.vici = Vici(self._heard)
        await self.vici.open(self.own, process)
        await asyncio.gather(*map(self.vici.listen, ("ike-updown", "child-updown", "child-rekey", "list-sa", "log")))

    async def adopt(self) -> bool:
        """Take over the daemon that an agent before this one has started; return False if there is none.

        What it carries goes on. What it is to know is what the plan says, as for any daemon.
        """
        found = charon.running(self.own)
        before = self._handed_over()
        if len(found) != 1 or before is None:
            return False
        process = daemons.Adopted(found[0])
        try:
            await self._open(process)
            known = (await self.vici.ask("get-conns")).get("conns", [])
            self.process, self.starts, self.started = process, before.starts, before.started
            told = {name: one for name, one in before.loaded.items() if name in known}
            self.loaded = {name: (one.tunnel, one.key) for name, one in told.items()}
            self.numbers = {name: one.number for name, one in told.items()}
            # Which of them carry packets is seen next; of the others the way is taken back then.
            self.led = {name: one.tunnel for name, one in told.items()}
            self.counters |= {name: Counters() for name in told}
            await self.vici.ask("list-sas")
            self._remember(told)
            await self.load()
        except LabError as error:
            daemons.say(self.item.place, f"{error}; starting its daemon anew")
            await self.end()
            return False
        return True

    def _handed_over(self) -> Handover | None:
        try:
            before = msgspec.json.decode(self.handover_file.read_bytes(), type=Handover)
        except (OSError, msgspec.DecodeError):
            return None
        return before if before.esp == self.esp else None

    def _remember(self, names: Iterable[str]) -> None:
        """Know of tunnels what was written of them."""
        written = self.folder.tunnels().get(self.item.place)
        for name in names:
            if written is not None and (was := written.tunnels.get(name)) is not None:
                self.counters[name].resume(was.ingress, was.egress)
                if was.state in ("Connected", "NotConnected"):
                    self.known[name] = Connectivity.remembered(
                        was.state, was.reason, was.established, was.event, was.message, was.changed
                    )

    def _hand_over(self) -> None:
        """Write what a later agent must know; without room for it, that one starts the daemon anew."""
        loaded = {name: Loaded(tunnel, key, self.numbers[name]) for name, (tunnel, key) in self.loaded.items()}
        data = msgspec.json.encode(Handover(self.esp, self.starts, self.started, loaded))
        try:
            replace(self.handover_file, data, mode=0o600)
        except OSError:
            self.handover_file.unlink(missing_ok=True)

    async def follow(self) -> None:
        """Start the daemon with the tunnels of the plan.

        Raises:
            LabError: it does not start.

        """
        async with self.turn:
            try:
                if self.process is not None and self.process.running():
                    await self.load()
                elif self.process is not None or not await self.adopt():
                    await self.start()
            finally:
                self.settled.set()

    async def load(self) -> None:
        """Make the daemon know the tunnels of the plan; those that changed begin afresh."""
        now = time.time()
        for name in self.loaded.keys() - self.tunnels.keys():
            await self._unload(name)
            self.known.pop(name, None)
            self.counters.pop(name, None)
        for name, loaded in list(self.loaded.items()):
            if loaded != (self.tunnels[name], _digest(self.keys.get(name))):
                await self._unload(name)
        asked: list[Coroutine[Any, Any, Any]] = []
        new: dict[str, tuple[Tunnel, str]] = {}
        for name, tunnel in sorted(self.tunnels.items()):
            key = self.keys.get(name)
            self.counters.setdefault(name, Counters())
            self.known.setdefault(name, Connectivity(changed=now))
            if name in self.loaded:
                continue
            self._note(name, "Connecting", "not tried yet")
            number = self.numbers.setdefault(name, _free(self.numbers.values()))
            if self.esp == "kernel":
                netns.run_in(namespace(self.folder.lab, self.item.place), charon.make_interface, number)
            # A key belongs to the peer's address: the host with that address must know it.
            secret = {"id": name, "type": "IKE", "data": key or _nobodys(), "owners": [tunnel.peer]}
            made = charon.connection(tunnel, self.item.address, self.esp, number)
            asked += [self.vici.ask("load-shared", secret), self.vici.ask("load-conn", made)]
            new[name] = (tunnel, _digest(key))
        await asyncio.gather(*asked)
        self.loaded |= new
        self._hand_over()
        for name in list(self.led):
            self._lead(name)  # again: a user may have removed the route by hand
        for name, tunnel in self.tunnels.items():
            # Whatever changed, here or at the other side: it may work now.
            first = begins(tunnel, self.item.address)
            self.known[name] = self.known[name].afresh(first=first, now=now)
        self.stirred.set()

    async def _unload(self, name: str) -> None:
        self.loaded.pop(name, None)
        await self.vici.ask("unload-conn", {"name": name})
        await self.vici.ask("unload-shared", {"id": name})
        await self._end(name)
        self._block(name)
        number = self.numbers.pop(name)
        if self.esp == "kernel":
            netns.run_in(namespace(self.folder.lab, self.item.place), charon.remove_interface, number)

    async def _end(self, name: str) -> None:
        """End a tunnel, if it is there."""
        with contextlib.suppress(LabError):  # there is none
            await self.vici.ask("terminate", {"ike": name, "force": "yes", "timeout": "-1", "loglevel": "-1"})

    async def tend(self) -> None:
        """Keep the daemon running and its tunnels connected, until cancelled."""
        if self.creating:
            await asyncio.sleep(self.item.ready_at - time.time())
            await self.follow()
        # None calls at a door that is not there yet. Who is still being built is not waited for.
        for one in (self, *self.peers):
            await one.settled.wait()
        while True:
            try:
                async with self.turn:
                    self._restore()
                    await self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self.stirred.wait()
                self.stirred.clear()
            except (LabError, OSError) as error:
                daemons.say(self.item.place, f"{error}; starting it again")
                await self.end()
                await asyncio.sleep(_RESTART_S)
                with contextlib.suppress(LabError, OSError):  # a full disk, perhaps: it is tried again
                    await self.follow()

    def _pause(self) -> float:
        """Return for how long nothing is due; seconds."""
        waiting = [k.next_attempt - time.time() for k in self.known.values() if k.state != "Connected"]
        return max(0.01, min([_TICK_S, *waiting]))

    async def end(self) -> None:
        """End the daemon and wait for it."""
        self._listen(set())
        for name in list(self.led):
            with contextlib.suppress(KernelError):  # the place is going, too
                self._block(name)
        await self.vici.close()
        if self.process is not None:
            self.process.end()
            self.process = None

    # --- tunnels ------------------------------------------------------------------------------

    def _heard(self, event: str, said: Mapping[str, Any]) -> None:
        if event == "log":
            tunnel = self.tunnels.get(said.get("ikesa-name", ""))
            if tunnel is not None and (words := reason(said.get("msg", ""), tunnel)):
                self.known[tunnel.name] = self.known[tunnel.name].heard(tunnel.name, words, time.time())
            return
        for name, ike in said.items():
            if name not in self.tunnels or not isinstance(ike, dict):
                continue
            for child in ike.get("child-sas", {}).values():
                for one in (child.get("old"), child.get("new"), child):
                    if isinstance(one, dict):
                        self.counters[name].note(one)
            if event == "list-sa" and ike.get("uniqueid") != self.ended.get(name):
                self.listed[name] = _better(ike, self.listed.get(name))
        if event != "list-sa":
            self.stirred.set()

    def _note(self, name: str, state: Any, words: str) -> None:
        self.known[name] = self.known[name].after(name, state, words, time.time())

    async def _look(self) -> None:
        """See which tunnels are up, and attempt those that are not."""
        self.listed = {}
        await self.vici.ask("list-sas")
        self.carried = self.listed
        for name, tunnel in self.tunnels.items():
            if name not in self.loaded:
                continue  # of a plan that has just come, and is followed next
            if not tunnel.connect:
                await self._end(name)
                self._down(name, "disconnected by its owner")
                continue
            if why_not := impossible(tunnel, self.item.address, self.facing.get(name)):
                await self._end(name)
                self._down(name, why_not)
                continue
            ike = self.carried.get(name)
            if ike is not None and _installed(ike) >= len(charon.children(tunnel)):
                if name not in self.led:
                    self._lead(name)
                self._note(name, "Connected", "")
                if is_idle(tunnel, self._silence(name)):
                    await self._end(name)
                    self.ended[name] = ike["uniqueid"]
                    self._rest(name)
                continue
            if self.known[name].state == "Connected" and was_idle(tunnel, self._silence(name)):
                self._rest(name)
            elif self.known[name].state == "Connected":
                self._block(name)
                self.known[name] = self.known[name].gone(name, time.time())
            elif not self.known[name].rests:
                self._block(name)
            if self.known[name].next_attempt <= time.time() and (ike is None or ike.get("state") == "ESTABLISHED"):
                self.known[name] = self.known[name].attempted(time.time())
                for child in charon.children(tunnel):
                    await self.vici.ask("initiate", {"child": child, "ike": name, "timeout": "-1", "loglevel": "-1"})
        self._listen({name for name, known in self.known.items() if known.rests})

    def _restore(self) -> None:
        """Make the way to the internet again, if it went with its wire and that is back."""
        for route in self.outward:
            with contextlib.suppress(KernelError):  # the place is going, too
                tunnel_routes.restore(namespace(self.folder.lab, route.place), route.interface or "", route.via or "")

    def _silence(self, name: str) -> float:
        """Return for how many seconds a tunnel has carried nothing."""
        now, carried = time.time(), self.counters[name].total()
        before, since = self.silent.get(name, ((-1, -1), now))
        if carried != before:
            since = now
        self.silent[name] = (carried, since)
        return now - since

    def _lead(self, name: str) -> None:
        tunnel, number = self.tunnels[name], self.numbers[name]
        where = namespace(self.folder.lab, self.item.place)
        tunnel_routes.lead(where, tunnel.remote, charon.interface(self.esp, number), self.item.source)
        self.led[name] = tunnel

    def _block(self, name: str) -> None:
        if (tunnel := self.led.pop(name, None)) is not None:
            self.silent.pop(name, None)
            where = namespace(self.folder.lab, self.item.place)
            tunnel_routes.block(where, tunnel.remote, charon.interface(self.esp, self.numbers[name]))

    def _down(self, name: str, words: str) -> None:
        self._block(name)
        self._note(name, "NotConnected", words)

    def _rest(self, name: str) -> None:
        """Leave a tunnel down until something is for it. Programs beside the daemon say so by sending into it."""
        if not self.item.source:
            self._block(name)
        self.silent.pop(name, None)
        tunnel = self.tunnels[name]
        self.known[name] = self.known[name].resting(name, idleness(tunnel), time.time())

    def _listen(self, resting: set[str]) -> None:
        """Watch for packets as long as a tunnel rests."""
        loop = asyncio.get_running_loop()
        if resting and self.listener is None:
            self.listener = tunnel_routes.Listener(namespace(self.folder.lab, self.item.place))
            loop.add_reader(self.listener.fileno(), self._wake)
        elif not resting and self.listener is not None:
            loop.remove_reader(self.listener.fileno())
            self.listener.close()
            self.listener = None

    def _wake(self) -> None:
        """Rebuild tunnels that rest if there is something to carry."""
        assert self.listener is not None
        seen = [IPv4Address(address) for address in self.listener.destinations()]
        for name, tunnel in self.tunnels.items():
            if self.known[name].rests and any(a in IPv4Network(p) for a in seen for p in tunnel.remote):
                self.known[name] = self.known[name].afresh(first=True, now=time.time())
                self.stirred.set()

    def state(self) -> GatewayState:
        """Return what is known, for those who look."""
        return GatewayState(
            kind=self.item.kind,
            esp=self.esp,
            address=self.item.address,
            ready_at=self.item.ready_at,
            pid=self.process.pid if self.process else 0,
            starts=self.starts,
            started=self.started,
            # While a plan is being followed, a tunnel may be known that is no longer there.
            tunnels={
                name: self._tunnel_state(name, known)
                for name, known in sorted(self.known.items())
                if name in self.tunnels
            },
        )

    def _tunnel_state(self, name: str, known: Connectivity) -> TunnelState:
        received, sent = self.counters[name].total()
        ike = self.carried.get(name, {}) if known.state == "Connected" else {}
        child: Mapping[str, Any] = next(iter(ike.get("child-sas", {}).values()), {})
        words = ("encr-alg", "encr-keysize", "integ-alg", "dh-group")
        return TunnelState(
            state=known.state,
            reason=known.reason,
            peer=self.tunnels[name].peer,
            ingress=received,
            egress=sent,
            established=known.established,
            event=known.event,
            message=known.message,
            changed=known.changed,
            version=int(ike.get("version", 0)),
            local=_carried(ike, "local-ts"),
            remote=_carried(ike, "remote-ts"),
            ike=" ".join(ike[w] for w in words if w in ike),
            esp=" ".join(child[w] for w in words if w in child),
            ike_rekey_s=int(ike.get("established", 0)) + int(ike.get("rekey-time", 0)),
            esp_life_s=int(child.get("install-time", 0)) + int(child.get("life-time", 0)),
        )


def _free(taken: Iterable[int]) -> int:
    """Return the lowest number that is not taken."""
    used = set(taken)
    return next(number for number in itertools.count() if number not in used)


def _digest(key: str | None) -> str:
    """Return what tells one key from another; the key itself is not kept."""
    return "" if key is None else hashlib.sha256(key.encode()).hexdigest()


def _nobodys() -> str:
    """Return a random key, which no peer knows."""
    import secrets  # noqa: PLC0415 - rarely needed

    return secrets.token_hex(16)


def _better(ike: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Return the association of a tunnel that has more children: while one replaces another there are two."""
    return other if other is not None and _installed(other) > _installed(ike) else ike


def _installed(ike: Mapping[str, Any]) -> int:
    """Return how many different children of an association carry packets."""
    return len({child["name"] for child in ike.get("child-sas", {}).values() if child["state"] == "INSTALLED"})


def _carried(ike: Mapping[str, Any], side: str) -> tuple[str, ...]:
    """Return the prefixes of one side that the children of an association carry."""
    installed = [child for child in ike.get("child-sas", {}).values() if child["state"] == "INSTALLED"]
    return charon.prefixes([selector for child in installed for selector in child.get(side, [])])


class Gateways:
    """All gateways and VPN devices of a lab."""

    def __init__(self, folder: StateDir) -> None:
        self.folder = folder
        self.open: dict[str, Gateway] = {}
        self.tending: dict[str, asyncio.Task[None]] = {}
        self.esp: Esp | None = None
        self.writing: asyncio.Task[None] | None = None
        self.written = b""

    async def read(self, plan: Plan, keys: Keys) -> tuple[str, ...]:
        """Make the daemons follow a plan: start and end them, load what changed. Return what could not be done."""
        wanted = {item.place: msgspec.structs.replace(item, why=NO_WHY) for item in plan.of(IkeDaemon)}
        for place in [p for p, one in self.open.items() if wanted.get(p) != one.item]:
            await self._close(place)
        self._end_strays(wanted.keys())
        if wanted and self.esp is None:
            self.esp = charon.kernel_esp()
        new = [place for place in wanted if place not in self.open]
        for place in new:
            self.open[place] = Gateway(self.folder, wanted[place], self.esp or "user space")
        for place, one in self.open.items():
            tunnels = (t for t in plan.of(Tunnel) if t.place == place)
            one.tunnels = {t.name: msgspec.structs.replace(t, why=NO_WHY) for t in tunnels}
            one.outward = tuple(
                r for r in plan.of(Route) if r.place == place and r.destination == ANYWHERE and r.interface
            )
            one.keys = {name: keys.get((place, name)) for name in one.tunnels}
        for one in self.open.values():
            one.facing = self._facing(one)
        # Those that most depend on come first.
        due = sorted((one for one in self.open.values() if not one.creating), key=lambda one: -len(one.tunnels))
        for place in new:
            addresses = {tunnel.peer for tunnel in self.open[place].tunnels.values()}
            self.open[place].peers = [one for one in due if one.item.address in addresses]
            self.tending[place] = asyncio.create_task(self.open[place].tend())
            self.tending[place].add_done_callback(_report)
        done = await asyncio.gather(*(one.follow() for one in due), return_exceptions=True)
        problems = tuple(str(error) for error in done if isinstance(error, LabError))
        if crashed := next((e for e in done if isinstance(e, BaseException) and not isinstance(e, LabError)), None):
            raise crashed
        if self.open and self.writing is None:
            self.writing = asyncio.create_task(self._keep_written())
            self.writing.add_done_callback(_report)
        self._write()
        return problems

    def _facing(self, one: Gateway) -> dict[str, Tunnel]:
        at = {other.item.address: other for other in self.open.values()}
        return {
            name: back
            for name, tunnel in one.tunnels.items()
            if tunnel.peer in at
            for back in at[tunnel.peer].tunnels.values()
            if back.peer == one.item.address
        }

    async def _close(self, place: str) -> None:
        one = self.open.pop(place)
        if (tending := self.tending.pop(place, None)) is not None:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
        await one.end()
        shutil.rmtree(one.own, ignore_errors=True)

    def _end_strays(self, wanted: Collection[str]) -> None:
        """End the daemons of gateways that were removed while no agent was there to end them."""
        for own in self.folder.gateways.glob("*/"):
            if own.name not in wanted:
                for left in charon.running(own):
                    daemons.Adopted(left).end()
                shutil.rmtree(own, ignore_errors=True)

    async def close(self) -> None:
        """End all daemons and wait for them."""
        for place in list(self.open):
            await self._close(place)

    async def _keep_written(self) -> None:
        """Write what is known, whenever it changes."""
        while True:
            try:
                self._write()
            except OSError:  # a full disk: it is tried again
                await asyncio.sleep(_RESTART_S)
            await asyncio.sleep(_WRITE_S)

    def _write(self) -> None:
        """Write what is known, for those who look, if it is news."""
        data = msgspec.json.encode({place: one.state() for place, one in sorted(self.open.items())})
        if data != self.written:
            replace(self.folder.gateways_file, data)
            self.written = data


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        daemons.say("agent", repr(task.exception()))
