"""Programs of the user's own: started in their nodes, awaited, watched, started again, ended with the lab.

One that ends before it is ready is a problem of the plan. One that ends later is started again, after a second at
first, and after twice as long each time that it ends soon; `restart: never` leaves it ended.
"""

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import cast

import msgspec

from lab.errors import LabError
from lab.kernel import apply, daemons, netns
from lab.kernel.state import StateDir
from lab.plan import NO_WHY, Plan, Program, namespace

_READY_S = 20.0  # how long a program may take to be ready
_END_S = 1.0  # how long one may take to end when it is asked to
_LOOK_S = 0.02
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0
_SOON_S = 60.0  # one that ran for so long is started again after a second
_LAST_WORDS = 200  # characters of a log that a message quotes


class _Run:
    """A program that was started, and when it is to be started again."""

    def __init__(self, started: daemons.AttendedGroup) -> None:
        self.process = started
        self.began = time.monotonic()
        self.pause_s = _FIRST_PAUSE_S
        self.again: float | None = None


class Programs:
    """The programs of one lab."""

    def __init__(self, folder: StateDir) -> None:
        self._folder = folder
        self._plan = Plan(folder.lab, ())
        self._runs: dict[Program, _Run] = {}

    async def read(self, plan: Plan) -> tuple[str, ...]:
        """Run the programs of a plan, and no other; return what is wrong with those that are not ready."""
        wanted = [msgspec.structs.replace(one, why=NO_WHY) for one in plan.of(Program)]
        self._plan = plan
        await self._end([self._runs.pop(one) for one in self._runs.keys() - set(wanted)])
        problems: list[str] = []
        new = [one for one in wanted if one not in self._runs]
        for program in new:
            try:
                self._runs[program] = _Run(self._start(program))
            except (LabError, OSError) as error:
                problems.append(str(error))
        found = await asyncio.gather(*(self._ready(one) for one in new if one in self._runs))
        return (*problems, *filter(None, found))

    def keep(self) -> None:
        """Start again what has ended, when its time has come."""
        now = time.monotonic()
        for program, run in self._runs.items():
            if run.process.running() or (run.again is not None and now < run.again):
                continue
            if run.again is None:
                run.pause_s = _FIRST_PAUSE_S if now - run.began > _SOON_S else run.pause_s
                run.again = now + run.pause_s if program.restarts else float("inf")
                then = f"starting it again in {run.pause_s:g} s" if program.restarts else "it stays so"
                daemons.say("agent", f"{program.place}: {program.name} {_ending(run.process)}; {then}")
                continue
            run.pause_s = min(2 * run.pause_s, _LAST_PAUSE_S)
            try:
                run.process, run.began, run.again = self._start(program), now, None
            except (LabError, OSError) as error:
                run.again = now + run.pause_s
                daemons.say("agent", f"{error}; trying again in {run.pause_s:g} s")

    async def close(self) -> None:
        """End all of them: ask first, then force."""
        runs, self._runs = list(self._runs.values()), {}
        await self._end(runs)

    async def _end(self, runs: list[_Run]) -> None:
        for run in runs:
            if run.process.running():
                run.process.ask_to_end()
        end = time.monotonic() + _END_S
        # The system tells of the end of several processes by asking only.
        while any(run.process.running() for run in runs) and time.monotonic() < end:  # noqa: ASYNC110 - as said
            await asyncio.sleep(_LOOK_S)
        for run in runs:
            run.process.end()

    def _start(self, program: Program) -> daemons.AttendedGroup:
        record = self._folder.read()
        file = Path(record.file).parent if record is not None else Path("/")
        folder = file / program.folder
        variables = {**apply.node_variables(self._folder, program.place), **dict(program.environment)}
        command = [_found(program, folder, variables.get("PATH")), *program.command[1:]]
        plan = self._plan

        def inside() -> None:
            os.setsid()
            netns.enter(namespace(plan.lab, program.place))
            netns.own_files(program.place, self._folder.own, apply.node_files(plan, program.place))
            os.chdir(folder)

        if not folder.is_dir():
            raise LabError(f"{_named(program)}: no folder {folder}; it must be there; make it, or correct cwd")
        log = self._log(program)
        started = daemons.attend(command, log, variables, inside)
        return daemons.AttendedGroup(started.pid)

    def _log(self, program: Program) -> Path:
        return self._folder.log / f"{program.place}.{program.name}.program.log"

    async def _ready(self, program: Program) -> str:
        """Wait until a program is ready; return what is wrong if it is not."""
        run = self._runs[program]
        end = time.monotonic() + _READY_S
        while run.process.running():
            if program.ready_port:
                ready = daemons.bound(run.process.pid, program.ready_port, program.protocol)
            else:
                ready = time.monotonic() - run.began >= program.ready_s
            if ready:
                return ""
            if time.monotonic() > end:
                return (
                    f"{_named(program)}: nothing is bound to port {program.ready_port} after {_READY_S:g} s; it must "
                    f"be when the program is ready; correct the program or `ready`{self._last_words(program)}"
                )
            await asyncio.sleep(_LOOK_S)
        if not program.restarts and run.process.status == 0 and not (program.ready_port or program.ready_s):
            return ""
        return (
            f"{_named(program)}: it {_ending(run.process)} before it was ready; it must go on running; "
            f"correct it{self._last_words(program)}"
        )

    def _last_words(self, program: Program) -> str:
        lines = self._log(program).read_text(errors="replace").strip().splitlines()
        return f"; it said last: {lines[-1][:_LAST_WORDS]}" if lines else "; it said nothing"


def _named(program: Program) -> str:
    return f"{program.place}: program {program.name}"


def _found(program: Program, folder: Path, path: str | None) -> str:
    """Return the file of a program.

    Raises:
        LabError: there is none.

    """
    word = program.command[0]
    found = shutil.which(str(folder / word) if "/" in word else word, path=path)
    if found is None:
        raise LabError(
            f"{_named(program)}: no command {word!r}; it must be a program of this machine; install it, or correct exec"
        )
    return found


def _ending(process: daemons.Attended) -> str:
    status = cast("int", process.status)
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
