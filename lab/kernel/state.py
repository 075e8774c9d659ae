"""What this machine runs of ours: one folder for each lab under /run/lab.

A record is written before anything it speaks of is made, and removed after the last of it is gone:
whatever moment a command is killed at, the next one knows what may be left.

    record.json     readable by all: state, namespaces, the agent's process
    plan.json       readable by all: the plan that was applied last
    addresses.json  readable by all: the addresses by their path in the file, so that a change keeps them
    agent.json      readable by all: the plan that the agent has read, what it could not open, what it started again
    keeper.json     readable by all: the process that starts the agent again when it has ended
    health.json     readable by all: what the agent knows of pool members
    events.jsonl    readable by all: the records that the documents' logs would hold, one in each line
    probes.jsonl    readable by all: likewise, those of the log of probes
    agent.sock      root only: where the agent answers questions
    gateways.json   readable by all: what the agent knows of gateways and their tunnels
    gateways/       root only: a folder for each daemon, which it sees as its /run
    ftp/            a folder for each node with an ftp service: what it gives to everybody
    network.json    root only: what the plan was compiled from; it may hold shared keys
    outline.json    the same without shared keys, for commands that only read
    lesson.json     readable by all: how far a learner is, in the lab of a lesson
    log/            what the agent and the servers said

Beside the folders, ``.NAME.lock`` is held by the command that changes a lab, ``.NAME.busy``, readable by all, says
which command that is, and ``.removed`` has the names of the labs that were removed since the machine was started.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

import msgspec

from lab import plan
from lab.errors import BrokenRecordError, LabLocked, MachineError, UsageError, did_you_mean
from lab.kernel import netns
from lab.kernel.daemons import Process, alive, identify, is_stopped

RUN = Path("/run/lab")
_LOOK_S = 0.02  # how long to wait before looking again whether a lab is still being changed
_RULES_S = 30.0  # how long a busy agent may take to write the rules that follow from what it knows

State = Literal["building", "running", "changing", "removing"]


class StoppedVm(msgspec.Struct, frozen=True, kw_only=True):
    """A VM that is not running: no namespace of it is there."""

    name: str
    power_state: str
    address: str  # the private one, which it has again


class LabState(msgspec.Struct, frozen=True, kw_only=True):
    """One lab of this machine."""

    lab: str
    state: State
    file: str
    profile: str
    time_scale: int
    created: float  # seconds since the epoch
    namespaces: tuple[str, ...]  # every namespace that may be there
    absent: tuple[StoppedVm, ...] = ()
    made: tuple[str, ...] = ()  # by commands, since the file was applied last
    generation: int = 0  # counts the plans that the agent was told to read
    agent: Process | None = None
    restarts: int = 0  # how often the agent was started again, because it had ended
    restarted: float = 0.0  # when that was last; seconds since the epoch


class Restarts(msgspec.Struct, frozen=True):
    """How often something that had ended was started again."""

    times: int
    last: float  # seconds since the epoch


class AgentState(msgspec.Struct, frozen=True):
    """What the agent says of itself: the plan it has read, and the servers it could not open."""

    generation: int
    problems: tuple[str, ...]
    restarted: dict[str, Restarts] = {}  # servers that are programs of their own


class MemberHealth(msgspec.Struct, frozen=True):
    """What the agent knows of one member of a pool, as shown to users."""

    up: bool
    judged: bool
    applied: bool  # the rules follow what is known
    since: float  # seconds since the epoch
    reason: str


class TunnelState(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway knows of one tunnel. Times in seconds since the epoch; lifetimes in seconds."""

    state: str
    reason: str
    peer: str
    ingress: int  # inner bytes that came in
    egress: int
    established: float | None
    event: int
    message: str
    changed: float
    version: int
    local: tuple[str, ...]  # the selectors that its ends agreed on
    remote: tuple[str, ...]
    ike: str  # the algorithms in use
    esp: str
    ike_rekey_s: int
    esp_life_s: int

    @property
    def rests(self) -> bool:
        """Tell whether it is down for want of traffic only: the next packet wakes it."""
        return self.reason.endswith(plan.REBUILDS)


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows of one gateway or VPN device."""

    kind: str
    esp: str  # who encrypts
    address: str  # which is not to be shown before ``ready_at``
    ready_at: float
    pid: int
    starts: int
    started: float  # when the daemon was started last
    tunnels: dict[str, TunnelState]
    unknown: str = ""  # why its state is not known; empty in what the agent writes


class StateDir:
    """The folder of one lab."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.path = RUN / lab
        self.record_file = self.path / "record.json"
        self.plan_file = self.path / "plan.json"
        self.health_file = self.path / "health.json"
        self.addresses_file = self.path / "addresses.json"
        self.agent_file = self.path / "agent.json"
        self.keeper_file = self.path / "keeper.json"
        self.events_file = self.path / "events.jsonl"
        self.probes_file = self.path / "probes.jsonl"
        self.agent_socket = self.path / "agent.sock"
        self.network_file = self.path / "network.json"
        self.outline_file = self.path / "outline.json"
        self.lesson_file = self.path / "lesson.json"
        self.certificate_file = self.path / "ca.pem"
        self.gateways_file = self.path / "gateways.json"
        self.gateways = self.path / "gateways"
        self.ftp = self.path / "ftp"
        self.log = self.path / "log"
        self.access_file = self.log / "access.log"
        self.files = self.path / "files"  # of each node, a folder of its own for what is copied there
        self.own = self.path / "own"  # empty; a process mounts files of its own over it

    def make(self) -> None:
        """Make the folder."""
        for folder in (RUN, self.path, self.log, self.own):
            netns.make_folder(folder, 0o755)

    def read(self) -> LabState | None:
        """Return the record, None if there is none."""
        try:
            return msgspec.json.decode(self.record_file.read_bytes(), type=LabState)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise BrokenRecordError(
                f"{self.record_file}: {error}; it must be what `lab up` wrote; "
                f"`lab down {self.lab}` removes what carries the lab's mark, and `lab up` makes it anew"
            ) from None

    def write(self, record: LabState) -> None:
        """Replace the record in one step."""
        replace(self.record_file, msgspec.json.encode(record))

    def plan(self) -> plan.Plan:
        """Return the plan that was applied last."""
        return plan.decode(self.plan_file.read_bytes())

    def addresses(self) -> dict[str, IPv4Address]:
        """Return the addresses of the lab by their path in the file; none if there is no lab."""
        try:
            texts = msgspec.json.decode(self.addresses_file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        return {path: IPv4Address(text) for path, text in texts.items()}

    def health(self) -> dict[str, MemberHealth]:
        """Return what the agent wrote of pool members; nothing before its first word."""
        try:
            return msgspec.json.decode(self.health_file.read_bytes(), type=dict[str, MemberHealth])
        except FileNotFoundError:
            return {}

    def agent_state(self) -> AgentState:
        """Return what the agent says of itself; nothing before its first word."""
        try:
            return msgspec.json.decode(self.agent_file.read_bytes(), type=AgentState)
        except FileNotFoundError:
            return AgentState(-1, ())

    def wait_agent(self, *, deadline_s: float) -> tuple[str, ...]:
        """Wait until the agent has read the plan of the record; return what it could not open."""
        end = time.monotonic() + deadline_s
        while True:
            record = self.read()
            state = self.agent_state()
            if record is None or state.generation >= record.generation:
                return state.problems
            if is_stopped(record.agent):
                return (
                    f"the agent (process {record.agent.pid}) is stopped; let it go on: kill -CONT {record.agent.pid}",
                )
            if time.monotonic() > end:
                return (f"the agent has not read its plan after {deadline_s:g} s; see {self.log / 'agent.log'}",)
            time.sleep(0.01)

    def wait_health(
        self, *, deadline_s: float, wanted: Mapping[str, bool] | None = None
    ) -> tuple[dict[str, MemberHealth], tuple[str, ...]]:
        """Wait until every member of the plan was judged and the rules follow, and those ``wanted`` are up or down.

        Returns what is known of the members of the plan, and those that are not settled.
        """
        members = {check.key for check in self.plan().of(plan.HealthCheck)}
        wanted = wanted or {}
        end = time.monotonic() + deadline_s
        while True:
            known = {key: member for key, member in self.health().items() if key in members}
            judged = {key: member for key, member in known.items() if member.judged}
            applied = {key for key, member in judged.items() if member.applied}
            settled = {key for key in applied if wanted.get(key, known[key].up) == known[key].up}
            over = time.monotonic() - end
            if settled == members or (over > 0 and applied == judged.keys()) or over > _RULES_S:
                return known, tuple(sorted(members - settled))
            time.sleep(0.01)

    def tunnels(self) -> dict[str, GatewayState]:
        """Return what the agent wrote of gateways; nothing before its first word."""
        try:
            return msgspec.json.decode(self.gateways_file.read_bytes(), type=dict[str, GatewayState])
        except FileNotFoundError:
            return {}

    def wait_tunnels(self, *, deadline_s: float) -> dict[str, GatewayState]:
        """Wait until every tunnel of the plan is connected, or it is known why not; return what is known."""
        plan_now = self.plan()
        built = {c.place for c in plan_now.of(plan.IkeDaemon) if c.ready_at <= time.time()}
        wanted = {(t.place, t.name) for t in plan_now.of(plan.Tunnel) if t.place in built}
        end = time.monotonic() + deadline_s
        while True:
            known = self.tunnels()
            settled = {(p, n) for p, g in known.items() for n, t in g.tunnels.items() if t.state != "Connecting"}
            if wanted <= settled or time.monotonic() > end:
                return known
            time.sleep(0.01)

    def remove(self) -> None:
        """Remove the folder; the record goes last. What is gone is fine."""
        files = (
            self.plan_file,
            self.addresses_file,
            self.agent_file,
            self.keeper_file,
            self.health_file,
            self.events_file,
            self.probes_file,
            self.agent_socket,
            self.gateways_file,
            self.network_file,
            self.outline_file,
            self.lesson_file,
            self.certificate_file,
        )
        for file in (*files, *self.path.glob("*.tmp"), *self.log.glob("*")):
            file.unlink(missing_ok=True)
        for folder in (self.gateways, self.ftp, self.files):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.log, self.own):
            if folder.is_dir():
                folder.rmdir()
        self.record_file.unlink(missing_ok=True)
        if self.path.is_dir():
            self.path.rmdir()


def replace(file: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file in one step: readers see the old content or the new."""
    temporary = file.with_name(file.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as output:
            os.fchmod(descriptor, mode)
            output.write(data)
    except OSError:
        temporary.unlink(missing_ok=True)  # half a file of a full disk
        raise
    temporary.replace(file)


def names() -> list[str]:
    """Return the labs that this machine has a record of."""
    return sorted(file.parent.name for file in RUN.glob("*/record.json"))


def note_removed(lab: str) -> None:
    """Note that a lab of this name was removed: to remove it again is no error, while a name that never was is one."""
    file = RUN / ".removed"
    with contextlib.suppress(OSError):  # `down` says less if there is no room
        if not was_removed(lab):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "w") as output:
                output.write(f"{lab}\n")


def was_removed(lab: str) -> bool:
    """Tell whether a lab of this name was removed since the machine was started."""
    try:
        return lab in (RUN / ".removed").read_text().splitlines()
    except FileNotFoundError:
        return False


def folders() -> list[str]:
    """Return the labs that this machine has a folder of, also where a command was killed before it wrote a record."""
    return sorted(path.name for path in RUN.glob("*/") if path.is_dir())


def existing(lab: str) -> tuple[StateDir, LabState]:
    """Return a lab's folder and record.

    Raises:
        UsageError: there is no such lab.

    """
    folder = StateDir(lab)
    record = folder.read()
    if record is None:
        raise UsageError(f'no lab "{lab}"; a lab must be up first; {did_you_mean(lab, names())}; see `lab list`')
    return folder, record


def started(record: LabState, node: str) -> None:
    """Refuse a node that is stopped.

    Raises:
        UsageError: it is a VM that is stopped or deallocated.

    """
    vm = next((vm for vm in record.absent if vm.name == node), None)
    if vm is not None:
        raise UsageError(
            f"{record.lab}: {node} is {vm.power_state.lower()}; a VM must be started for it; "
            f"run: lab vm start {record.lab} {node}"
        )


class Caller(msgspec.Struct):
    """What this process is to others that want the same lab, and how long it waits for them."""

    command: str = "another command"
    wait_s: float = 60.0


CALLER = Caller()


class Holder(msgspec.Struct, frozen=True):
    """The command that is changing a lab."""

    command: str  # without its arguments, which may hold a key
    process: Process
    since: float  # seconds since the epoch

    def __str__(self) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"`{self.command}` (process {self.process.pid}) since {since}"


def holder(lab: str) -> Holder | None:
    """Return the command that is changing a lab now, None if there is none but this one."""
    try:
        found = msgspec.json.decode(_holder_file(lab).read_bytes(), type=Holder)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if found.process.pid != os.getpid() and alive(found.process) else None


def _holder_file(lab: str) -> Path:
    return RUN / f".{lab}.busy"


def ready(lab: str) -> tuple[StateDir, LabState]:
    """Return a lab's folder and record once no command is making, changing or removing the lab.

    Raises:
        UsageError: there is no such lab.
        Busy: another command is still at it when this process has waited long enough.

    """
    end = time.monotonic() + CALLER.wait_s
    while True:
        folder, record = existing(lab)
        if record.state == "running" or (by := holder(lab)) is None:
            return folder, record
        if time.monotonic() > end:
            raise _busy(lab, by)
        time.sleep(_LOOK_S)


def _busy(lab: str, by: Holder | None) -> LabLocked:
    who = f"by {by}" if by else "by another command"
    return LabLocked(
        f'lab "{lab}" is being changed {who}; one command at a time changes a lab; '
        f"it was waited for {CALLER.wait_s:g} s; wait longer (--wait SECONDS, or LAB_WAIT), or end that command"
    )


@contextmanager
def locked(lab: str, *, deadline_s: float | None = None) -> Iterator[None]:
    """Hold the lock of one lab: only one command at a time changes it.

    ``deadline_s`` None: wait as long as ``CALLER`` says.

    Raises:
        Busy: another command holds it past the deadline.
        MachineError: the folder of labs cannot be made.

    """
    file = RUN / f".{lab}.lock"
    descriptor = _lock(lab, file, time.monotonic() + (CALLER.wait_s if deadline_s is None else deadline_s))
    try:
        us = identify(os.getpid())
        with contextlib.suppress(OSError):  # others are told less if there is no room
            if us is not None:
                replace(_holder_file(lab), msgspec.json.encode(Holder(CALLER.command, us, time.time())))
        yield
    finally:
        _holder_file(lab).unlink(missing_ok=True)
        if not StateDir(lab).record_file.exists():
            file.unlink(missing_ok=True)  # while it is held: a process that waits for it sees that it is gone
        os.close(descriptor)


def _lock(lab: str, file: Path, end: float) -> int:
    """Open and lock a file that is still the one of its name when it is ours."""
    while True:
        try:
            netns.make_folder(RUN, 0o755)
            descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise MachineError(f"{error.filename}: {error.strerror}; root is needed; run it with sudo") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and file.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
        if time.monotonic() > end:
            raise _busy(lab, holder(lab))
        time.sleep(_LOOK_S)
