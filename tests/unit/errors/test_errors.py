"""lab/errors.py: exit statuses, the four parts of a message, and suggestions."""

import pytest

from lab import errors
from lab.errors import Problem, TopologyError, did_you_mean


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("LabError", 3), ("ContradictedError", 1), ("TopologyError", 2), ("UsageError", 2), ("MachineError", 4),
        ("KernelError", 4), ("InconclusiveError", 3), ("LabLocked", 3), ("Interrupted", 130),
    ],
)  # fmt: skip
def test_every_error_ends_with_the_status_the_module_promises(name: str, status: int) -> None:
    assert getattr(errors, name).exit_code == status


def test_a_problem_is_said_as_where_found_must_and_what_to_do() -> None:
    problem = Problem(path=("internet", "far"), found="found", must="must", advice="advice")
    assert str(problem) == "internet.far: found; must; advice"


def test_a_problem_of_the_whole_file_names_no_place_and_may_have_no_advice() -> None:
    assert str(Problem(path=(), found="found", must="must")) == "found; must"


def test_a_topology_error_keeps_each_problem_as_a_line() -> None:
    error = TopologyError(iter(["f:1: one", "f:2: two"]))
    assert (error.lines, str(error)) == (("f:1: one", "f:2: two"), "f:1: one\nf:2: two")


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("fronted", ["backend", "frontend"], 'did you mean "frontend"?'),
        ("FRONTED", ["backend", "Frontend"], 'did you mean "Frontend"?'),
        ("frontend", ["backend", "frontend"], 'did you mean "frontend"?'),
        ("forntend", ["backend", "frontend"], 'did you mean "frontend"?'),
        ("lsit", ["last", "list"], 'did you mean "list"?'),
        ("public_ip_address", ["private_ip_address"], "known: private_ip_address"),
        ("outbound_rules", ["inbound_nat_rules"], "known: inbound_nat_rules"),
        ("help", ["shell"], "known: shell"),
        ("a", ["b"], "known: b"),
        ("zzz", ["b", "a", "a"], "known: a, b"),
        ("zzz", [], "none is defined"),
        ("zzz", [f"n{i:02}" for i in range(17)], "known: " + ", ".join(f"n{i:02}" for i in range(16)) + ", …"),
    ],
)
def test_a_name_that_is_not_known_gets_the_closest_or_the_list(name: str, known: list[str], said: str) -> None:
    assert did_you_mean(name, known) == said
