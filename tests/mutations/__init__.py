"""Mutations: one fact of a claim altered in the product, which the claim must see.

A claim names the facts that its statement depends on (``Claim.facts``). For each fact there is at least one mutation
that alters just that fact. ``scripts/mutate`` judges the claim with the altered product; it must be CONTRADICTED.
One file of this folder for each group of claims, with a tuple ``MUTATIONS``.
"""

import importlib
import pkgutil
from pathlib import Path

import msgspec

CHECKOUT = Path(__file__).resolve().parents[2]
#: What judges must stay as it is: a mutation there would show nothing of the claim.
JUDGES = ("lab/verify/",)


class Mutation(msgspec.Struct, frozen=True):
    """One change of one file, which alters one fact.

    ``topology``: a bundled one, or one of this folder, by name. ``file``: of the product, or the topology's own, from
    the checkout's root. ``old`` occurs there exactly once. ``profile``: as in ``lab verify --profile``.
    """

    claim: str
    fact: str
    topology: str
    file: str
    old: str
    new: str
    profile: str = ""

    def __str__(self) -> str:
        where = f"{self.topology} {self.profile}".rstrip()
        return f"{self.claim} ({where}) {self.fact}: {self.file}: {self.old.strip()!r} -> {self.new.strip()!r}"

    @property
    def topology_file(self) -> Path:
        """The path of the topology from the checkout's root."""
        bundled = Path("topologies") / f"{self.topology}.lab.yaml"
        return bundled if (CHECKOUT / bundled).exists() else Path("tests/mutations") / bundled.name

    def problem(self) -> str:
        """Return why the mutation cannot be applied, "" if it can."""
        file = CHECKOUT / self.file
        if not file.is_file():
            return f"{self.file} does not exist"
        if self.file.startswith(JUDGES):
            return f"{self.file} judges; a mutation alters what is judged"
        if not self.file.startswith("lab/") and Path(self.file) != self.topology_file:
            return f"{self.file} is neither the product's nor the topology"
        times = file.read_text().count(self.old)
        if times != 1:
            return f"the text occurs {times} times in {self.file} instead of once: {self.old!r}"
        return "" if self.old != self.new else "it changes nothing"


def mutations() -> list[Mutation]:
    """Return the mutations of all files of this folder, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in {"runner", "general"})
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [mutation for module in modules for mutation in module.MUTATIONS]
