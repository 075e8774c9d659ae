"""What users say of programs that run in their nodes under ``expect``, as trials like any other."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from lab.azure.model import Network
from lab.azure.programs import Execution
from lab.verify.claims.claim import Stage, Trial
from lab.verify.claims.kit.judges import judge_by
from lab.verify.experiment import Execute

_SHOWN = 200  # characters of an output that a verdict quotes


def trial(_network: Network, number: int, expected: Execution) -> Trial:
    """Return the trial of one program; ``number`` is its place in the file."""
    experiment = Execute(node=expected.sender, command=expected.command, timeout_s=expected.timeout_s)
    subject = f"{expected.sender} runs {shlex.join(expected.command)}"

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        (done,) = observations
        if done.status is None:
            return f"no end, {_quoted(done.output, done.error)}", f"it did not end within {expected.timeout_s:g} s"
        observed = f"exit status {done.status}, {_quoted(done.output, done.error)}"
        return observed, _contradiction(expected, done.status, done.output)

    return Trial(
        expected.claim or f"expect-{number}", subject, _wanted(expected), (Stage((experiment,)),), judge_by(check)
    )


def _contradiction(expected: Execution, status: int, output: str) -> str:
    if status != expected.exit_status:
        return f"exit status {status}"
    if expected.output is not None and expected.output not in output:
        return f'"{expected.output}" is not in its output'
    if expected.output_matches is not None and not re.search(expected.output_matches, output, re.MULTILINE):
        return f"its output does not match {expected.output_matches}"
    return ""


def _wanted(expected: Execution) -> str:
    parts = [f"exit status {expected.exit_status}"]
    if expected.output is not None:
        parts.append(f'output with "{expected.output}"')
    if expected.output_matches is not None:
        parts.append(f"output that matches {expected.output_matches}")
    return ", ".join(parts)


def _quoted(output: str, error: str) -> str:
    text = " ".join((output.strip() or error.strip()).split())
    return f"printed: {text[:_SHOWN]}" if text else "printed nothing"
