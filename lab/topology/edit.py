"""Single values of a topology's text change; all the rest stays as its author wrote it, comments too."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lab.errors import UsageError
from lab.formats.cscfg import PublicIp, Role
from lab.topology.text import LOADER, Position, Positions, data_of

#: Blanks and comments of a flow mapping up to the comma behind a value.
_TO_COMMA = re.compile(r"(?:\s|#[^\n]*\n)*,")


def role_of(before: Any, role: Role) -> object:
    """Return a role of a file as a service configuration wants it; what such a file does not say stays."""
    if not isinstance(before, dict) and role.public_ip is None:
        return role.instances
    made: dict[str, Any] = dict(before) if isinstance(before, dict) else {"instances": role.instances}
    had = made.get("instance_public_ip") or {}
    if role.public_ip is not None:
        made["instance_public_ip"] = _public_ip_of(had, role.public_ip)
    elif had:
        del made["instance_public_ip"]
    if made.get("instances", 1) != role.instances:
        made["instances"] = role.instances
    return made


def _public_ip_of(had: Mapping[str, object], wanted: PublicIp) -> dict[str, object]:
    own = {**had, "name": wanted.name}
    if had.get("name") != wanted.name:
        own.pop("address", None)
    if own.get("domain_name_label") != wanted.domain_name_label:
        own["domain_name_label"] = wanted.domain_name_label
        if wanted.domain_name_label is None:
            del own["domain_name_label"]
    default = PublicIp("").idle_timeout_min
    if own.get("idle_timeout_in_minutes", default) != wanted.idle_timeout_min:
        own["idle_timeout_in_minutes"] = wanted.idle_timeout_min
    return own


def value_at(text: str, path: Position) -> Any:
    """Return the plain data at a path of a text, which must have it."""
    found: Any = data_of(_composed(text), (), Positions())
    for part in path:
        found = found[part]
    return found


def changed(text: str, path: Position, wanted: object, file: str) -> str:
    """Return the text with another value at a path, which must lead to one of its values.

    Of a mapping only those keys are touched whose values differ; new ones come last.

    Raises:
        UsageError: the text does not let that part be changed alone.

    """
    positions = Positions()
    whole: Any = data_of(_composed(text), (), positions)
    here = whole
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = wanted
    try:
        made = _changed(text, path, wanted)
        same = data_of(_composed(made), (), Positions()) == whole
    except yaml.YAMLError:
        same = False
    if not same:
        raise UsageError(
            f"{file}:{positions.line(path)}: {'.'.join(path)} is written in a way that cannot be changed alone; "
            f"it must be a value of its own, no alias; change it by hand: {_flow(wanted)}"
        )
    return made


def _changed(text: str, path: Position, wanted: object) -> str:
    """Change one value after the other: each change moves what comes behind it."""
    before = value_at(text, path)
    if before == wanted:
        return text
    node = _node(text, path)
    # Keys that begin with x- are not in the data, and stay.
    others = len(node.value) - len(before) if isinstance(node, yaml.MappingNode) else 0
    if not (isinstance(wanted, dict) and isinstance(node, yaml.MappingNode) and node.value and (wanted or others)):
        start, end = node.start_mark.index, _end(node)
        # What is empty stands directly behind its colon.
        return text[:start] + (" " if start == end else "") + _flow(wanted) + text[end:]
    for key in wanted:
        text = _changed(text, (*path, key), wanted[key]) if key in before else _added(text, path, key, wanted[key])
    for key in before:
        if key not in wanted:
            text = _removed(text, path, key)
    return text


def _added(text: str, path: Position, key: str, value: object) -> str:
    node = _node(text, path)
    end, entry = _end_of_entry(*node.value[-1]), f"{key}: {_flow(value)}"
    if node.flow_style:
        return f"{text[:end]}, {entry}{text[end:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    margin = " " * node.value[0][0].start_mark.column
    at = _line_end(text, end)
    if text[at - 1] != "\n":
        return f"{text[:at]}{newline}{margin}{entry}"
    return f"{text[:at]}{margin}{entry}{newline}{text[at:]}"


def _removed(text: str, path: Position, key: str) -> str:
    node = _node(text, path)
    found, value = next(entry for entry in node.value if entry[0].value == key)
    start, end = found.start_mark.index, _end_of_entry(found, value)
    if not node.flow_style:
        # With its lines go the comments on them.
        return text[: start - found.start_mark.column] + text[_line_end(text, end) :]
    comma = _TO_COMMA.match(text, end)
    if comma:
        return text[:start] + text[end : comma.end() - 1] + text[comma.end() :].lstrip(" ")
    before = text[:start].rstrip(" ")
    # The comma before it goes too, unless there is a comment between: a flow may end in one.
    return before.removesuffix(",") + text[end:] if before.endswith(",") else text[:start] + text[end:]


def _node(text: str, path: Position) -> Any:
    """Return the node of a value.

    Raises:
        yaml.YAMLError: an alias leads to it, so it is not that path's alone.

    """
    node = _composed(text)
    for part in path:
        key, node = next(entry for entry in node.value if entry[0].value == part)
        if _is_alias(key, node):
            raise yaml.YAMLError(f"{part}: an alias")
    return node


def _is_alias(key: yaml.Node, value: yaml.Node) -> bool:
    """Tell whether a value is an alias: its node is the one that stands where its anchor is, before the key."""
    return value.start_mark.index < key.end_mark.index


def _composed(text: str) -> Any:
    return yaml.compose(text, Loader=LOADER)


def _line_end(text: str, index: int) -> int:
    """Return where the line after the one of an index begins."""
    return text.find("\n", index) + 1 or len(text)


def _end(node: yaml.Node) -> int:
    """Return where a value ends: the mark of a block is behind the blanks and comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    index: int = node.end_mark.index
    return index


def _end_of_entry(key: yaml.Node, value: yaml.Node) -> int:
    # Where an alias ends is not known; it is on the line of its key.
    return _end(key if _is_alias(key, value) else value)


def _flow(value: Any) -> str:
    """Return a value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    # Text in JSON's quotes is text in YAML's, whatever is in it.
    return json.dumps(value, ensure_ascii=False)
