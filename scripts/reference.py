"""Writes the pages of docs/reference that follow from the code: ``python -P scripts/reference.py [FOLDER]``.

``scripts/docs`` runs it before it builds the site; ``tests/docs`` holds what it writes against the code. The pages are
not committed.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from lab.azure import profile
from lab.cli import cli
from lab.topology import load, schema
from lab.verify import claims
from lab.verify.claims import coverage

CHECKOUT = Path(__file__).parents[1]
#: Variables that stand behind no option, and who reads them.
VARIABLES = {
    "LAB_WAIT": "seconds that a command waits for a busy lab (default 60); the option `--wait` wins",
    "LAB_TRACEBACK": "`1`: print the traceback of a fault of `lab` itself",
    "LAB_NAME": "set by `lab exec` and for own programs: the lab",
    "LAB_NODE": "set by `lab exec` and for own programs: the node",
    "LAB_FILES": "set by `lab exec` and for own programs: the node's own folder, which `lab copy` copies to",
    "LAB_PYTHON": "the interpreter for `.venv`, Python 3.11 to 3.13, when `scripts/setup` makes it",
    "LAB_SLOW_TESTS": "`1`: tests also wait the documents' four minutes in real time",
    "LAB_RANDOM_EXAMPLES": "`1`: property tests try new random examples",
    "LAB_ROOT_TESTS_FILE": "set by `scripts/test`: where tests/conftest.py counts the tests that made namespaces",
}

#: The base documents, by the number that citations in the code may give them.
TITLES = (
    "Multiple VIPs per cloud service",
    "Source IP of load-balanced VMs' outbound flows",
    "Understanding outbound connections in Azure",
    "Configure a VNet-to-VNet connection",
    "Instance level public IP (Classic) overview",
)


def every_command(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands that do something, by their full names."""
    for name in group.list_commands(click.Context(group)):
        command = group.commands[name]
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from every_command(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def commands() -> str:
    """Return the page of commands: the help of each."""
    page = ["# Commands", "", "The same text as `lab COMMAND --help`.", ""]
    listed = list(every_command(cli))
    page += ["| command | what it does |", "|---|---|"]
    page += [f"| [`lab {name}`](#lab-{name.replace(' ', '-')}) | {_cell(_summary(c))} |" for name, c in listed]
    for name, command in listed:
        context = click.Context(command, info_name=f"lab {name}", terminal_width=100, max_content_width=100)
        page += ["", f"## lab {name}", "", "```text", command.get_help(context), "```"]
    return "\n".join(page) + "\n"


def topology() -> str:
    """Return the page of the keys of a topology file."""
    made = schema()
    page = [
        "# Topology keys",
        "",
        "Generated from the JSON schema that `lab schema` prints. Maps are keyed by your names.",
    ]
    page += [
        "names. Every level takes keys that begin with `x-`, and ignores them.",
        "",
        "## The file",
        "",
        *_keys(made),
    ]
    for name, definition in sorted(made["definitions"].items()):
        page += ["", f"## {name}", "", definition.get("description", "").strip(), "", *_keys(definition)]
    return "\n".join(page) + "\n"


def _keys(definition: dict[str, Any]) -> list[str]:
    needed = definition.get("required", ())
    rows = ["| key | value | default | what it says |", "|---|---|---|---|"]
    for key, rule in definition.get("properties", {}).items():
        default = "required" if key in needed else _default(rule)
        said = _cell(rule.get("description", ""))
        rows.append(f"| `{key}` | {_cell(_kind(rule))} | {_cell(default)} | {said} |")
    return rows


def _default(rule: dict[str, Any]) -> str:
    value = rule.get("default")
    return "" if value in (None, "", [], {}) or isinstance(value, dict) else f"`{json.dumps(value).strip(chr(34))}`"


def _kind(rule: dict[str, Any]) -> str:
    """Say what a value may be."""
    if "$ref" in rule:
        name = rule["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in rule:
        return " or ".join(f"`{value}`" for value in rule["enum"])
    if "anyOf" in rule:
        kinds = [_kind(option) for option in rule["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "patternProperties" in rule:
        kinds = [_kind(inner) for pattern, inner in rule["patternProperties"].items() if pattern != "^x-"]
        return f"map of {' or '.join(kinds)}"
    if rule.get("type") == "array":
        return f"list of {_kind(rule.get('items', {}))}"
    return _scalar(rule)


def _scalar(rule: dict[str, Any]) -> str:
    kind = rule.get("format") or rule.get("type", "any value")
    least, most = rule.get("minimum"), rule.get("maximum")
    limits = (f" from {least}" if least is not None else "") + (f" to {most}" if most is not None else "")
    pattern = f" `{rule['pattern']}`" if "pattern" in rule and len(rule["pattern"]) < 60 else ""
    return f"{kind}{limits}{pattern}"


def claim_pages() -> str:
    """Return the page of claims: the catalogue, and how far each statement of the documents is proved."""
    proved: dict[str, list[str]] = {}
    for file in sorted((CHECKOUT / "topologies").glob("*.lab.yaml")):
        network = load(file)
        for claim, _ in claims.trials(network):
            proved.setdefault(claim, []).append(network.name)
    page = ["# Claims", "", "The catalogue that `lab claims` prints. `lab verify --claim ID` judges one.", ""]
    page += ["| id | statement | source | revisions | proved in |", "|---|---|---|---|---|"]
    for one in claims.CATALOGUE:
        revisions, where = ", ".join(one.profiles) or "all", ", ".join(proved.get(one.id, []))
        page.append(f"| {one.id} | {_cell(one.statement)} | {_cell(one.source)} | {revisions} | {where} |")
    page += ["", "## Coverage", "", "Every statement of the documents, as `lab claims --coverage` prints it.", ""]
    page += ["| id | state | statement | missing |", "|---|---|---|---|"]
    page += [f"| {s.id} | {s.state} | {_cell(s.statement)} | {_cell(s.missing)} |" for s in coverage.statements()]
    return "\n".join(page) + "\n"


def profiles() -> str:
    """Return the page of profiles: every value of every revision, and where the documents say so."""
    page = [
        "# Profiles",
        "",
        "A profile is a revision of the documents: `profile` in a file, or `--profile`. The default,",
    ]
    page += [
        "`seeds`, takes the five [base documents](../sources.md) together. `lab claims --diff P1 P2` compares two.",
        "",
    ]
    resolved = {name: profile.resolve(name) for name in profile.NAMES}
    cells = [field for field in profile.Profile.__struct_fields__ if field not in ("name", "sources")]
    for cell in cells:
        page += [f"## `{cell}`", "", "| profile | value | source |", "|---|---|---|"]
        before = None
        for name, made in resolved.items():
            row = (_value(getattr(made, cell)), made.sources[cell])
            if row != before:
                page.append(f"| {name} | {_cell(row[0])} | {_cell(row[1])} |")
            before = row
        page.append("")
    return "\n".join(page)


def _value(value: Any) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "none"
    if isinstance(value, tuple):
        tiers = [f"up to {v.pool_size}: {v.ports}" if isinstance(v, profile.Tier) else str(v) for v in value]
        return ", ".join(tiers) or "none"
    return str(value)


def environment() -> str:
    """Return the page of environment variables."""
    page = ["# Environment variables", "", "| variable | what it does |", "|---|---|"]
    page += [f"| `{name}` | {_cell(text)} |" for name, text in VARIABLES.items()]
    page += ["", "## Options", "", "An environment variable stands behind each option; the option wins.", ""]
    page += ["| variable | option |", "|---|---|"]
    for name, command in every_command(cli):
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "help":
                own = f"LAB_{name} {option.name}".replace(" ", "_").replace("-", "_").upper()
                page.append(f"| `{option.envvar or own}` | `lab {name} {max(option.opts, key=len)}` |")
    return "\n".join(page) + "\n"


def _summary(command: click.Command) -> str:
    return (command.help or "").split("\n")[0].strip()


def _cell(text: str) -> str:
    """Return a text as a cell of a table; a base document is cited by its title."""
    text = re.sub(r"\b[Ss]eed 00([0-4])\b", lambda found: f'"{TITLES[int(found[1])]}"', text)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "topology.md": topology,
    "claims.md": claim_pages,
    "profiles.md": profiles,
    "environment.md": environment,
}


def main() -> None:
    """Write all pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT / "docs" / "reference"
    for name, page in PAGES.items():
        (folder / name).write_text(page())


if __name__ == "__main__":
    main()
