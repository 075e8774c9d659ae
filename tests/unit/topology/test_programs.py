"""Programs of a user's own in a topology: what is read, what is refused, and what is predicted of their ports."""

import pytest

from lab import topology
from lab.azure.programs import Execution, Program
from lab.compile import compile as compile_network
from lab.errors import TopologyError
from lab.plan import Program as Planned
from lab.predict import matrix
from lab.verify import claims

_BASE = """\
name: own
internet:
  far:
    address: 198.51.100.10
    services: [SERVICES]
"""


def _programs(services: str) -> tuple[Program, ...]:
    return topology.parse(_BASE.replace("SERVICES", services), "own.lab.yaml").internet[0].programs


def test_a_program_is_a_list_of_arguments_and_stands_among_servers() -> None:
    network = topology.parse(
        _BASE.replace("SERVICES", 'http:80, {exec: [python3, -m, http.server, 8080], port: 8080, env: {B: 2, A: "1"}}'),
        "own.lab.yaml",
    )
    (program,) = network.internet[0].programs
    assert program == Program(
        name="python3",
        command=("python3", "-m", "http.server", "8080"),
        port=8080,
        environment=(("A", "1"), ("B", "2")),
        ready_port=8080,
    )
    assert [str(service) for service in network.internet[0].services] == ["http:80"]
    assert {(s.protocol, s.port) for s in matrix.services(network)} >= {("tcp", 80), ("tcp", 8080)}
    (planned,) = compile_network(network, frozenset()).of(Planned)
    assert str(planned) == "program python3 on 8080/tcp: python3 -m http.server 8080"


def test_programs_without_a_name_are_told_apart() -> None:
    assert [p.name for p in _programs("{exec: [/bin/sleep, 1]}, {exec: [sleep, 2]}, {exec: [a], name: sleep-3}")] == [
        "sleep",
        "sleep-2",
        "sleep-3",
    ]


@pytest.mark.parametrize(
    ("said", "port", "seconds"),
    [("ready: 8080", 8080, 0.0), ("ready: 1.5s", 0, 1.5), ("port: 90, ready: 2 s", 0, 2.0), ("name: x", 0, 0.0)],
)
def test_a_program_is_ready_by_a_port_or_a_time(said: str, port: int, seconds: float) -> None:
    (program,) = _programs(f"{{exec: [a], {said}}}")
    assert (program.ready_port, program.ready_s) == (port, seconds)


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ("{exec: python3 server.py}", "a command is a list of arguments, as no shell reads it"),
        ("{exec: []}", "a command begins with its program"),
        ("{port: 80}", '"exec" is required'),
        (
            "{exec: [a], prt: 80}",
            'unknown key "prt"; keys are those of the vocabulary, or begin with',
        ),
        ("{exec: [a], port: 70000}", "it must be at most 65535"),
        ("{exec: [a], ready: soon}", "a program is ready when it has a port, or has run for a time of at most 20 s"),
        ("{exec: [a], ready: 99s}", "a program is ready when it has a port, or has run for a time of at most 20 s"),
        ("{exec: [a], env: {1A: b}}", '"1A" is no name of a variable'),
        ('{exec: [a, "b\\0"]}', "a NUL byte ends an argument"),
        ("http:80, {exec: [a], port: 80}", "2 services on 80/tcp"),
        ("{exec: [a], name: x}, {exec: [b], name: x}", '2 programs named "x"'),
        ("htp:80", "not KIND:PORT"),
    ],
)
def test_what_is_wrong_with_a_program_is_said(services: str, message: str) -> None:
    with pytest.raises(TopologyError) as refused:
        _programs(services)
    assert message in str(refused.value)
    assert str(refused.value).count("own.lab.yaml:") == 1, "one problem is told once"


_EXPECT = "expect:\n  - {EXPECTED}\n"


def test_an_expectation_of_a_program_is_judged_by_exit_status_and_output() -> None:
    said = (
        'from: far, run: [curl, "http://far/"], exit_status: 7, output: x, output_matches: "^y", timeout_in_seconds: 2'
    )
    text = _BASE.replace("SERVICES", "") + _EXPECT.replace("EXPECTED", said)
    (expected,) = topology.parse(text, "own.lab.yaml").expectations
    assert expected == Execution(
        sender="far",
        command=("curl", "http://far/"),
        exit_status=7,
        output="x",
        output_matches="^y",
        timeout_s=2.0,
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("from: far", 'neither "to" nor "run"; an expectation is of a flow to somewhere, or of a program that is run'),
        ("from: far, to: far:80/tcp, run: [a]", 'both "to" and "run"'),
        ("from: far, run: [a], source_ip: 1.2.3.4", '"source_ip" of a program'),
        ("from: far, to: far:80/tcp, output: a", '"output" of a flow'),
        ("from: fr, run: [a]", 'no node "fr"'),
        ("from: far, run: a b", "a command is a list of arguments"),
        ('from: far, run: [a], output_matches: "("', "no regular expression"),
        ("from: far, run: [a], exit_status: 256", "it must be at most 255"),
        ("from: far, run: [a], timeout_in_seconds: 0", "it must be more than 0"),
    ],
)
def test_what_is_wrong_with_an_expectation_of_a_program_is_said(said: str, message: str) -> None:
    with pytest.raises(TopologyError) as refused:
        topology.parse(_BASE.replace("SERVICES", "") + _EXPECT.replace("EXPECTED", said), "own.lab.yaml")
    assert message in str(refused.value)
    assert str(refused.value).count("own.lab.yaml:") == 1, "one problem is told once"


def test_own_expectations_come_before_every_claim_and_can_be_had_alone() -> None:
    text = (topology.BUNDLED / "source-ip.lab.yaml").read_text()
    assert "\nexpect:\n" in text
    network = topology.parse(text.replace("\nexpect:\n", '\nexpect:\n  - {from: lbvm, run: ["true"]}\n'), "x")
    assert claims.trials(network)[0][0] == "expect-1"
    assert len(claims.trials(network)) > len(claims.expected(network)) > 1
    assert [claim for claim, _ in claims.trials(network)].count("expect-1") == 1
