"""README, tutorials and the other pages: links resolve, commands parse, those that need no root run."""

import importlib.util
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from click.testing import CliRunner

from lab.cli import cli
from lab.kernel import apply
from lab.runtime import operate
from lab.topology import load
from tests import shapes

CHECKOUT = Path(__file__).parents[2]


def _reference() -> ModuleType:
    """Return scripts/reference.py, which is no package."""
    made = importlib.util.spec_from_file_location("reference", CHECKOUT / "scripts" / "reference.py")
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module


reference = _reference()
COMMANDS = dict(reference.every_command(cli))
#: Pages that are committed; those that scripts/reference.py writes may be here, or not.
GENERATED = {CHECKOUT / "docs" / "reference" / name for name in reference.PAGES}
PAGES = sorted({*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")} - GENERATED)
NAMES = [str(page.relative_to(CHECKOUT)) for page in PAGES]
#: Of these every command line is held against the command line's own parser.
TAUGHT = [
    page for page in PAGES if page.name == "README.md" or page.parent.name in ("tutorials", "how-to", "explanation")
]


# --- links ------------------------------------------------------------------------------------


def _anchor(title: str) -> str:
    """Return the anchor of a heading, as GitHub and mkdocs both make it of plain words."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _text(file: Path) -> str:
    return reference.PAGES[file.name]() if file in GENERATED else file.read_text()


def _broken(page: Path, link: str) -> str:
    """Return what is wrong with a link, nothing if it leads somewhere."""
    where, _, anchor = link.partition("#")
    file = (page.parent / where).resolve() if where else page
    if file not in GENERATED and not file.exists():
        return f"{link}: no such file"
    headings = re.findall(r"^#+ (.+)$", _text(file), re.MULTILINE) if anchor else []
    return f"{link}: no such heading" if anchor and anchor not in map(_anchor, headings) else ""


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    assert [wrong for link in links if (wrong := _broken(page, link))] == []


def test_a_broken_link_is_found() -> None:
    readme = CHECKOUT / "README.md"
    assert _broken(readme, "docs/nowhere.md") == "docs/nowhere.md: no such file"
    assert _broken(readme, "docs/index.md#nowhere") == "docs/index.md#nowhere: no such heading"
    assert _broken(readme, "docs/index.md#reference") == ""


def test_every_page_is_in_the_navigation_once() -> None:
    site = yaml.load((CHECKOUT / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)
    listed = list(_leaves(site["nav"]))
    folder = CHECKOUT / "docs"
    pages = {str(page.relative_to(folder)) for page in {*PAGES, *GENERATED} if page.is_relative_to(folder)}
    decisions = {page for page in pages if re.match(r"decisions/0", page)}
    assert sorted(listed) == sorted(pages - decisions)


def _leaves(nav: list[dict[str, object]]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            if isinstance(value, list):
                yield from _leaves(value)
            else:
                yield str(value)


def test_the_readme_is_for_five_minutes() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_documents_are_cited_by_their_titles(page: Path) -> None:
    assert re.findall(r"[Ss]eed 0\d\d", page.read_text()) == []


def test_the_site_loads_nothing_from_another_host() -> None:
    site = yaml.load((CHECKOUT / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)
    assert site["theme"]["font"] == "false"
    assert {"extra_javascript", "extra_css"} & site.keys() == set()


# --- commands ---------------------------------------------------------------------------------


def _lines(page: Path) -> Iterator[str]:
    """Yield the commands of a page, as typed: in blocks of a console after a dollar sign, and in indented blocks."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        yield from re.findall(r"^\$ (.+)$", block, re.MULTILINE)
    for line in re.findall(r"^    (?:\$ )?((?:sudo )?(?:scripts/)?lab [a-z].*)$", page.read_text(), re.MULTILINE):
        yield line.partition("  ")[0]


def _words(line: str) -> list[str]:
    """Return the words of a lab command up to what the shell takes, none for another program."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word[0] in "|&;<>":
            break
        words.append(word)
    words = words[words[0] == "sudo" :]
    return words[1:] if words[0] in ("lab", "scripts/lab") else []


TYPED = sorted({line for page in TAUGHT for line in _lines(page) if _words(line)})


def _parse(words: list[str]) -> click.Context:
    """Return the context of a command that was typed; the parser refuses what it does not know."""
    command: click.Command = cli
    context = click.Context(cli, info_name="lab", **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    return command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize("line", TYPED)
def test_every_command_line_parses(line: str) -> None:
    _parse(_words(line))


@pytest.mark.parametrize("line", ["lab chek a.lab.yaml", "lab check --nonsense", "sudo lab vip add multivip"])
def test_a_command_line_that_is_wrong_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        _parse(_words(line))


_PURE = "check|plan|claims|schema|nsg|outbound|explain|whatif|export cscfg"
#: Commands that need no root where they are given a file.
PURE = [
    line
    for line in TYPED
    if not line.startswith("sudo")
    and re.match(r"(scripts/)?lab (check|plan|claims|schema|nsg|outbound|explain|whatif|export cscfg)\b", line)
    and "--diff " not in line.replace("--diff 2", "")
    and not line.endswith("--diff")
]


def _example() -> str:
    page = (CHECKOUT / "docs" / "how-to" / "write-a-topology.md").read_text()
    return re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]


@pytest.mark.parametrize("line", PURE)
def test_what_needs_no_root_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "allow-list.lab.yaml").write_text(_example())
    (tmp_path / "mine.lab.yaml").write_text((CHECKOUT / "topologies" / "instance-public-ip.lab.yaml").read_text())
    service = line.partition("--service ")[2]
    done = CliRunner().invoke(cli, _words(line))
    assert done.exit_code == 0 or (service and done.exit_code == 2), done.output


def test_there_are_commands_to_try() -> None:
    assert len(TYPED) > 60
    assert len(PURE) > 8


@pytest.mark.parametrize("page", TAUGHT, ids=lambda page: page.name)
def test_every_topology_of_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)):
        if block.startswith("name:"):
            file = tmp_path / f"{number}.lab.yaml"
            file.write_text(block)
            load(file)


def test_topologies_that_pages_name_are_bundled() -> None:
    named = {name for line in TYPED for name in re.findall(r"[a-z0-9-]+\.lab\.yaml", line)}
    made = {"allow-list.lab.yaml", "classic.lab.yaml", "mine.lab.yaml", "my.lab.yaml", "out.lab.yaml"}
    assert named - made <= {file.name for file in (CHECKOUT / "topologies").iterdir()}


# --- the reference ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", reference.PAGES)
def test_every_page_of_the_reference_is_made(name: str) -> None:
    text = reference.PAGES[name]()
    assert text.startswith("# ")
    assert re.findall(r"[Ss]eed 0\d\d", text) == []


def test_every_command_has_its_help_in_the_reference() -> None:
    text = reference.commands()
    assert [name for name in COMMANDS if f"\n## lab {name}\n" not in text] == []


def test_every_key_of_a_file_is_in_the_reference() -> None:
    text = reference.topology()
    made = reference.schema()
    keys = {key for part in (made, *made["definitions"].values()) for key in part.get("properties", {})}
    assert {key for key in keys if f"| `{key}` |" not in text} == set()


def test_every_variable_is_in_the_reference() -> None:
    text = reference.environment()
    folders = [f for name in ("lab", "scripts", "tests") for f in (CHECKOUT / name).rglob("*") if f.is_file()]
    read = {
        name
        for file in folders
        if file.suffix in (".py", "")
        for name in re.findall(r"\bLAB_[A-Z_]+[A-Z]\b", file.read_text(errors="ignore"))
    }
    assert {name for name in read if f"`{name}`" not in text} == set()


#: Commands without ``-o json``, and why.
NO_JSON = {
    "exec": "it becomes another program",
    "shell": "it becomes another program",
    "schema": "it prints JSON",
    "completion": "it prints a script of a shell",
    "export netcfg": "it prints a file of a form of its own",
    "export cscfg": "it prints a file of a form of its own",
    "import azure": "it prints a topology file; its -o names the file to write",
    "export azure": "it prints a template; its -o names the file to write",
}
#: Commands that take no running lab, or that take two, and why.
NO_LAB = {
    "gc": "it is of what dead labs left",
    "check": "it takes files", "plan": "it takes a file", "schema": "it is of all files", "up": "it takes a file",
    "down": "it takes several labs", "list": "it lists labs", "verify": "it takes files", "claims": "it is of no lab",
    "learn": "it takes a lesson", "init": "it makes a file", "completion": "it is of the shell",
    "report": "it takes results", "whatif": "it compares two",
    "doctor": "it is of the machine", "import azure": "it takes files",
}  # fmt: skip


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_every_command_has_a_json_answer(name: str, command: click.Command) -> None:
    choices = [p.type.choices for p in command.params if p.name == "output" and isinstance(p.type, click.Choice)]
    assert (["json" in found for found in choices] == [True]) == (name not in NO_JSON), NO_JSON.get(name)


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_every_command_takes_the_lab_first(name: str, command: click.Command) -> None:
    arguments = [p.metavar for p in command.params if isinstance(p, click.Argument)]
    assert (arguments[:1] in (["LAB"], ["LAB|FILE"])) == (name not in NO_LAB), NO_LAB.get(name)
    assert arguments[1:].count("LAB") == 0


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NO_JSON])
def test_every_json_answer_has_a_documented_shape(name: str) -> None:
    answers, _ = shapes.read()
    assert [typed for typed in answers if f"{typed} ".startswith(f"lab {name} ")]


@pytest.mark.parametrize(
    "words",
    [
        "list", "doctor", "check nsg.lab.yaml", "plan nsg.lab.yaml", "claims S1-3", "claims --coverage",
        "claims --profiles", "claims --diff 2018-02 2019-05", "nsg rule list nsg.lab.yaml",
        "nsg effective nsg.lab.yaml web1", "nsg matrix nsg.lab.yaml client", "explain nsg.lab.yaml web1 sql1:1433",
        "service list multivip.lab.yaml", "service show multivip.lab.yaml myService", "vip list multivip.lab.yaml",
        "endpoint list multivip.lab.yaml", "vm list multivip.lab.yaml", "reserved-ip list multivip.lab.yaml",
        "public-ip show instance-public-ip.lab.yaml", "outbound source-ip.lab.yaml",
        "explain source-ip.lab.yaml test2vm lbvm:22",
        "whatif outbound.lab.yaml --profile 2019-05 --to-sku Standard",
    ],
)  # fmt: skip
def test_an_answer_has_the_keys_of_its_shape(words: str) -> None:
    done = CliRunner().invoke(cli, [*words.split(), "-o", "json"])
    assert done.exit_code == (4 if words == "doctor" and done.exit_code else 0), done.output
    assert shapes.misfits(words.split(), done.stdout) == []


@pytest.mark.parametrize(
    "words",
    [
        "vip add a shop V", "gateway delete a v", "network subnet a v s 10.1.1.0/24", "public-ip remove a vm1",
        "nsg rule remove a g r", "vm stop a vm1", "local-network set a site --address 203.0.113.2",
    ],
)  # fmt: skip
def test_the_answer_of_an_operation_has_its_shape(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = apply.Outcome(built=False, changed=1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(operate, "perform", lambda _lab, _operation, _say: done)
    ran = CliRunner().invoke(cli, [*words.split(), "-o", "json"])
    assert (ran.exit_code, shapes.misfits(words.split(), ran.stdout)) == (0, [])


def test_an_answer_that_departs_from_its_shape_is_seen() -> None:
    assert ": more is not documented" in shapes.misfits(["list"], '{"labs": [], "more": 2}')
    assert ".labs[]: extra is not documented" in shapes.misfits(["list"], '{"labs": [{"name": "a", "extra": 1}]}')
    assert ".labs[]: state is not there" in shapes.misfits(["list"], '{"labs": [{"name": "a"}]}')


# --- first hour -------------------------------------------------------------------------------


def test_what_contributing_names_is_there() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text()
    scripts = set(re.findall(r"\bscripts/[a-z]+\b", text))
    assert {name for name in scripts if not (CHECKOUT / name).exists()} == set()
    table = text.partition("## Where to add what")[2].partition("## ")[0]
    files = re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py|\.md)?)(?:\.[a-zA-Z]+)?`", table)
    assert len(files) > 30
    assert [f for f in files if not any((root / f).exists() or (root / f"{f}.py").exists() for root in _roots())] == []


def _roots() -> tuple[Path, Path]:
    return CHECKOUT, CHECKOUT / "lab"


def test_the_hooks_run_the_checks_of_lint() -> None:
    hooks = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = (CHECKOUT / "scripts" / "lint").read_text()
    checks = [line for line in lint.splitlines() if re.match(r"(ruff|mypy|lint-imports)", line)]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == checks


def test_the_workflow_runs_what_must_hold() -> None:
    jobs = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert "sudo .ci/run" in [step.get("run") for step in jobs["test"]["steps"]]


def test_the_lock_of_the_documents_has_what_is_asked_for() -> None:
    asked = re.findall(r"^([\w-]+)", (CHECKOUT / "requirements-docs.in").read_text(), re.MULTILINE)
    locked = (CHECKOUT / "requirements-docs.lock").read_text()
    assert [name for name in asked if not re.search(rf"^{name}==\S+ \\$", locked, re.MULTILINE)] == []
    assert tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["name"] == "lab"


def test_decisions_have_a_date_and_three_parts() -> None:
    for file in (CHECKOUT / "docs" / "decisions").glob("0*.md"):
        text = file.read_text()
        assert re.search(r"^Date: 20\d\d-\d\d-\d\d$", text, re.MULTILINE), file.name
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"], file.name
        assert f"]({file.name})" in (file.parent / "index.md").read_text()
        assert len(text.splitlines()) <= 40, file.name
