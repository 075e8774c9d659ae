"""`lab explain --send`: what is predicted of a flow, beside what captures see of it at each hop."""

import json
from pathlib import Path

import pytest

from lab.kernel.state import StateDir
from lab.predict import explain, observed
from lab.predict.forecast import Service
from lab.runtime import operate
from lab.verify import runner
from lab.verify.probe import Prober
from tests import rootlab, unprivileged

pytestmark = pytest.mark.root


@pytest.mark.parametrize("name", ["source-ip", "outbound"])
def test_every_vm_is_seen_at_every_hop_as_predicted_and_what_does_not_do_so_is_named(name: str, tmp_path: Path) -> None:
    text = (rootlab.TOPOLOGIES / f"{name}.lab.yaml").read_text()
    with rootlab.running(tmp_path, text.replace(f"name: {name}", f"name: x-{name}")) as lab:
        network = operate.network_of(lab)
        runner.settle(StateDir(lab))
        with Prober() as prober:
            for vm in network.virtual_machines:
                found = explain.explain(network, vm.name, network.internet[0].name, Service("tcp", 80))
                compared = observed.send(network, found, prober)
                assert compared.blamed == "", vm.name
                assert compared.hops[-1].seen.startswith(tuple(str(a) for a in found.way_out.addresses))
        read = unprivileged.run("outbound", lab, "-o", "json")
        assert read.returncode == 0, read.stderr
        assert len(json.loads(read.stdout)["outbound"]) == len(network.virtual_machines)
        assert unprivileged.run("explain", lab, network.virtual_machines[0].name, "internet").returncode == 0
        vm = network.virtual_machines[0]
        answer = tmp_path / "connectivity.json"
        answer.write_text('{"connectionStatus": "Reachable", "hops": []}')
        asked = ("compare", lab, answer, "--vm", vm.name, "--remote", f"{network.internet[0].name}:80", "--send")
        seen = json.loads(rootlab.ok(*asked, "-o", "json"))["comparisons"]
        assert seen[0]["lab"].startswith("arrived: ")
        drop = ("-t", "raw", "-I", "PREROUTING", "-s", str(vm.private_ip_address), "-j", "DROP")
        rootlab.must(lab, f"lb.{vm.virtual_network}", "iptables-legacy", *drop)
        done = rootlab.run("explain", lab, vm.name, f"{network.internet[0].name}:80", "--send", "-o", "json")
        assert done.returncode == 1, done.stderr
        assert next(hop["name"] for hop in json.loads(done.stdout)["hops"] if hop["differs"]) == "internet"
        assert f"what does not do as predicted is hop edge of {vm.virtual_network}" in done.stderr
        done = rootlab.run(*asked)
        assert (done.returncode, "lab:      did not arrive" in done.stdout) == (1, True), done.stdout + done.stderr


def test_what_changes_without_a_rule_is_confirmed_by_packets_on_both_sides(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.lab.yaml" for name in ("before", "after")]
    # Nothing listens where the member is probed; differences take it to be up, and so it is while they are proved.
    text = rootlab.small("x-whatif").replace(
        "web: {subnet: vnet1/front, services: [http:80]}", "web: {subnet: vnet1/front}"
    )
    files[0].write_text(text)
    files[1].write_text(text.partition("    load_balancing_rules:")[0])
    done = rootlab.run("whatif", *files, "--prove", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    changes = json.loads(done.stdout)["changes"]
    assert {change["what"] for change in changes} == {"source address", "SNAT ports", "reachability"}
    assert {proof["confirmed"] for change in changes for proof in change["proof"].values()} == {True}
