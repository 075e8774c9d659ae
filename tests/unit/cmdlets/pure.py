"""A lab without a kernel: operations make another network of one, as they do for a lab that runs."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from lab.azure.model import Network
from lab.cmdlets import runner
from lab.errors import UsageError
from lab.operations.base import Operation, changed
from lab.topology import parse


class PureLab:
    """The effects of a script on a network that is only a value."""

    def __init__(self, text: str) -> None:
        self.made = parse(text, "a.lab.yaml")
        self.operations: list[str] = []
        self.files: dict[str, str] = {}
        self.reported: dict[str, dict[str, Any]] = {}

    def network(self) -> Network:
        return self.made

    def perform(self, operation: Operation) -> None:
        self.made = changed(self.made, operation)
        self.operations.append(str(operation))

    def gateways(self) -> Mapping[str, Mapping[str, Any]]:
        return self.reported

    def now(self) -> float:
        return 1000.0

    def read(self, file: str) -> str:
        if file not in self.files:
            raise UsageError(f"{file}: no such file")
        return self.files[file]

    def write(self, file: str, text: str) -> None:
        self.files[file] = text

    def play(self, script: str) -> str:
        """Play a script; return what it prints."""
        return "\n\n".join(self.outputs(script))

    def outputs(self, script: str) -> Iterator[str]:
        read, self.notes = runner.read(script, "s.ps1")
        return runner.play(read, self, random.Random(1))
