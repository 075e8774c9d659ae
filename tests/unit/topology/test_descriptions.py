"""Every key of a topology has a description, which an editor shows."""

from typing import Any

import pytest

from lab.topology import schema
from lab.topology.descriptions import DESCRIPTIONS

_SCHEMA = schema()
_PARTS: dict[str, dict[str, Any]] = {"Topology": _SCHEMA, **_SCHEMA["definitions"]}


@pytest.mark.parametrize("name", sorted(_PARTS))
def test_every_key_says_what_it_is(name: str) -> None:
    part = _PARTS[name]
    assert part.get("description"), "a mapping says what it describes"
    keys = {key: rule.get("description", "") for key, rule in part.get("properties", {}).items()}
    assert [key for key, said in keys.items() if not said] == [], "add them to lab/topology/descriptions.py"
    assert [key for key, said in keys.items() if not said[0].isalnum() or said.endswith(".")] == []


def test_nothing_is_described_that_is_no_key() -> None:
    described = {(name, key) for name, keys in DESCRIPTIONS.items() for key in keys}
    assert described - {(name, key) for name, part in _PARTS.items() for key in part.get("properties", {})} == set()
