"""`lab import azure`: where its output goes, and the status it ends with."""

import json
from pathlib import Path

import pytest

from tests.unit.conftest import Run

FIXTURES = Path(__file__).parents[2] / "fixtures" / "arm"


def _files(case: str) -> list[Path]:
    return sorted((FIXTURES / case).glob("*.json"))


@pytest.mark.parametrize("case", sorted(path.name for path in FIXTURES.iterdir() if path.is_dir()))
def test_what_is_written_passes_the_check(lab: Run, case: str) -> None:
    done = lab("import", "azure", *_files(case), "-o", "made.lab.yaml")
    assert (done.status, done.out) == (0, "")
    checked = lab("check", "made.lab.yaml")
    assert checked.status == 0, checked.err
    assert checked.out.startswith("made.lab.yaml: ok: ")


def test_without_a_file_the_topology_is_the_output(lab: Run) -> None:
    done = lab("import", "azure", *_files("2-vms-natrules"), "--name", "mine", "--profile", "seeds")
    assert done.status == 0
    assert "name: mine\nprofile: seeds\n" in done.out
    assert all(line.startswith(("note: ", "warning: ")) for line in done.err.splitlines())


def test_strict_ends_with_3_if_there_is_a_warning(lab: Run) -> None:
    strict = lab("import", "azure", *_files("lb-ip-pool"), "-o", "a.lab.yaml", "--strict")
    assert strict.status == 3
    assert "--strict allows none" in strict.err
    assert "members by address" in strict.err
    assert lab("import", "azure", *_files("ilb-2-vms"), "-o", "c.lab.yaml", "--strict").status == 0
    assert lab("import", "azure", *_files("vm-simple-linux"), "-o", "b.lab.yaml", "--strict").status == 0


def test_probes_give_an_interface_a_vm(lab: Run) -> None:
    assert "virtual_machines:" not in lab("import", "azure", *_files("multivip")).out
    assert "virtual_machines:" in lab("import", "azure", *_files("multivip"), "--probes").out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--name", "Not Good"), "name"),
        (("--profile", "nosuch"), "profile"),
        (("-o", "no/such/folder/x.lab.yaml"), "no/such/folder"),
        (("missing.json",), "missing.json"),
    ],
)
def test_a_wrong_request_ends_with_2(lab: Run, more: tuple[str, ...], words: str) -> None:
    done = lab("import", "azure", *_files("2-vms-natrules"), *more)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("name", "command"), [("main.tf", "terraform show -json"), ("main.bicep", "az bicep build")])
def test_files_of_other_tools_are_refused_with_the_command(lab: Run, tmp_path: Path, name: str, command: str) -> None:
    (tmp_path / name).write_text("x")
    done = lab("import", "azure", name)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert command in done.err


def test_a_file_that_is_no_text_and_a_bomb_are_refused(lab: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\x00\xff")
    assert lab("import", "azure", "a.json").status == 2
    body = {"type": "A.B/c", "name": "x", "copy": {"name": "c", "count": 10**9}}
    (tmp_path / "b.json").write_text(json.dumps({"contentVersion": "1", "resources": [body]}))
    done = lab("import", "azure", "b.json")
    assert (done.status, "1,000,000,000 copies" in done.err) == (2, True)
