"""Up, down, twice, side by side, interrupted, killed: what is left, and what is not touched."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lab import compile as compiling
from lab import topology
from lab.errors import KernelError
from lab.kernel import netfilter, netns
from lab.kernel.state import StateDir
from lab.plan import namespace
from lab.verify import runner
from tests import rootlab

pytestmark = pytest.mark.root


@pytest.mark.alone
def test_up_then_down_leaves_nothing_and_the_machine_is_untouched_all_the_while(tmp_path: Path):
    before = rootlab.machine()
    with rootlab.running(tmp_path, rootlab.small("once")) as name:
        rootlab.ask(name, "web", "http://198.51.100.10/")
        during = rootlab.machine()
    rootlab.assert_same(before, during)
    rootlab.assert_same(before, rootlab.machine())
    assert rootlab.leftovers("once") == []


def test_down_twice_is_fine(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("twice")):
        pass
    assert rootlab.ok("down", "twice") == "twice: is not up\n"


def test_down_of_a_name_that_no_lab_had_is_an_error_and_the_others_go_down(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("near")):
        done = rootlab.run("down", "naer", "near")
        assert done.returncode == 2
        assert done.stdout == "near: down\n"
        assert done.stderr.startswith(
            'no lab "naer"; a lab of this name must be up, or have been; did you mean "near"?'
        )


def test_down_ends_what_was_left_in_nodes_and_says_so(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("inner")) as name:
        command = [sys.executable, "-P", "-m", "lab", "exec", name]
        asleep = subprocess.Popen([*command, "web", "--", "sleep", "600"])
        deafness = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        script = deafness + "print('x', flush=True)\ntime.sleep(600)"
        deaf = subprocess.Popen(
            [*command, "alone", "--", "nohup", sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert deaf.stdout is not None
        with deaf.stdout:
            assert deaf.stdout.readline() == "x\n"
        rootlab.wait_until(lambda: Path(f"/proc/{asleep.pid}/comm").read_text() == "sleep\n", "sleep")
        done = rootlab.run("down", name)
        assert (done.returncode, done.stdout) == (0, "inner: down\n")
        assert done.stderr.startswith("inner: ended 2 processes in nodes: ")
        assert f"{asleep.pid} (sleep) in web" in done.stderr
        assert f"{deaf.pid} (" in done.stderr
        assert (asleep.wait(5), deaf.wait(5)) == (-signal.SIGHUP, -signal.SIGKILL)


def test_down_from_within_a_node_is_refused_and_changes_nothing(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("self")) as name:
        done = rootlab.run("exec", name, "web", "--", sys.executable, "-P", "-m", "lab", "down", name)
        assert done.returncode == 2
        assert "self: this command runs in lab.self.web; a lab is removed from outside" in done.stderr
        assert rootlab.ask(name, "web", "http://198.51.100.10/")["node"] == "far"


def test_up_twice_changes_nothing(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("again")) as name:
        before, record = rootlab.world(name), StateDir(name).read()
        said = rootlab.ok("up", tmp_path / "again.lab.yaml")
        assert said == "again: runs already, nothing to change\n"
        rootlab.assert_same(before, rootlab.world(name))
        assert record is not None
        # The agent was told to read its plan again, and that is counted.
        assert StateDir(name).read() == msgspec.structs.replace(record, generation=record.generation + 1)


def test_what_up_makes_is_what_plan_prints(tmp_path: Path):
    """Read back with other tools: ``ip`` and ``iptables-legacy-save``."""
    with rootlab.running(tmp_path, rootlab.small("readback")) as name:
        plan = json.loads(rootlab.ok("plan", tmp_path / "readback.lab.yaml", "-o", "json"))
        for kind, command in (("address", ["ip", "-o", "-4", "addr"]), ("route", ["ip", "-4", "route"])):
            for place in {i["place"] for i in plan["items"] if i["type"] == kind}:
                said = rootlab.must(name, place, *command)
                for item in plan["items"]:
                    if item["type"] == kind and item["place"] == place:
                        key = "address" if kind == "address" else "destination"
                        wanted = item[key].replace("0.0.0.0/0", "default").removesuffix("/32")
                        assert wanted in said, (item, said)
        for place in ("lb.vnet1", "internet"):
            rules = [i for i in plan["items"] if i["type"] == "rule" and i["place"] == place]
            saved = rootlab.must(name, place, "iptables-legacy-save")
            assert sum(line.startswith("-A") for line in saved.splitlines()) == len(rules) > 0
            assert all(i["why"]["rule"] in saved for i in rules)


def test_two_labs_with_the_same_addresses_run_side_by_side(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("left")), rootlab.running(tmp_path, rootlab.small("right")):
        for name in ("left", "right"):
            assert rootlab.ask(name, "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"
        listed = json.loads(rootlab.ok("list", "-o", "json"))["labs"]
        assert {"left", "right"} <= {lab["name"] for lab in listed}
        rootlab.ok("down", "left")
        assert rootlab.ask("right", "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"


def test_a_change_keeps_live_flows_and_its_undoing_restores_everything(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("change")) as name:
        file = tmp_path / "change.lab.yaml"
        before = rootlab.world(name)
        live = subprocess.Popen(
            ["ip", "netns", "exec", namespace(name, "web"), sys.executable, "-c", _TALK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert live.stdin is not None
        assert live.stdout is not None
        first = live.stdout.readline()
        assert first.startswith("{")
        file.write_text(
            rootlab.small(name)
            .replace("  alone:", "  added: {subnet: vnet1/front, services: [http:80]}\n  alone:")
            .replace("pool: [web]", "pool: [web, added]")
            .replace("other: {address: 198.51.100.11}", "other: {address: 198.51.100.12, services: [http:80]}")
        )
        rootlab.ok("up", file)
        assert rootlab.ask(name, "added", "http://198.51.100.12/")["client_address"] == "40.1.2.3"
        live.stdin.write("\n")
        live.stdin.flush()
        assert live.stdout.readline() == first
        live.stdin.close()
        assert live.wait(rootlab.DEADLINE_S) == 0
        live.stdout.close()
        file.write_text(rootlab.small(name))
        rootlab.ok("up", file)
        rootlab.assert_same(_without_numbers(before), _without_numbers(rootlab.world(name)))


def test_a_network_that_is_renamed_under_a_running_lab_works_as_before(tmp_path: Path):
    """Every wire of it is made anew, and what stays as it was is made again on them."""
    with rootlab.running(tmp_path, rootlab.small("rename")) as name:
        file = tmp_path / "rename.lab.yaml"
        for network in ("other", "vnet1", "third", "vnet1"):
            file.write_text(rootlab.small(name).replace("vnet1", network))
            rootlab.ok("up", file)
            assert rootlab.ask(name, "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"
            assert rootlab.ask(name, "far", "http://40.1.2.3/")["node"] == "web"


def test_up_again_undoes_what_was_done_by_hand(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("byhand")) as name:
        before = rootlab.world(name)
        rootlab.must(name, "lb.vnet1", "iptables-legacy", "-t", "nat", "-F")
        rootlab.must(name, "lb.vnet1", "iptables-legacy", "-t", "mangle", "-I", "FORWARD", "-j", "DROP")
        rootlab.must(name, "router.vnet1", "iptables-legacy", "-I", "FORWARD", "-j", "DROP")
        rootlab.must(name, "internet", "ip", "route", "del", "40.1.2.3")
        rootlab.must(name, "web", "ip", "route", "del", "default")
        rootlab.ok("up", tmp_path / "byhand.lab.yaml")
        assert rootlab.ask(name, "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"
        after = rootlab.world(name)
        # Tables once used stay registered, empty.
        new = {line for line in after.splitlines() if line not in before.splitlines()}
        assert {line for line in new if not line.startswith((":", "*", "COMMIT"))} == set()


def test_a_server_that_cannot_open_on_a_change_is_reported_and_the_others_open(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("port")) as name:
        command = [sys.executable, "-m", "http.server", "8080", "--bind", "0.0.0.0"]
        squatter = subprocess.Popen(
            ["ip", "netns", "exec", namespace(name, "alone"), *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            rootlab.wait_until(
                lambda: rootlab.inside(name, "alone", "curl", "-s", "http://127.0.0.1:8080/").status == 0, "it listens"
            )
            file = tmp_path / "port.lab.yaml"
            file.write_text(
                rootlab.small(name)
                .replace("alone: {subnet: vnet1/front}", "alone: {subnet: vnet1/front, services: [http:8080]}")
                .replace("other: {address: 198.51.100.11}", "other: {address: 198.51.100.11, services: [http:80]}")
            )
            done = rootlab.run("up", file)
            assert done.returncode == 3
            assert "the port must be free" in done.stderr
            assert rootlab.ask(name, "web", "http://198.51.100.11/")["node"] == "other"
        finally:
            squatter.kill()
            squatter.wait()
        rootlab.ok("up", file)
        assert rootlab.ask(name, "alone", "http://10.1.0.4:8080/")["node"] == "alone"


def test_other_tools_can_list_namespaces_while_a_lab_runs(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("seen")) as name:
        done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert namespace(name, "web") in done.stdout
        assert ".lab" not in [line.split()[0][:4] for line in done.stdout.splitlines() if line]


def test_verify_leaves_a_lab_up_that_it_cannot_judge(tmp_path: Path):
    """Not as the file says, or without its agent: NOT_RUN, exit 3, and nothing is touched."""
    with rootlab.running(tmp_path, rootlab.small("asis")) as name:
        file, other = tmp_path / "asis.lab.yaml", tmp_path / "changed.lab.yaml"
        other.write_text(rootlab.small(name).replace("  alone:", "  more: {subnet: vnet1/front}\n  alone:"))
        before = rootlab.world(name)
        done = rootlab.run("verify", other, "-o", "json")
        results = json.loads(done.stdout)
        assert (done.returncode, results["summary"]["not_run"]) == (3, len(results["results"]))
        assert "runs with another plan" in results["results"][0]["reason"]
        rootlab.end_agent(name)
        assert rootlab.run("verify", file).returncode == 3
        rootlab.assert_same(before, rootlab.world(name))


_TALK = """
import socket
with socket.create_connection(("198.51.100.10", 7000), timeout=10) as peer, peer.makefile("rw") as stream:
    print(stream.readline(), end="", flush=True)
    input()
    stream.write("still there?\\n")
    stream.flush()
    print(stream.readline(), end="", flush=True)
"""


def _without_numbers(world: str) -> str:
    """Leave out links: a wire made anew has another number and hardware address."""
    return "\n".join(line for line in world.splitlines() if "link/ether" not in line)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(namespace: str, tables: object) -> None:
        raise KernelError(f"{namespace}: refused for a test")

    monkeypatch.setattr(netfilter, "write", refuse)
    file = tmp_path / "fails.lab.yaml"
    file.write_text(rootlab.small("fails"))
    with pytest.raises(KernelError, match="refused for a test"):
        runner.bring_up(topology.load(file), file, lambda _: None)
    assert rootlab.leftovers("fails") == []


def test_a_change_that_fails_is_changed_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with rootlab.running(tmp_path, rootlab.small("back")) as name:
        before = rootlab.world(name)
        file = tmp_path / "back.lab.yaml"
        file.write_text(
            rootlab.small(name)
            .replace("  alone:", "  added: {subnet: vnet1/front}\n  alone:")
            .replace("pool: [web]", "pool: [web, added]")
        )
        write = netfilter.write

        def refuse_once(namespace: str, tables: object) -> None:
            monkeypatch.setattr(netfilter, "write", write)
            raise KernelError(f"{namespace}: refused for a test")

        monkeypatch.setattr(netfilter, "write", refuse_once)
        with pytest.raises(KernelError, match="refused for a test"):
            runner.bring_up(topology.load(file), file, lambda _: None)
        rootlab.assert_same(before, rootlab.world(name))
        assert "added" not in {p.name.rsplit(".", 1)[-1] for p in netns.RUN.glob(f"lab.{name}.*")}
        assert rootlab.ask(name, "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"


@pytest.mark.parametrize("delay_s", [0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4])
@pytest.mark.parametrize("healer", ["up", "down"])
def test_a_build_killed_at_any_moment_is_healed(tmp_path: Path, delay_s: float, healer: str):
    file = tmp_path / "killed.lab.yaml"
    machines = "".join(f"  vm{n}: {{subnet: vnet1/front, services: [http:80]}}\n" for n in range(60))
    file.write_text(rootlab.small("killed").replace("  alone:", machines + "  alone:"))
    try:
        rootlab.kill_after(delay_s, "up", file)
        if healer == "up":
            rootlab.ok("up", file)
            assert rootlab.ask("killed", "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"
    finally:
        rootlab.ok("down", "killed")
    rootlab.wait_until(lambda: rootlab.leftovers("killed") == [], "nothing left", lambda: rootlab.leftovers("killed"))


@pytest.mark.parametrize("delay_s", [0.1, 0.2, 0.3, 0.45])
def test_a_change_killed_at_any_moment_is_healed(tmp_path: Path, delay_s: float):
    with rootlab.running(tmp_path, rootlab.small("cut")) as name:
        file = tmp_path / "cut.lab.yaml"
        machines = "".join(f"  vm{n}: {{subnet: vnet1/front}}\n" for n in range(60))
        file.write_text(rootlab.small(name).replace("  alone:", machines + "  alone:"))
        rootlab.kill_after(delay_s, "up", file)
        rootlab.ok("up", file)
        assert rootlab.ask(name, "vm59", "http://198.51.100.10/")["node"] == "far"


def test_a_removal_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path):
    for delay_s in (0.05, 0.08, 0.12):
        with rootlab.running(tmp_path, rootlab.small("half")):
            rootlab.kill_after(delay_s, "down", "half")
        assert rootlab.leftovers("half") == []


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.3, 0.6])
def test_an_interrupted_verify_cleans_up_and_exits_130(tmp_path: Path, delay_s: float):
    file = tmp_path / "stopped.lab.yaml"
    file.write_text(rootlab.small("stopped"))
    command = [sys.executable, "-P", "-m", "lab", "verify", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    record = Path("/run/lab/stopped/record.json")
    rootlab.wait_until(record.exists, "the lab comes up")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay_s)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "interrupted" in said
    # An agent that was not told to go yet ends when nobody is left to tell it.
    rootlab.wait_until(lambda: rootlab.leftovers("stopped") == [], "nothing left", lambda: rootlab.leftovers("stopped"))


def test_a_dead_agent_is_reported_and_up_starts_another(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("agent")) as name:
        rootlab.end_agent(name)
        assert "the agent does not run, nor does its keeper" in rootlab.ok("show", name)
        rootlab.ok("up", tmp_path / "agent.lab.yaml")
        assert rootlab.ask(name, "web", "http://198.51.100.10/")["node"] == "far"


def test_a_missing_namespace_is_reported_and_up_heals_it(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("hole")) as name:
        netns.remove(namespace(name, "alone"))
        assert "damaged: a namespace is missing" in rootlab.ok("show", name)
        rootlab.ok("up", tmp_path / "hole.lab.yaml")
        assert rootlab.ask(name, "alone", "http://198.51.100.10/")["node"] == "far"


def test_what_a_lab_was_made_from_is_readable_by_root_only(tmp_path: Path):
    with rootlab.running(tmp_path, rootlab.small("modes")) as name:
        assert stat.S_IMODE(StateDir(name).network_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(StateDir(name).record_file.stat().st_mode) == 0o644


def test_another_users_namespace_of_our_name_is_left_alone(tmp_path: Path):
    """No record says it is ours: refuse, and do not remove it."""
    theirs = namespace("taken", "web")
    subprocess.run(["ip", "netns", "add", theirs], check=True)
    try:
        file = tmp_path / "taken.lab.yaml"
        file.write_text(rootlab.small("taken"))
        done = rootlab.run("up", file)
        assert done.returncode == 3
        assert f"{netns.path(theirs)}: is there already, and no record says it is ours" in done.stderr
        assert netns.exists(theirs)
    finally:
        subprocess.run(["ip", "netns", "del", theirs], check=True)


def test_compiling_the_record_again_gives_the_applied_plan(tmp_path: Path):
    """What the agent compiles from is the whole network."""
    from lab.azure import model

    with rootlab.running(tmp_path, rootlab.small("whole")) as name:
        folder = StateDir(name)
        assert compiling.compile(model.decode(folder.network_file.read_bytes())) == folder.plan()
