"""The lab's own command line, as a user runs it: one way for all experiments that ask it something."""

import json
from typing import Any

from lab.errors import LabError
from lab.kernel.daemons import Finished
from lab.kernel.warm import Server

_server: list[Server] = []


def load() -> Server:
    """Load the command line, in a process of its own that is forked for each command; return it, to be closed."""
    _server.append(Server("lab.cli.warm"))
    return _server[0]


def lab(*words: str) -> Finished:
    """Run a command of the lab's, and return what it left behind.

    Raises:
        LabError: it did not end in time.

    """
    if not _server:
        load()
    return _server[0].run(words)


def lab_json(*words: str) -> Any:
    """Run a command of the lab's that must succeed, and return what it prints as JSON.

    Raises:
        LabError: it failed.

    """
    done = lab(*words, "-o", "json")
    if done.status != 0:
        raise LabError(done.stderr.strip())
    return json.loads(done.stdout)
