"""The documents and the help say what is there."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from lab.cli import _ALIASES, cli
from lab.topology import load, schema
from lab.verify import claims

CHECKOUT = Path(__file__).parents[2]


def _commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        yield prefix + name, command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")


COMMANDS = list(_commands(cli))
TOPOLOGIES = sorted((CHECKOUT / "topologies").glob("*.lab.yaml"))
COMMAND_FILES = sorted(f.name for f in (CHECKOUT / "lab" / "cli").glob("*.py") if f.name != "__init__.py")
#: Deciders, and what several rules have in common.
NO_RULES = ("snat_ports.py", "idle_reset.py", "distribution.py", "marks.py")
RULE_FILES = sorted(f.name for f in (CHECKOUT / "lab" / "path").glob("*.py") if f.name != "__init__.py")


def document(name: str) -> str:
    file = CHECKOUT / name
    assert file.exists(), f"{name} is not written yet"
    return file.read_text()


# --- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_has_help_that_ends_in_an_example_of_itself(name: str, command: click.Command) -> None:
    text = command.help or ""
    example = text.partition("Example:\n")[2].split("\n")[0].strip()
    assert text.split("\n")[0].endswith(".")
    assert re.match(rf"(sudo )?lab {name}\b", example), f"lab {name} --help: no example"


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_option_has_help(name: str, command: click.Command) -> None:
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [o.name for o in options if not o.help] == [], name


@pytest.mark.parametrize("name", COMMAND_FILES)
def test_every_command_that_is_written_can_be_called(name: str) -> None:
    module = importlib.import_module(f"lab.cli.{name.removesuffix('.py')}")
    written = [value for value in vars(module).values() if isinstance(value, click.Command)]
    assert [command.name for command in written if command not in [called for _, called in COMMANDS]] == []


@pytest.mark.parametrize("alias", _ALIASES)
def test_every_alias_stands_for_a_command(alias: str) -> None:
    assert _ALIASES[alias] in cli.commands


def test_the_commands_first_topologies_are_there() -> None:
    """The first help that a user reads must lead somewhere."""
    named = set(re.findall(r"[a-z-]+\.lab\.yaml", " ".join(c.help or "" for _, c in COMMANDS) + (cli.help or "")))
    assert named - {"mine.lab.yaml"} <= {file.name for file in TOPOLOGIES}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "topologies/source-ip.lab.yaml"],
        ["plan", "topologies/source-ip.lab.yaml"],
        ["outbound", "topologies/source-ip.lab.yaml"],
        ["explain", "topologies/source-ip.lab.yaml", "test2vm", "internet"],
        ["whatif", "topologies/source-ip.lab.yaml", "--to-profile", "2016-10"],
        ["schema"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_no_kernel_loads_none_of_the_slow_libraries(arguments: list[str]) -> None:
    """A user waits for `lab --help`; the libraries that speak to the kernel take longer than all the rest."""
    program = (
        "import sys\nfrom lab.cli import cli\n"
        "try:\n    cli.main(sys.argv[1:], prog_name='lab')\nexcept SystemExit as done:\n    assert not done.code\n"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert set(done.stderr.split()) & {"scapy", "iptc", "pyroute2", "rich", "asyncio", "trustme"} == set()


# --- documents --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMAND_FILES)
def test_every_file_of_commands_is_in_the_architecture(name: str) -> None:
    assert name in document("ARCHITECTURE.md").partition("       cli/ ")[2].partition("\n\n")[0]


@pytest.mark.parametrize("name", RULE_FILES)
def test_every_rule_file_is_in_the_architecture(name: str) -> None:
    assert name in document("ARCHITECTURE.md")


@pytest.mark.parametrize("name", [name for name in RULE_FILES if name not in NO_RULES])
def test_every_rule_file_says_what_it_owns_and_has_the_one_public_way_in(name: str) -> None:
    text = (CHECKOUT / "lab" / "path" / name).read_text()
    assert re.search(r"\bOwns\b", text.split('"""')[1])
    assert re.search(r"^def items\(network: Network, \w+: frozenset\[str\]\) -> Iterator\[Item\]:$", text, re.MULTILINE)


# --- claims -----------------------------------------------------------------------------------


def test_claims_have_unique_ids() -> None:
    ids = [claim.id for claim in claims.CATALOGUE]
    assert sorted(set(ids)) == sorted(ids)


@pytest.mark.parametrize("claim", claims.CATALOGUE, ids=lambda claim: claim.id)
def test_every_claim_has_a_statement_and_a_source_with_its_date(claim: claims.Claim) -> None:
    assert re.fullmatch(r"(S[0-4]-\d+[a-z]?|[NT]-[A-Z]+-\d+|LAB-\d+)", claim.id)
    assert claim.statement.endswith(".")
    assert len(claim.statement) > 30
    assert claim.id.startswith("LAB-") or re.search(r"\(\d{4}-\d{2}(-\d{2})?\)", claim.source)


def test_every_claim_is_proved_by_a_bundled_topology() -> None:
    proved = {claim for file in TOPOLOGIES for claim, _ in claims.trials(load(file))}
    assert {claim.id for claim in claims.CATALOGUE} - proved == set()


def test_every_expectation_of_a_bundled_topology_that_names_a_claim_names_one_of_the_catalogue() -> None:
    named = {e.claim for file in TOPOLOGIES for e in load(file).expectations if e.claim}
    assert {claim for claim in named if claims.find(claim) is None} == set()


# --- the schema -------------------------------------------------------------------------------


_KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


def misfits(value: Any, rule: dict[str, Any], root: dict[str, Any], path: str = "") -> list[str]:
    """Return where a value departs from a JSON schema; of the keywords, those that ours uses."""
    if "$ref" in rule:
        return misfits(value, root["definitions"][rule["$ref"].rpartition("/")[2]], root, path)
    if "anyOf" in rule:
        return min((misfits(value, option, root, path) for option in rule["anyOf"]), key=len)
    if "type" in rule and (
        not isinstance(value, _KINDS[rule["type"]]) or (rule["type"] == "integer" and value is True)
    ):
        return [f"{path}: {value!r} is no {rule['type']}"]
    if isinstance(value, dict):
        return _misfits_of_keys(value, rule, root, path)
    if isinstance(value, list):
        return [m for i, item in enumerate(value) for m in misfits(item, rule.get("items", {}), root, f"{path}.{i}")]
    found: list[str] = []
    if value not in rule.get("enum", [value]):
        found.append(f"{path}: {value!r} is not in {rule['enum']}")
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        found.append(f"{path}: {value!r} does not fit {rule['pattern']}")
    if isinstance(value, int) and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        found.append(f"{path}: {value} is out of range")
    return found


def _misfits_of_keys(value: dict[str, Any], rule: dict[str, Any], root: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}: no {key}" for key in rule.get("required", ()) if key not in value]
    named, patterns = rule.get("properties", {}), rule.get("patternProperties", {})
    for key, inner in value.items():
        of_key = [named[key]] if key in named else [s for pattern, s in patterns.items() if re.search(pattern, key)]
        other = rule.get("additionalProperties", {})
        if not of_key and other is False:
            found.append(f"{path}: unknown key {key}")
        for each in of_key or [other or {}]:
            found += misfits(inner, each, root, f"{path}.{key}")
    return found


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.name)
def test_the_schema_accepts_every_bundled_topology(file: Path) -> None:
    data = yaml.load(file.read_text(), Loader=yaml.BaseLoader)
    # The base loader reads all as text, as YAML 1.2 would addresses and names; numbers are made of it here.
    made = schema()
    assert misfits(_numbers(data), made, made) == []


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    if value in ("true", "false"):
        return value == "true"
    return int(value) if isinstance(value, str) and value.isdigit() else value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, ": no name"),
        ({"name": "a", "colour": "red"}, ": unknown key colour"),
        ({"name": "A"}, ".name: 'A' does not fit ^[a-z][a-z0-9-]{0,19}$"),
        ({"name": "a", "internet": {"h": {}}}, ".internet.h: no address"),
        ({"name": "a", "overrides": {"time_scale": 0}}, ".overrides.time_scale: 0 is out of range"),
        ({"name": "a", "x-note": 1}, ""),
        (
            {
                "name": "a",
                "virtual_networks": {"v": {"address_space": ["10.1.0.0/16"], "subnets": {"s": "10.1.0.0/24"}}},
            },
            "",
        ),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses_and_accepts_short_forms(data: dict[str, Any], said: str) -> None:
    made = schema()
    assert misfits(data, made, made) == ([said] if said else [])
