"""The words of every refusal: what is no topology, keys, names, and values that do not fit.

Each test holds the whole line that the user reads. What must hold between parts of a good
file is in test_errors_text_limits.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import TopologyError, UsageError
from lab.topology import load, parse
from tests.unit.refusals import MACHINE, NETWORK, said

# --- no topology at all -----------------------------------------------------------------------


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_ends_in_a_message_and_never_in_the_end_of_the_process(tmp_path: Path, opening: str) -> None:
    """PyYAML's C half recurses without a limit: 100,000 brackets would end the process, hence one of its own."""
    file = tmp_path / "deep.lab.yaml"
    file.write_text("name: a\nx-deep:\n " + opening * 100_000)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lab", "check", file], capture_output=True, text=True, check=False
    )
    assert done.stderr == f"{file}:3: more than 64 levels; a topology is YAML; correct this line\n"
    assert done.returncode == 2


def test_a_billion_laughs_end_in_a_message() -> None:
    laughs = "x: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"
    laughs += "".join(f"x{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert said(laughs) == ["f:1: more than 100,000 values, aliases included; a topology is YAML; correct this line"]


def test_a_missing_file_is_named_with_the_nearest_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "shop.lab.yaml").write_text(NETWORK)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "shp.lab.yaml")
    wanted = f'{tmp_path}/shp.lab.yaml: no such file; a topology file is needed; did you mean "shop.lab.yaml"?'
    assert str(caught.value) == wanted


def test_a_folder_is_no_topology(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    wanted = f"{tmp_path}: a folder; a topology file is needed; name a file such as {tmp_path}/NAME.lab.yaml"
    assert str(caught.value) == wanted


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        (b"name: a\nx: \xff\xfe\n", ":2: found bytes that are not UTF-8; a topology is a text file"),
        (b"name: a\nx: a\0b\n", ":2: found a NUL byte; a topology is a text file"),
        (b"#" * 10_000_000, ":1: found 10,000,000 bytes; a topology has at most 4 MiB; split it"),
    ],
    ids=["binary", "NUL", "10 MB"],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, rest: str) -> None:
    file = tmp_path / "a.lab.yaml"
    file.write_bytes(content)
    with pytest.raises(TopologyError) as caught:
        load(file)
    assert caught.value.lines == (f"{file}{rest}",)


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "key", "close"),
    [
        (NETWORK + "virtual_machines: {vm: {subnets: v/s}}", "virtual_machines.vm", "subnets", "subnet"),
        ("name: a\n\nvirtual_networks: {v: {address_space: [10.1.0.0/16], subnet: {}}}",
         "virtual_networks.v", "subnet", "subnets"),
        ("name: a\n\ninternet: {h: {adress: 198.51.100.1, address: 198.51.100.1}}",
         "internet.h", "adress", "address"),
        ("name: a\n\nload_balancers: {lb: {frontend_ip_configurations: {f: 40.1.1.1}, probe: {}}}",
         "load_balancers.lb", "probe", "probes"),
        (MACHINE.replace("}}}\n", "}}}\n", 1).replace("virtual_machines: {vm: {subnet: v/s}}\n", "")
         + "expect: [{from: h, to: 'h:80', sourceip: 1.2.3.4}]", "expect.0", "sourceip", "source_ip"),
    ],
)  # fmt: skip
def test_a_suggestion_is_a_key_of_the_same_mapping(text: str, path: str, key: str, close: str) -> None:
    assert said(text)[0] == (
        f'f:3: {path}.{key}: unknown key "{key}"; keys are those of the vocabulary, or begin with "x-"; '
        f'did you mean "{close}"?'
    )


def test_keys_that_begin_with_x_are_left_alone_at_every_depth() -> None:
    text = "x-note: [1, {a: b}]\n" + MACHINE.replace("subnet: v/s", "subnet: v/s, x-owner: me")
    assert parse(text, "f") == parse(MACHINE, "f")


@pytest.mark.parametrize(
    ("text", "path", "key"),
    [
        ("internet: {}\n", "", "name"),
        ("name: a\ninternet: {h: {}}\n", "internet.h: ", "address"),
        ("name: a\nvirtual_networks: {v: {}}\n", "virtual_networks.v: ", "address_space"),
        ("name: a\nload_balancers: {lb: {}}\n", "load_balancers.lb: ", "frontend_ip_configurations"),
    ],
)
def test_a_missing_key_is_asked_for(text: str, path: str, key: str) -> None:
    line = text.rstrip().count("\n") + 1
    assert said(text)[0] == f'f:{line}: {path}no "{key}"; "{key}" is required; add it'


def test_an_expectation_without_its_object_is_told_the_two_kinds() -> None:
    assert said("name: a\nexpect: [{from: vm}]\n")[0] == (
        'f:2: expect.0: neither "to" nor "run"; an expectation is of a flow to somewhere, or of a program that is run; '
        "give one of the two"
    )
