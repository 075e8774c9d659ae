"""Files that are small and cost much: what they may cost is bounded, and they are refused with a place and a reason.

Aliases repeat what they name, a wrong value is told for each place that it is at, and pairs grow with the square.
"""

import time

import pytest

from lab import topology
from lab.errors import TopologyError

#: Of processor time, on a machine that is slow; without bounds these take 10 s and more.
LIMIT_S = 5.0


def wide(section: str, value: str, count: int = 1500) -> str:
    """Return a file with a list of one value, again and again."""
    return f"name: wide\nx-value: &a {value}\n{section.replace('LIST', '[' + ', '.join(['*a'] * count) + ']')}\n"


def deep(section: str, value: str) -> str:
    """Return a file whose lists hold ten lists, which hold ten, and so on."""
    levels = "".join(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 7))
    return f"name: deep\nx-0: &a0 {value}\n{levels}{section.replace('LIST', '*a6')}\n"


def refused(text: str) -> list[str]:
    """Return what is said of a file, which must be refused within the limit."""
    began = time.process_time()
    with pytest.raises(TopologyError) as caught:
        topology.parse(text, "f")
    assert time.process_time() - began < LIMIT_S
    assert len(str(caught.value)) < 1_000_000
    return list(caught.value.lines)


@pytest.mark.parametrize(
    "text",
    [
        wide("expect: LIST", "{subnet: [1], foo: 2, bar: 3}"),
        wide("network_security_groups: {g: LIST}", "{name: a, foo: 2, bar: 3}"),
        wide("cloud_services: {s: {endpoints: LIST}}", "{a: b}"),
        wide("virtual_networks: {v: {address_space: LIST}}", "10.0.0.0/8"),
        "name: keys\n" + "".join(f"virtual_machin{n}: 1\n" for n in range(3000)),
        "name: keys\n" + "internet: {}\n" * 3000,
    ],
    ids=["expectations", "rules", "endpoints", "ranges", "unknown keys", "repeated keys"],
)
def test_no_more_than_a_thousand_problems_are_told(text: str):
    lines = refused(text)
    assert len(lines) == topology.MAX_PROBLEMS + 1
    assert "more than 1,000 problems, of which these are the first; a topology has none" in lines[-1]


@pytest.mark.parametrize("section", ["virtual_machines: LIST", "unknown: LIST", "expect: LIST"])
def test_aliases_may_not_multiply_what_a_file_holds(section: str):
    (line,) = refused(deep(section, "{subnet: a/b}"))
    assert "more than 100,000 values, aliases included" in line


def test_a_thousand_problems_are_all_told():
    lines = refused("name: keys\n" + "".join(f"k{n}: 1\n" for n in range(1000)))
    assert [line.split(":")[1] for line in lines] == [str(n) for n in range(2, 1002)]


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ("R: 1000000000", "f:2: cloud_services.s.roles.R: 1000000000; it must be at most 1000; correct it"),
        (", ".join(f"R{n}: 1000" for n in range(6)), "6,000 VMs; a lab has at most 5,000 VMs, instances of roles inc"),
    ],
)
def test_a_number_of_instances_is_bounded(roles: str, words: str):
    (line,) = refused(f"name: many\ncloud_services: {{s: {{roles: {{{roles}}}}}}}\n")
    assert words in line


def test_a_problem_of_many_instances_is_one_of_the_thousand():
    """What is wrong with a role is wrong with each instance, and told once, and hides nothing behind it."""
    text = "name: one\ncloud_services: {s: {roles: {R: {instances: 1000, services: ['http:80', 'http:80']}}}}\n"
    lines = refused(f"{text}x: 1\n")
    assert len(lines) < 10
    assert any("unknown key" in line for line in lines)
