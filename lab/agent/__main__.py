"""The process beside a running lab: it holds the servers' sockets and asks pool members for their health.

    python -m lab.agent LAB READY-DESCRIPTOR

One process for all namespaces of a lab. It is started by ``up`` and waits for ``go`` on its standard
input, so that it loads while the namespaces are made; when its servers listen it writes ``ready``.
SIGHUP makes it read the plan again and keep every connection it has.

It decides nothing itself: what follows from probe results (``members.py``) is the plan of the same network
with other members down, compiled and applied like any other.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from lab.agent import logs, servers
from lab.agent.access import Access
from lab.agent.health import Members
from lab.agent.idle_reset import Resetter
from lab.agent.programs import Programs
from lab.agent.snat import Allocator
from lab.azure.model import decode
from lab.deciders.snat_ports import Alert
from lab.errors import LabError, LabLocked
from lab.kernel import apply, daemons, keeper, netns
from lab.kernel.daemons import Attended
from lab.kernel.sockets import enlarge
from lab.kernel.state import CALLER, AgentState, MemberHealth, Restarts, StateDir, locked, replace
from lab.path import vpn_gateway
from lab.plan import (
    NO_WHY,
    Backends,
    DnsRecord,
    HealthCheck,
    IdleReset,
    IkeDaemon,
    Plan,
    Server,
    SnatPolicy,
    SnatPool,
    namespace,
)

if TYPE_CHECKING:
    from lab.agent.gateways import Gateways

_BACKLOG = 4096
_DATAGRAMS_BYTES = 16 * 1024 * 1024
_LOCK_S = 0.05  # how long to wait before asking again for a lab that is being changed
_AGAIN_S = 1.0  # how long to wait before writing rules again that the kernel did not take


class Agent:
    """The servers and probes of one lab."""

    def __init__(self, folder: StateDir) -> None:
        self.folder = folder
        self.plan: Plan = folder.plan()
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.names: dict[str, dict[str, str]] = {}
        self.open: dict[Server, contextlib.AsyncExitStack] = {}
        self.changed = asyncio.Event()
        self.members = Members(
            self.plan.lab, folder.probes_file, self.inside, self._tell_health, self.changed.set, self._unserved
        )
        self.telling = False  # what is known of members will be written in a moment
        self.applied: dict[str, bool] = {}  # what the rules say of each member: whether it is up
        self.certificates = servers.Certificates(folder.certificate_file)
        self.programs: dict[Server, Attended] = {}  # servers that are programs of their own
        self.own = Programs(folder)
        self.access = Access(folder.access_file)
        self.sshd: servers.Sshd | None = None
        self.allocators: dict[str, Allocator] = {}
        self.resetters: dict[str, Resetter] = {}
        self.gateways: Gateways | None = None  # labs without tunnels do not load what it takes
        self.restarted = dict(folder.agent_state().restarted)  # what an agent before this one knew
        self.members.remember(folder.health())
        self.reading = asyncio.Lock()  # one reading of the plan at a time

    @contextlib.contextmanager
    def inside(self, place: str) -> Iterator[None]:
        """Be in a place for as long as it takes to open a socket."""
        netns.enter(namespace(self.plan.lab, place))
        try:
            yield
        finally:
            netns.enter_descriptor(self.home)

    async def read_plan(self) -> tuple[str, ...]:
        """Open what the plan has and we have not; close what it no longer has. Return what could not be opened."""
        async with self.reading:
            record = self.folder.read()
            problems = await self._read_plan()
            self._tell(0 if record is None else record.generation, problems)
            return problems

    def _tell(self, generation: int, problems: tuple[str, ...]) -> None:
        state = AgentState(generation, problems, self.restarted)
        replace(self.folder.agent_file, msgspec.json.encode(state))

    async def read_again(self) -> None:
        """Read the plan until it is read: what cannot be written now, on a full disk, can be later."""
        while True:
            try:
                await self.read_plan()
            except (LabError, OSError) as error:
                daemons.say("agent", f"{error}; reading the plan again")
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _read_plan(self) -> tuple[str, ...]:
        self.plan = self.folder.plan()
        problems: list[str] = []
        names: dict[str, dict[str, str]] = {}
        for record in self.plan.of(DnsRecord):
            names.setdefault(record.place, {})[record.name.lower()] = record.address
        self.names = names
        wanted = {msgspec.structs.replace(server, why=NO_WHY) for server in self.plan.of(Server)}
        for server in self.open.keys() - wanted:
            await self.open.pop(server).aclose()
        for server in sorted(wanted - self.open.keys(), key=lambda s: (s.place, s.port, s.protocol)):
            try:
                self.open[server] = await self._serve(server)
            except LabError as error:
                problems.append(str(error))
        self.members.change(self.plan.of(HealthCheck), self.plan.of(Backends))
        self._read_ports()
        self._read_resets()
        problems += await self._follow_gateways()
        problems += await self.own.read(self.plan)
        # The command that changed the plan may have known less of the members than we do.
        self.applied = {}
        self._write_health()
        if self.members.health:
            self.changed.set()
        return tuple(problems)

    def _read_ports(self) -> None:
        """Give out the SNAT ports that the plan has, and keep those that are given out already."""
        pools: dict[str, list[SnatPool]] = {}
        for pool in self.plan.of(SnatPool):
            pools.setdefault(pool.place, []).append(pool)
        policies = {policy.place: policy for policy in self.plan.of(SnatPolicy)}
        for place in self.allocators.keys() - policies.keys():
            self.allocators.pop(place).close()
        for place, policy in policies.items():
            if place in self.allocators:
                self.allocators[place].change(policy, pools.get(place, ()))
            else:
                self.allocators[place] = Allocator(
                    policy, pools.get(place, ()), self.inside, partial(self._alert, place)
                )

    def _read_resets(self) -> None:
        """Start to reset flows that time out, where the plan says so."""
        wanted: dict[str, list[IdleReset]] = {}
        for item in self.plan.of(IdleReset):
            wanted.setdefault(item.place, []).append(item)
        for place in self.resetters.keys() - wanted.keys():
            self.resetters.pop(place).close()
        for place, items in wanted.items():
            if place in self.resetters:
                self.resetters[place].change(items, self.inside)
            else:
                self.resetters[place] = Resetter(items, self.inside)

    def _alert(self, place: str, alerts: list[Alert]) -> None:
        """Write what the documents' logs would tell."""
        policy = next(policy for policy in self.plan.of(SnatPolicy) if policy.place == place)
        resources, now = dict(policy.resources), time.time()
        found = [r for alert in alerts for r in logs.records(self.plan.lab, alert, resources[alert.address], now)]
        try:
            with self.folder.events_file.open("ab") as log:
                log.write(b"".join(msgspec.json.encode(record) + b"\n" for record in found))
        except OSError as error:
            daemons.say("agent", f"{error}; {len(found)} records are lost")

    def _unserved(self, backends: list[Backends]) -> None:
        """Write which frontends' ports have no healthy member any more."""
        now = time.time()
        with self.folder.events_file.open("ab") as log:
            for item in backends:
                log.write(msgspec.json.encode(logs.unserved_record(item, now)) + b"\n")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question of a command: ``ports``."""
        with contextlib.suppress(ConnectionError):
            question = await reader.readline()
            if question == b"ports\n":
                usage = [used for allocator in self.allocators.values() for used in allocator.usage()]
                writer.write(msgspec.json.encode(usage))
            await writer.drain()
        writer.close()

    async def _follow_gateways(self) -> tuple[str, ...]:
        """Make the gateways follow the plan; their keys are in no plan, but in what it was compiled from."""
        if self.gateways is None:
            if not any(self.plan.of(IkeDaemon)) and not self.folder.gateways.exists():
                return ()
            from lab.agent.gateways import Gateways  # noqa: PLC0415 - as said above

            self.gateways = Gateways(self.folder)
        return await self.gateways.read(self.plan, vpn_gateway.keys(decode(self.folder.network_file.read_bytes())))

    # --- servers ------------------------------------------------------------------------------

    def _socket(self, server: Server) -> socket.socket:
        kind = socket.SOCK_DGRAM if server.protocol == "udp" else socket.SOCK_STREAM
        with self.inside(server.place):
            opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if server.protocol == "udp":
            # Room for the first datagrams of many flows at once, which are not sent again.
            enlarge(opened, _DATAGRAMS_BYTES)
        try:
            opened.bind((server.address, server.port))
        except OSError as error:
            raise LabError(f"{server.place}: {server}: {error.strerror}; the port must be free") from None
        if server.protocol == "tcp":
            opened.listen(_BACKLOG)
        return opened

    async def _serve(self, server: Server) -> contextlib.AsyncExitStack:
        opened = self._socket(server)
        stack = contextlib.AsyncExitStack()
        loop = asyncio.get_running_loop()

        def names() -> servers.Names:
            # A name server of a VM's knows names of its own; those outside know the public ones.
            place = server.place if server.kind == "resolver" or server.place in self.names else "internet"
            return self.names.get(place, {})

        if server.kind == "ssh":
            self.sshd = self.sshd or servers.Sshd(servers.make_host_key(self.folder.path))
            log = self.folder.log / f"{server.node}.auth.log"
            self.sshd.serve(opened, namespace(self.plan.lab, server.place), server.node, log)
            stack.callback(loop.remove_reader, opened)
            stack.callback(opened.close)
        elif server.kind == "ftp":
            shared = self.folder.ftp / server.node
            log = self.folder.log / f"{server.node}.ftp.log"
            served = servers.ftp(opened, namespace(self.plan.lab, server.place), server.node, shared, log)
            self.programs[server] = served
            stack.callback(served.end)
            stack.callback(self.programs.pop, server)
        elif server.protocol == "udp":
            tells = server.kind == "dns"
            protocol = servers.Udp(server.node) if server.kind == "udp" else servers.DnsUdp(names, tells_source=tells)
            protocol = protocol if server.kind == "resolver" else self.access.datagrams(protocol, server)
            transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=opened)
            stack.callback(transport.close)
        else:
            handlers = {"http": servers.http, "https": servers.http, "tcp": servers.tcp}
            handler = (
                handlers[server.kind](server.node)
                if server.kind in handlers
                else servers.dns_tcp(names, tells_source=server.kind == "dns")
            )
            handler = handler if server.kind == "resolver" else self.access.connections(handler, server)
            certify = self.certificates.context
            tls = certify(server.node, server.address, server.port) if server.kind == "https" else None
            listening = await asyncio.start_server(handler, sock=opened, ssl=tls, backlog=_BACKLOG)
            stack.callback(listening.close)
        return stack

    async def keep_programs(self) -> None:
        """Start what has ended again: servers that are programs of their own, and the keeper of this process."""
        while True:
            await asyncio.sleep(_AGAIN_S)
            keep_keeper(self.folder)
            async with self.reading:
                self.own.keep()
                for server in [server for server, program in self.programs.items() if not program.running()]:
                    daemons.say("agent", f"{server.node}: {server}: its program has ended; starting it again")
                    await self.open.pop(server).aclose()
                    try:
                        self.open[server] = await self._serve(server)
                        self._note_restart(f"{server.node} {server.kind}:{server.port}")
                    except (LabError, OSError) as error:
                        daemons.say("agent", f"{error}; `lab up` tries it again")

    def _note_restart(self, what: str) -> None:
        times = self.restarted[what].times if what in self.restarted else 0
        self.restarted[what] = Restarts(times + 1, time.time())
        before = self.folder.agent_state()
        self._tell(before.generation, before.problems)

    # --- health -------------------------------------------------------------------------------

    def _tell_health(self) -> None:
        """Write what is known of members, once for all that changes at a time."""
        if not self.telling:
            self.telling = True
            asyncio.get_running_loop().call_soon(self._write_health)

    def _write_health(self) -> None:
        self.telling = False
        shown = {
            key: MemberHealth(state.up, state.judged, self.applied.get(key) == state.up, state.since_s, state.reason)
            for key, state in sorted(self.members.health.items())
        }
        try:
            replace(self.folder.health_file, msgspec.json.encode(shown))
        except OSError as error:
            daemons.say("agent", f"{error}; writing it again")
            self.telling = True
            asyncio.get_running_loop().call_later(_AGAIN_S, self._write_health)

    async def keep_rules(self) -> None:
        """Apply the plan with the members that are down, each time they change; what fails is tried again."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            try:
                while not self._try_rewrite():  # noqa: ASYNC110 - another process tells of its end by a file lock only
                    await asyncio.sleep(_LOCK_S)
            except (LabError, OSError) as error:
                daemons.say("agent", f"{error}; trying again")
                self.changed.set()
                await asyncio.sleep(_AGAIN_S)

    def _try_rewrite(self) -> bool:
        """Rewrite the rules; return False if another command is changing the lab."""
        from lab.compile import compile as compile_network  # noqa: PLC0415 - a lab without pools does not need it
        from lab.kernel import netfilter  # noqa: F401, PLC0415 - once here, not in each child that writes tables

        try:
            with locked(self.plan.lab, deadline_s=0):
                record = self.folder.read()
                if record is None:
                    return True  # `down` is waiting for us to end
                if record.state != "running":
                    return False
                network = decode(self.folder.network_file.read_bytes())
                known = self.members.known()
                down = frozenset(key for key, up in known.items() if not up)
                apply.rewrite(self.folder, compile_network(network, down))
                # First the rules, then the flows: what begins anew must not come to where it was.
                self.members.follow(known)
                self.applied = known
                self._write_health()
                return True
        except LabLocked:
            return False


async def run(lab: str, ready: int) -> None:
    """Serve a lab until told to end."""
    loop = asyncio.get_running_loop()
    folder = StateDir(lab)
    agent = Agent(folder)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    problems = await agent.read_plan()
    if problems:
        raise LabError("; ".join(problems))
    folder.agent_socket.unlink(missing_ok=True)
    before = os.umask(0o177)
    await asyncio.start_unix_server(agent.answer, folder.agent_socket)
    os.umask(before)
    work: set[asyncio.Task[Any]] = {asyncio.create_task(agent.keep_rules()), asyncio.create_task(agent.keep_programs())}

    def reload() -> None:
        task = asyncio.create_task(agent.read_again())
        work.add(task)
        task.add_done_callback(_report)

    loop.add_signal_handler(apply.AGENT_RELOAD, reload)
    for task in work:
        task.add_done_callback(_report)
    keep_keeper(folder)
    os.write(ready, b"ready\n")
    os.close(ready)
    await ended.wait()
    await agent.own.close()
    agent.access.write()
    if agent.gateways is not None:
        await agent.gateways.close()


def keep_keeper(folder: StateDir) -> None:
    """See to it that the process runs that starts this one again."""
    with contextlib.suppress(ChildProcessError):
        if (child := apply.noted_process(folder.keeper_file)) is not None:
            os.waitpid(child.pid, os.WNOHANG)  # one that has ended, if it was a child of this process
    try:
        keeper.ensure(folder)
    except (LabError, OSError) as error:
        daemons.say("agent", f"{error}; nothing starts the agent again if it ends")


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        daemons.say("agent", repr(task.exception()))


def main() -> None:
    """Wait for ``go``, then serve; if the pipe ends without it, the parent is gone."""
    lab, ready = sys.argv[1], int(sys.argv[2])
    CALLER.command = "the lab's agent"
    # Memory holds shared keys: neither this process nor what it starts leaves a core, unless that asks for it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.umask(0o022)  # for all that is written here, and by the programs that are started here
    netns.prepare()
    if sys.stdin.readline() != "go\n":
        return
    asyncio.run(run(lab, ready))
    sys.stderr.flush()
    # `down` waits for our end, and tidying up an interpreter that is about to vanish takes a while.
    os._exit(0)


if __name__ == "__main__":
    main()
