"""`lab import azure` of Bicep files: by the compiler on PATH, which a stand-in is here, or with what to run instead."""

import json
import os
import stat
import time
from pathlib import Path

import pytest

from lab.runtime import bicep
from tests.unit.conftest import Run

TEMPLATE = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {"name": {"type": "string", "defaultValue": "unsaid"}},
    "resources": [
        {
            "type": "Microsoft.Network/virtualNetworks",
            "name": "[parameters('name')]",
            "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}},
        }
    ],
}
PARAMETERS = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {"name": {"value": "said"}},
}


def _compiler(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a stand-in for the compiler on PATH; it notes its arguments."""
    file = folder / "bin" / "bicep"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {folder}/asked\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")


def test_a_file_is_built_and_imported(lab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "template").write_text(json.dumps(TEMPLATE))
    _compiler(monkeypatch, tmp_path, f"cat {tmp_path}/template")
    (tmp_path / "-odd name; true.bicep").write_text("param name string")
    done = lab("import", "azure", "./-odd name; true.bicep")
    assert (done.status, "\n  unsaid: {" in done.out) == (0, True), done.err
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["build", "--stdout", str(tmp_path / "-odd name; true.bicep")]


def test_a_file_of_parameters_is_built_with_its_template(
    lab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"parametersJson": json.dumps(PARAMETERS), "templateJson": json.dumps(TEMPLATE), "templateSpecId": None}
    (tmp_path / "both").write_text(json.dumps(both))
    _compiler(monkeypatch, tmp_path, f"cat {tmp_path}/both")
    (tmp_path / "main.bicepparam").write_text("using './main.bicep'")
    done = lab("import", "azure", "main.bicepparam", "-o", "made.lab.yaml")
    assert done.status == 0, done.err
    assert "\n  said: {" in Path("made.lab.yaml").read_text()
    assert (tmp_path / "asked").read_text().splitlines()[0] == "build-params"


def test_what_the_compiler_finds_is_told_a_line_each(lab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [f"{tmp_path}/main.bicep({n},1) : Error BCP007: not recognized" for n in (1, 2)]
    said = "\n".join([f"{tmp_path}/main.bicep(3,7) : Warning no-unused-params: x", *errors])
    (tmp_path / "said").write_text(said)
    _compiler(monkeypatch, tmp_path, f"cat {tmp_path}/said >&2; exit 1")
    (tmp_path / "main.bicep").write_text("x\ny")
    done = lab("import", "azure", "main.bicep")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"main.bicep: main.bicep({n},1) : Error BCP007: not recognized; `bicep build` must accept a file; correct it"
        for n in (1, 2)
    ]


@pytest.mark.parametrize("name", ["main.bicep", "main.bicepparam"])
@pytest.mark.parametrize("script", ["echo nothing", "true", "exit 3"])
def test_a_compiler_that_prints_no_template_is_refused(
    lab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str
) -> None:
    _compiler(monkeypatch, tmp_path, script)
    (tmp_path / name).write_text("x")
    done = lab("import", "azure", name)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"{name}: ")
    assert done.err.count(";") >= 2


def test_a_build_that_does_not_end_is_ended_with_all_that_it_started(
    lab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiler(monkeypatch, tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; sleep 60")
    monkeypatch.setattr(bicep, "built", lambda file: _built(file, 2))
    (tmp_path / "main.bicep").write_text("x")
    begun = time.monotonic()
    done = lab("import", "azure", "main.bicep")
    assert time.monotonic() - begun < 30
    assert (done.status, "no end of `bicep build` after 2 s" in done.err) == (2, True)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not child.exists() or child.read_text().rpartition(") ")[2].startswith("Z")


_built = bicep.built


def test_without_a_compiler_it_is_told_what_to_run_and_where(
    lab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, verb in (("main.bicep", "build"), ("main.bicepparam", "build-params")):
        (tmp_path / name).write_text("x")
        done = lab("import", "azure", name)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert f"run `az bicep {verb} --file {name}` in the folder of the file, on a machine that has" in done.err
