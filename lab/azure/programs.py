"""What a file has to say of programs: those that run in nodes, and those whose end and output are judged."""

import msgspec

from lab.flow import Transport


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the user's own that runs in a node as long as its lab does.

    ``folder`` empty: that of the topology file. It is ready when it is bound to ``ready_port``, or has run for
    ``ready_s``; with neither, at once.
    """

    name: str
    command: tuple[str, ...]
    port: int = 0
    protocol: Transport = "tcp"
    environment: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    ready_port: int = 0
    ready_s: float = 0.0
    restarts: bool = True

    @property
    def kind(self) -> str:
        """What it is among the servers of a node."""
        return "exec"


class Execution(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a user says of a program that is run in a node: how it ends, and what it prints."""

    sender: str
    command: tuple[str, ...]
    exit_status: int = 0
    output: str | None = None
    output_matches: str | None = None
    timeout_s: float = 10.0
    claim: str | None = None
