"""The operations of classic services on a running lab: what each does is looked at from the far side.

Everything happens while two flows live, one into a VM by its VIP and one out of it: no operation may end them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.kernel.record import Folder
from lab.plan import HealthCheck
from tests import rootlab

pytestmark = pytest.mark.root

VIP1, VIP2 = "191.238.74.148", "191.238.74.13"
TOPOLOGY = f"""\
name: classic
internet: {{far: {{address: 198.51.100.10, services: [http:80, tcp:7000]}}}}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines:
  myVM1: {{subnet: v/s, services: [http:8080, http:8181, tcp:9000]}}
  myVM2: {{subnet: v/s, services: [http:8080, http:8181]}}
  own: {{subnet: v/s, services: [http:80], instance_public_ip: {{name: ip}}}}
cloud_services:
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {{Vip1: {{address: {VIP1}}}, Vip2: {{address: {VIP2}}}}}
    endpoints:
      - {{name: echo, virtual_machine: myVM1, local_port: 9000, public_port: 90, virtual_ip: Vip1}}
overrides: {{time_scale: 15}}
"""
#: Says a line when it is told to, and prints who answers; a flow that is lost is a timeout.
_FLOW = """\
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as flow:
    lines = flow.makefile("rb")
    while True:
        said = json.loads(lines.readline())
        print(said["node"], said["client_address"], flush=True)
        sys.stdin.readline()
        flow.sendall(b"more\\n")
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("classic")
    with rootlab.running(folder, TOPOLOGY) as name:
        yield name, folder / f"{name}.lab.yaml"


@pytest.fixture
def lab(running: tuple[str, Path]) -> Iterator[str]:
    """Yield the lab as its file says; whatever a test did to it is undone by `up`."""
    name, file = running
    yield name
    rootlab.ok("up", file)


@contextmanager
def living(lab: str, place: str, address: str, port: int) -> Iterator[Callable[[], None]]:
    """Have a TCP flow live; yield what makes sure that it still does, and that the same two ends speak."""
    script = _FLOW.replace("sys.argv[1]", repr(address)).replace("sys.argv[2]", str(port))
    with rootlab.talking(lab, place, script) as said:
        first = said()
        assert first

        def lives() -> None:
            assert said("more") == first, f"the flow of {place} to {address}:{port} was lost"

        yield lives


def answer(lab: str, address: str, port: int = 80) -> tuple[object, object, object]:
    """Return which node and port answer the outside host, and the client's address that they see."""
    seen = rootlab.ask(lab, "far", f"http://{address}:{port}/")
    return seen["node"], seen["server_port"], seen["client_address"]


def silent(lab: str, address: str, port: int = 80) -> bool:
    """Tell whether nothing comes back: neither an answer nor a refusal."""
    return rootlab.inside(lab, "far", "curl", "-sS", "-m", "1", f"http://{address}:{port}/").status == 28


def seen_from(lab: str, vm: str) -> object:
    """Return the address that the outside host sees a VM with."""
    return rootlab.ask(lab, vm, "http://198.51.100.10/")["client_address"]


def vips(lab: str) -> dict[str, str]:
    shown = json.loads(rootlab.ok("service", "show", "myService", "--lab", lab, "-o", "json"))
    return {vip["Name"]: vip["Address"] for vip in shown["virtual_ips"]}


def state(lab: str) -> tuple[object, ...]:
    """Return all that a refused operation must leave as it is, to the byte."""
    folder = Folder(lab)
    files = (folder.network_file, folder.plan_file, folder.addresses_file, folder.record_file)
    return (*(file.read_bytes() for file in files), rootlab.world(lab))


def refused(lab: str, *arguments: str) -> str:
    before = state(lab)
    done = rootlab.run(*arguments, "--lab", lab)
    assert (done.returncode, done.stdout) == (2, ""), done
    rootlab.assert_same(str(before), str(state(lab)))
    return done.stderr


def balanced(lab: str, address: str, wanted: set[str]) -> Counter[object]:
    """Ask port 81 until every member has answered that should, and return who answered how often."""
    seen: Counter[object] = Counter()

    def asked() -> bool:
        for _ in range(8):
            done = rootlab.inside(lab, "far", "curl", "-sS", "-m", "2", f"http://{address}:81/")
            seen[json.loads(done.stdout)["node"] if done.status == 0 else "nobody"] += 1
        return wanted <= set(seen)

    rootlab.wait_until(asked, f"{address}:81 answered by {wanted}", lambda: dict(seen))
    return seen


def test_vips_and_endpoints_come_and_go_while_flows_live(lab: str):
    with living(lab, "far", VIP1, 90) as into, living(lab, "myVM1", "198.51.100.10", 7000) as out:
        printed = rootlab.ok("vip", "add", "myService", "Vip3", "--lab", lab).splitlines()
        assert printed[0].split() == ["OperationDescription", "OperationId", "OperationStatus"]
        description, guid, status = printed[1].split()
        assert (description, len(guid), status) == ("Add-AzureVirtualIP", 36, "Succeeded")
        assert vips(lab) == {"Vip1": VIP1, "Vip2": "", "Vip3": ""}
        assert silent(lab, VIP2)
        rootlab.ok("endpoint", "add", "myVM1", "myEndpoint", "--protocol", "tcp", "--local-port", "8080",
                   "--public-port", "80", "--virtual-ip", "Vip2", "--lab", lab)  # fmt: skip
        assert vips(lab) == {"Vip1": VIP1, "Vip2": VIP2, "Vip3": ""}
        assert answer(lab, VIP2) == ("myVM1", 8080, "198.51.100.10")
        assert silent(lab, VIP1)
        assert '1 endpoint ("myEndpoint" of myVM1)' in refused(lab, "vip", "remove", "myService", "Vip2")
        assert "the default VIP" in refused(lab, "vip", "remove", "myService", "Vip1")
        assert 'no VIP "Vip4"' in refused(
            lab, "endpoint", "add", "myVM1", "other", "--local-port", "1", "--virtual-ip", "Vip4"
        )
        assert answer(lab, VIP2) == ("myVM1", 8080, "198.51.100.10")
        rootlab.ok("endpoint", "set", "myVM1", "myEndpoint", "--public-port", "8888", "--lab", lab)
        assert answer(lab, VIP2, 8888) == ("myVM1", 8080, "198.51.100.10")
        assert silent(lab, VIP2)
        rootlab.ok("endpoint", "remove", "myVM1", "myEndpoint", "--lab", lab)
        assert silent(lab, VIP2, 8888)
        for vip in ("Vip2", "Vip3"):
            rootlab.ok("vip", "remove", "myService", vip, "--lab", lab)
        assert vips(lab) == {"Vip1": VIP1}
        into()
        out()


def test_a_set_moves_and_a_member_that_is_stopped_is_found_down(lab: str):
    member = ("--load-balanced-set", "myLBSet", "--local-port", "8181", "--lab", lab)
    with living(lab, "far", VIP1, 90) as into:
        rootlab.ok("endpoint", "add", "myVM1", "lb", *member, "--public-port", "81", "--virtual-ip", "Vip2",
                   "--probe-protocol", "tcp",
                   "--probe-interval-in-seconds", "5", "--probe-timeout-in-seconds", "11")  # fmt: skip
        rootlab.ok("endpoint", "add", "myVM2", "lb", *member)
        balanced(lab, VIP2, {"myVM1", "myVM2"})
        into()
        said = refused(lab, "endpoint", "set", "myVM2", "lb", "--idle-timeout-in-minutes", "15")
        assert 'idle_timeout_min of one member of the set "myLBSet"' in said
        rootlab.ok("endpoint", "move", "myService", "myLBSet", "Vip1", "--lab", lab)
        assert silent(lab, VIP2, 81)
        assert vips(lab) == {"Vip1": VIP1, "Vip2": ""}
        assert "nobody" not in balanced(lab, VIP1, {"myVM1", "myVM2"})
        into()

        rootlab.ok("vm", "stop", "myVM2", "--lab", lab)
        node = json.loads(rootlab.ok("show", lab, "myVM2", "-o", "json"))
        assert (node["power_state"], node["there"], node["address"]) == ("Stopped", False, "10.1.0.5")
        assert "myVM2   10.1.0.5" in rootlab.ok("show", lab)
        done = rootlab.run("exec", lab, "myVM2", "--", "true")
        assert (done.returncode, done.stderr) == (
            2, f"{lab}: myVM2 is stopped; a VM must be started for it; run: lab vm start myVM2 --lab {lab}\n",
        )  # fmt: skip
        down = Folder(lab).health
        rootlab.wait_until(lambda: not down()["myService/myLBSet/myVM2"].up, "myVM2 is down", down)
        rootlab.wait_until(lambda: down()["myService/myLBSet/myVM2"].applied, "and the rules say so", down)
        assert set(balanced(lab, VIP1, {"myVM1"})) == {"myVM1"}
        into()
        rootlab.ok("vm", "start", "myVM2", "--lab", lab)
        assert rootlab.must(lab, "myVM2", "hostname")
        assert "nobody" not in balanced(lab, VIP1, {"myVM1", "myVM2"})
        rootlab.ok("vm", "deallocate", "myVM2", "--lab", lab)
        # At once: it is no member any more.
        assert "myService/myLBSet/myVM2" not in {check.key for check in Folder(lab).plan().of(HealthCheck)}
        assert {rootlab.ask(lab, "far", f"http://{VIP1}:81/")["node"] for _ in range(12)} == {"myVM1"}
        into()


def test_addresses_that_are_reserved_given_taken_and_released(lab: str):
    with living(lab, "far", VIP1, 90) as into, living(lab, "own", "198.51.100.10", 7000) as out:
        rootlab.ok("reserved-ip", "create", "keep", "--service", "myService", "--lab", lab)
        assert (vips(lab)["Vip1"], seen_from(lab, "myVM1")) == (VIP1, VIP1)
        into()
        assert 'in use by Vip1 of "myService"' in refused(lab, "reserved-ip", "delete", "keep")
        assert "cannot be chosen" in refused(lab, "reserved-ip", "create", "other", "--address", "40.1.2.3")
        assert "never a VM's own" in refused(lab, "reserved-ip", "create", "other", "--service", "own")
        rootlab.ok("reserved-ip", "disassociate", "keep", "myService", "--lab", lab)
        dynamic = vips(lab)["Vip1"]
        assert dynamic not in (VIP1, "")
        assert seen_from(lab, "myVM1") == dynamic
        assert rootlab.inside(lab, "far", "curl", "-sS", "-m", "1", f"telnet://{VIP1}:90").status == 28
        rootlab.ok("reserved-ip", "associate", "keep", "myService", "--lab", lab)
        assert (vips(lab)["Vip1"], seen_from(lab, "myVM1")) == (VIP1, VIP1)
        rootlab.ok("reserved-ip", "disassociate", "keep", "myService", "--lab", lab)
        rootlab.ok("reserved-ip", "delete", "keep", "--lab", lab)
        assert json.loads(rootlab.ok("reserved-ip", "list", "--lab", lab, "-o", "json")) == {"reserved_ips": []}
        out()


def test_dynamic_addresses_go_with_the_last_vm_and_a_reserved_one_comes_back(lab: str, running: tuple[str, Path]):
    with living(lab, "own", "198.51.100.10", 7000) as out:
        rootlab.ok("endpoint", "add", "myVM1", "web", "--local-port", "8080", "--public-port", "80", "--lab", lab)
        for vm in ("myVM1", "myVM2"):
            rootlab.ok("vm", "deallocate", vm, "--lab", lab)
        assert vips(lab) == {"Vip1": "", "Vip2": ""}
        assert silent(lab, VIP1)
        rootlab.ok("vm", "start", "myVM1", "--lab", lab)
        other = vips(lab)["Vip1"]
        assert other not in (VIP1, "")
        assert answer(lab, other) == ("myVM1", 8080, "198.51.100.10")
        assert (silent(lab, VIP1), seen_from(lab, "myVM1")) == (True, other)
        rootlab.ok("reserved-ip", "create", "keep", "--service", "myService", "--lab", lab)
        rootlab.ok("vm", "deallocate", "myVM1", "--lab", lab)
        assert silent(lab, other)
        rootlab.ok("vm", "start", "myVM1", "--lab", lab)
        assert answer(lab, other) == ("myVM1", 8080, "198.51.100.10")
        out()

    before = rootlab.ask(lab, "own", "http://198.51.100.10/")["client_address"]
    assert answer(lab, str(before))[0] == "own"
    rootlab.ok("vm", "deallocate", "own", "--lab", lab)
    assert silent(lab, str(before))
    rootlab.ok("vm", "start", "own", "--lab", lab)
    after = seen_from(lab, "own")
    assert after != before
    assert (answer(lab, str(after))[0], silent(lab, str(before))) == ("own", True)
    rootlab.ok("up", running[1])
    assert json.loads(rootlab.ok("vm", "list", "--lab", lab, "-o", "json"))["virtual_machines"][1] == {
        "name": "myVM2",
        "service": "myService",
        "power_state": "Started",
        "subnet": "v/s",
        "private_ip_address": "10.1.0.5",
        "instance_public_ip": "",
    }
    assert rootlab.must(lab, "myVM2", "hostname")


def test_a_vm_is_made_in_a_running_lab_in_a_subnet_and_in_none(lab: str):
    with living(lab, "far", VIP1, 90) as into:
        rootlab.ok("service", "create", "more", "--lab", lab)
        rootlab.ok("vm", "create", "more", "new", "--subnet", "v/s", "--service", "http:80", "--lab", lab)
        rootlab.ok("endpoint", "add", "new", "web", "--local-port", "80", "--public-port", "80", "--lab", lab)
        rootlab.ok("service", "create", "FTPService", "--lab", lab)
        rootlab.ok("vm", "create", "FTPService", "FTPInstance", "--service", "http:80",
                   "--public-ip", "ftp", "--lab", lab)  # fmt: skip
        made = json.loads(rootlab.ok("service", "show", "more", "--lab", lab, "-o", "json"))["virtual_ips"][0]
        assert answer(lab, made["Address"]) == ("new", 80, "198.51.100.10")
        own = seen_from(lab, "FTPInstance")
        assert answer(lab, str(own)) == ("FTPInstance", 80, "198.51.100.10")
        assert "there already" in refused(lab, "vm", "create", "more", "myVM1", "--subnet", "v/s")
        into()
