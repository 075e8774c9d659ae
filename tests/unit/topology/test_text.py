"""lab/topology/text.py: plain data as YAML 1.2 has it, and the line of every value."""

from typing import Any

import pytest
import yaml

from lab.topology import text
from lab.topology.text import Positions, data_of


def read(source: str) -> tuple[Any, Positions]:
    positions = Positions()
    return data_of(yaml.compose(source), (), positions), positions


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("22:22", "22:22"), ("2018-12-11", "2018-12-11"), ("0x10", "0x10"),
        ("1_000", "1_000"), ("1e3", "1e3"), ("010", 10), ("-5", -5), ("1.5", 1.5), ("true", True), ("false", False),
        ("null", None), ("~", None), ("''", ""), ("'5'", "5"), ('"true"', "true"), ("9" * 19, "9" * 19), (".5", ".5"),
    ],
)  # fmt: skip
def test_a_scalar_is_read_as_yaml_1_2_does(source: str, value: object) -> None:
    data, _ = read(f"k: {source}")
    assert data == {"k": value}
    assert type(data["k"]) is type(value)


def test_an_empty_value_is_nothing() -> None:
    assert read("k:")[0] == {"k": None}


def test_every_key_and_value_has_its_line() -> None:
    _, positions = read("a:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\n")
    wanted = {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "b", "0"): 3, ("a", "b", "1"): 4}
    wanted |= {("a", "b", "1", "c"): 4, ("a", "b", "1", "d"): 5}
    assert positions.lines == wanted


def test_what_the_file_does_not_have_is_on_the_line_of_its_nearest_part() -> None:
    _, positions = read("a:\n  b: 1\n")
    assert positions.line(("a", "b", "c", "d")) == 2
    assert positions.line(("z",)) == 1
    assert Positions().line(("z",)) == 1


def test_keys_that_begin_with_x_are_not_read() -> None:
    assert read("x-a: 1\nb: {x-c: 2, d: 3}\n")[0] == {"b": {"d": 3}}


def test_a_second_key_is_a_problem_and_the_first_stays() -> None:
    data, positions = read("a: 1\na: 2\n")
    assert data == {"a": 1}
    ((line, problem),) = positions.problems
    assert (line, problem.path) == (2, ("a",))


def test_keys_are_text_whatever_they_look_like() -> None:
    assert list(read("5: a\ntrue: b\nnull: c\n")[0]) == ["5", "true", "null"]


def test_an_alias_is_a_copy_of_what_it_names() -> None:
    assert read("a: &x {b: 1}\nc: *x\n")[0] == {"a": {"b": 1}, "c": {"b": 1}}


def test_more_values_than_a_topology_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_NODES", 3)
    with pytest.raises(yaml.YAMLError, match="more than 3 values, aliases included"):
        read("[1, 2, 3]")
