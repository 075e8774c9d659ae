"""`lab service redeploy` on a running lab: fewer ports while it lasts, and as many as before however it ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.kernel.state import StateDir
from lab.plan import SnatPool
from tests import rootlab

pytestmark = pytest.mark.root

SOON, NEVER = "1", "36000"  # seconds that one lasts which is waited for, and one that is not
#: Holds flows to one destination, which their node's kernel keeps alive; says from which ports they were seen, and
#: whenever it is asked, on which of these there is still an answer. Silence is listened to for a while.
_HOLD = """\
import json, select, socket, sys
flows = {}
for _ in range(100):
    flow = socket.create_connection(("198.51.100.20", 443), 20)
    flow.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
        flow.setsockopt(socket.IPPROTO_TCP, option, 1)
    flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 100)
    flows[flow] = json.loads(flow.recv(4096))["client_port"]
for _ in sys.stdin:
    print(*sorted(flows.values()), flush=True)
    sys.stdin.readline()
    for flow in flows:
        flow.sendall(b"more\\n")
    answered = set()
    while ready := select.select(flows.keys() - answered, [], [], 2)[0]:
        answered |= {flow for flow in ready if flow.recv(4096)}
    flows = {flow: flows[flow] for flow in answered}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    text = (rootlab.TOPOLOGIES / "snat-classic.lab.yaml").read_text()
    with rootlab.running(tmp_path_factory.mktemp("redeployed"), text.replace("\nname: snat-classic", "\nname: busy")):
        yield "busy"


def ports(lab: str, vm: str = "worker_IN_0") -> int:
    """Return how many SNAT ports an instance has."""
    (pool,) = (pool for pool in StateDir(lab).plan().of(SnatPool) if pool.node == vm)
    return sum(len(share) for share in pool.ranges)


def rules(lab: str) -> list[str]:
    """Return the rules of the load balancer, without counters and dates."""
    return rootlab.must(lab, "lb.vnet1", "iptables-legacy", "-t", "nat", "-S").splitlines()


def allocated(lab: str) -> set[int]:
    """Return how many ports the agent gives an instance that has flows, of each protocol."""
    used = json.loads(rootlab.ok("ports", lab, "worker_IN_0", "-o", "json"))["ports"]
    return {row["allocated"] for row in used}


def is_redeploying(lab: str) -> bool:
    return bool(json.loads(rootlab.ok("service", "show", lab, "workers", "-o", "json"))["redeploying"])


@contextmanager
def redeploying(lab: str) -> Iterator["subprocess.Popen[str]"]:
    """Have the command run, as far as to when it lasts."""
    command = [sys.executable, "-P", "-m", "lab", "service", "redeploy", lab, "workers", "--hold", NEVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline().startswith(f"{lab}: service redeploy workers: ")
            said = process.stderr.readline()
            assert said == f"{lab}: workers: 36000 s is 600 s; 26 VMs, counted twice for SNAT ports\n"
            yield process
        finally:
            process.terminate()
            process.communicate()


def test_a_redeployment_lasts_as_long_as_it_is_told_and_is_over(lab: str):
    done = rootlab.run("service", "redeploy", lab, "workers", "--hold", SOON, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["OperationStatus"]) == (0, "Succeeded")
    assert (is_redeploying(lab), ports(lab)) == (False, 1024)


def test_an_interrupted_redeployment_is_over(lab: str):
    before = (rules(lab), StateDir(lab).plan(), StateDir(lab).network_file.read_bytes())
    with redeploying(lab) as process:
        assert (is_redeploying(lab), ports(lab)) == (True, 512)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted; what was begun is over")
    assert (rules(lab), StateDir(lab).plan(), StateDir(lab).network_file.read_bytes()) == before


def test_what_is_redeployed_already_is_refused_and_goes_on(lab: str):
    with redeploying(lab):
        done = rootlab.run("service", "redeploy", lab, "workers")
        assert (done.returncode, "is being redeployed already" in done.stderr) == (2, True)
        assert (is_redeploying(lab), ports(lab)) == (True, 512)
    assert (is_redeploying(lab), ports(lab)) == (False, 1024)


def test_flows_live_on_whose_ports_are_in_the_half_that_stays(lab: str):
    """As when a pool grows into the next tier: those whose ports are reclaimed are lost."""
    with rootlab.talking(lab, "worker_IN_0", _HOLD) as said:
        began = [int(port) for port in said("which?").split()]
        assert len(began) == 100
        with redeploying(lab):
            assert allocated(lab) == {512}
            said_now = said("use them\nwhich?")
        assert [int(port) for port in said_now.split()] == [port for port in began if port <= 1536]
        assert said("use them\nwhich?") == said_now
