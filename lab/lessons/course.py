"""A lesson that runs: its lab, its steps, its checks, and how far the learner is."""

import contextlib
import os
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from lab import topology
from lab.azure.model import Network
from lab.errors import UsageError
from lab.flow import Destination
from lab.kernel import apply, netns
from lab.kernel.state import StateDir, ready, replace
from lab.lessons import lesson as lessons
from lab.lessons.lesson import SUFFIX, Answer, Flows, Lesson
from lab.plan import HealthCheck, namespace
from lab.runtime import lifecycle, load, operate
from lab.verify import runner
from lab.verify.claims import Trial, expected
from lab.verify.experiment import Ask
from lab.verify.probe import Prober
from lab.verify.verdict import Word

#: How long flows, and conversations, are waited for that are not answered.
_FLOWS_S, _ANSWER_S = 1.0, 1.0
#: How long members are waited for, at most, that may go up or down by what a step begins with, or its solution.
_HEALTH_S = 5.0
_LOOK_S = 0.02

#: What runs a command of lab, given as its words without `lab`.
Execute = Callable[[Sequence[str]], object]


class Progress(msgspec.Struct, frozen=True):
    """How far a learner is; kept in the lab's folder, so that it goes with the lab."""

    lesson: str  # the path of its file
    file: str  # of the lab, which the learner edits
    step: int = 0  # as many are done
    hints: int = 0  # of this step, that were given


class Checked(msgspec.Struct, frozen=True):
    """What became of a check."""

    what: str
    expected: str
    observed: str
    verdict: Word
    reason: str = ""


class Course:
    """A lesson and its lab. ``execute`` runs commands of lab as the learner would."""

    def __init__(self, lesson: Lesson, execute: Execute) -> None:
        self.lesson = lesson
        self._execute = execute
        self._folder = StateDir(lesson.lab)

    @property
    def progress(self) -> Progress | None:
        """How far the learner is; None: the lesson does not run."""
        if self._folder.read() is None:
            return None
        try:
            return msgspec.json.decode(self._folder.lesson_file.read_bytes(), type=Progress)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def begin(self, folder: Path, say: lifecycle.Progress) -> Progress:
        """Bring the lab up as the lesson begins, with its file in a folder.

        Raises:
            UsageError: a file of that name is there that is not the lesson's, or a lab of its name that is none.

        """
        if self._folder.read() is not None:
            raise UsageError(
                f"{self.lesson.lab}: a lab of this name runs, and no lesson in it; the lesson needs the name; "
                f"run: lab down {self.lesson.lab}"
            )
        file = (folder / f"{self.lesson.lab}{topology.SUFFIX}").absolute()
        if file.exists() and not file.read_text(errors="replace").startswith(lessons.heading(self.lesson)):
            raise UsageError(f"{file}: it is there already; no file is overwritten; start from another folder")
        started = Progress(str(self.lesson.file.absolute()), str(file))
        self._stand(started, say)
        return started

    def restore(self, progress: Progress, say: lifecycle.Progress) -> None:
        """Bring file and lab back to the beginning of the step."""
        self._stand(progress, say)

    def solve(self, progress: Progress, say: lifecycle.Progress) -> None:
        """Do what the solution of the step says: its commands in the lab as it is, its changes in the lesson's file."""
        if self.lesson.steps[progress.step].edits:
            self._stand(progress, say, solved=True)
        else:
            self._run(self.lesson.steps[progress.step].commands)

    def _stand(self, progress: Progress, say: lifecycle.Progress, *, solved: bool = False) -> None:
        """Bring the lab to a step, as the solutions of all before it leave it; with ``solved``, as its own does."""
        step = min(progress.step, len(self.lesson.steps) - 1)
        file = Path(progress.file)
        _write(file, self.lesson.text_at(step + solved))
        lifecycle.bring_up(lifecycle.load(file), file, say)
        self._keep(progress)
        for one in self.lesson.steps[:step]:
            self._run((*one.begins, *one.commands))
        self._run(self.lesson.steps[step].begins)
        if solved:
            self._run(self.lesson.steps[step].commands)

    def _run(self, commands: Sequence[str]) -> None:
        """Run commands, and wait until what they do to the health of members is known, if they do anything to it."""
        known = self._up()
        for command in commands:
            self._execute(shlex.split(command)[1:])
        checks = self._folder.plan().of(HealthCheck) if commands else ()
        slowest_s = min(_HEALTH_S, 2 * max((check.slowest_s for check in checks), default=0.0))
        end = time.monotonic() + slowest_s
        while time.monotonic() < end:  # until nothing has changed for so long
            if (latest := self._up()) != known:
                known, end = latest, time.monotonic() + slowest_s
            time.sleep(_LOOK_S)
        self._folder.wait_health(deadline_s=0.0)  # the rules follow what is known

    def _up(self) -> dict[str, bool]:
        return {key: member.up for key, member in self._folder.health().items()}

    def _keep(self, progress: Progress) -> None:
        replace(self._folder.lesson_file, msgspec.json.encode(progress))

    def hint(self, progress: Progress) -> Progress:
        """Give one hint more, if there is one."""
        hints = min(progress.hints + 1, len(self.lesson.steps[progress.step].hints))
        given = msgspec.structs.replace(progress, hints=hints)
        self._keep(given)
        return given

    def advance(self, progress: Progress) -> Progress:
        """Note that the step is done, and do what the next begins with."""
        done = msgspec.structs.replace(progress, step=progress.step + 1, hints=0)
        self._keep(done)
        if done.step < len(self.lesson.steps):
            self._run(self.lesson.steps[done.step].begins)
        return done

    def end(self, progress: Progress) -> None:
        """Take the lab down and remove its file."""
        apply.down(self.lesson.lab)
        Path(progress.file).unlink(missing_ok=True)

    # --- checks ---------------------------------------------------------------------------------

    def check(self, progress: Progress, answer: str | None, prober: Prober) -> list[Checked]:
        """Check a step, by packets in the lab as it is now."""
        ready(self.lesson.lab)
        network = operate.network_of(self.lesson.lab)
        step = self.lesson.steps[progress.step]
        found = []
        for check in step.check:
            if isinstance(check, Answer):
                found.append(_answered(check, answer))
            elif isinstance(check, Flows):
                found.append(self._opened(network, check))
            else:
                found += self._expected(network, check, prober)
        return found

    def _expected(self, network: Network, check: dict[str, object], prober: Prober) -> list[Checked]:
        wanted = msgspec.structs.replace(network, expectations=self.lesson.network([check]).expectations)
        return [
            Checked(trial.subject, trial.expected, judged.observed, judged.verdict, judged.reason)
            for trials in expected(wanted).values()
            for trial in trials
            for judged in [runner.tried(wanted, _impatient(trial), prober)]
        ]

    def _opened(self, network: Network, check: Flows) -> Checked:
        goal = Destination.parse(check.to)
        host = network.host(goal.host)
        vm = network.vm(goal.host)
        address = str(host.address) if host else str(vm.private_ip_address) if vm else goal.host
        client = load.Client(partial(_socket, self.lesson.lab, check.sender))
        target = load.Target(address, goal.port, "udp" if goal.protocol == "udp" else "connect")
        with contextlib.closing(client):
            results = client.open([target], check.flows, timeout_s=_FLOWS_S)
        opened = sum(result.outcome == "answered" for result in results)
        return Checked(
            f"{check.flows} flows of {check.sender} to {check.to}",
            f"{check.flows} are open at the same time",
            f"{opened} are open",
            "HOLDS" if opened >= check.flows else "CONTRADICTED",
            "" if opened >= check.flows else f"{check.flows - opened} were not opened",
        )


def _impatient(trial: Trial) -> Trial:
    """Return a trial that waits for answers no longer than a learner would."""
    stages = tuple(
        msgspec.structs.replace(
            stage,
            experiments=tuple(
                msgspec.structs.replace(one, timeout_s=min(one.timeout_s, _ANSWER_S)) if isinstance(one, Ask) else one
                for one in stage.experiments
            ),
        )
        for stage in trial.stages
    )
    return msgspec.structs.replace(trial, stages=stages)


def _socket(lab: str, node: str, kind: int) -> socket.socket:
    with netns.visit(namespace(lab, node)):
        return socket.socket(socket.AF_INET, kind)


def _answered(check: Answer, answer: str | None) -> Checked:
    given = (answer or "").strip()
    right = given.lower().replace(" ", "") == check.answer.lower().replace(" ", "")
    return Checked(
        "your answer",
        "the right one",
        given or "none; give it with --answer",
        "HOLDS" if right else "CONTRADICTED",
        "" if right else "it is another" if given else "no answer was given",
    )


def _write(file: Path, text: str) -> None:
    """Write the lab's file so that the learner may edit it: it belongs to the owner of its folder."""
    try:
        file.write_text(text)
        owner = file.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; its folder must be one to write in; go to another") from None


def running() -> dict[str, Progress]:
    """Return how far the learner is in each lesson that runs, by the path of its file."""
    found = {}
    for file in StateDir("x").path.parent.glob("learn-*/lesson.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            progress = msgspec.json.decode(file.read_bytes(), type=Progress)
            found[progress.lesson] = progress
    return found


__all__ = ["SUFFIX", "Checked", "Course", "Progress", "running"]
