"""Real clients against real servers, as a program in the node would run them."""

import http.client
import json
import re
import socket
import ssl
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from lab.errors import LabError
from lab.kernel import daemons, netns
from lab.kernel.apply import node_files
from lab.kernel.state import StateDir
from lab.plan import HealthCheck, namespace
from lab.verify import experiment as ex
from lab.verify.probe import commands
from lab.verify.probe.packets import inside

#: How long a busy machine may take for what is on its way: in all, and to write a line down.
_LATE_S, _LOG_S = 30.0, 10.0
_LOOK_S = 0.2


def ask(lab: str, what: ex.Ask) -> ex.Answers:
    """Talk to a real server, several times at once."""
    with ThreadPoolExecutor(min(16, what.count)) as pool:
        return ex.Answers(answers=tuple(pool.map(lambda _: _ask_once(lab, what), range(what.count))))


def _ask_once(lab: str, what: ex.Ask) -> ex.Answer:
    kind = socket.SOCK_DGRAM if what.kind == "udp" else socket.SOCK_STREAM
    with inside(lab, what.client):
        opened = socket.socket(socket.AF_INET, kind)
    try:
        opened.settimeout(what.timeout_s)
        opened.bind(("", what.source_port))
        opened.connect((what.address, what.port))
        if what.kind == "connect":
            return ex.Answer("answered")
        shown: dict[str, str] = {}
        if what.kind == "https":
            opened = _encrypted(lab, opened)
            shown = _certificate(opened)
        text = _converse(opened, what)
        return msgspec.convert({"outcome": "answered", **json.loads(text), **shown}, ex.Answer)
    except TimeoutError:
        return ex.Answer("timeout")
    except (ConnectionRefusedError, ConnectionResetError):
        return ex.Answer("refused")
    except (http.client.HTTPException, json.JSONDecodeError, msgspec.ValidationError, ssl.SSLError) as error:
        raise LabError(f"{what.address}:{what.port} answers, but not as {what.kind}: {error}") from None
    finally:
        opened.close()


def _encrypted(lab: str, opened: socket.socket) -> ssl.SSLSocket:
    """Speak TLS with a server whose certificate the lab's authority must have signed."""
    context = ssl.create_default_context(cafile=StateDir(lab).certificate_file)
    context.check_hostname = False  # which server answers is what is asked
    return context.wrap_socket(opened)


def _certificate(opened: ssl.SSLSocket) -> dict[str, str]:
    """Return who the server says it is."""
    # Each is there once the server was verified.
    shown: Any = opened.getpeercert() or {}
    subject = {key: value for names in shown["subject"] for key, value in names}
    encoded = opened.getpeercert(binary_form=True) or b""
    return {"subject": subject["commonName"], "fingerprint": sha256(encoded).hexdigest()}


def _converse(opened: socket.socket, what: ex.Ask) -> bytes:
    if what.kind == "udp":
        opened.send(b"who am I?\n")
        return opened.recv(65536)
    if what.kind == "tcp":
        with opened.makefile("rb") as stream:
            return stream.readline()
    connection = http.client.HTTPConnection(what.address, what.port)
    connection.sock = opened
    connection.request("GET", "/")
    return connection.getresponse().read()


def login(lab: str, what: ex.Login) -> ex.AuthLog:
    """Run ssh; no user may log in, but the server names its peer."""
    log = StateDir(lab).log / f"{what.host}.auth.log"
    size = log.stat().st_size if log.exists() else 0
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=10"]
    command = ["ssh", "-F", "none", *(word for option in options for word in ("-o", option))]
    # Run to its end; the log is complete once the server has seen the connection close.
    daemons.run(
        [*command, "-p", str(what.port), f"guest@{what.address}", "true"],
        inside=lambda: netns.enter(namespace(lab, what.client)),
        timeout_s=_LATE_S,
    )
    lines: list[str] = []
    end = time.monotonic() + _LOG_S
    while not any("Connection closed" in line for line in lines) and time.monotonic() < end:
        lines = log.read_bytes()[size:].decode(errors="replace").splitlines() if log.exists() else []
        time.sleep(0.01)
    peers = [match[1] for line in lines if (match := re.search(r"Connection from (\S+) port \d+", line))]
    return ex.AuthLog(lines=tuple(lines), peers=tuple(dict.fromkeys(peers)))


def lookup(lab: str, what: ex.Lookup) -> ex.Names:
    """Run nslookup with the node's own resolver."""
    folder = StateDir(lab)
    files = node_files(folder.plan(), what.client)

    def become() -> None:
        netns.enter(namespace(lab, what.client))
        netns.own_files(what.client, folder.own, files)

    done = daemons.run(
        ["nslookup", "-timeout=2", "-retry=1", what.name, *filter(None, (what.server,))], inside=become, timeout_s=15
    )
    # The first address is the server's own; what follows the blank line is the answer.
    answer = done.stdout.partition("\n\n")[2]
    return ex.Names(addresses=tuple(re.findall(r"^Address: (\S+)$", answer, re.MULTILINE)), said=done.stdout)


def health(lab: str, what: ex.Health) -> ex.Members:
    """Wait for the agent's judgement of every member of the plan, and for members to be as wanted."""
    folder = StateDir(lab)
    named = {*what.up, *what.down}
    checks = [check for check in folder.plan().of(HealthCheck) if not named or check.key in named]
    longest = 2 * max((check.slowest_s for check in checks), default=0.0) + _LATE_S
    wanted = {**dict.fromkeys(what.up, True), **dict.fromkeys(what.down, False)}
    known, unsettled = folder.wait_health(deadline_s=longest, wanted=wanted)
    if unsettled and not wanted:
        raise LabError(f"members not judged after {longest:g} s: {', '.join(unsettled)}")
    up = tuple(sorted(key for key, member in known.items() if member.up))
    return ex.Members(
        up=up,
        down={key: member.reason for key, member in sorted(known.items()) if not member.up},
        since={key: member.since for key, member in sorted(known.items())},
    )


def probe_log(lab: str, what: ex.ProbeLog) -> ex.Logged:
    """Run ``lab events --probes`` until it has new records of every frontend's port."""
    end = time.monotonic() + what.deadline_s
    before: Counter[tuple[str, str]] | None = None
    while True:
        done = commands.lab("events", lab, "--probes", "-o", "json")
        if done.status != 0:
            raise LabError(done.stderr.strip())
        # Whatever the list of records and its keys are called: that is for a claim to judge.
        (records,) = json.loads(done.stdout).values()
        properties = [record.get("properties", {}) for record in records]
        found = Counter((str(p.get("publicIpAddress")), str(p.get("port"))) for p in properties)
        before = found if before is None else before
        there = all(number - before[of] >= what.records for of, number in found.items())
        if (found and there) or time.monotonic() > end:
            return ex.Logged(text=done.stdout, before=before.total())
        time.sleep(_LOOK_S)


def counted(lab: str) -> ex.PublicAddresses:
    """Run ``lab show``."""
    return ex.PublicAddresses(addresses=tuple(commands.lab_json("show", lab)["public_addresses"]))


def check_file(what: ex.CheckFile) -> ex.Checked:
    """Run ``lab check`` on a text."""
    with tempfile.NamedTemporaryFile("w", suffix=".lab.yaml") as file:
        file.write(what.text)
        file.flush()
        done = commands.lab("check", file.name)
        said = (done.stdout + done.stderr).replace(file.name, Path(file.name).suffixes[-2].lstrip(".") + ".yaml")
    return ex.Checked(status=done.status, said=said.strip())


def run(lab: str, what: ex.Run) -> ex.Checked:
    """Run the command line."""
    with tempfile.NamedTemporaryFile("w", suffix=what.suffix) as file:
        file.write(what.text)
        file.flush()
        words = [word.format(file=file.name, lab=lab) for word in what.words]
        began = time.time()
        done = commands.lab(*words)
        said = (done.stdout + done.stderr).replace(file.name, f"file{what.suffix}")
    return ex.Checked(status=done.status, said=said.strip(), began=began, ended=time.time())
