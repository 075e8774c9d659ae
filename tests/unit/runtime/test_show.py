"""lab/runtime/show.py: what a running lab looks like, read from a record that is written here by hand."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from lab import plan, topology
from lab.agent import logs
from lab.azure.model import Network
from lab.cli import cli
from lab.compile import compile as compile_network
from lab.errors import UsageError
from lab.kernel import state as lab_state
from lab.kernel.state import LabState, MemberHealth, StateDir
from lab.runtime import show
from lab.runtime.show import Outbound
from tests import rootlab, worlds


def seen(network: Network, vm: str) -> list[tuple[str, str, str]]:
    return [(o.address, o.ports, o.how) for o in show.outbound(compile_network(network))[vm]]


def test_a_vm_is_seen_with_its_own_address_or_with_ports_of_a_shared_one() -> None:
    network = worlds.three_ways_out()
    default = str(network.virtual_networks[0].default_outbound_address)
    assert {vm.name: seen(network, vm.name) for vm in network.virtual_machines} == {
        "own": [("104.43.142.188", "unchanged", "instance-level public IP")],
        "web": [("40.1.1.1", "1025-2048", "SNAT")],
        "web2": [("40.1.1.1", "2049-3072", "SNAT")],
        "alone": [(default, "1025-65535", "default SNAT")],
    }


def test_a_vm_linked_to_several_frontends_is_seen_with_any_of_them() -> None:
    assert seen(worlds.several_frontends(), "many") == [(f"40.1.1.{n}", "1025-2048", "SNAT") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("address", "port", "protocol", "seconds"),
    [
        ("65.52.0.1", 8080, "tcp", 5.0),  # of its rule, 10 minutes
        ("65.52.0.1", 80, "tcp", 2.0),
        ("65.52.0.1", 8080, "udp", 2.0),
        ("198.51.100.10", 8080, "tcp", 2.0),
    ],
)
def test_a_flow_may_be_idle_as_long_as_its_rule_says_or_any_other(
    address: str, port: int, protocol: str, seconds: float
) -> None:
    made = compile_network(topology.load(rootlab.TOPOLOGIES / "load-balancer.lab.yaml"))
    assert show.idle_limit(made, address, port, protocol) == seconds


def test_each_vm_of_a_large_pool_has_its_own_ports() -> None:
    network = worlds.load_balanced(17)
    assert [seen(network, f"web{n}") for n in (1, 17)] == [
        [("40.1.1.1", "1025-2048", "SNAT")],
        [("40.1.1.1", "17409-18432", "SNAT")],
    ]


def test_an_outside_host_is_seen_with_nothing_but_itself() -> None:
    assert "far" not in show.outbound(compile_network(worlds.three_ways_out()))


def test_names_that_begin_with_default_are_no_default() -> None:
    """The platform's address is told by what it is for, not by how a user's name begins."""
    network = worlds.network(
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {default-vm: {subnet: v/s}}\n"
        "load_balancers:\n  default:\n    frontend_ip_configurations: {f: 40.1.1.1}\n"
        "    inbound_nat_rules: {r: {frontend: f, virtual_machine: default-vm, frontend_port: 1, backend_port: 22}}\n"
    )
    assert seen(network, "default-vm") == [("40.1.1.1", "1025-2048", "SNAT")]
    assert show._public_addresses(compile_network(network)) == {"40.1.1.1": "default/f"}


# --- a lab that was written down --------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lab_state, "RUN", tmp_path)
    return tmp_path


def written(network: Network, state: lab_state.State = "running", **health: bool) -> None:
    """Leave what `up` leaves, without its namespaces."""
    folder = StateDir(network.name)
    folder.make()
    folder.write(
        LabState(
            lab=network.name, state=state, file="w.lab.yaml", profile="seeds", time_scale=1, created=1.0, namespaces=()
        )
    )
    lab_state.replace(folder.plan_file, plan.encode(compile_network(network)))
    members = {
        f"lb1/alive/{vm}": MemberHealth(up=up, judged=True, applied=True, since=2.0, reason="r")
        for vm, up in health.items()
    }
    lab_state.replace(folder.health_file, msgspec.json.encode(members))


@pytest.mark.usefixtures("run")
def test_no_lab_is_up_where_nothing_was_written() -> None:
    assert show.labs() == []


@pytest.mark.usefixtures("run")
def test_a_lab_that_is_not_there_is_named_with_the_nearest() -> None:
    written(worlds.one_vm())
    with pytest.raises(UsageError) as caught:
        show.describe("wold")
    wanted = 'no lab "wold"; a lab must be up first; did you mean "world"?; see `lab list`'
    assert str(caught.value) == wanted


@pytest.mark.usefixtures("run")
def test_a_lab_is_its_vms_and_hosts_with_their_addresses_services_and_health() -> None:
    network = worlds.three_ways_out()
    written(network, web=True, web2=False)
    lab = show.describe("world")
    assert [(n.name, n.role, n.address) for n in lab.nodes] == [
        ("alone", "vm", "10.1.0.4"), ("client", "host", "198.51.100.30"), ("far", "host", "198.51.100.20"),
        ("own", "vm", "10.1.0.5"), ("resolver", "host", "208.67.222.222"), ("web", "vm", "10.1.0.6"),
        ("web2", "vm", "10.1.0.7"),
    ]  # fmt: skip
    nodes = {node.name: node for node in lab.nodes}
    assert nodes["far"].services == ("http:80/tcp", "ssh:22/tcp")
    assert nodes["far"].outbound == ()
    assert nodes["web"].outbound == (Outbound("40.1.1.1", "1025-2048", "SNAT"),)
    assert [list(nodes[n].health) for n in ("web", "web2", "own")] == [["lb1/alive/web"], ["lb1/alive/web2"], []]
    assert (nodes["web"].health["lb1/alive/web"].up, nodes["web2"].health["lb1/alive/web2"].up) == (True, False)


@pytest.mark.usefixtures("run")
def test_show_says_which_members_are_down_since_when_and_why() -> None:
    written(worlds.three_ways_out(), web=True, web2=False)
    said = CliRunner().invoke(cli, ["show", "world"]).output
    (line,) = [line for line in said.splitlines() if "since" in line]
    assert line.startswith("lb1/alive/web2: down since ")
    one = CliRunner().invoke(cli, ["show", "world", "web"]).output
    assert "lb1/alive/web: up since " in one


@pytest.mark.usefixtures("run")
def test_the_users_public_addresses_are_counted_and_the_platforms_choice_is_not() -> None:
    """Outbound connections, 2017-05-31, standalone VM."""
    written(worlds.three_ways_out())
    assert show.describe("world").public_addresses == {"104.43.142.188": "own", "40.1.1.1": "lb1/public"}


@pytest.mark.parametrize("state", ["building", "changing", "removing"])
@pytest.mark.usefixtures("run")
def test_a_lab_that_a_command_left_half_way_says_so(state: lab_state.State) -> None:
    written(worlds.one_vm(), state)
    assert show.describe("world").state == f"interrupted while {state}; `lab up` or `lab down` heals it"


@pytest.mark.usefixtures("run")
def test_a_lab_whose_agent_is_gone_says_so() -> None:
    written(worlds.one_vm())
    assert show.describe("world").state == (
        "servers, probes, repair of tunnels and SNAT ports for new flows are missing: "
        "the agent does not run, nor does its keeper, which would start it again; `lab up` starts both"
    )


@pytest.mark.usefixtures("run")
def test_the_log_of_probes_is_printed_in_lines_and_in_the_documents_own_form() -> None:
    """N-ML-3: a percentage keeps its six decimals on its way from the file."""
    written(worlds.three_ways_out())
    (backends,) = compile_network(worlds.three_ways_out()).of(plan.Backends)
    line = msgspec.json.encode(logs.probe_record("world", backends, ["web2"], 1.5))
    StateDir("world").probes_file.write_bytes(line + b"\n")
    assert CliRunner().invoke(cli, ["events", "world", "--probes"]).output == (
        "1970-01-01T00:00:01.5000000Z  40.1.1.1:80/tcp            1 of 2 down, 50.000000%: web2\n"
    )
    printed = CliRunner().invoke(cli, ["events", "world", "--probes", "-o", "json"]).output
    assert msgspec.json.format(printed, indent=-1) == '{"records":[' + line.decode() + "]}"
    assert '"healthPercentage": 50.000000\n' in printed
    assert CliRunner().invoke(cli, ["events", "world", "--probes"]).stderr == ""
    assert CliRunner().invoke(cli, ["events", "world", "-o", "json"]).output == '{\n  "records": []\n}\n'


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("more", [[], ["--follow"], ["-o", "json"]])
def test_who_asks_for_the_log_of_probes_where_none_is_kept_is_told(
    more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(worlds.classic())
    monkeypatch.setattr("lab.runtime.snat_usage.events", lambda *_arguments, **_options: iter(()))
    done = CliRunner().invoke(cli, ["events", "world", "--probes", *more])
    said = (
        "world: no log of probes: it is kept of rules with a probe at Basic load balancers only "
        "(load-balancer-monitor-log.md, 2015-12-11); `lab show world` says how members are\n"
    )
    assert (done.exit_code, done.stderr) == (0, said)
    assert CliRunner().invoke(cli, ["events", "world"]).stderr == ""
