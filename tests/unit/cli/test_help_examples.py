"""Every example of every --help that needs no root works as it is printed, from any folder."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lab import cli
from lab.kernel import state


def _groups(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _groups(inner, f"{path} {name}")


def _examples() -> list[str]:
    found = []
    for _, command in _groups(cli.cli, "lab"):
        text = (command.help or "").replace("\\\n", " ")
        found += [line.strip() for line in text.splitlines() if line.startswith("  ") and "lab " in line]
    return found


#: Without what is said behind an example, and where its output goes.
EXAMPLES = sorted({line.split("   ")[0].split(" > ")[0] for line in _examples() if line.startswith("lab ")})
#: A file that only the user has.
YOURS = "ServiceConfiguration.cscfg"
_FIXTURES = Path(__file__).parents[2] / "fixtures" / "arm" / "2-vms-natrules"
_NETWORK = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
#: Files that Azure makes, which are beside the user.
AZURE = {
    **{name: (_FIXTURES / name).read_text() for name in ("azuredeploy.json", "azuredeploy.parameters.json")},
    "resources.json": json.dumps([{"type": "Microsoft.Network/virtualNetworks", "name": "vnet1", **_NETWORK}]),
    "next-hop.json": '{"nextHopType": "VirtualNetworkGateway", "routeTableId": "System Route"}',
    "effective-nsg.json": (Path(__file__).parents[2] / "fixtures" / "azure" / "effective-nsg.json").read_text(),
}
_NO_RESULTS = '{"results": [], "summary": {"holds": 0, "contradicted": 0, "inconclusive": 0, "not_run": 0}}'
#: What `lab init` and `lab verify` of the examples before them make.
MADE = {"mine.lab.yaml": "name: mine\n", **dict.fromkeys(("results.json", "part1.json", "part2.json"), _NO_RESULTS)}
NEEDS_A_LAB = "a lab must be up first"


def test_there_are_examples_of_files_and_of_labs() -> None:
    assert len(EXAMPLES) > 15
    assert "lab check source-ip.lab.yaml" in EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works_as_printed(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in AZURE.items():
        (tmp_path / name).write_text(text)
    for name, text in MADE.items():
        if name in example and "init" not in example:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(sys, "argv", shlex.split(example))
    with pytest.raises(SystemExit) as done:
        cli.main()
    said = capsys.readouterr().err
    if YOURS in example:
        assert (done.value.code, said.count(f"{YOURS}: ")) == (2, 1)
    elif done.value.code == 2:
        # It asks for a running lab, and says so; the file beside it in the help makes one.
        assert ".lab.yaml" not in example or "--diff" in example, said
        assert NEEDS_A_LAB in said or "no lab is up" in said, said
    else:
        assert done.value.code in (0, 4 if example == "lab doctor" else 0), said


def test_a_file_here_comes_before_a_bundled_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nsg.lab.yaml").write_text("name: mine\n")
    monkeypatch.setattr(sys, "argv", ["lab", "check", "nsg.lab.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "ok: mine" in capsys.readouterr().out
