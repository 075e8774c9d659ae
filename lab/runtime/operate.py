"""A management operation on a running lab: its network is read, changed, compiled and applied as a difference.

All of that happens under the lab's lock, so that no other command's change is lost. Live flows are kept. The
record says what runs; the file is not touched, and `lab up FILE` makes the file's word true again.
"""

from pathlib import Path

from lab.azure import model
from lab.azure.model import Network
from lab.errors import LabError
from lab.kernel import apply
from lab.kernel.state import existing, ready
from lab.operations import base
from lab.plan import Plan
from lab.runtime import lifecycle


def network_of(lab: str) -> Network:
    """Return the network of a running lab as it is now, operations included.

    Raises:
        UsageError: there is no such lab.
        Busy: another command is still changing it.
        PermissionError: only root may read it, since a network may hold shared keys.

    """
    folder, _ = ready(lab)
    return model.decode(folder.network_file.read_bytes())


def outline_of(lab: str) -> Network:
    """Return the network of a running lab as it is now, without shared keys: reading it needs no root.

    Raises:
        UsageError: there is no such lab.
        Busy: another command is still changing it.

    """
    folder, _ = ready(lab)
    return model.decode(folder.outline_file.read_bytes())


def perform(lab: str, operation: base.Operation, progress: lifecycle.Progress) -> apply.Outcome:
    """Do a management operation on a running lab.

    Raises:
        UsageError: there is no such lab.
        Refused: the documents do not allow the operation; nothing was changed.
        LabError: the lab is not running as it should; nothing was changed.
        KernelError: a step was refused; what was changed is changed back.

    """
    folder, _ = existing(lab)

    def remake() -> tuple[Plan, apply.Source]:
        record = folder.read()
        if record is None or not apply.is_whole(record):
            raise LabError(
                f"{lab}: it does not run as a whole; it must, to be changed; run `lab up` or `lab down` first"
            )
        before = network_of(lab)
        network = base.changed(before, operation)
        there = base.parts(network)
        made = (there - base.parts(before)) | there.intersection(record.made)
        return lifecycle.plan_now(network), lifecycle.source(network, Path(record.file), made)

    outcome = apply.change(lab, remake, progress)
    lifecycle.settle(folder)
    return outcome
