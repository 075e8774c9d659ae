"""What users say of programs that run in their nodes under ``expect``, as trials like any other."""

import re
import shlex

from lab.azure.model import Network
from lab.azure.programs import Execution
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import judge_by
from lab.verify.experiment import Execute, Executed

_SHOWN = 200  # characters of an output that a verdict quotes


def trial(_network: Network, number: int, expected: Execution) -> Trial:
    """Return the trial of one program; ``number`` is its place in the file."""
    experiment = Execute(node=expected.sender, command=expected.command, timeout_s=expected.timeout_s)
    subject = f"{expected.sender} runs {shlex.join(expected.command)}"

    def found(done: Executed) -> Finding:
        if done.status is None:
            observed = f"no end, {_quoted(done.output, done.error)}"
            return Finding(observed, f"it did not end within {expected.timeout_s:g} s")
        observed = f"exit status {done.status}, {_quoted(done.output, done.error)}"
        return Finding(observed, _contradiction(expected, done.status, done.output))

    return Trial(
        subject, _wanted(expected), (Stage((experiment,)),), judge_by(found), expected.claim or f"expect-{number}"
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
