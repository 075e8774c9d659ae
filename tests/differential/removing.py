"""Packet-filter rules are taken away one by one from a lab that runs: are the flows of it seen to differ then?"""

import time
from pathlib import Path

from lab.kernel import netfilter
from lab.kernel.state import StateDir
from lab.plan import Plan, Policy, Rule, Table, namespace
from tests.differential import drawing, running, wire
from tests.differential.oracle import HOST, Oracle

_ANSWERS_S = 1.5  # what is not answered by then is lost: most removed rules leave flows without an answer
_PROBES_S = 4.0  # longer than it takes a member to be found down, at the drawn scale of time


def run(folder: Path, data: drawing.Data) -> tuple[list[str], list[str]]:
    """Return the rules whose loss is noticed, and those whose loss is not."""
    noticed: list[str] = []
    missed: list[str] = []
    name = data["name"]
    with running.removed(name):
        text = running.bring_up(folder, data)
        oracle = Oracle(text)
        flows = wire.flows(oracle)
        before = wire.look(name, text) or wire.tried(name, oracle, flows, _ANSWERS_S)
        if before:
            return [], [f"differs with all rules: {line}" for line in before]
        made = StateDir(name).plan()
        for (place, table), items in made.tables().items():
            for number, rule in enumerate(items):
                lacking = (*items[:number], *items[number + 1 :])
                _write(made, place, table, lacking)
                if HOST in str(rule) and place.startswith("router."):
                    _wait_for_probes(name)
                try:
                    found = wire.tried(name, oracle, flows, _ANSWERS_S)
                finally:
                    _write(made, place, table, items)
                    wire.settled(name, oracle)
                    (noticed if found else missed).append(f"{place}: {rule}  # {rule.why}")
    return noticed, missed


def _write(made: Plan, place: str, table: Table, items: tuple[Policy | Rule, ...]) -> None:
    netfilter.write(namespace(made.lab, place), {table: items})


def _wait_for_probes(name: str) -> None:
    """Wait until members are down that are not probed any more, if there are any."""
    end = time.monotonic() + _PROBES_S
    while time.monotonic() < end and all(member.up for member in StateDir(name).health().values()):
        time.sleep(0.02)
