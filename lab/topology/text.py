"""YAML text becomes plain data and a table of positions: the line of every key and value."""

import re
from typing import Any

import yaml

from lab.errors import Problem

#: More values than this, aliases included, are an attack and no topology: 1,000 VMs take about 10,000.
MAX_NODES = 100_000
#: A topology is at most eight deep. PyYAML's C half recurses without a limit, and ends the process.
MAX_DEPTH = 64

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
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d+\.\d+", text):
        return float(text)
    return text


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
    mapping: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else repr(key_node.value)
        if key.startswith("x-"):
            continue
        where = (*path, key)
        line = key_node.start_mark.line + 1
        if key in mapping:
            problem = Problem(
                path=where,
                found=f'"{key}" is here a second time; the first is on line {positions.lines[where]}',
                must="a key appears once",
                advice="remove or rename one of them",
            )
            positions.problems.append((line, problem))
            continue
        positions.lines[where] = line
        mapping[key] = data_of(value_node, where, positions)
    return mapping
