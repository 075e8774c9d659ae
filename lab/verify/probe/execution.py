"""A program that a user expects something of, run in its node as ``lab exec`` runs it."""

import os
from pathlib import Path

from lab.kernel import apply, daemons, netns
from lab.kernel.state import StateDir
from lab.plan import namespace
from lab.verify import experiment as ex

_MOST_OUTPUT = 1 << 20  # characters that are judged


def execute(lab: str, what: ex.Execute) -> ex.Executed:
    """Run a program to its end, or until its time is over."""
    folder = StateDir(lab)
    record, plan = folder.read(), folder.plan()
    start = Path(record.file).parent if record is not None else Path("/")
    variables = apply.node_variables(folder, what.node)

    def inside() -> None:
        os.setsid()
        netns.enter(namespace(lab, what.node))
        netns.own_files(what.node, folder.own, apply.node_files(plan, what.node))
        os.chdir(start)

    done = daemons.run_bounded(what.command, inside=inside, variables=variables, timeout_s=what.timeout_s)
    return ex.Executed(status=done.status, output=done.stdout[:_MOST_OUTPUT], error=done.stderr[:_MOST_OUTPUT])
