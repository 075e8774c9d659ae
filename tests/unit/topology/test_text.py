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


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("x-a: &a {k: 1, l: 2}\nm: {<<: *a, l: 3}", {"m": {"k": 1, "l": 3}}),
        ("x-a: &a {k: 1, l: 2}\nm: {l: 3, <<: *a}", {"m": {"k": 1, "l": 3}}),
        ("x-a: &a {k: 1}\nx-b: &b {k: 2, l: 2}\nm: {<<: [*a, *b]}", {"m": {"k": 1, "l": 2}}),
        ("x-a: &a {k: 1}\nx-b: &b {<<: *a, l: 2}\nm: {<<: *b}", {"m": {"k": 1, "l": 2}}),
        ('m: {"<<": 1}', {"m": {"<<": 1}}),
    ],
)
def test_a_merge_key_takes_over_the_keys_of_a_mapping(source: str, value: object) -> None:
    data, positions = read(source)
    assert (data, positions.problems) == (value, [])


def test_a_value_that_is_taken_over_is_on_the_line_where_it_stands() -> None:
    _, positions = read("x-a: &a\n  k: 1\nm:\n  <<: *a\n  l: 2\n")
    assert (positions.line(("m", "k")), positions.line(("m", "l"))) == (2, 5)


@pytest.mark.parametrize(
    ("source", "line", "path", "found"),
    [
        ("m:\n  <<: 5", 2, ("m", "<<"), "a value that is no mapping"),
        ("m:\n  [a]: 5", 2, ("m",), "a list as a key"),
        ("? {a: b}\n: 5", 1, (), "a mapping as a key"),
    ],
)
def test_a_key_that_is_none_is_a_problem(source: str, line: int, path: tuple[str, ...], found: str) -> None:
    _, positions = read(source)
    ((at, problem),) = positions.problems
    assert (at, problem.path, problem.found) == (line, path, found)


def test_merges_of_merges_are_not_followed_for_ever() -> None:
    levels = "".join(f"x-{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9))
    with pytest.raises(yaml.YAMLError, match="more than"):
        read(f"x-0: &a0 {{k: 1}}\n{levels}m: *a8\n")
    with pytest.raises(RecursionError):
        read("m: &m {<<: *m}")
