"""The parts of a claim: what it states, and the trials that show whether it holds."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from lab.azure.model import Network
from lab.verify.experiment import CheckFile, Experiment, HoldFlows, Open, Pause, Run, Tunnels
from lab.verify.verdict import Judgement

Judge: TypeAlias = Callable[[Sequence[Any]], Judgement]
#: What yields the trials that a network allows, none where a claim does not apply.
Shows: TypeAlias = Callable[[Network], Iterable["Trial"]]


class Stage(msgspec.Struct, frozen=True):
    """Experiments in one state of the network: as it is (None), or changed for the trial.

    ``operates``: they run commands that change the lab, which is given back what it was afterwards.
    """

    experiments: tuple[Experiment, ...]
    network: Network | None = None
    operates: bool = False


class Finding(msgspec.Struct, frozen=True):
    """What a judge found: what was observed, and what of it contradicts the claim, "" if nothing does.

    ``doubt``: why it tells nothing, whatever it seems to contradict; "" if it tells.
    """

    observed: str
    wrong: str = ""
    doubt: str = ""


class Trial(msgspec.Struct, frozen=True):
    """One way to see whether a claim holds here. ``claim``: whose trial it is; a claim fills it in."""

    subject: str
    expected: str
    stages: tuple[Stage, ...]
    judge: Judge
    claim: str = ""

    @property
    def pauses_s(self) -> float:
        """How long it lets time pass at most, in seconds."""
        all_of_it = [e for stage in self.stages for e in stage.experiments]
        steps = [step for e in all_of_it if isinstance(e, HoldFlows) for step in e.steps]
        pauses = sum(step.seconds for step in steps if isinstance(step, Pause))
        longest = sum(step.within_s for step in steps if isinstance(step, Open))
        return pauses + longest + sum(e.silence_s for e in all_of_it if isinstance(e, Tunnels))

    @property
    def needs_lab(self) -> bool:
        """Tell whether the lab that runs has any influence on it; a check of a file of the trial's own has none."""
        return any(stage.network is not None or stage.operates for stage in self.stages) or not all(
            isinstance(e, CheckFile) or (isinstance(e, Run) and "{lab}" not in e.words)
            for stage in self.stages
            for e in stage.experiments
        )


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A testable statement of a document. ``profiles`` empty: every revision states it.

    ``facts``: what the statement depends on, in a few words each. Whichever of them the product gets wrong, the claim
    must be contradicted: `tests/mutations` has a mutation for each. ``extended_by``: trials that it has beside its own.
    """

    id: str
    source: str
    statement: str
    shown_by: Shows
    profiles: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    extended_by: tuple[Shows, ...] = ()

    def trials(self, network: Network) -> list[Trial]:
        """Return the trials that a network allows."""
        return [
            msgspec.structs.replace(trial, claim=self.id)
            for shows in (self.shown_by, *self.extended_by)
            for trial in shows(network)
        ]


def claim(
    name: str,
    source: str,
    statement: str,
    /,
    *,
    facts: tuple[str, ...],
    profiles: tuple[str, ...] = (),
    extended_by: tuple[Shows, ...] = (),
) -> Callable[[Shows], Claim]:
    """Make a claim of the function that yields its trials. This registers nothing: ``CLAIMS`` of its file lists it."""

    def stated(shows: Shows) -> Claim:
        return Claim(
            id=name,
            source=source,
            statement=statement,
            shown_by=shows,
            profiles=profiles,
            facts=facts,
            extended_by=extended_by,
        )

    return stated
