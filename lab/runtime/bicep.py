"""Bicep files become templates, by the compiler of this machine."""

import os
import re
import shutil
from pathlib import Path

import msgspec

from lab.errors import TopologyError
from lab.kernel import daemons

#: A build may fetch modules from a registry.
BUILD_S = 60.0
_MOST = 20  # of what the compiler found
_SUFFIXES = (".bicep", ".bicepparam")


def is_source(file: Path) -> bool:
    """Tell whether a file is for the compiler, and there is one on PATH."""
    return file.suffix.lower() in _SUFFIXES and shutil.which("bicep") is not None


def built(file: Path, timeout_s: float = BUILD_S) -> list[str]:
    """Return the text of the template that a Bicep file is, and that of its parameters, if it is a file of these.

    Raises:
        TopologyError: the compiler refuses it, does not end, or prints something else.

    """
    parameters = file.suffix.lower() == ".bicepparam"
    verb = "build-params" if parameters else "build"
    done = daemons.run_bounded(
        ["bicep", verb, "--stdout", str(file.resolve())], inside=os.setsid, variables={}, timeout_s=timeout_s
    )
    if done.status is None:
        must = "a build must end by itself"
        raise TopologyError([f"{file}: no end of `bicep {verb}` after {timeout_s:g} s; {must}; {_advice(file)}"])
    if done.status != 0:
        raise TopologyError(_refusals(file, verb, done))
    if not parameters:
        return [done.stdout]
    try:
        made = msgspec.json.decode(done.stdout, type=_Parameters)
    except msgspec.MsgspecError:
        must = "it must print a template and its parameters"
        raise TopologyError([f"{file}: found no JSON of `bicep {verb}`; {must}; {_advice(file)}"]) from None
    return [text for text in (made.templateJson, made.parametersJson) if text]


class _Parameters(msgspec.Struct):
    """What ``bicep build-params --stdout`` prints."""

    parametersJson: str = ""  # noqa: N815 - the compiler's own words
    templateJson: str | None = None  # noqa: N815


def _advice(file: Path) -> str:
    verb = "build-params" if file.suffix.lower() == ".bicepparam" else "build"
    return f"run `bicep {verb} {file.name}` in its folder, and import the JSON file that it makes"


def _refusals(file: Path, verb: str, done: daemons.Bounded) -> list[str]:
    """Return what the compiler found, a line for each error, printable and without the folder."""
    folder = f"{file.resolve().parent}/"
    lines = [re.sub(r"[^ -~]+", "?", line.replace(folder, "")).strip() for line in done.stderr.splitlines()]
    errors = [line for line in lines if ": Error " in line] or [line for line in lines if line][:1]
    found = errors[:_MOST] or [f"status {done.status}"]
    must = f"`bicep {verb}` must accept a file"
    return [f"{file}: {line[:500]}; {must}; correct it" for line in found]
