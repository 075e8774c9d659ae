"""The servers inside nodes, which tell every client what they saw of it.

``http`` and ``https`` answer any path, ``tcp`` and ``udp`` every line, with the same JSON: the node,
the client's address and port as the server sees them, and its own. For health probes that must fail,
the path ``/status/503`` is answered with that status, or any other, and ``/silence`` never. ``dns`` answers
``myip.opendns.com`` with the source of the query (Outbound connections, 2017-05-31). ``ssh`` is the system's own
sshd, which
names its peer in a log (Source IP of outbound flows, 2018-12-11). ``ftp`` is a process of its own for each service.
All of them take
sockets that its caller opened, so one process serves any number of namespaces.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import dnslib
import h11

from lab.azure.places import MY_ADDRESS
from lab.kernel import daemons, netns

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
#: Names of one resolver, lower case, with their address.
Names = Mapping[str, str]

_TTL_S = 5
#: A common name has up to 64 characters (RFC 5280, ub-common-name), and the port needs six of them.
_NODE_IN_SUBJECT = 58
_LINE = 65536


def sighting(node: str, client: tuple[str, int], server: tuple[str, int]) -> bytes:
    """Return what a server tells its client, as one line of JSON."""
    seen = {
        "node": node,
        "client_address": client[0],
        "client_port": client[1],
        "server_address": server[0],
        "server_port": server[1],
    }
    return json.dumps(seen).encode() + b"\n"


def _ends(writer: asyncio.StreamWriter) -> tuple[tuple[str, int], tuple[str, int]]:
    return writer.get_extra_info("peername")[:2], writer.get_extra_info("sockname")[:2]


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> Any:
    try:
        yield
    except (ConnectionError, TimeoutError, h11.RemoteProtocolError, ssl.SSLError):
        pass  # the client went away or spoke no HTTP; no peer is left to tell
    finally:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.close()
            await writer.wait_closed()


def tcp(node: str) -> Handler:
    """Return a handler that answers the connection, and then every line of it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            line = sighting(node, *_ends(writer))
            writer.write(line)
            while await reader.read(_LINE):
                writer.write(line)
                await writer.drain()

    return handle


def _status(target: bytes) -> int | None:
    """Return the status that a path asks for, None for silence."""
    path = target.partition(b"?")[0]
    if path == b"/silence":
        return None
    match = re.fullmatch(rb"/status/([2-5]\d\d)", path)
    return int(match[1]) if match else 200


def http(node: str) -> Handler:
    """Return a handler that answers every request, whatever its method and path, unless it asks for silence."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            connection = h11.Connection(h11.SERVER)
            body = sighting(node, *_ends(writer))
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(_LINE))
                elif isinstance(event, h11.Request):
                    status = _status(event.target)
                    bare = event.method == b"HEAD" or status in (204, 304)  # these have no body (RFC 9110)
                elif isinstance(event, h11.EndOfMessage):
                    if status is None:
                        await reader.read()  # until the client gives up
                        return
                    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
                    answer = connection.send(h11.Response(status_code=status, headers=headers)) or b""
                    if not bare:
                        answer += connection.send(h11.Data(data=body)) or b""
                        answer += connection.send(h11.EndOfMessage()) or b""
                    writer.write(answer)  # at once: a second segment would wait for the client's delayed ACK
                    await writer.drain()
                    if bare or connection.our_state is h11.MUST_CLOSE:
                        return
                    connection.start_next_cycle()
                elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    return

    return handle


class Udp(asyncio.DatagramProtocol):
    """Answers every datagram."""

    def __init__(self, node: str) -> None:
        self.node = node

    def connection_made(self, transport: Any) -> None:
        """Keep the way back."""
        self.transport = transport

    def datagram_received(self, _data: bytes, client: tuple[str, int]) -> None:
        """Answer one datagram."""
        self.transport.sendto(sighting(self.node, client, self.transport.get_extra_info("sockname")), client)


# --- names ------------------------------------------------------------------------------------


def answer(query: bytes, client: str, names: Names, *, tells_source: bool) -> bytes | None:
    """Return the answer to a DNS message, None to what is not a query.

    ``tells_source``: answer ``myip.opendns.com`` with the address of the client. Names of
    ``names`` are answered with an A record, and with nothing to other types; others do not exist.
    """
    try:
        request = dnslib.DNSRecord.parse(query)
    except dnslib.DNSError:
        return None
    if not request.questions or request.header.qr:
        return None
    name = str(request.q.qname).rstrip(".").lower()
    reply = request.reply(aa=1, ra=1)
    address = client if tells_source and name == MY_ADDRESS else names.get(name)
    if address is None:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    elif request.q.qtype in (dnslib.QTYPE.A, dnslib.QTYPE.ANY):
        reply.add_answer(dnslib.RR(request.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(address), ttl=_TTL_S))
    return bytes(reply.pack())


class DnsUdp(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, names: Callable[[], Names], *, tells_source: bool) -> None:
        self.names = names
        self.tells_source = tells_source

    def connection_made(self, transport: Any) -> None:
        """Keep the way back."""
        self.transport = transport

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        """Answer one query."""
        reply = answer(data, client[0], self.names(), tells_source=self.tells_source)
        if reply is not None:
            self.transport.sendto(reply, client)


def dns_tcp(names: Callable[[], Names], *, tells_source: bool) -> Handler:
    """Return a handler for DNS over TCP (RFC 1035, 4.2.2: two bytes of length before each message)."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            try:
                while True:
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    query = await reader.readexactly(length)
                    client = writer.get_extra_info("peername")[0]
                    reply = answer(query, client, names(), tells_source=tells_source)
                    if reply is None:
                        return
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
            except asyncio.IncompleteReadError:
                return

    return handle


# --- TLS --------------------------------------------------------------------------------------


class Certificates:
    """A certificate authority of one lab, made on first use; its certificate is left for clients."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._authority: Any = None

    def context(self, node: str, address: str, port: int) -> ssl.SSLContext:
        """Return the TLS context of a node's server, with a certificate for its name and address.

        The subject is ``node:port``: each server has a certificate of its own, by which a client knows it.
        """
        import trustme  # noqa: PLC0415 - only labs with an https service need it

        if self._authority is None:
            self._authority = trustme.CA(organization_name="lab")
            self._authority.cert_pem.write_to_path(str(self.file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        subject = f"{node[:_NODE_IN_SUBJECT]}:{port}"
        try:
            certificate = self._authority.issue_cert(node, address, common_name=subject)
        except UnicodeError:  # no name that DNS allows, as those of role instances
            certificate = self._authority.issue_cert(address, common_name=subject)
        certificate.configure_cert(context)
        return context


# --- ssh --------------------------------------------------------------------------------------

_SSHD_CONFIG = """\
# No user may log in: the log is what this server is for.
HostKey /run/ssh_host_key
PidFile none
UsePAM no
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile none
LogLevel VERBOSE
"""


_SYSTEM_SSHD = Path("/usr/sbin/sshd")


def find_sshd() -> Path | None:
    """Return the system's sshd, or the one that was unpacked beside the virtual environment's libraries."""
    for path in (_SYSTEM_SSHD, Path(sys.prefix) / "lib/lab-sshd/usr/sbin/sshd"):
        if path.exists():
            return path
    return None


def _passwd_with_sshd() -> str:
    """Return the machine's users and the one that sshd changes to before anybody has logged in."""
    users = Path("/etc/passwd").read_text()
    return users if "\nsshd:" in users else users + "sshd:x:65522:65534::/run/sshd:/usr/sbin/nologin\n"


class Sshd:
    """Starts one sshd for each connection, in its node's namespace, and writes what it says as auth.log does."""

    def __init__(self, host_key: str) -> None:
        self.host_key = host_key
        self.running: set[asyncio.Task[None]] = set()

    def serve(self, listener: socket.socket, namespace: str, node: str, log: Path) -> None:
        """Accept connections of a listening socket from now on."""
        loop = asyncio.get_running_loop()

        def accept() -> None:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection, _ = listener.accept()
                task = loop.create_task(self._serve_one(connection, namespace, node, log))
                self.running.add(task)
                task.add_done_callback(self.running.discard)

        loop.add_reader(listener, accept)

    async def _serve_one(self, connection: socket.socket, namespace: str, node: str, log: Path) -> None:
        sshd = find_sshd()
        if sshd is None:
            connection.close()
            daemons.say(node, "no sshd on this machine; run `lab doctor`")
            return
        passwd = _passwd_with_sshd()
        config = _SSHD_CONFIG
        for option, program in (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")):
            # Newer servers are three programs; where ours is unpacked, the other two lie beside it.
            path = sshd.parents[2] / "usr/lib/openssh" / program
            if sshd != _SYSTEM_SSHD and path.exists():
                config += f"{option} {path}\n"

        us = os.getpid()

        def inside() -> None:
            netns.end_with_parent(us)
            netns.enter(namespace)
            netns.own_files(node, Path("/run"), {"/etc/passwd": passwd})
            Path("/run/sshd").mkdir(mode=0o755)
            Path("/run/sshd_config").write_text(config)
            key = Path("/run/ssh_host_key")
            key.touch(mode=0o600)
            key.write_text(self.host_key)

        connection.setblocking(True)
        process = daemons.serve([str(sshd), "-i", "-e", "-f", "/run/sshd_config"], connection.fileno(), inside)
        connection.close()
        assert process.stderr is not None
        said = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), process.stderr)
        try:
            while line := await said.readline():
                stamp = time.strftime("%b %e %H:%M:%S")
                text = line.decode(errors="replace").rstrip()
                with log.open("a") as file:
                    file.write(f"{stamp} {node} sshd[{process.pid}]: {text}\n")
        finally:
            transport.close()
            process.terminate()
            process.wait()


def make_host_key(folder: Path) -> str:
    """Return a new host key of sshd, as text; nothing of it is left on disk."""
    file = folder / "ssh_host_key.tmp"
    file.unlink(missing_ok=True)
    done = daemons.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(file)])
    if done.status != 0:
        raise OSError(f"ssh-keygen: {done.stderr.strip()}")
    key = file.read_text()
    file.unlink()
    file.with_name(file.name + ".pub").unlink(missing_ok=True)
    return key


# --- ftp --------------------------------------------------------------------------------------

#: What an ftp service has to give.
FTP_FILE = "lab.json"


def ftp(listener: socket.socket, namespace: str, node: str, folder: Path, log: Path) -> daemons.Attended:
    """Hand a listening socket to an FTP server of its own process: its data connections begin in the node's namespace.

    Every user may read ``folder``, which holds one file that names the node; no user may write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FTP_FILE).write_text(json.dumps({"node": node}) + "\n")
    command = [sys.executable, "-P", "-m", "lab.agent.ftp", str(folder)]
    served = daemons.attend(command, log, {}, lambda: netns.enter(namespace), stdin=listener.fileno())
    listener.close()
    return served
