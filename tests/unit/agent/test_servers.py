"""lab/agent/servers.py: what servers tell of their clients; names; over real sockets of the loopback interface."""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dnslib
import pytest

from lab.agent import servers
from lab.agent.servers import Handler, answer

_NAMES = {"web": "10.1.0.4"}


def ask(name: str, kind: str = "A", *, tells: bool = False) -> Any:
    """Return the parsed answer to a question that comes from 40.1.1.1."""
    reply = answer(bytes(dnslib.DNSRecord.question(name, kind).pack()), "40.1.1.1", _NAMES, tells_source=tells)
    assert reply is not None
    return dnslib.DNSRecord.parse(reply)


def found(reply: Any) -> tuple[str, list[str]]:
    return dnslib.RCODE[reply.header.rcode], [str(record.rdata) for record in reply.rr]


@pytest.mark.parametrize("name", ["web", "web.", "WEB"])
def test_a_name_is_answered_with_its_address_whatever_its_case(name: str) -> None:
    assert found(ask(name)) == ("NOERROR", ["10.1.0.4"])


def test_a_name_that_is_not_known_does_not_exist() -> None:
    assert found(ask("nobody")) == ("NXDOMAIN", [])


@pytest.mark.parametrize(("kind", "addresses"), [("A", ["10.1.0.4"]), ("ANY", ["10.1.0.4"]), ("AAAA", []), ("MX", [])])
def test_a_known_name_has_an_address_and_nothing_of_other_types(kind: str, addresses: list[str]) -> None:
    """Not NXDOMAIN: that would say that the name has no address either."""
    assert found(ask("web", kind)) == ("NOERROR", addresses)


def test_myip_is_answered_with_the_source_of_the_query_by_who_tells_sources_alone() -> None:
    """Outbound connections, 2017-05-31, discovering the public IP."""
    assert found(ask("myip.opendns.com", tells=True)) == ("NOERROR", ["40.1.1.1"])
    assert found(ask("MyIP.OpenDNS.com", tells=True)) == ("NOERROR", ["40.1.1.1"])
    assert found(ask("myip.opendns.com", tells=False)) == ("NXDOMAIN", [])


def test_an_answer_belongs_to_its_question() -> None:
    question = dnslib.DNSRecord.question("web")
    reply = answer(bytes(question.pack()), "40.1.1.1", _NAMES, tells_source=False)
    assert reply is not None
    parsed = dnslib.DNSRecord.parse(reply)
    assert (parsed.header.id, parsed.header.qr, parsed.q) == (question.header.id, 1, question.q)


@pytest.mark.parametrize(
    "message",
    [b"", b"hello", b"\0" * 12, bytes(dnslib.DNSRecord.question("web").reply().pack())],
    ids=["nothing", "words", "no question", "an answer"],
)
def test_what_is_no_query_has_no_answer(message: bytes) -> None:
    assert answer(message, "40.1.1.1", _NAMES, tells_source=True) is None


# --- over sockets -----------------------------------------------------------------------------


def served(handler: Handler, talk: Callable[[int], Awaitable[Any]], tls: ssl.SSLContext | None = None) -> Any:
    """Return what a client, given the port, brings back from a server on the loopback interface."""

    async def run() -> Any:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.wait_for(talk(port), 5), port

    return asyncio.run(run())


async def said_to(port: int, message: bytes, *, tls: ssl.SSLContext | None = None) -> tuple[bytes, int]:
    """Return all that a server says to a message, and the port it was said to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="web" if tls else None)
    own = writer.get_extra_info("sockname")[1]
    writer.write(message)
    if not tls:
        writer.write_eof()
    answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered, own


def sighting(client_port: int, server_port: int) -> dict[str, Any]:
    return {
        "node": "web", "client_address": "127.0.0.1", "client_port": client_port,
        "server_address": "127.0.0.1", "server_port": server_port,
    }  # fmt: skip


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST /any/path?x=1 HTTP/1.1", b"GET / HTTP/1.0"])
def test_http_answers_any_path_and_method_with_what_it_saw(request_line: bytes) -> None:
    message = request_line + b"\r\nHost: web\r\nConnection: close\r\n\r\n"
    (answered, own), port = served(servers.http("web"), lambda port: said_to(port, message))
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 200 "
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == sighting(own, port)


def test_http_answers_one_request_after_another_on_a_connection() -> None:
    message = b"GET /1 HTTP/1.1\r\nHost: web\r\n\r\nGET /2 HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
    (answered, _), _ = served(servers.http("web"), lambda port: said_to(port, message))
    assert answered.count(b"HTTP/1.1 200") == answered.count(b'"node": "web"') == 2


def test_http_answers_head_without_a_body() -> None:
    message = b"HEAD / HTTP/1.1\r\nHost: web\r\n\r\n"
    (answered, _), _ = served(servers.http("web"), lambda port: said_to(port, message))
    assert answered.endswith(b"\r\n\r\n")
    assert b"Content-Length: " in answered


def test_http_reads_a_body_to_its_end_before_it_answers() -> None:
    message = b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n" + b"x" * 200_000
    (answered, own), port = served(servers.http("web"), lambda port: said_to(port, message))
    assert json.loads(answered.partition(b"\r\n\r\n")[2]) == sighting(own, port)


@pytest.mark.parametrize(
    "message", [b"", b"\x16\x03\x01 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n"]
)
def test_http_says_nothing_to_who_speaks_no_http_and_closes(message: bytes) -> None:
    (answered, _), _ = served(servers.http("web"), lambda port: said_to(port, message))
    assert answered == b""


@pytest.mark.parametrize(("path", "status"), [("/status/503", 503), ("/status/201?x", 201), ("/status/204", 204)])
def test_http_answers_with_the_status_that_a_path_asks_for(path: str, status: int) -> None:
    message = f"GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode()
    (answered, _), _ = served(servers.http("web"), lambda port: said_to(port, message))
    assert answered.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b'"node": "web"' in answered) == (status != 204)


@pytest.mark.parametrize("path", ["/status/99", "/status/600", "/status/", "/status/503/x"])
def test_a_path_that_asks_for_no_status_is_answered_as_any_other(path: str) -> None:
    message = f"GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode()
    (answered, _), _ = served(servers.http("web"), lambda port: said_to(port, message))
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_http_never_answers_who_asks_for_silence_and_closes_when_the_client_does() -> None:
    message = b"GET /silence HTTP/1.1\r\nHost: web\r\n\r\n"
    (answered, _), _ = served(servers.http("web"), lambda port: said_to(port, message))
    assert answered == b""


def test_https_presents_a_certificate_for_its_name_that_the_labs_authority_signed(tmp_path: Path) -> None:
    authority = servers.Certificates(tmp_path / "ca.pem")
    tls = authority.context("web", "127.0.0.1", 443)
    message = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"

    async def talk(port: int) -> tuple[bytes, int]:
        return await said_to(port, message, tls=ssl.create_default_context(cafile=str(tmp_path / "ca.pem")))

    (answered, own), port = served(servers.http("web"), talk, tls)
    assert json.loads(answered.partition(b"\r\n\r\n")[2]) == sighting(own, port)


def _certificate(authority: servers.Certificates, node: str, port: int, *, checked: bool = True) -> dict[str, Any]:
    """Return the certificate that a verifying client is shown."""

    async def talk(listening: int) -> dict[str, Any]:
        tls = ssl.create_default_context(cafile=str(authority.file))
        tls.check_hostname = checked
        name = node if checked else ""
        _, writer = await asyncio.open_connection("127.0.0.1", listening, ssl=tls, server_hostname=name)
        shown: dict[str, Any] = writer.get_extra_info("peercert")
        writer.close()
        await writer.wait_closed()
        return shown

    shown, _ = served(servers.http(node), talk, authority.context(node, "127.0.0.1", port))
    return shown


def _common_name(certificate: dict[str, Any]) -> str:
    return dict(pair for names in certificate["subject"] for pair in names)["commonName"]


def test_each_https_server_of_a_node_has_a_certificate_of_its_own_that_names_its_port(tmp_path: Path) -> None:
    """Multiple VIPs, 2015-07-23: several sites on one VM, each with its certificate."""
    authority = servers.Certificates(tmp_path / "ca.pem")
    first, second = (_certificate(authority, "web", port) for port in (8443, 8444))
    assert (_common_name(first), _common_name(second)) == ("web:8443", "web:8444")
    assert first["serialNumber"] != second["serialNumber"]
    assert first["issuer"] == second["issuer"]


@pytest.mark.parametrize(
    ("node", "subject"), [("WebRole1_IN_0", "WebRole1_IN_0:443"), ("x" * 63, "x" * 58 + ":443"), ("a..b", "a..b:443")]
)
def test_a_node_whose_name_is_none_that_dns_allows_has_a_certificate_for_its_address(
    tmp_path: Path, node: str, subject: str
) -> None:
    """An instance of a role has an underscore in its name; a common name has 64 characters at most."""
    shown = _certificate(servers.Certificates(tmp_path / "ca.pem"), node, 443, checked=False)
    assert _common_name(shown) == subject
    assert ("IP Address", "127.0.0.1") in shown["subjectAltName"]


def test_tcp_tells_what_it_saw_at_once_and_again_for_every_line() -> None:
    async def talk(port: int) -> tuple[list[bytes], int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [await reader.readline()]
        writer.write(b"again\n")
        lines.append(await reader.readline())
        own = writer.get_extra_info("sockname")[1]
        writer.close()
        await writer.wait_closed()
        return lines, own

    (lines, own), port = served(servers.tcp("web"), talk)
    assert [json.loads(line) for line in lines] == [sighting(own, port)] * 2


def test_dns_over_tcp_answers_one_query_after_another_each_with_its_length() -> None:
    """RFC 1035, 4.2.2."""
    query = bytes(dnslib.DNSRecord.question("web").pack())
    framed = len(query).to_bytes(2, "big") + query
    handler = servers.dns_tcp(lambda: _NAMES, tells_source=False)
    (answered, _), _ = served(handler, lambda port: said_to(port, framed * 2))
    length = int.from_bytes(answered[:2], "big")
    assert len(answered) == 2 * (2 + length)
    assert found(dnslib.DNSRecord.parse(answered[2 : 2 + length])) == ("NOERROR", ["10.1.0.4"])


def test_dns_over_tcp_closes_on_what_is_no_query() -> None:
    handler = servers.dns_tcp(lambda: _NAMES, tells_source=False)
    (answered, _), _ = served(handler, lambda port: said_to(port, b"\0\5hello"))
    assert answered == b""


def answered_datagram(protocol: asyncio.DatagramProtocol, message: bytes) -> tuple[bytes, int, int]:
    """Return the answer to a datagram, the port it was sent from and the server's."""

    async def run() -> tuple[bytes, int, int]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(transport.get_extra_info("sockname"))
            await loop.sock_sendall(client, message)
            reply = await asyncio.wait_for(loop.sock_recv(client, 65536), 5)
            ports = client.getsockname()[1], client.getpeername()[1]
        transport.close()
        return reply, *ports

    return asyncio.run(run())


def test_udp_answers_every_datagram_with_what_it_saw() -> None:
    reply, own, port = answered_datagram(servers.Udp("web"), b"who am I?")
    assert json.loads(reply) == sighting(own, port)


def test_dns_over_udp_tells_the_source_of_the_query() -> None:
    query = bytes(dnslib.DNSRecord.question("myip.opendns.com").pack())
    reply, _, _ = answered_datagram(servers.DnsUdp(dict, tells_source=True), query)
    assert found(dnslib.DNSRecord.parse(reply)) == ("NOERROR", ["127.0.0.1"])
