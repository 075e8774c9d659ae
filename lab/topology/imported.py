"""A topology that comes from elsewhere, so that `lab check` passes: what the lab cannot play of it is taken out."""

from typing import Any

import msgspec

from lab import topology
from lab.azure import model
from lab.errors import Problem, TopologyError
from lab.formats.azure_left_out import LeftOut
from lab.formats.azure_topology import Imported, ordered, written

#: Each round takes out what is wrong; what needed it may be wrong in the next.
_ROUNDS = 40
#: What a topology says of the way out of its VMs.
_WAY_OUT = frozenset(
    ("virtual_machines", "load_balancers", "nat_gateways", "virtual_networks", "network_security_groups")
)
#: A VM without these is another one: it would be in no virtual network.
_HOME = frozenset(("subnet", "network_interfaces"))
#: Values that change when a flow ends or what answers, and no address.
_NO_WAY_OUT = frozenset(
    (
        *("idle_timeout_in_minutes", "enable_tcp_reset", "size", "services"),
        *("interval_in_seconds", "number_of_probes", "request_path"),
    )
)


def playable(made: Imported, file: str, head: tuple[str, ...] = ()) -> tuple[str, model.Network, Imported]:
    """Return the text of an import, the network that it is, and what is left of it.

    Raises:
        TopologyError: what is wrong cannot be taken out, such as the name.

    """
    data = msgspec.json.decode(msgspec.json.encode(made.data))
    left = list(made.left)
    for _ in range(_ROUNDS):
        now = Imported(data, made.sources, ordered(left))
        text = written(now, head)
        network, problems = topology.found(text, file)
        if not problems:
            return text, network, now
        lines = [line for _, problem in problems if (line := _taken_out(data, problem, made))]
        if not lines:
            break
        left += lines
        _emptied(data)
    raise TopologyError([f"{file}: {problem}" for _, problem in problems])


def _taken_out(data: dict[str, Any], problem: Problem, made: Imported) -> LeftOut | None:
    """Take out what a problem is about; return the line that tells it."""
    where = problem.path
    path = _cut(data, where[:2] if where[:1] == ("virtual_machines",) and _HOME.intersection(where[2:]) else where)
    if path is None:
        return None
    sources = made.sources.get(path[:2]) or (".".join(path[:2]),)
    source = ", ".join(sources) if len(path) == 2 else sources[0]
    way_out = path[0] in _WAY_OUT and path[-1] not in _NO_WAY_OUT
    return LeftOut(place=source, found=f"{'.'.join(path)}: {problem.found}", effect=problem.must, way_out=way_out)


def _cut(data: dict[str, Any], path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Take out a part of a topology, or the part that should have had it; return where it was."""
    here: Any = data
    parents: list[tuple[Any, Any, tuple[str, ...]]] = []
    for index, part in enumerate(path):
        key: Any = int(part) if isinstance(here, list) and part.isdigit() else part
        inside = key < len(here) if isinstance(here, list) and isinstance(key, int) else key in here
        if not isinstance(here, dict | list) or not inside:
            break
        parents.append((here, key, path[: index + 1]))
        here = here[key]
    if not parents or (len(parents) == 1 and parents[0][1] in ("name", "profile")):
        return None
    holder, key, where = parents[-1]
    if isinstance(holder, list):
        holder[key] = _GONE
    else:
        del holder[key]
    return where


_GONE: dict[str, Any] = {"": None}


def _emptied(here: Any) -> None:
    """Take out what was cut from lists, and sections that have nothing left."""
    if isinstance(here, list):
        here[:] = [part for part in here if part is not _GONE]
    for part in here.values() if isinstance(here, dict) else here:
        if isinstance(part, dict | list):
            _emptied(part)
