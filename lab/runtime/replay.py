"""A script's effects on a running lab: operations through ``manage``, gateways as the agent reports them."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lab.azure.model import Network
from lab.errors import UsageError
from lab.formats import xml
from lab.kernel.state import existing
from lab.operations.base import Operation
from lab.runtime import operate, show

#: A listing is a few lines; a network configuration file of all that a subscription may have is far smaller.
MAX_BYTES = 1024 * 1024


class RunningLab:
    """The effects of ``cmdlets.desk.Effects`` on a lab of this machine.

    Raises:
        UsageError: there is no such lab.

    """

    def __init__(self, lab: str, progress: Callable[[], AbstractContextManager[Callable[[str], None]]]) -> None:
        existing(lab)
        self.lab, self.progress = lab, progress

    def network(self) -> Network:
        """Return the lab's network as it is now."""
        return operate.network_of(self.lab)

    def perform(self, operation: Operation) -> None:
        """Do a management operation; it is done as a whole, or undone."""
        with self.progress() as say:
            operate.perform(self.lab, operation, say)

    def gateways(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what gateways report, by their virtual networks."""
        now = time.time()
        shown = (show.gateway(place, state, now) for place, state in show.describe(self.lab).gateways.items())
        return {gateway["VNetName"]: gateway for gateway in shown}

    def now(self) -> float:
        """Return the time."""
        return time.time()

    def read(self, file: str) -> str:
        """Return the text of a file of this machine."""
        return read(Path(file))

    def write(self, file: str, text: str) -> None:
        """Write a text to a file of this machine.

        Raises:
            UsageError: it cannot be written.

        """
        try:
            Path(file).write_text(text)
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}; it must be writable; name a file of this machine") from None


def read(file: Path) -> str:
    """Return the text of a file that is no longer than a script or configuration is.

    Raises:
        UsageError: it is longer, or no text.

    """
    try:
        with file.open("rb") as opened:
            return decoded(opened.read(MAX_BYTES + 1), str(file))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; it must be readable; name a file of this machine") from None


def decoded(data: bytes, file: str) -> str:
    """Return bytes as text: UTF-8, or UTF-16 with its mark, which Windows' editors write.

    Raises:
        UsageError: they are too many, or no text.

    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{file}: more than {MAX_BYTES:,} bytes; a listing is shorter; name another file")
    try:
        return xml.decoded(data)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: {error}; a text file is UTF-8; name one") from None
