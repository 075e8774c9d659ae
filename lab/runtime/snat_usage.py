"""What a running lab's VMs use of their SNAT ports, as its agent tells; and what the lab's logs hold."""

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from lab.deciders.snat_ports import Usage
from lab.errors import InconclusiveError
from lab.kernel.state import existing, ready
from lab.plan import Backends

_ANSWER_S = 10.0
_LOOK_S = 0.2


def usage(lab: str) -> list[Usage]:
    """Return what each VM uses of each address now.

    Raises:
        UsageError: there is no such lab.
        Busy: another command is still changing it.
        NotJudgedError: its agent does not run, or does not answer.

    """
    folder, _ = ready(lab)
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_ANSWER_S)
            asking.connect(str(folder.agent_socket))
            asking.sendall(b"ports\n")
            while part := asking.recv(1 << 20):
                answer += part
        return msgspec.json.decode(answer, type=list[Usage])
    except (FileNotFoundError, ConnectionRefusedError):
        found = "does not run"
    except (ConnectionError, TimeoutError, msgspec.DecodeError) as error:
        found = f"does not answer: {error}"
    raise InconclusiveError(
        f"{lab}: the agent {found}, so which ports are in use is unknown; it must run to give them out; "
        "`lab up` starts it again, flows that have a port go on meanwhile"
    )


def events(lab: str, *, probes: bool = False, follow: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the records of a lab's logs, oldest first: of alerts and health events, or of its probes.

    With ``follow``, those to come too, until the lab is down.

    Raises:
        UsageError: there is no such lab.

    """
    folder, _ = existing(lab)
    file = folder.probes_file if probes else folder.events_file
    at, rest, number = 0, b"", 0
    while True:
        if file.exists():
            with file.open("rb") as log:
                if os.fstat(log.fileno()).st_ino != number:  # the first time, and when it was cut
                    at, rest, number = 0 if not number else log.seek(0, os.SEEK_END), b"", os.fstat(log.fileno()).st_ino
                log.seek(at)
                data = log.read()
            at += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from (_decoded(line) for line in lines)
        if not follow or folder.read() is None:
            return
        time.sleep(_LOOK_S)


def keeps_probes(lab: str) -> bool:
    """Tell whether a lab has anything whose probes are logged, or may have it once it is built.

    Raises:
        UsageError: there is no such lab.

    """
    folder, _ = existing(lab)
    return not folder.plan_file.exists() or any(backends.log_s for backends in folder.plan().of(Backends))


def _decoded(line: bytes) -> dict[str, Any]:
    """Return a record; a percentage stays as it was written, with its decimals."""
    record: dict[str, Any] = msgspec.json.decode(line)
    if record.get("category") == "LoadBalancerProbeHealthStatus":
        percentage = msgspec.json.decode(line, type=_ProbeRecord).properties.healthPercentage
        record["properties"]["healthPercentage"] = msgspec.Raw(bytes(percentage))
    return record


class _ProbeProperties(msgspec.Struct):
    healthPercentage: msgspec.Raw  # noqa: N815 - the documents' name


class _ProbeRecord(msgspec.Struct):
    properties: _ProbeProperties
