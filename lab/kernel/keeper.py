"""The process that starts a lab's agent again when that has ended: ``python -m lab.kernel.keeper LAB``.

It knows nothing itself: the record says which process the agent is, whether the lab should run, and how often the
agent was started again. It acts under the lock of the lab, like any command. The agent sees to it that the keeper
runs, so that either is back if the other lives. It ends with the lab.
"""

import contextlib
import os
import sys
import time

import msgspec

from lab.errors import BrokenRecordError, LabError, LabLocked
from lab.kernel import apply, daemons
from lab.kernel.daemons import Process
from lab.kernel.state import CALLER, LabState, StateDir, locked, replace

MODULE = "lab.kernel.keeper"
_LOOK_S = 3600.0  # how long one wait for the agent's end may take
_YOUNG_S = 10.0  # an agent that ended earlier than this is not started again at once
_FIRST_S, _LONGEST_S = 0.5, 30.0  # the pauses then


def of(folder: StateDir) -> Process | None:
    """Return the keeper of a lab, None if none runs."""
    process = apply.noted_process(folder.keeper_file)
    return process if daemons.alive(process) else None


def ensure(folder: StateDir) -> None:
    """Start the keeper of a lab if none runs."""
    if of(folder) is None:
        process = daemons.start(MODULE, folder.lab, log=folder.log / "agent.log")
        with contextlib.suppress(OSError):  # on a full disk `down` finds it ending by itself
            replace(folder.keeper_file, msgspec.json.encode(process))


def keep(lab: str) -> None:
    """Start the agent again whenever it has ended, for as long as the lab should run."""
    folder, pause_s = StateDir(lab), 0.0
    while (record := _record(folder)) is not None:
        if record.agent is not None and daemons.alive(record.agent):
            began = time.monotonic()
            daemons.wait_ended(record.agent, deadline_s=_LOOK_S)
            with contextlib.suppress(ChildProcessError):  # it may be ours
                os.waitpid(record.agent.pid, os.WNOHANG)
            young = time.monotonic() - began < _YOUNG_S
            pause_s = min(_LONGEST_S, max(_FIRST_S, 2 * pause_s)) if young and pause_s else 0.0
            continue
        if record.state in ("building", "removing"):
            return  # the command that is at it removes the lab, or did so until it was killed
        time.sleep(pause_s)
        pause_s = pause_s or _FIRST_S
        try:
            _start_again(folder)
        except LabLocked:
            pass  # another command changes the lab, and starts an agent if none lives
        except (LabError, OSError) as error:
            daemons.say("keeper", f"{error}; trying again")
            pause_s = min(_LONGEST_S, 2 * pause_s)


def _record(folder: StateDir) -> LabState | None:
    """Return the record, as soon as it can be read."""
    while True:
        try:
            return folder.read()
        except BrokenRecordError:
            time.sleep(_LONGEST_S)


def _start_again(folder: StateDir) -> None:
    with locked(folder.lab):
        record = folder.read()
        if record is None or record.state in ("building", "removing") or daemons.alive(record.agent):
            return
        daemons.say("keeper", f"the agent (process {_pid(record)}) has ended; starting it again")
        now = time.time()
        apply.start_agent(folder, msgspec.structs.replace(record, restarts=record.restarts + 1, restarted=now))


def _pid(record: LabState) -> object:
    return record.agent.pid if record.agent else "unknown"


def main() -> None:
    """Keep one lab's agent running."""
    CALLER.command = "the keeper of the lab's agent"
    os.umask(0o022)
    keep(sys.argv[1])


if __name__ == "__main__":
    main()
