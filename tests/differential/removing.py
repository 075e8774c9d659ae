"""Packet-filter rules are taken away one by one from a lab that runs: are the flows of it seen to differ then?"""

from pathlib import Path

from lab.kernel import netfilter
from lab.kernel.state import StateDir
from lab.plan import Plan, Policy, Rule, Table, namespace
from tests.differential import drawing, running, wire
from tests.differential.oracle import Oracle


def run(folder: Path, data: drawing.Data) -> tuple[list[str], list[str]]:
    """Return the rules whose loss is noticed, and those whose loss is not."""
    noticed: list[str] = []
    missed: list[str] = []
    name = data["name"]
    with running.removed(name):
        text = running.bring_up(folder, data)
        oracle = Oracle(text)
        flows = wire.flows(oracle)
        before = wire.look(name, text)
        if before:
            return [], [f"differs with all rules: {line}" for line in before]
        made = StateDir(name).plan()
        for (place, table), items in made.tables().items():
            for number, rule in enumerate(items):
                lacking = (*items[:number], *items[number + 1 :])
                _write(made, place, table, lacking)
                try:
                    found = wire.differences(oracle, flows, wire.send(name, flows))
                finally:
                    _write(made, place, table, items)
                    (noticed if found else missed).append(f"{place}: {rule}  # {rule.why}")
    return noticed, missed


def _write(made: Plan, place: str, table: Table, items: tuple[Policy | Rule, ...]) -> None:
    netfilter.write(namespace(made.lab, place), {table: items})
