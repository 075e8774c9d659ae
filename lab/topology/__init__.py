"""A topology file becomes a ``Network``, or every problem in it with its line.

text.py         YAML to plain data, with the line of every value
shape.py        the file's keys and what each may hold; what does not fit is reported and cut out
build.py        names are resolved, addresses allocated
edit.py         single values of the text change
../invariants   what must hold between the parts
"""

import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from lab.azure import cloud_services, invariants, model
from lab.errors import Problem, TopologyError, UsageError, did_you_mean
from lab.topology import shape
from lab.topology.build import DISTRIBUTIONS, Builder, access_rule, security_rule
from lab.topology.shape import schema
from lab.topology.text import LOADER, Positions, check_depth, data_of, tab_line

if TYPE_CHECKING:
    from lab.formats.cscfg import Configuration

__all__ = [
    "BUNDLED",
    "DISTRIBUTIONS",
    "SUFFIX",
    "configured",
    "found",
    "line",
    "load",
    "located",
    "parse",
    "parse_acl_rule",
    "parse_rule",
    "parse_services",
    "read",
    "schema",
]

#: A file of 1,000 VMs takes about 0.1 MB; what is larger is not a topology.
MAX_BYTES = 4 * 1024 * 1024
#: No more problems of a file are told at once.
MAX_PROBLEMS = 1000
#: Each VM is a network namespace; no machine has room for more.
MAX_MACHINES = 5000
SUFFIX = ".lab.yaml"
#: The topologies that come with the tool.
BUNDLED = Path(__file__).resolve().parents[2] / "topologies"


def parse(
    text: str,
    file: str,
    *,
    time_scale: int | None = None,
    profile: str | None = None,
    kept: Mapping[str, IPv4Address] | None = None,
) -> model.Network:
    """Turn the text of a topology file into a network.

    ``time_scale`` and ``profile`` replace the file's own. ``file`` is named in messages. ``kept`` are the
    addresses of a lab that runs already (``Network.addresses``): what the file leaves open stays as it is.

    Raises:
        TopologyError: with every problem of the text, in the order of its lines.

    """
    network, problems = _read(text, file, time_scale=time_scale, profile=profile, kept=kept)
    if problems:
        raise _errors(problems, file)
    return network


def _read(
    text: str,
    file: str,
    *,
    time_scale: int | None = None,
    profile: str | None = None,
    kept: Mapping[str, IPv4Address] | None = None,
) -> tuple[model.Network, list[tuple[int, Problem]]]:
    """Return the network of a text, and every problem of it with its line.

    Raises:
        TopologyError: the text is no YAML, or no mapping of keys.

    """
    positions = Positions()
    try:
        check_depth(text)
        node = yaml.compose(text, Loader=LOADER)
        data = data_of(node, (), positions) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        if tab_line(text, line - 1):
            must = "YAML is indented with spaces; replace each tab by spaces"
            raise TopologyError([f"{file}:{line}: found a tab character in the indentation; {must}"]) from None
        found = ", ".join(part for part in (error.context, error.problem) if part)
        raise TopologyError([f"{file}:{line}: {found}; a topology is YAML; correct this line"]) from None
    except yaml.YAMLError as error:
        line = text.encode()[: getattr(error, "position", 0)].count(b"\n") + 1
        reason = str(error).splitlines()[0]
        raise TopologyError([f"{file}:{line}: {reason}; a topology is YAML; correct this line"]) from None
    except RecursionError:
        raise TopologyError([f"{file}:1: an alias that holds itself; a topology is YAML; remove it"]) from None
    if not isinstance(data, dict):
        found = "an empty file" if data is None else shape.shown(data)
        advice = 'begin with "name: NAME"; the bundled topologies are examples'
        raise TopologyError([f"{file}:1: found {found}; a topology is a mapping of keys; {advice}"])
    if profile is not None:
        data["profile"] = profile
    problems = list(positions.problems)
    cut: set[str] = set()
    for path, problem in shape.problems_of(data):
        problems.append((positions.line(path), problem))
        cut.update(path)
        _bounded(problems, file)
    # A file whose name does not fit is still checked to its end.
    raw = shape.Topology.model_validate({"name": "unnamed", **data})
    if (count := shape.machines(raw)) > MAX_MACHINES:
        must = f"a lab has at most {MAX_MACHINES:,} VMs, instances of roles included"
        many = Problem(path=("name",), found=f"{count:,} VMs", must=must, advice="make two labs of it")
        problems.append((positions.line(many.path), many))
        raise _errors(problems, file)
    builder = Builder(raw, frozenset(cut), time_scale, kept or {})
    network = builder.network()
    violations = () if builder.exhausted else map(builder.in_file, invariants.file_violations(network))
    rest = cloud_services.at_roles(network, chain(builder.problems, violations))
    problems += [(positions.line(p.path), p) for p in islice(rest, MAX_PROBLEMS + 1)]
    _bounded(problems, file)
    # Which of two connections is one too many is the file's to say; to the network their order does not matter.
    ordered = msgspec.structs.replace(network, connections=model.ordered(network.connections))
    return ordered, sorted(problems, key=lambda item: item[0])


def found(text: str, file: str) -> tuple[model.Network, list[tuple[int, Problem]]]:
    """Return the network of a text, without what is wrong in it, and every problem with its line.

    Raises:
        TopologyError: the text is no YAML, or has too many problems to tell.

    """
    return _read(text, file)


def _bounded(problems: list[tuple[int, Problem]], file: str) -> None:
    """Refuse more problems than can be read, which cost time and memory to tell.

    Raises:
        TopologyError: there are; it tells the first of them.

    """
    if len(problems) > MAX_PROBLEMS:
        raise _errors(problems, file)


def _errors(problems: list[tuple[int, Problem]], file: str) -> TopologyError:
    told = sorted(problems[:MAX_PROBLEMS], key=lambda item: item[0])
    lines = [f"{file}:{line}: {problem}" for line, problem in told]
    if len(problems) > MAX_PROBLEMS:
        more = f"found more than {MAX_PROBLEMS:,} problems, of which these are the first"
        lines.append(f"{file}:{told[-1][0]}: {more}; a topology has none; correct them, and check it again")
    return TopologyError(lines)


def line(text: str, path: Sequence[str]) -> int:
    """Return the line of a path, or of the nearest part of it that a text has, which is a topology."""
    positions = Positions()
    node = yaml.compose(text, Loader=LOADER)
    if node is not None:
        data_of(node, (), positions)
    return positions.line(tuple(path))


def parse_rule(values: Mapping[str, object], command: str, typed: Mapping[str, str]) -> model.SecurityRule:
    """Turn the keys and values of a security rule, as they stand in a file, into the model's words.

    ``command`` is what the user asked for, and ``typed`` what each key is called there.

    Raises:
        UsageError: with every problem of them.

    """
    data = {"name": "rule", "network_security_groups": {"group": [dict(values)]}}
    problems = [msgspec.structs.replace(found, path=(typed[path[3]],)) for path, found in shape.problems_of(data)]
    if problems:
        raise UsageError("\n".join(f"{command}: {problem}" for problem in problems))
    return security_rule(shape.SecurityRule.model_validate(values))


def parse_acl_rule(values: Mapping[str, object]) -> model.AclRule:
    """Turn the keys and values of an access rule, as they stand in a file, into the model's words.

    Raises:
        UsageError: with every problem of them.

    """
    endpoint = {"name": "e", "virtual_machine": "vm", "local_port": 1, "acl": [dict(values)]}
    data = {"name": "acl", "cloud_services": {"service": {"endpoints": [endpoint]}}}
    problems = [msgspec.structs.replace(problem, path=problem.path[6:]) for _, problem in shape.problems_of(data)]
    if problems:
        raise UsageError("\n".join(str(problem) for problem in problems))
    return access_rule(shape.AclRule.model_validate(values))


def parse_services(texts: Sequence[str]) -> tuple[model.Service, ...]:
    """Turn services, as they stand in a file, into the model's words.

    Raises:
        UsageError: with every one that is none.

    """
    data = {"name": "services", "virtual_machines": {"vm": {"services": list(texts)}}}
    problems = [msgspec.structs.replace(problem, path=problem.path[4:]) for _, problem in shape.problems_of(data)]
    if problems:
        raise UsageError("\n".join(str(problem) for problem in problems))
    return shape.Topology.model_validate(data).virtual_machines["vm"].services


def configured(text: str, file: str, configuration: "Configuration") -> str:
    """Return the text of a topology whose roles are as a service configuration says; all else stays as it stands.

    Raises:
        TopologyError: the text is wrong, the configuration is for another one, or what it asks for is not allowed.
        UsageError: the text does not let a role be changed alone.

    """
    from lab.formats import cscfg  # noqa: PLC0415 - reading a topology needs no XML
    from lab.topology import edit  # noqa: PLC0415

    # What marks the order of bytes is no character to YAML, which counts from behind it.
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix(mark)
    network = parse(text, file)
    service = cscfg.service_of(network, configuration)
    problems = list(cscfg.problems(network, configuration))
    if service is None or problems:
        raise TopologyError(cscfg.located(configuration, problem) for problem in problems)
    for role in configuration.roles:
        path = ("cloud_services", service.name, "roles", role.name)
        text = edit.changed(text, path, edit.role_of(edit.value_at(text, path), role), file)
    # The topology was right before: what is wrong now is the configuration's doing.
    wrong = [problem for _, problem in _read(text, file)[1]]
    if wrong:
        raise TopologyError(cscfg.located(configuration, problem) for problem in wrong)
    return mark + text


def located(file: Path) -> Path:
    """Return where a topology file is: a bundled one is found by its name alone, unless a file here has that name."""
    bundled = BUNDLED / file.name
    return bundled if file == Path(file.name) and not os.path.lexists(file) and bundled.is_file() else file


def read(file: Path) -> str:
    """Return the text of a topology file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        TopologyError: it is too large or not text.

    """
    file = located(file)
    try:
        if file.is_dir():
            raise UsageError(f"{file}: a folder; a topology file is needed; name a file such as {file}/NAME{SUFFIX}")
        size = file.stat().st_size
        if size > MAX_BYTES:
            limit = MAX_BYTES // (1024 * 1024)
            raise TopologyError([f"{file}:1: found {size:,} bytes; a topology has at most {limit} MiB; split it"])
        raw = file.read_bytes()
    except FileNotFoundError:
        near = did_you_mean(file.name, [p.name for p in file.parent.glob(f"*{SUFFIX}")] if file.parent.is_dir() else [])
        raise UsageError(f"{file}: no such file; a topology file is needed; {near}") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; the file must be readable; check its permissions") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TopologyError([f"{file}:{line}: found bytes that are not UTF-8; a topology is a text file"]) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TopologyError([f"{file}:{line}: found a NUL byte; a topology is a text file"])
    return text


def load(
    file: Path,
    *,
    time_scale: int | None = None,
    profile: str | None = None,
    kept: Mapping[str, IPv4Address] | None = None,
) -> model.Network:
    """Read and check a topology file; see ``read`` and ``parse`` for what is raised."""
    return parse(read(file), str(file), time_scale=time_scale, profile=profile, kept=kept)
