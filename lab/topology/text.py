"""YAML text becomes plain data and a table of positions: the line of every key and value."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from lab.errors import Problem

#: More values than this, aliases included, are an attack and no topology: 1,000 VMs take about 10,000.
MAX_NODES = 100_000
#: A topology is at most eight deep. PyYAML's C half recurses without a limit, and ends the process.
MAX_DEPTH = 64

_MERGE = "tag:yaml.org,2002:merge"

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Position = tuple[str, ...]


class Positions:
    """Lines of the keys and values of a file, by their path."""

    def __init__(self) -> None:
        self.lines: dict[Position, int] = {}
        self.problems: list[tuple[int, Problem]] = []
        self.nodes = 0

    def line(self, path: Position) -> int:
        """Return the line of a path, or of the nearest part of it that the file has."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def _scalar(node: yaml.ScalarNode) -> object:
    """Read a scalar as YAML 1.2 does: no dates, no ``yes``, no base-60 numbers."""
    if node.style:  # quoted: text as it stands
        return node.value
    text = node.value
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?[0-9]+\.[0-9]+", text):
        return float(text)
    return text


def tab_line(text: str, near: int) -> bool:
    """Tell whether a line is indented with a tab, which YAML does not allow; lines are counted from 0."""
    lines = text.splitlines()
    return 0 <= near < len(lines) and "\t" in lines[near][: len(lines[near]) - len(lines[near].lstrip())]


def check_depth(text: str) -> None:
    """Refuse a text that is nested too deeply, or holds too much, to be composed.

    Raises:
        yaml.YAMLError: it is, or it is no YAML.

    """
    depth = 0
    # Keys and ends are events too.
    for number, event in enumerate(yaml.parse(text, Loader=LOADER)):
        if number > 4 * MAX_NODES:
            raise yaml.YAMLError(f"more than {MAX_NODES:,} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels", problem_mark=mark)


def data_of(node: yaml.Node, path: Position, positions: Positions) -> object:
    """Return the plain data of a node and record the lines of all it holds.

    Raises:
        yaml.YAMLError: more than ``MAX_NODES`` values.

    """
    positions.nodes += 1
    if positions.nodes > MAX_NODES:
        raise yaml.YAMLError(f"more than {MAX_NODES:,} values, aliases included")
    positions.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [data_of(child, (*path, str(i)), positions) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    assert isinstance(node, yaml.MappingNode)
    return _mapping(node, path, positions)


def _mapping(node: yaml.MappingNode, path: Position, positions: Positions) -> dict[str, object]:
    mapping: dict[str, object] = {}
    own = [(key, value) for key, value in node.value if key.tag != _MERGE]
    for key_node, value_node in own:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            found = "a list as a key" if isinstance(key_node, yaml.SequenceNode) else "a mapping as a key"
            must, advice = "a key is one word", "write it as text; quote a word that begins with { or ["
            positions.problems.append((line, Problem(path=path, found=found, must=must, advice=advice)))
            continue
        key = str(key_node.value)
        if key.startswith("x-"):
            continue
        where = (*path, key)
        if key in mapping:
            problem = Problem(
                path=where,
                found=f'"{key}" is here a second time; the first is on line {positions.lines[where]}',
                must="a key appears once",
                advice="remove or rename one of them",
            )
            positions.problems.append((line, problem))
            continue
        positions.lines.setdefault(where, line)
        mapping[key] = data_of(value_node, where, positions)
    for source in _merged(node, path, positions):
        for key, value in _mapping(source, path, positions).items():
            mapping.setdefault(key, value)
    return mapping


def _merged(node: yaml.MappingNode, path: Position, positions: Positions) -> Iterator[yaml.MappingNode]:
    """Yield the mappings whose keys a mapping takes over with ``<<``; what a mapping has itself comes first."""
    for key_node, value_node in node.value:
        if key_node.tag != _MERGE:
            continue
        for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
            positions.nodes += 1
            if isinstance(source, yaml.MappingNode):
                yield source
                continue
            problem = Problem(
                path=(*path, "<<"),
                found="a value that is no mapping",
                must="<< takes over the keys of a mapping, or of a list of mappings",
                advice="name an anchor of a mapping: <<: *NAME",
            )
            positions.problems.append((key_node.start_mark.line + 1, problem))
