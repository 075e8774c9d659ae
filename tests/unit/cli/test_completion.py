"""What a shell is offered: labs, files, nodes, profiles and claims, in every command that takes them."""

import shutil
import subprocess
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import ShellComplete

from lab.cli import cli, completion
from tests import rootlab


def _offered(*words: str) -> list[str]:
    *before, incomplete = words
    found = ShellComplete(cli, {}, "lab", "_LAB_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in found]


def test_nodes_of_a_file_are_offered() -> None:
    assert _offered("explain", "source-ip.lab.yaml", "t") == ["test2vm"]
    assert "lbvm" in _offered("explain", "source-ip.lab.yaml", "test2vm", "")
    assert _offered("nsg", "effective", "nsg.lab.yaml", "web") == ["web1", "web2"]
    assert _offered("explain", "none.lab.yaml", "") == []


def test_files_profiles_claims_and_commands_are_offered() -> None:
    assert "source-ip.lab.yaml" in _offered("check", "sou")
    assert "snat-2017.lab.yaml" in _offered("outbound", "snat")
    assert "2018-12" in _offered("outbound", "x.lab.yaml", "--profile", "2018")
    assert "S1-3" in _offered("verify", "--claim", "S1-")
    assert "S1-3" in _offered("claims", "S1-3")
    assert {"explain", "exec", "events"} <= set(_offered("e"))


def test_labs_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.kernel.state.names", lambda: ["one", "two"])
    for command in ("down", "show", "exec", "logs", "copy", "events"):
        assert "two" in _offered(command, "t"), command


def _parameters(group: click.Group) -> Iterator[tuple[str, click.Parameter]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _parameters(command)
        for param in command.params:
            yield f"{name} {param.name}", param


def test_every_parameter_of_these_names_is_offered_something() -> None:
    strings = [
        (name, p) for name, p in _parameters(cli) if isinstance(p.type, click.types.StringParamType | click.Path)
    ]
    assert [name for name, param in strings if param.name in completion.OFFERS] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_it_reads(shell: str) -> None:
    script = rootlab.ok("completion", shell)
    assert "_LAB_COMPLETE=" + shell in script
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=script, text=True, check=True)
