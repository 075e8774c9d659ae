"""Real FTP clients, and the data connections that are seen at them meanwhile."""

import socket
import struct

from lab.kernel import daemons, netns
from lab.plan import namespace
from lab.verify import experiment as ex
from lab.verify.probe.packets import Capture

_TCP, _SYN, _ACK = 6, 2, 16  # protocol and flags (RFC 9293)


def transfer(lab: str, what: ex.Transfer) -> ex.Transferred:
    """Let a client get a file, and note every TCP connection that begins at it, from either side."""
    # What comes in at the client, and what it has sent.
    capture = Capture(lab, [ex.Watch("node", what.client), ex.Watch("host wire", what.client)])
    try:
        done = daemons.run(
            _active(what) if what.mode == "active" else _passive(what),
            inside=lambda: netns.enter(namespace(lab, what.client)),
            timeout_s=what.timeout_s + 10,
        )
        begun = [opened for _, packet in capture.read() if (opened := _begins(packet))]
    finally:
        capture.close()
    control: list[ex.Begun] = []
    data: list[ex.Begun] = []
    for opened in dict.fromkeys(begun):
        (control if opened.destination_port == what.port else data).append(opened)
    said = (done.stdout + done.stderr).strip()
    return ex.Transferred(got=done.stdout.strip(), said=said, control=tuple(control), data=tuple(data))


def _active(what: ex.Transfer) -> list[str]:
    """Return a client that has the server connect, and insists on what RFC 959 promises of that connection."""
    settings = {
        "ftp:passive-mode": "no",
        "ftp:verify-address": "yes",
        "ftp:verify-port": "yes",
        "net:max-retries": "1",
        "net:timeout": f"{what.timeout_s:g}",
    }
    said = "; ".join(f"set {key} {value}" for key, value in settings.items())
    return ["lftp", "--norc", "-c", f"{said}; open -p {what.port} {what.address}; cat {what.file}"]


def _passive(what: ex.Transfer) -> list[str]:
    url = f"ftp://{what.address}:{what.port}/{what.file}"
    return ["curl", "-q", "-sS", "--ftp-pasv", "-m", f"{what.timeout_s:g}", url]


def _begins(packet: bytes) -> ex.Begun | None:
    """Return the connection whose first packet this is."""
    start = (packet[0] & 15) * 4
    if packet[9] != _TCP or len(packet) < start + 14 or packet[start + 13] & (_SYN | _ACK) != _SYN:
        return None
    ports = struct.unpack_from("!HH", packet, start)
    return ex.Begun(socket.inet_ntoa(packet[12:16]), ports[0], socket.inet_ntoa(packet[16:20]), ports[1])
