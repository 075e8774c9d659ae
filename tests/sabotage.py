"""What the tests share that alter a lab by hand and see what its claims say.

The lab runs as it should; something in it is altered with another tool than the lab's own; claims are judged on the
lab as it stands; then ``lab up`` must give the lab its rules and timers back, and the claims must hold again.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.kernel import apply
from lab.kernel.state import StateDir
from lab.verify import runner
from lab.verify.probe import Prober
from lab.verify.verdict import Result
from tests import rootlab

Command = tuple[str, ...]


class Act(msgspec.Struct, frozen=True):
    """What is done by hand in a place of a lab. ``@vm`` stands for a VM's private address."""

    place: str
    command: Command

    def left_alone(self) -> bool:
        """Tell whether `lab up` leaves this alone: it knows the tables of its own places, and the routes it made."""
        return self.command[0] == "ip" or not self.place.startswith(("lb.", "gw.", "nat.", "router."))


def acts(places: str, *commands: Command) -> list[Act]:
    """Return commands as what is done in each of several places, which have blanks between them."""
    return [Act(place, command) for place in places.split() for command in commands]


def first(table: str, chain: str, *rule: str) -> Command:
    """Return the command that puts a rule first into a chain."""
    return ("iptables-legacy", "-t", table, "-I", chain, "1", *rule)


def undone(command: Command) -> Command:
    """Return the command that takes away what a command has put in."""
    if command[0] == "ip":
        return tuple("del" if word == "add" else word for word in command)
    put = command.index("-I")
    chain, *rule = command[put + 1 :]
    return (*command[:put], "-D", chain, *rule[rule[0].isdigit() :])


def spelled_out(lab: str, command: Command) -> Command:
    """Return a command with the addresses of the VMs that it names."""
    addresses = StateDir(lab).plan().addresses() if any(word.startswith("@") for word in command) else {}

    def address(word: str) -> str:
        node, colon, rest = word[1:].partition(":")
        return addresses[node] + colon + rest

    return tuple(address(word) if word.startswith("@") else word for word in command)


def of(topology: str, claim: str) -> Any:
    """Return a parameter; those of one topology are judged in one process (tests/conftest.py)."""
    return pytest.param(claim, id=f"{topology}: {claim}")


def assert_noticed(sabotaged: Result, healed: Result, reason: str) -> None:
    """Fail unless a claim was contradicted for a reason while something was altered, and holds again."""
    assert (sabotaged.verdict, healed.verdict) == ("CONTRADICTED", "HOLDS"), (
        f"{sabotaged.id}: sabotaged: {sabotaged.observed} ({sabotaged.reason}); healed: {healed.reason}"
    )
    assert sabotaged.reason, f"{sabotaged.id}: contradicted without a reason"
    assert reason in sabotaged.reason, f"{sabotaged.id}: {reason!r} is not in {sabotaged.reason!r}"


@contextmanager
def altered_programs(folder: Path, code: str) -> Iterator[Prober]:
    """Yield a prober that, with every program it starts, runs some code before it begins."""
    (folder / "sitecustomize.py").write_text(code)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", f"{folder}{os.pathsep}{rootlab.CHECKOUT}")
        prober = Prober()
    with prober:
        yield prober


class Labs:
    """Runs one topology at a time under a name of the tests' own, and keeps it until another one is asked for.

    Claims are judged in this process, as `lab verify` does: what takes time otherwise is starting it.
    """

    def __init__(self, folder: Path, prober: Prober) -> None:
        apply.preload()
        self._folder = folder
        self._prober = prober
        self._runs = ""
        self._up: set[str] = set()  # members that were up when the lab had come up
        self._stack = ExitStack()

    @property
    def name(self) -> str:
        """The name of the lab that runs."""
        file, _, profile = self._runs.partition(" ")
        return f"sab-{profile or file}"[:20].rstrip("-")  # no name of a lab is longer

    @property
    def file(self) -> Path:
        """The file of the lab that runs."""
        return self._folder / f"{self.name}.lab.yaml"

    def run(self, topology: str, text: str = "") -> str:
        """Have a topology run, bundled unless there is a text; return the name of its lab.

        After a blank, a topology may say what profile is played.
        """
        if self._runs != topology:
            self.stop()
            self._runs = topology
            file, _, profile = topology.partition(" ")
            text = text or (rootlab.TOPOLOGIES / f"{file}.lab.yaml").read_text()
            own = f"\nname: {self.name}" + (f"\nprofile: {profile}" if profile else "")
            try:
                self._stack.enter_context(rootlab.running(self._folder, text.replace(f"\nname: {file}", own, 1)))
                members, _ = StateDir(self.name).wait_health(deadline_s=rootlab.DEADLINE_S)
                self._up = {key for key, member in members.items() if member.up}
            except BaseException:
                self.stop()
                raise
        return self.name

    def judge(self, claim: str, prober: Prober | None = None) -> Result:
        """Judge one claim on the lab as it stands."""
        return self.judge_all(claim, prober=prober)[claim]

    def judge_all(self, *claims: str, prober: Prober | None = None) -> dict[str, Result]:
        """Judge several claims on the lab as it stands; those that change it come last, and give it its rules."""
        results = runner.verify(self.file, prober or self._prober, _quiet, only=frozenset(claims))
        assert {result.id for result in results} == set(claims), f"{self.file}: not all of {claims} were judged"
        return {result.id: result for result in results}

    @contextmanager
    def altered(self, done: Iterable[Act]) -> Iterator[None]:
        """Do something by hand, and heal the lab afterwards."""
        by_hand: list[Act] = []
        try:
            for act in done:
                rootlab.must(self.name, act.place, *spelled_out(self.name, act.command))
                by_hand.append(act)
            yield
        finally:
            for act in by_hand:
                if act.left_alone():
                    # What the lab has written anew is gone already.
                    rootlab.inside(self.name, act.place, *spelled_out(self.name, undone(act.command)))
            self.heal()

    def heal(self) -> None:
        """Have everything written again, as `lab up` does, and wait until the members are up that were at first."""
        network = runner.load(self.file)
        # Where a member has just come or gone only what differs is written: all of it in the next turn.
        rootlab.wait_until(lambda: not runner.bring_up(network, self.file, _quiet).changed, "all is written again")
        self._wait_members(f"just {', '.join(sorted(self._up))} are up", lambda up, _down: up == self._up)

    def wait_down(self, wanted: set[str]) -> None:
        """Wait until just these members are down."""
        self._wait_members(f"just {', '.join(sorted(wanted))} are down", lambda _up, down: down == wanted)

    def stop(self) -> None:
        """Remove the lab that runs, if one does."""
        self._runs = ""
        self._stack.close()

    def _wait_members(self, what: str, wanted: Callable[[set[str], set[str]], bool]) -> None:
        """Wait for members that are up or down, and for the rules that follow: tables are written anew for them."""
        folder = StateDir(self.name)

        def there() -> bool:
            members = folder.health()
            up = {key for key, member in members.items() if member.up}
            return all(member.applied for member in members.values()) and wanted(up, members.keys() - up)

        rootlab.wait_until(there, what, folder.health)


def _quiet(_text: str) -> None:
    """Say nothing."""
