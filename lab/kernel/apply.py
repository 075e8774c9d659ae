"""A plan becomes a running lab, a running lab changes by a difference, and a lab is removed.

``up`` on nothing builds; on a running lab it applies the difference, mends what was altered by hand, and keeps live
flows; on what a killed command left behind it removes that first. Whatever fails is undone before the error is
raised. The order is that of ``plan.KINDS``; whole packet-filter tables come last, each in one step.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab import plan
from lab.errors import BrokenRecordError, LabError, UsageError
from lab.kernel import daemons, netns, remains, timeouts
from lab.kernel import drift as drifting
from lab.kernel.drift import Drift
from lab.kernel.state import LabState, StateDir, StoppedVm, existing, locked, note_removed, replace
from lab.plan import (
    Address,
    DropFragments,
    Item,
    Namespace,
    Plan,
    RateLimit,
    Resolver,
    Route,
    RoutingRule,
    Sysctl,
    Timeout,
    VethPair,
    namespace,
)

if TYPE_CHECKING:
    from lab.kernel import rtnl

AGENT = "lab.agent"
#: Makes the agent read its plan again.
AGENT_RELOAD = signal.SIGHUP
#: What the agent starts and what outlives it, by the names of programs.
_DAEMONS = ("charon",)
_NONE = Drift()
_AGENT_S = 30.0  # how long the agent may take to have its servers listening

Progress = Callable[[str], None]
Tables = Mapping[tuple[str, plan.Table], tuple[plan.Policy | plan.Rule, ...]]


class Outcome(msgspec.Struct, frozen=True):
    """What ``up`` did."""

    built: bool  # from nothing
    changed: int  # plan items made and removed
    mended: tuple[str, ...] = ()  # what differed from the record, and is as it was
    ended: tuple[str, ...] = ()  # a user's processes in what was removed


class Removal(msgspec.Struct, frozen=True):
    """What ``down`` did."""

    ended: tuple[str, ...]  # a user's processes in the lab


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan was compiled from, for the record."""

    file: str
    addresses: dict[str, str]  # by their path in the file
    network: bytes  # kept for the agent, which compiles it again when members come and go
    outline: bytes = b""  # the same without shared keys, which anybody may read
    profile: str
    time_scale: int
    absent: tuple[StoppedVm, ...] = ()  # VMs that are stopped, which no plan holds
    made: tuple[str, ...] = ()  # what commands made and no file has


def up(made: Plan, source: Source, progress: Progress, *, mend: bool = True) -> Outcome:
    """Make the machine run a plan.

    ``mend``: undo as well what was done by hand to the lab, if it runs; else change what differs from its record.

    Raises:
        KernelError: a step was refused; what was made is removed, what was changed is changed back.
        MachineError: the machine lacks a feature; nothing is left.

    """
    folder = StateDir(made.lab)
    with locked(made.lab):
        record = _read(folder)
        if record is not None and is_there(record):
            work = _mend if mend else _change
            return work(folder, record, made, source, progress)
        ended: tuple[str, ...] = ()
        if record is not None:
            progress("removing what an interrupted command left")
            ended = _remove(folder, record)
        _build(folder, made, source, progress)
        return Outcome(built=True, changed=len(made.items), ended=ended)


def change(lab: str, remake: Callable[[], tuple[Plan, Source]], progress: Progress) -> Outcome:
    """Make a running lab run what ``remake`` returns; it is called with the lab locked, and may refuse.

    Raises:
        UsageError: there is no such lab.
        KernelError: a step was refused; what was changed is changed back.

    """
    with locked(lab):
        made, source = remake()
        folder, record = existing(lab)
        return _change(folder, record, made, source, progress)


def down(lab: str) -> Removal | None:
    """Remove a lab; return None if there is none.

    Raises:
        UsageError: this process is in one of its nodes.

    """
    folder = StateDir(lab)
    with locked(lab):
        record = _read(folder)
        if record is None:
            left = folder.path.is_dir()  # by a command that was killed before it wrote a record
            folder.remove()
            return Removal(()) if left else None
        if (place := daemons.place_of_this(record.namespaces)) is not None:
            raise UsageError(
                f"{lab}: this command runs in {place}; a lab is removed from outside; leave the node, then run it again"
            )
        return Removal(_remove(folder, record))


def clear(lab: str) -> None:
    """Remove what carries the mark of a dead lab, whether there is a record of it or not."""
    folder = StateDir(lab)
    if folder.path.exists() or remains.namespaces_of(lab):
        with locked(lab):
            record = _read(folder)
            _remove(folder, record or remains.salvaged(folder))
    remains.end_processes(lab)
    remains.remove_lock(lab)


def _read(folder: StateDir) -> LabState | None:
    """Return the record; if it is broken, one of what carries the lab's mark."""
    try:
        return folder.read()
    except BrokenRecordError:
        return remains.salvaged(folder)


def is_whole(record: LabState) -> bool:
    """Tell whether a lab runs and no namespace of it is missing."""
    return record.state == "running" and all(netns.exists(name) for name in record.namespaces)


def is_there(record: LabState) -> bool:
    """Tell whether a lab runs, in part at least: what it lacks can be mended."""
    return record.state == "running" and any(netns.exists(name) for name in record.namespaces)


def agent_alive(record: LabState) -> bool:
    """Tell whether the lab's agent runs: its servers answer and its probes are sent."""
    return daemons.alive(record.agent)


def is_restarting(record: LabState) -> bool:
    """Tell whether the lab's agent has ended and its keeper starts it again."""
    return not agent_alive(record) and daemons.alive(noted_process(StateDir(record.lab).keeper_file))


def agent_trouble(record: LabState) -> str:
    """Say why the lab's agent does nothing, "" if it runs."""
    if not agent_alive(record):
        if is_restarting(record):
            return "the agent has ended and is being started again"
        return "the agent does not run, nor does its keeper, which would start it again; `lab up` starts both"
    if record.agent is not None and daemons.is_stopped(record.agent):
        return f"the agent is stopped; `kill -CONT {record.agent.pid}` lets it go on"
    return ""


# --- from nothing -----------------------------------------------------------------------------


def _build(folder: StateDir, made: Plan, source: Source, progress: Progress) -> None:
    names = tuple(namespace(made.lab, place) for place in made.places())
    taken = [name for name in names if netns.exists(name)]
    if taken:
        raise LabError(
            f"{netns.path(taken[0])}: is there already, and no record says it is ours; it must not be; "
            f"if it is left over, `lab gc` removes it if it is a lab's, and `ip netns del {taken[0]}` in any case"
        )
    _need_files(made)
    record = LabState(
        lab=made.lab,
        state="building",
        file=source.file,
        profile=source.profile,
        time_scale=source.time_scale,
        created=time.time(),
        namespaces=names,
        absent=source.absent,
    )
    folder.make()
    folder.write(record)
    agent: _AgentStart | None = None
    try:
        _write_sources(folder, made, source)
        progress(f"making {len(names)} namespaces")
        agent = _AgentStart(folder)
        record = msgspec.structs.replace(record, agent=agent.process)
        folder.write(record)
        with netns.beside(_make_all, made):
            _load_netfilter(made)
        progress("writing packet-filter tables")
        _write_timeouts(made.lab, made.of(Timeout))
        _write_tables(made, made.tables(), made.of(Sysctl))
        _write_shapes(made.lab, made.of(RateLimit))
        _write_fragments(made.lab, made.of(DropFragments))
        progress("starting servers and probes")
        agent.go()
        folder.write(msgspec.structs.replace(record, state="running"))
    except BaseException:
        if agent is not None:
            record = msgspec.structs.replace(record, agent=agent.process)
        _remove(folder, record)
        raise


def _need_files(made: Plan) -> None:
    """Refuse unless building, and the agent's sockets of servers and probes, may open as many files as they take."""
    building = 2 * len(made.places())
    each: dict[type[Item], int] = {plan.Server: 2, plan.HealthCheck: 1, plan.IkeDaemon: 8}
    serving = sum(each.get(type(item), 0) for item in made.items)
    netns.need_files(max(building, serving), f"{made.lab} with {len(made.places())} namespaces")


def _write_sources(folder: StateDir, made: Plan, source: Source) -> None:
    replace(folder.network_file, source.network, mode=0o600)
    replace(folder.outline_file, source.outline)
    replace(folder.addresses_file, msgspec.json.encode(source.addresses))
    replace(folder.plan_file, plan.encode(made))


def _early(item: Sysctl) -> bool:
    """Tell whether a sysctl is there from the beginning; those of conntrack come with the first rule that needs it."""
    return not item.key.startswith("net.netfilter.")


def _make_all(made: Plan) -> None:
    """Make all namespaces and what is in them. Runs in a child, which wanders through all of them."""
    from lab.kernel import rtnl  # noqa: PLC0415 - loaded while the agent starts beside us

    netns.prepare()
    sysctls: dict[str, list[Sysctl]] = {}
    for sysctl in made.of(Sysctl):
        sysctls.setdefault(sysctl.place, []).append(sysctl)
    descriptors: dict[str, int] = {}
    links: dict[str, rtnl.Link] = {}
    for place in made.places():
        descriptors[place] = netns.make(namespace(made.lab, place))
        for sysctl in filter(_early, sysctls.get(place, ())):
            netns.write_sysctl(sysctl.key, sysctl.value)
        links[place] = rtnl.Link(place)
    netns.remove_seed()
    raised = {place: ["lo"] for place in links}
    for wire in made.of(VethPair):
        links[wire.place].add_wire(wire, links[wire.peer_place], descriptors[wire.peer_place])
        raised[wire.peer_place].append(wire.peer_interface)
    for link in links.values():
        link.flush()
    for place, interfaces in raised.items():
        for interface in interfaces:
            links[place].raise_interface(interface)
    for address in made.of(Address):
        links[address.place].add(address)
    for route in made.of(Route):
        links[route.place].add(route)
    for rule in made.of(RoutingRule):
        links[rule.place].add(rule)
    for link in links.values():
        link.flush()


def preload() -> None:
    """Load what writes links and tables, in a process that changes labs more than once.

    Every change is made by a child process, which would load it anew: about 0.4 s of processor time each.
    """
    from lab.kernel import netfilter, rtnl  # noqa: F401, PLC0415 - a process that changes nothing need not wait for it


def _load_netfilter(made: Plan) -> None:
    """Load what writes the tables while the namespaces are being made."""
    if made.tables():
        from lab.kernel import netfilter  # noqa: F401, PLC0415


def _write_tables(made: Plan, tables: Tables, sysctls: Iterable[Sysctl] = ()) -> None:
    """Write tables, and the sysctls that come with them.

    The target CT of the raw table asks the sysctls, when its rules are written, whether anybody is told of flows; they
    are there when the other tables have been written.
    """
    by_place: dict[bool, dict[str, dict[plan.Table, tuple[plan.Policy | plan.Rule, ...]]]] = {False: {}, True: {}}
    for (place, table), items in tables.items():
        by_place[table == "raw"].setdefault(place, {})[table] = items
    for is_raw, contents in by_place.items():
        if is_raw:
            _write_late_sysctls(made.lab, sysctls)
        for place, own in contents.items():
            from lab.kernel import netfilter  # noqa: PLC0415 - a change without rules need not load it

            netfilter.write(namespace(made.lab, place), own)


def _write_timeouts(lab: str, wanted: Iterable[Timeout], gone: Iterable[Timeout] = ()) -> None:
    made, undone = list(wanted), list(gone)
    if made or undone:
        netns.in_child(_timeouts, lab, made, undone)


def _timeouts(lab: str, wanted: list[Timeout], undone: list[Timeout]) -> None:
    """Make and remove timeouts. Runs in a child."""
    for place in dict.fromkeys(item.place for item in (*wanted, *undone)):
        netns.enter(namespace(lab, place))
        timeouts.write_here(item for item in wanted if item.place == place)
        timeouts.remove_here(item for item in undone if item.place == place)


def _write_shapes(lab: str, shapes: Iterable[RateLimit], gone: Iterable[RateLimit] = ()) -> None:
    wanted, undone = list(shapes), list(gone)
    if wanted or undone:
        netns.in_child(_shape, lab, wanted, undone)


def _shape(lab: str, wanted: list[RateLimit], undone: list[RateLimit]) -> None:
    """Set how much interfaces send. Runs in a child."""
    from lab.kernel import rtnl  # noqa: PLC0415 - few labs need it

    kept = {(item.place, item.interface) for item in wanted}
    for item in (*undone, *wanted):
        if netns.exists(namespace(lab, item.place)):
            netns.enter(namespace(lab, item.place))
            if item in wanted:
                rtnl.shape_here(item)
            elif (item.place, item.interface) not in kept:
                rtnl.unshape_here(item)


def _write_fragments(lab: str, items: Iterable[DropFragments], gone: Iterable[DropFragments] = ()) -> None:
    wanted: dict[str, DropFragments | None] = dict.fromkeys(item.place for item in gone)
    wanted |= {item.place: item for item in items}
    if wanted:
        netns.in_child(_drop_fragments, lab, wanted)


def _drop_fragments(lab: str, wanted: dict[str, DropFragments | None]) -> None:
    """Say what fragments are lost. Runs in a child."""
    from lab.kernel import fragments  # noqa: PLC0415 - few labs need it

    for place, item in wanted.items():
        if netns.exists(namespace(lab, place)):
            netns.enter(namespace(lab, place))
            fragments.write_here(item)


def _write_late_sysctls(lab: str, sysctls: Iterable[Sysctl]) -> None:
    late = [item for item in sysctls if not _early(item)]
    if late:
        netns.in_child(_write_sysctls, lab, late)


def _write_sysctls(lab: str, sysctls: Iterable[Sysctl]) -> None:
    for item in sysctls:
        netns.enter(namespace(lab, item.place))
        netns.write_sysctl(item.key, item.value)


class _AgentStart:
    """The agent, started early so that it loads while namespaces are made, then told to begin."""

    def __init__(self, folder: StateDir) -> None:
        self._log = folder.log / "agent.log"
        begin, self._begin = os.pipe()
        self._ready, ready = os.pipe()
        self.process = daemons.start(AGENT, folder.lab, str(ready), log=self._log, pass_fds=(ready,), stdin=begin)
        os.close(begin)
        os.close(ready)

    def go(self) -> None:
        """Let the agent open its servers, and wait until they listen.

        Raises:
            LabError: it ended, or takes too long.

        """
        try:
            os.write(self._begin, b"go\n")
        except BrokenPipeError:
            pass  # it has ended; what follows says so
        finally:
            os.close(self._begin)
        try:
            arrived, _, _ = select.select([self._ready], [], [], _AGENT_S)
            word = os.read(self._ready, 16) if arrived else b""
        finally:
            os.close(self._ready)
        if word != b"ready\n":
            state = f"not ready after {_AGENT_S:g} s" if daemons.alive(self.process) else "no longer running"
            raise LabError(
                f"the lab's agent is {state}; its servers must listen; its last words: {_last_line(self._log)}"
            )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "none"


# --- a running lab ----------------------------------------------------------------------------


def _change(
    folder: StateDir, record: LabState, made: Plan, source: Source, progress: Progress, drift: Drift = _NONE
) -> Outcome:
    """Apply a difference; ``drift``: what differs from the record's plan now, and is mended with it."""
    old = folder.plan()
    seen = drift.seen(old)
    change = plan.difference(seen, made, drift.beside)
    if not change:
        # What no plan shows, such as a shared key, may differ.
        changed = folder.network_file.read_bytes() != source.network
        _write_sources(folder, made, source)
        _renew_agent(folder, msgspec.structs.replace(record, absent=source.absent, made=source.made), progress)
        return Outcome(built=False, changed=int(changed))
    _need_files(made)
    progress(f"applying {len(change.gone) + len(change.new)} differences")
    names = tuple(namespace(made.lab, place) for place in made.places())
    both = tuple(dict.fromkeys((*record.namespaces, *names)))
    folder.write(msgspec.structs.replace(record, state="changing", namespaces=both))
    gone = [namespace(made.lab, item.place) for item in change.gone if isinstance(item, Namespace)]
    # The agent ends its own, also those that an agent before it has started.
    left = [one for one in daemons.left_in(gone, [record.agent]) if one.command not in _DAEMONS] if gone else []
    daemons.end_all(one.process for one in left)
    try:
        _remove_extras(made, drift)
        _apply_difference(seen, made)
    except BaseException:
        progress("changing back")
        _apply_difference(made, old)
        folder.write(record)
        raise
    _write_sources(folder, made, source)
    record = msgspec.structs.replace(
        record,
        file=source.file,
        profile=source.profile,
        time_scale=source.time_scale,
        namespaces=names,
        absent=source.absent,
        made=source.made,
    )
    folder.write(record)
    _renew_agent(folder, record, progress)
    changed_items = len(change.gone) + len(change.new)
    return Outcome(built=False, changed=changed_items, mended=drift.lines(), ended=_told(made.lab, left))


def _mend(folder: StateDir, record: LabState, made: Plan, source: Source, progress: Progress) -> Outcome:
    """Apply a plan to a lab that may differ from its record by what was done to it by hand."""
    drift = drifting.find(folder.plan())
    if drift:
        progress(f"mending {len(drift)} things that differ from the record")
        record = _let_go(folder, record, drift)
    outcome = _change(folder, record, made, source, progress, drift)
    if drift and (stays := drifting.find(made)):
        raise LabError(
            f"{made.lab}: {stays.lines()[0]}: differs still, with {len(stays) - 1} more; what was mended must stay; "
            f"look for what alters it, or make the lab anew: lab down {made.lab}, then lab up"
        )
    return outcome


def _let_go(folder: StateDir, record: LabState, drift: Drift) -> LabState:
    """Make the agent close what it has open in namespaces and on wires that are made anew.

    It is told by a plan without them, as when a VM is stopped, and opens them again when it reads the plan after that.
    """
    lost = {item.place for item in drift.missing if isinstance(item, Namespace)}
    wires = {place for item in drift.missing if isinstance(item, VethPair) for place, _ in _ends(item)}
    agent = record.agent
    if not wires or agent is None or not daemons.alive(agent) or daemons.is_stopped(agent):
        return record
    of_wires = (plan.SnatPolicy, plan.SnatPool, plan.IdleReset)
    held = folder.plan()
    kept = tuple(
        item
        for item in held.items
        if item.place not in lost and not (isinstance(item, of_wires) and wires & {item.place, _router(item)})
    )
    if kept == held.items:
        return record
    record = msgspec.structs.replace(record, generation=record.generation + 1)
    folder.write(record)
    replace(folder.plan_file, plan.encode(Plan(held.lab, kept)))
    try:
        os.kill(agent.pid, AGENT_RELOAD)
        folder.wait_agent(deadline_s=_AGENT_S)
    finally:
        replace(folder.plan_file, plan.encode(held))
    return record


def _router(item: Item) -> str:
    return item.router if isinstance(item, plan.SnatPolicy) else ""


def _renew_agent(folder: StateDir, record: LabState, progress: Progress) -> None:
    """Make a live agent read its plan again, keeping its connections; start one where none lives.

    Always, whatever changed: the plan that was just applied may know less of the members than the agent does.
    """
    record = msgspec.structs.replace(record, generation=record.generation + 1)
    if record.agent is not None and daemons.alive(record.agent):
        folder.write(record)
        os.kill(record.agent.pid, AGENT_RELOAD)
        return
    progress("starting the agent again")
    start_agent(folder, record)


def start_agent(folder: StateDir, record: LabState) -> None:
    """Start the agent of a lab whose agent has ended. The caller holds the lock of the lab.

    Raises:
        LabError: it does not begin.

    """
    agent = _AgentStart(folder)
    folder.write(msgspec.structs.replace(record, agent=agent.process))
    agent.go()


def rewrite(folder: StateDir, made: Plan) -> None:
    """Apply what a rule decided while the lab runs: the packet-filter tables that differ, nothing else.

    For the agent. The caller holds the lock of the lab.
    """
    old = folder.plan().tables()
    _write_tables(made, {key: items for key, items in made.tables().items() if old.get(key) != items})
    replace(folder.plan_file, plan.encode(made))


def _content(item: Item) -> Item:
    """Return an item without its why: what the kernel sees of it."""
    return msgspec.structs.replace(item, why=plan.Provenance("", ""))


def _apply_difference(old: Plan, new: Plan) -> None:
    before = {_content(item) for item in old.items}
    after = {_content(item) for item in new.items}
    gone = [item for item in old.items if _content(item) not in after]
    added = [item for item in new.items if _content(item) not in before]
    netns.in_child(_alter, new.lab, gone, [*added, *_on_new_wires(new, added)])
    old_tables, new_tables, kept = old.tables(), new.tables(), set(new.places())
    changed = {key: items for key, items in new_tables.items() if old_tables.get(key) != items}
    emptied: Tables = {key: () for key in old_tables if key not in new_tables and key[0] in kept}
    named = {(item.place, item.name) for item in new.of(Timeout)}
    # A rule names a timeout that is there: they are made before, and removed after.
    _write_timeouts(new.lab, (item for item in added if isinstance(item, Timeout)))
    _write_tables(new, {**changed, **emptied}, [item for item in added if isinstance(item, Sysctl)])
    _write_timeouts(
        new.lab, (), [i for i in gone if isinstance(i, Timeout) and i.place in kept and (i.place, i.name) not in named]
    )
    _write_shapes(new.lab, new.of(RateLimit), [item for item in gone if isinstance(item, RateLimit)])
    lost = [item for item in gone if isinstance(item, DropFragments)]
    if lost or any(isinstance(item, DropFragments) for item in added):
        _write_fragments(new.lab, new.of(DropFragments), lost)


def _on_new_wires(new: Plan, added: list[Item]) -> list[Item]:
    """Return the addresses and routes that stay as they are, on interfaces that are made anew."""
    ends = {end for wire in added if isinstance(wire, VethPair) for end in _ends(wire)}
    known = {_content(item) for item in added}
    placed = (item for item in new.items if isinstance(item, Address | Route))
    return [item for item in placed if (item.place, item.interface) in ends and _content(item) not in known]


def _ends(wire: VethPair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (wire.place, wire.interface), (wire.peer_place, wire.peer_interface)


def _remove_extras(made: Plan, drift: Drift) -> None:
    """Take away what no plan has; a table that has more than its own is written again."""
    if not drift.extra:
        return
    drifting.remove(made.lab, drift.extra)
    tables, places = made.tables(), set(made.places())
    keys = {(extra.what.place, extra.table) for extra in drift.extra if extra.table is not None}
    _write_tables(made, {key: tables.get(key, ()) for key in sorted(keys) if key[0] in places})


def _alter(lab: str, gone: list[Item], added: list[Item]) -> None:
    """Remove and make links, addresses, routes and namespaces. Runs in a child."""
    netns.prepare()
    _Alteration(lab, {item.place for item in gone if isinstance(item, Namespace)}).run(gone, added)


class _Alteration:
    """A change of a running lab, by a process that wanders through its namespaces."""

    def __init__(self, lab: str, removed: set[str]) -> None:
        from lab.kernel import rtnl  # noqa: PLC0415

        self.lab = lab
        self.removed = removed
        self.new_link = rtnl.Link
        self.interfaces_here = rtnl.interfaces_here
        self.links: dict[str, rtnl.Link] = {}
        self.descriptors: dict[str, int] = {}

    def run(self, gone: list[Item], added: list[Item]) -> None:
        """Remove wires and places, make what is new, and then remove addresses and routes.

        What goes, goes last: an interface that loses its only address loses its routes, and a route that is
        replaced is never missing, so live flows keep their way.
        """
        for item in gone:
            if isinstance(item, VethPair):
                self.remove_wire(item)
        netns.remove(*(namespace(self.lab, place) for place in self.removed))
        for item in added:
            self.make(item)
        self.flush()
        netns.remove_seed()
        replaced = {_position(item) for item in added}
        for item in gone:
            if (
                isinstance(item, Address | Route | RoutingRule)
                and self.stays(item.place)
                and _position(item) not in replaced
            ):
                self.link(item.place).remove(item)
        self.flush()

    def link(self, place: str) -> "rtnl.Link":
        """Return the socket of a place, opened there at the first call."""
        if place not in self.links:
            netns.enter(namespace(self.lab, place))
            self.descriptors[place] = os.open(netns.path(namespace(self.lab, place)), os.O_RDONLY | os.O_CLOEXEC)
            self.links[place] = self.new_link(place, self.interfaces_here())
        return self.links[place]

    def stays(self, place: str) -> bool:
        """Tell whether a place is there, and will be."""
        return place not in self.removed and netns.exists(namespace(self.lab, place))

    def flush(self) -> None:
        """Do everything that was asked for."""
        for one in self.links.values():
            one.flush()

    def remove_wire(self, wire: VethPair) -> None:
        """Remove a wire at whichever end survives: what goes with a namespace goes when the kernel finds time."""
        for place, interface in _ends(wire):
            if self.stays(place):
                self.link(place).remove_interface(interface)
                self.link(place).flush()
                return

    def make(self, item: Item) -> None:
        """Make one item; what it needs is there."""
        if isinstance(item, Namespace):
            netns.remove(namespace(self.lab, item.place))  # left by a change that was undone
            self.descriptors[item.place] = netns.make(namespace(self.lab, item.place))
            self.links[item.place] = self.new_link(item.place)
            self.links[item.place].raise_interface("lo")
        elif isinstance(item, Sysctl) and _early(item):
            netns.enter(namespace(self.lab, item.place))
            netns.write_sysctl(item.key, item.value)
        elif isinstance(item, VethPair):
            near, far = self.link(item.place), self.link(item.peer_place)
            near.add_wire(item, far, self.descriptors[item.peer_place])
            near.flush()
            far.raise_interface(item.peer_interface)
        elif isinstance(item, Address | Route | RoutingRule):
            self.link(item.place).add(item)


def _position(item: Item) -> tuple[object, ...]:
    """Return what identifies an address or a route where it is."""
    if isinstance(item, Route):
        return ("route", item.place, item.destination, item.table)
    if isinstance(item, Address):
        return ("address", item.place, item.interface, item.address)
    return ("", item)


# --- removal ----------------------------------------------------------------------------------


def _remove(folder: StateDir, record: LabState) -> tuple[str, ...]:
    """Remove what the record says may be there: processes first, then namespaces, then the record.

    Returns the user's processes that were ended: they would go on in namespaces that have no name any more.
    """
    with contextlib.suppress(OSError):  # a full /run must not keep a lab
        folder.write(msgspec.structs.replace(record, state="removing"))
    left = daemons.left_in(record.namespaces, [record.agent])
    if record.agent is not None:
        daemons.stop(record.agent)
    keeper = noted_process(folder.keeper_file)
    if keeper is not None:
        daemons.stop(keeper)
    if record.agent is None:
        remains.end_processes(folder.lab)
    if record.agent is not None and any(folder.log.glob("*.program.log")):
        # What own programs have started elsewhere than in their process group: its parent is gone now.
        ours = {one.process for one in left}
        daemons.end_all(one.process for one in daemons.left_in(record.namespaces, ()) if one.process not in ours)
    daemons.end_all(one.process for one in left)
    netns.remove_all(reversed(record.namespaces))
    netns.remove_seed()
    folder.remove()
    note_removed(folder.lab)
    return _told(folder.lab, [one for one in left if one.command not in _DAEMONS])


def noted_process(file: Path) -> daemons.Process | None:
    """Return the process that a file names, None if it is not there or cannot be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=daemons.Process)
    except (OSError, msgspec.DecodeError):
        return None


def _told(lab: str, left: Iterable[daemons.Left]) -> tuple[str, ...]:
    """Say which processes were left in which nodes."""
    return tuple(
        f"{one.process.pid} ({one.command}) in {one.namespace.removeprefix(namespace(lab, ''))}" for one in left
    )


def node_variables(folder: StateDir, place: str) -> dict[str, str]:
    """Return what a program in a node is told of where it is; the folder that it names is there."""
    files = folder.files / place
    for missing in (folder.files, files):
        netns.make_folder(missing, 0o755)
    return {"LAB_NAME": folder.lab, "LAB_NODE": place, "LAB_FILES": str(files)}


def node_files(made: Plan, place: str) -> dict[str, str]:
    """Return the files that a node has of its own, by path."""
    servers = [server for item in made.of(Resolver) if item.place == place for server in item.servers]
    own = [item.address for item in made.of(Address) if item.place == place and item.interface != "lo"]
    hosts = ["127.0.0.1 localhost", *(f"{address} {place}" for address in own[:1])]
    # Names come from the node's resolver only, never through a socket to the machine's own.
    switch = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
    files = {"/etc/hosts": "\n".join(hosts) + "\n", "/etc/nsswitch.conf": switch}
    if servers:
        files["/etc/resolv.conf"] = "".join(f"nameserver {server}\n" for server in servers)
    return files
