"""lab/topology/__init__.py: a file becomes a network."""

from pathlib import Path

import pytest

from lab.errors import TopologyError, UsageError
from lab.topology import load, parse, read
from tests import worlds
from tests.unit.refusals import MACHINE

BUNDLED = sorted((Path(__file__).parents[3] / "topologies").glob("*.lab.yaml"))


def test_there_are_bundled_topologies() -> None:
    assert {file.name for file in BUNDLED} >= {"source-ip.lab.yaml", "outbound.lab.yaml"}


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.name)
def test_every_bundled_topology_is_a_network_named_as_its_file(file: Path) -> None:
    assert load(file).name == file.name.removesuffix(".lab.yaml")


def test_the_order_of_keys_is_irrelevant() -> None:
    reordered = "\n".join(reversed(MACHINE.splitlines()))
    assert parse(reordered, "f") == parse(MACHINE, "g")


def test_a_time_scale_that_is_given_replaces_the_files() -> None:
    text = "name: a\noverrides: {time_scale: 2}"
    assert (parse(text, "f").overrides.time_scale, parse(text, "f", time_scale=60).overrides.time_scale) == (2, 60)


def test_a_time_scale_of_one_replaces_the_files_too() -> None:
    assert parse("name: a\noverrides: {time_scale: 2}", "f", time_scale=1).overrides.time_scale == 1


def test_the_default_profile_is_seeds() -> None:
    assert worlds.one_vm().profile.name == "seeds"


def test_a_profile_is_taken_as_named() -> None:
    assert parse("name: a\nprofile: 2017-05b", "f").profile.name == "2017-05b"


def test_a_file_without_a_good_name_is_still_checked_to_its_end() -> None:
    with pytest.raises(TopologyError) as caught:
        parse("name: A B\nvirtual_machines: {vm: {subnet: v/s}}", "f")
    assert [line.partition(": ")[0] for line in caught.value.lines] == ["f:1", "f:2"]


def test_a_file_with_windows_line_ends_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.lab.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MACHINE.replace("\n", "\r\n").encode())
    assert load(file) == parse(MACHINE, "f")


def test_a_file_of_just_the_largest_size_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.lab.yaml"
    file.write_bytes(b"#" * 4 * 1024 * 1024)
    assert len(read(file)) == 4 * 1024 * 1024


def test_a_file_of_a_folder_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "no" / "a.lab.yaml")
    wanted = f"{tmp_path}/no/a.lab.yaml: no such file; a topology file is needed; none is defined"
    assert str(caught.value) == wanted
