"""What a running lab's VMs use of their SNAT ports, as its agent tells; and what the lab's logs hold."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from lab.errors import LabError
from lab.kernel.record import existing
from lab.path.snat_ports import Usage

_ANSWER_S = 10.0
_LOOK_S = 0.2


def usage(lab: str) -> list[Usage]:
    """Return what each VM uses of each address now.

    Raises:
        UsageError: there is no such lab.
        LabError: its agent does not answer.

    """
    folder, _ = existing(lab)
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_ANSWER_S)
            asking.connect(str(folder.agent_socket))
            asking.sendall(b"ports\n")
            while part := asking.recv(1 << 20):
                answer += part
        return msgspec.json.decode(answer, type=list[Usage])
    except (FileNotFoundError, ConnectionError, TimeoutError, msgspec.DecodeError) as error:
        raise LabError(
            f"{folder.agent_socket}: {error}; the agent must run, it gives the ports out; "
            f"`lab up` starts it again, flows that have a port go on meanwhile"
        ) from None


def events(lab: str, *, follow: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the records of a lab's logs, oldest first; with ``follow``, those to come too, until the lab is down.

    Raises:
        UsageError: there is no such lab.

    """
    folder, _ = existing(lab)
    at, rest = 0, b""
    while True:
        if folder.events_file.exists():
            with folder.events_file.open("rb") as log:
                log.seek(at)
                data = log.read()
            at += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from (msgspec.json.decode(line) for line in lines)
        if not follow or folder.read() is None:
            return
        time.sleep(_LOOK_S)
