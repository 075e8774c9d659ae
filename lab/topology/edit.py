"""One part of a topology's text is replaced; all the rest stays as its author wrote it, comments too."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from lab.cscfg import PublicIp, Role
from lab.errors import UsageError
from lab.topology.text import LOADER, Position, Positions, data_of


def role_of(before: Any, role: Role) -> dict[str, object]:
    """Return a role of a file as a service configuration wants it; what such a file does not say stays."""
    made: dict[str, Any] = dict(before) if isinstance(before, dict) else {}
    had = made.pop("instance_public_ip", None) or {}
    made = {**made, "instances": role.instances}
    if role.public_ip is not None:
        own: dict[str, object] = {"name": role.public_ip.name}
        if had.get("name") == role.public_ip.name and had.get("address"):
            own["address"] = had["address"]
        if role.public_ip.domain_name_label is not None:
            own["domain_name_label"] = role.public_ip.domain_name_label
        if role.public_ip.idle_timeout_min != PublicIp("").idle_timeout_min:
            own["idle_timeout_in_minutes"] = role.public_ip.idle_timeout_min
        made["instance_public_ip"] = own
    return made


def value_at(text: str, path: Position) -> Any:
    """Return the plain data at a path of a text, which must have it."""
    found: Any = data_of(_composed(text), (), Positions())
    for part in path:
        found = found[part]
    return found


def replaced(text: str, path: Position, value: Mapping[str, object], file: str) -> str:
    """Return the text with another mapping at a path, which must lead to one of its values.

    Raises:
        UsageError: the text does not let that part be changed alone.

    """
    node = _composed(text)
    for part in path:
        node = next(child for key, child in node.value if key.value == part)
    start, end = node.start_mark.index, _end(node)
    made = text[:start] + _flow(value) + text[end:]
    wanted: Any = data_of(_composed(text), (), Positions())
    here = wanted
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = json.loads(json.dumps(value))
    try:
        same = data_of(_composed(made), (), Positions()) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        raise UsageError(
            f"{file}:{node.start_mark.line + 1}: {'.'.join(path)} is written in a way that cannot be changed alone; "
            f"it must be a value of its own, no alias; change it by hand: {_flow(value)}"
        )
    return made


def _composed(text: str) -> Any:
    return yaml.compose(text, Loader=LOADER)


def _end(node: yaml.Node) -> int:
    """Return where a value ends: the mark of a block is behind the blanks and comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    index: int = node.end_mark.index
    return index


def _flow(value: Any) -> str:
    """Return a value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    # Text in JSON's quotes is text in YAML's, whatever is in it.
    return json.dumps(value, ensure_ascii=False)
