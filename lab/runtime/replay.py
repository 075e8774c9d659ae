"""A script's effects on a running lab: operations through ``manage``, gateways as the agent reports them."""

import os
import stat
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

    ``overwrite``: files that are there already may be written. ``wrote`` is called with each file that was.

    Raises:
        UsageError: there is no such lab.

    """

    def __init__(
        self,
        lab: str,
        progress: Callable[[], AbstractContextManager[Callable[[str], None]]],
        *,
        overwrite: bool = False,
        wrote: Callable[[str], object] = str,
    ) -> None:
        existing(lab)
        self.lab, self.progress = lab, progress
        self._overwrite, self._wrote = overwrite, wrote
        self._own: set[tuple[int, int]] = set()  # the files that this script made: device, inode

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
        """Write a text to a file of this machine: a new one, or one that this script has made.

        A listing is pasted and runs as root, so another file must be asked for, and links are never followed.

        Raises:
            UsageError: it cannot be written, or is there and was not asked for.

        """
        try:
            descriptor = self._opened(file)
            with os.fdopen(descriptor, "w", encoding="utf-8") as output:
                output.truncate()
                output.write(text)
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}; it must be writable; name a file of this machine") from None
        self._wrote(file)

    def _opened(self, file: str) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            found = os.lstat(file)
            allowed = self._overwrite or (found.st_dev, found.st_ino) in self._own
            if not allowed or not stat.S_ISREG(found.st_mode):
                must = "a listing writes new files, and with --overwrite regular files that are there"
                raise UsageError(
                    f"{file}: is there already; {must}; nothing was written; name another file, or remove it"
                ) from None
            return os.open(file, flags)
        made = os.fstat(descriptor)
        self._own.add((made.st_dev, made.st_ino))
        return descriptor


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
