"""The operations of classic services on a running lab: what each does is looked at from the far side.

Everything happens while two flows live, one into a VM by its VIP and one out of it: no operation may end them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.kernel.state import MemberHealth, StateDir
from lab.operations.base import Operation
from lab.operations.cloud_service import AddService
from lab.operations.endpoint import AddEndpoint
from lab.operations.power import SetPower
from lab.operations.reserved_ip import DisassociateIp
from lab.operations.virtual_ip import RemoveVirtualIp
from lab.plan import HealthCheck
from lab.runtime import operate
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
  shopVM: {{subnet: v/s, services: [tcp:9000]}}
cloud_services:
  shop:
    virtual_machines: [shopVM]
    endpoints: [{{name: echo, virtual_machine: shopVM, local_port: 9000, public_port: 90}}]
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {{Vip1: {{address: {VIP1}}}, Vip2: {{address: {VIP2}}}}}
    endpoints:
      - {{name: echo, virtual_machine: myVM1, local_port: 9000, public_port: 90, virtual_ip: Vip1}}
overrides: {{time_scale: 15}}
"""
#: Speaks every second, so that the flow is never idle, and when it is told to prints who answered last.
_FLOW = """\
import json, select, socket, sys
with socket.create_connection((ADDRESS, PORT), 20) as flow:
    lines = flow.makefile("rb")
    while True:
        said = json.loads(lines.readline())
        if select.select([sys.stdin], [], [], 1)[0]:
            sys.stdin.readline()
            print(said["node"], said["client_address"], flush=True)
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
    script = _FLOW.replace("ADDRESS", repr(address)).replace("PORT", str(port))
    with rootlab.talking(lab, place, script) as said:
        first = said("who?")
        assert first

        def lives() -> None:
            said("who?")  # what was heard before
            assert said("who?") == first, f"the flow of {place} to {address}:{port} was lost"

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


def vips(lab: str, service: str = "myService") -> dict[str, str]:
    shown = json.loads(rootlab.ok("service", "show", lab, service, "-o", "json"))
    return {vip["Name"]: vip["Address"] for vip in shown["virtual_ips"]}


def state(lab: str) -> tuple[bytes, ...]:
    """Return all that is written of a lab, which a refused operation must leave as it is to the byte."""
    folder = StateDir(lab)
    files = (folder.network_file, folder.plan_file, folder.addresses_file, folder.record_file)
    return tuple(file.read_bytes() for file in files)


def refused(lab: str, *arguments: str) -> str:
    before = state(lab)
    done = rootlab.run(*arguments[:2], lab, *arguments[2:])
    assert (done.returncode, done.stdout) == (2, ""), done
    assert state(lab) == before
    return done.stderr


def do(lab: str, *operations: Operation) -> None:
    """Do operations as the commands do."""
    for operation in operations:
        operate.perform(lab, operation, lambda _text: None)


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
        printed = rootlab.ok("vip", "add", lab, "myService", "Vip3").splitlines()
        assert printed[0].split() == ["OperationDescription", "OperationId", "OperationStatus"]
        description, guid, status = printed[1].split()
        assert (description, len(guid), status) == ("Add-AzureVirtualIP", 36, "Succeeded")
        assert vips(lab) == {"Vip1": VIP1, "Vip2": "", "Vip3": ""}
        assert silent(lab, VIP2)
        rootlab.ok(
            *("endpoint", "add", lab, "myVM1", "myEndpoint", "--protocol", "tcp", "--local-port", "8080"),
            *("--public-port", "80", "--virtual-ip", "Vip2"),
        )
        assert vips(lab) == {"Vip1": VIP1, "Vip2": VIP2, "Vip3": ""}
        assert answer(lab, VIP2) == ("myVM1", 8080, "198.51.100.10")
        assert silent(lab, VIP1)
        assert '1 endpoint ("myEndpoint" of myVM1)' in refused(lab, "vip", "remove", "myService", "Vip2")
        assert 'a second endpoint "myEndpoint"' in refused(
            lab, "endpoint", "add", "myVM1", "myEndpoint", "--local-port", "1"
        )
        assert answer(lab, VIP2) == ("myVM1", 8080, "198.51.100.10")
        rootlab.ok("endpoint", "set", lab, "myVM1", "myEndpoint", "--public-port", "8888")
        assert answer(lab, VIP2, 8888) == ("myVM1", 8080, "198.51.100.10")
        assert silent(lab, VIP2)
        rootlab.ok("endpoint", "remove", lab, "myVM1", "myEndpoint")
        assert silent(lab, VIP2, 8888)
        rootlab.ok("vip", "remove", lab, "myService", "Vip3")
        do(lab, RemoveVirtualIp("myService", "Vip2"))
        assert vips(lab) == {"Vip1": VIP1}
        into()
        out()


def test_a_set_moves_and_a_member_that_is_stopped_is_found_down(lab: str):
    with living(lab, "far", VIP1, 90) as into:
        rootlab.ok(
            *("endpoint", "add", lab, "myVM1", "lb", "--load-balanced-set", "myLBSet", "--local-port", "8181"),
            *("--public-port", "81", "--virtual-ip", "Vip2"),
            *("--probe-protocol", "tcp", "--probe-interval-in-seconds", "15", "--probe-timeout-in-seconds", "31"),
        )
        do(lab, AddEndpoint(virtual_machine="myVM2", name="lb", local_port=8181, load_balanced_set="myLBSet"))
        balanced(lab, VIP2, {"myVM1", "myVM2"})
        said = refused(lab, "endpoint", "set", "myVM2", "lb", "--idle-timeout-in-minutes", "15")
        assert 'idle_timeout_in_minutes of one member of the set "myLBSet"' in said
        rootlab.ok("endpoint", "move", lab, "myService", "myLBSet", "Vip1")
        assert silent(lab, VIP2, 81)
        assert vips(lab) == {"Vip1": VIP1, "Vip2": ""}
        balanced(lab, VIP1, {"myVM1", "myVM2"})
        into()

        rootlab.ok("vm", "stop", lab, "myVM2")
        node = json.loads(rootlab.ok("show", lab, "myVM2", "-o", "json"))
        assert (node["power_state"], node["there"], node["address"]) == ("Stopped", False, "10.1.0.5")
        (row,) = [row.split() for row in rootlab.ok("show", lab).splitlines() if row.startswith("myVM2")]
        assert (row[1], row[-1]) == ("10.1.0.5", "stopped")
        done = rootlab.run("exec", lab, "myVM2", "--", "true")
        assert (done.returncode, done.stderr) == (
            2,
            f"{lab}: myVM2 is stopped; a VM must be started for it; run: lab vm start {lab} myVM2\n",
        )

        def known() -> MemberHealth:
            return StateDir(lab).health()["myService/myLBSet/myVM2"]

        rootlab.wait_until(lambda: not known().up and known().applied, "myVM2 is down, and the rules say so", known)
        assert {rootlab.ask(lab, "far", f"http://{VIP1}:81/")["node"] for _ in range(12)} == {"myVM1"}
        rootlab.ok("vm", "start", lab, "myVM2")
        balanced(lab, VIP1, {"myVM1", "myVM2"})
        rootlab.ok("vm", "deallocate", lab, "myVM2")
        # At once: it is no member any more.
        assert "myService/myLBSet/myVM2" not in {check.key for check in StateDir(lab).plan().of(HealthCheck)}
        assert {rootlab.ask(lab, "far", f"http://{VIP1}:81/")["node"] for _ in range(12)} == {"myVM1"}
        into()


def test_addresses_are_reserved_given_taken_and_released(lab: str):
    with living(lab, "far", VIP1, 90) as into, living(lab, "own", "198.51.100.10", 7000) as out:
        rootlab.ok("reserved-ip", "create", lab, "keep", "--service", "myService")
        assert (vips(lab)["Vip1"], seen_from(lab, "myVM1")) == (VIP1, VIP1)
        into()
        assert 'in use by Vip1 of "myService"' in refused(lab, "reserved-ip", "delete", "keep")
        assert "cannot be chosen" in refused(lab, "reserved-ip", "create", "other", "--address", "40.1.2.3")
        assert "never a VM's own" in refused(lab, "reserved-ip", "create", "other", "--service", "own")
        rootlab.ok("reserved-ip", "disassociate", lab, "keep", "myService")
        dynamic = vips(lab)["Vip1"]
        assert dynamic not in (VIP1, "")
        assert seen_from(lab, "myVM1") == dynamic
        assert silent(lab, VIP1, 90)
        rootlab.ok("reserved-ip", "associate", lab, "keep", "myService")
        assert (vips(lab)["Vip1"], seen_from(lab, "myVM1")) == (VIP1, VIP1)
        do(lab, DisassociateIp("keep", "myService"))
        rootlab.ok("reserved-ip", "delete", lab, "keep")
        assert json.loads(rootlab.ok("reserved-ip", "list", lab, "-o", "json")) == {"reserved_ips": []}
        out()


def test_up_leaves_a_vip_the_address_that_was_reserved_in_place(lab: str, running: tuple[str, Path]):
    file = running[1]
    before = vips(lab, "shop")["Vip1"]
    with living(lab, "far", before, 90) as into:
        rootlab.ok("reserved-ip", "create", lab, "keep", "--service", "shop")
        rootlab.ok("up", file)
        assert json.loads(rootlab.ok("reserved-ip", "list", lab, "-o", "json")) == {"reserved_ips": []}
        assert vips(lab, "shop") == {"Vip1": before}
        into()
    # Taken from it, the address is the VIP's no more, and the file does not bring it back.
    rootlab.ok("reserved-ip", "create", lab, "keep", "--service", "shop")
    rootlab.ok("reserved-ip", "disassociate", lab, "keep", "shop")
    after = vips(lab, "shop")["Vip1"]
    assert after not in (before, "")
    with living(lab, "far", after, 90) as into:
        rootlab.ok("up", file)
        assert vips(lab, "shop") == {"Vip1": after}
        into()
    # What a file says itself comes before what the lab has.
    rootlab.ok("reserved-ip", "create", lab, "keep", "--service", "shop")
    named = file.with_name(f"named-{file.name}")
    given = "[shopVM]\n    virtual_ips: {Vip1: {address: 40.1.2.3}}\n"
    named.write_text(file.read_text().replace("[shopVM]\n", given))
    rootlab.ok("up", named)
    assert vips(lab, "shop") == {"Vip1": "40.1.2.3"}
    assert silent(lab, after, 90)
    with living(lab, "far", "40.1.2.3", 90) as into:
        into()


def test_dynamic_addresses_go_with_the_last_vm_and_a_reserved_one_comes_back(lab: str):
    do(lab, AddEndpoint(virtual_machine="myVM1", name="web", local_port=8080, public_port=80))
    with living(lab, "own", "198.51.100.10", 7000) as out:
        do(lab, SetPower("myVM1", "Deallocated"), SetPower("myVM2", "Deallocated"))
        assert vips(lab) == {"Vip1": "", "Vip2": ""}
        assert silent(lab, VIP1)
        do(lab, SetPower("myVM1", "Started"))
        other = vips(lab)["Vip1"]
        assert other not in (VIP1, "")
        assert answer(lab, other) == ("myVM1", 8080, "198.51.100.10")
        assert (silent(lab, VIP1), seen_from(lab, "myVM1")) == (True, other)
        rootlab.ok("reserved-ip", "create", lab, "keep", "--service", "myService")
        do(lab, SetPower("myVM1", "Deallocated"))
        assert silent(lab, other)
        do(lab, SetPower("myVM1", "Started"))
        assert answer(lab, other) == ("myVM1", 8080, "198.51.100.10")
        out()


def test_a_deallocated_vms_own_address_is_released_and_up_starts_all(lab: str, running: tuple[str, Path]):
    before = str(seen_from(lab, "own"))
    assert answer(lab, before)[0] == "own"
    do(lab, SetPower("myVM1", "Stopped"), SetPower("own", "Deallocated"))
    assert silent(lab, before)
    do(lab, SetPower("own", "Started"))
    after = str(seen_from(lab, "own"))
    assert (answer(lab, after)[0], silent(lab, before)) == ("own", True)
    do(lab, SetPower("own", "Stopped"))
    assert silent(lab, after)
    rootlab.ok("up", running[1])
    states = json.loads(rootlab.ok("vm", "list", lab, "-o", "json"))["virtual_machines"]
    assert {vm["power_state"] for vm in states} == {"Started"}
    assert [seen_from(lab, vm) for vm in ("myVM1", "own")] == [VIP1, after]


def test_a_vm_is_made_in_a_running_lab_in_a_subnet_and_in_none(lab: str):
    with living(lab, "far", VIP1, 90) as into:
        rootlab.ok("service", "create", lab, "more")
        rootlab.ok("vm", "create", lab, "more", "new", "--subnet", "v/s", "--service", "http:80")
        do(lab, AddEndpoint(virtual_machine="new", name="web", local_port=80, public_port=80))
        do(lab, AddService(name="FTPService", location="China North"))
        rootlab.ok(*("vm", "create", lab, "FTPService", "FTPInstance", "--service", "http:80", "--public-ip", "ftp"))
        made = json.loads(rootlab.ok("service", "show", lab, "more", "-o", "json"))["virtual_ips"][0]
        assert answer(lab, made["Address"]) == ("new", 80, "198.51.100.10")
        own = seen_from(lab, "FTPInstance")
        assert answer(lab, str(own)) == ("FTPInstance", 80, "198.51.100.10")
        assert "there already" in refused(lab, "vm", "create", "more", "myVM1", "--subnet", "v/s")
        into()
