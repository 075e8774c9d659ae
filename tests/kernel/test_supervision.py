"""What is killed is back by itself, with its state from the kernel, and what it did not carry itself goes on."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import apply, daemons, netns
from lab.kernel.state import StateDir
from lab.plan import namespace
from tests import rootlab

pytestmark = pytest.mark.root

_SERVE = """
import socket
with socket.create_server(("", 7777)) as listening:
    print("ready", flush=True)
    while True:
        peer, _ = listening.accept()
        with peer, peer.makefile("rw") as stream:
            for line in stream:
                stream.write(line)
                stream.flush()
"""
_TALK = """
import socket, sys
with socket.create_connection((sys.stdin.readline().strip(), 7777), timeout=10) as peer, peer.makefile("rw") as stream:
    for line in sys.stdin:
        stream.write(line)
        stream.flush()
        print(stream.readline(), end="", flush=True)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    text = (rootlab.TOPOLOGIES / "vnet-to-vnet.lab.yaml").read_text().replace("name: vnet-to-vnet", "name: kept")
    assert "services: [http:80]" in text
    text = text.replace("services: [http:80]", "services: [http:80, ftp:21, ssh:22]", 1)
    with rootlab.running(tmp_path_factory.mktemp("kept"), text) as name:
        rootlab.wait_until(lambda: states(name) == ["Connected"] * 2, "the tunnel", lambda: states(name))
        yield name


def states(name: str) -> list[str]:
    return [t.state for g in StateDir(name).tunnels().values() for t in g.tunnels.values()]


def agent(name: str) -> daemons.Process:
    record = StateDir(name).read()
    assert record is not None
    assert record.agent is not None
    return record.agent


def kill(name: str) -> None:
    """Kill the agent, and wait until another serves."""
    before = agent(name)
    os.kill(before.pid, signal.SIGKILL)
    rootlab.wait_until(lambda: agent(name) != before and serves(name), "another agent serves")


def serves(name: str) -> bool:
    record, state = StateDir(name).read(), StateDir(name).agent_state()
    return (
        record is not None
        and daemons.alive(record.agent)
        and rootlab.inside(name, "vm1", "curl", "-s", "-m", "2", "http://10.2.0.4/").status == 0
        and state.problems == ()
    )


def restarted(name: str) -> dict[str, Any]:
    return {what: one["times"] for what, one in shown(name)["restarted"].items()}


def shown(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(rootlab.ok("show", name, "-o", "json"))
    return answer


def test_flows_of_users_go_on_when_the_agent_is_killed_and_tunnels_keep_their_daemons(lab: str):
    far = "198.51.100.10"
    with (
        rootlab.talking(lab, "vm2", _SERVE) as inner,
        rootlab.talking(lab, "far", _SERVE) as outer,
        rootlab.talking(lab, "vm1", _TALK) as tunnelled,
        rootlab.talking(lab, "vm1", _TALK) as translated,
    ):
        assert (inner(), outer()) == ("ready", "ready")
        assert tunnelled("10.2.0.4\none") == "one"
        assert translated(f"{far}\none") == "one"
        before = {place: (g.pid, g.starts) for place, g in StateDir(lab).tunnels().items()}
        carried = [t.egress for t in StateDir(lab).tunnels()["gw.VNet1"].tunnels.values()]
        kill(lab)
        assert tunnelled("two") == "two"
        assert translated("two") == "two"
        assert {place: (g.pid, g.starts) for place, g in StateDir(lab).tunnels().items()} == before
        assert states(lab) == ["Connected"] * 2
        rootlab.wait_until(
            lambda: [t.egress for t in StateDir(lab).tunnels()["gw.VNet1"].tunnels.values()] > carried,
            "bytes are counted on",
        )
        # The port that the live flow has is known to the agent, which gives it to no other.
        ports = json.loads(rootlab.ok("ports", lab, "-o", "json"))["ports"]
        assert [p["flows"] for p in ports if (p["node"], p["protocol"]) == ("vm1", "tcp")] == [1]
    assert restarted(lab) == {"agent": 1}
    assert "agent: had ended, and was started again 1 time, last at " in rootlab.ok("show", lab)


def test_a_killed_keeper_is_back_and_does_its_work(lab: str):
    before, times = apply.noted_process(StateDir(lab).keeper_file), restarted(lab)["agent"]
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)

    def kept() -> bool:
        now = apply.noted_process(StateDir(lab).keeper_file)
        return now != before and daemons.alive(now)

    rootlab.wait_until(kept, "another keeper")
    kill(lab)
    assert restarted(lab)["agent"] == times + 1


def test_a_killed_charon_ftp_server_and_sshd_are_back_and_shown(lab: str):
    folder = StateDir(lab)
    before = folder.tunnels()["gw.VNet1"].pid
    ftp = _of_program(f"/run/lab/{lab}/ftp/".encode())
    os.kill(before, signal.SIGKILL)
    for pid in ftp:
        os.kill(pid, signal.SIGKILL)
    with rootlab.talking(lab, "vm1", _SSH) as client:
        client("198.51.100.10")
        for pid in _of_program(b"sshd"):
            if _place(pid, lab, "far"):
                os.kill(pid, signal.SIGKILL)
    rootlab.wait_until(lambda: folder.tunnels()["gw.VNet1"].pid not in (0, before), "another charon")
    rootlab.wait_until(lambda: states(lab) == ["Connected"] * 2, "the tunnel", lambda: states(lab))
    rootlab.wait_until(lambda: "far ftp:21" in restarted(lab), "another FTP server", lambda: restarted(lab))
    assert {"far ftp:21": 1, "gw.VNet1 charon": 1}.items() <= restarted(lab).items()
    rootlab.must(lab, "vm1", "curl", "-sS", "-m", "10", "ftp://198.51.100.10/lab.json")
    with rootlab.talking(lab, "vm1", _SSH) as client:
        assert client("198.51.100.10").startswith("SSH-2.0")


def test_a_stopped_agent_is_told_at_once(lab: str):
    record = StateDir(lab).read()
    assert record is not None
    pid = agent(lab).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert f"the agent is stopped; `kill -CONT {pid}` lets it go on" in rootlab.ok("show", lab)
        for words in (("verify", record.file), ("up", record.file), ("ports", lab)):
            done = rootlab.run(*words)
            assert done.returncode == 3, done.stderr
            assert f"kill -CONT {pid}" in done.stdout + done.stderr
        assert time.monotonic() - began < _SOON_S
    finally:
        os.kill(pid, signal.SIGCONT)
    rootlab.wait_until(lambda: serves(lab), "it goes on")


#: Four commands, on a busy machine; without being told, one of them would wait for minutes.
_SOON_S = 30.0
_SSH = """
import socket
with socket.create_connection((input(), 22), timeout=10) as peer:
    print(peer.recv(100).decode().strip(), flush=True)
    input()
"""


def _of_program(word: bytes) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if word in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _place(pid: int, lab: str, place: str) -> bool:

    return (Path(f"/proc/{pid}/ns/net")).stat().st_ino == netns.path(namespace(lab, place)).stat().st_ino
