"""Files that ``lab import azure`` reads: what kind each is, and which are of other tools."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import unquote, urlsplit

from lab.errors import TopologyError
from lab.formats import arm, azure_resources, terraform, terraform_plan, xml

#: As large as Azure Resource Manager allows a template; what a whole subscription prints is larger.
MAX_BYTES = 32 * 1024 * 1024
WHAT = "template, a parameter file, or resources that Azure printed"
_MUST = f"a file must be a {WHAT}"
_BICEP = (
    "put the compiler `bicep` on PATH, or run `az bicep {1} --file {0}` in the folder of the file, on a machine that "
    "has the Azure CLI, and import the JSON file that it makes"
)
_GRAPH = (
    "import what was deployed: `az graph query -q \"resources | where type startswith 'microsoft.network' or type "
    "startswith 'microsoft.compute'\" -o json > resources.json`"
)
_TERRAFORM = (
    "import the state after `terraform apply`: `terraform show -json > state.json`, or a plan: `terraform plan "
    "-out=plan`, and `terraform show -json plan > plan.json`; or " + _GRAPH
)
#: Names of files that say nothing of what is in them.
_COMMON = ("azuredeploy", "main", "template", "deploy", "index")


def read(texts: Sequence[tuple[Path, str]]) -> azure_resources.Read:
    """Return the resources of files.

    Raises:
        TopologyError: with everything that is wrong with them.

    """
    problems: list[str] = []
    files: list[tuple[str, object]] = []
    folders: list[Path] = []
    for path, text in texts:
        advice = _foreign(path, text)
        data: object = None
        if advice is None:
            try:
                data = arm.read_json(text)
            except arm.TemplateError as error:
                problems.append(f"{path}: {error}")
                continue
            if terraform_plan.is_plan(data):
                data = terraform_plan.state_of(cast("dict[str, object]", data)) | {"terraform_version": ""}
            if terraform.is_state(data) and azure_resources.kind_of(data) == "terraform":
                data = {"value": terraform.resources(cast("dict[str, object]", data))}
            kind = azure_resources.kind_of(data)
            advice = {"terraform": ("JSON of Terraform", _TERRAFORM), "unknown": ("JSON of another kind", _GRAPH)}.get(
                kind
            )
        if advice is not None:
            problems.append(f"{path}: found {advice[0]}; {_MUST}; {advice[1]}")
            continue
        files.append((str(path), data))
        folders.append(path.parent)
    found = azure_resources.read(files, lambda link: _linked(link, folders))
    problems += found.problems
    if not problems and not found.resources:
        problems.append(f"{texts[0][0]}: found no resource; {_MUST}; {_GRAPH}")
    if problems:
        raise TopologyError(problems)
    return found


def _foreign(path: Path, text: str) -> tuple[str, str] | None:
    """Return what a file of another tool is, and what to do with it."""
    suffix = path.suffix.lower()
    begins = text.lstrip("\ufeff \t\r\n")[:1]
    if suffix in (".bicep", ".bicepparam") and begins != "{":  # of a compiler's, it is a template
        return "a Bicep file", _BICEP.format(path.name, "build" if suffix == ".bicep" else "build-params")
    if suffix in (".tf", ".tfstate", ".tfplan") or (
        begins not in "{[/" and re.search(r'^resource\s+"azurerm_', text, re.MULTILINE)
    ):
        return "a Terraform file", _TERRAFORM
    if begins not in "{[/" and re.search(r"^(?:targetScope\b|param \w+ |resource \w+ ')", text, re.MULTILINE):
        return "a Bicep file", _BICEP.format(path.name, "build")
    return None


def _linked(link: str, folders: Sequence[Path]) -> object:
    """Return the template that a link leads to, if it is below the folder of a file that was named."""
    parts = [part for part in PurePosixPath(unquote(urlsplit(link).path)).parts if part not in ("/", ".")]
    for folder in folders:
        root = folder.resolve()
        for first in range(len(parts)):
            path = root.joinpath(*parts[first:])
            try:
                inside = path.resolve().is_relative_to(root) and path.is_file() and path.stat().st_size <= MAX_BYTES
                if inside:
                    return arm.read_json(xml.decoded(path.read_bytes()))
            except (OSError, ValueError, arm.TemplateError):
                continue
    return None


def name_of(path: Path) -> str:
    """Return a lab's name after a file, or after its folder if the file's name says nothing."""
    own = path.name.partition(".")[0].lower()
    words = path.resolve().parent.name if own in _COMMON else own
    plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    plain = re.sub(r"^[^a-z]+", "", plain)[:20].rstrip("-")
    return plain or "imported"


def head(files: str) -> tuple[str, ...]:
    """Return the comment that an imported topology begins with."""
    return (
        f"Imported from {files} by `lab import azure`. Above each part is the id of what it came from.",
        "What a guest answers is in no file of Azure: services are the ports that rules and probes lead to.",
    )
