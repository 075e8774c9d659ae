"""The pytest plug-in, in a pytest of its own: the worked example, evidence of a failure, servers, changes, scopes."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lab.kernel import netns
from tests import rootlab

pytestmark = pytest.mark.root

_EXAMPLE = rootlab.CHECKOUT / "examples/connection-pool"
_TESTS = """
import pytest

pytestmark = pytest.mark.lab("NAME", scope="session")
seen = []


def answer(connection):
    connection.recv(100)
    connection.sendall(b"own answer")


def test_a_function_serves_and_tells_who_came(lab):
    seen.append(lab.name)
    server = lab.host("far").serve(answer, port=81)
    script = "import socket; s = socket.create_connection(('198.51.100.10', 81)); s.sendall(b'x'); print(s.recv(99))"
    assert lab.vm("web").run(["python3", "-c", script]).stdout == "b'own answer'\\n"
    assert [one.client_address for one in lab.host("far").connections(port=81)] == ["40.1.2.3"]
    assert server.connections[0].client_port in range(1024, 65536)


def test_a_command_serves_and_the_lab_is_the_same(lab, tmp_path):
    assert seen == [lab.name]
    lab.host("far").serve(["python3", "-m", "http.server", "8080", "-d", tmp_path], port=8080)
    process = lab.vm("web").popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://198.51.100.10:8080/"],
                                  stdout=-1, text=True)
    assert process.communicate()[0] == "200"


def test_the_lab_is_changed_while_it_runs(lab):
    assert str(lab.explain("web", "far:80").way_out.addresses[0]) == "40.1.2.3"
    lab.change(lambda text: text.replace("{pool: [web]}", "{pool: [alone]}"))
    assert str(lab.explain("alone", "far:80").way_out.addresses[0]) == "40.1.2.3"
    lab.vm("alone").run(["curl", "-sS", "http://198.51.100.10/"])
    assert lab.host("far").connections(port=80)[-1].client_address == "40.1.2.3"


def test_that_fails(lab):
    lab.vm("web").run(["curl", "-sS", "-m", "5", "http://198.51.100.10/"])
    held = "import socket, time; s = socket.create_connection(('198.51.100.10', 80)); print(flush=True); time.sleep(60)"
    lab.vm("web").popen(["python3", "-c", held], stdout=-1).stdout.readline()
    lab.vm("web").run(["sh", "-c", "echo said this >&2; exit 7"])
"""


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-P", "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder), str(folder)]
    plugin = ["-p", "lab.testing.plugin", "-p", "no:cacheprovider", "-p", "no:randomly"]
    environment = {**os.environ, "PYTHONPATH": str(rootlab.CHECKOUT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [*words, *plugin, *arguments], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def test_the_worked_example_passes_and_leaves_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"
    done = _pytest(_EXAMPLE, f"--junit-xml={results}")
    assert done.returncode == 0, done.stdout
    suite = ET.parse(results).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "0", "0")
    assert not list(netns.RUN.glob("lab.shop-*"))


def test_nodes_run_and_serve_and_a_failure_leaves_evidence(tmp_path: Path) -> None:
    (tmp_path / "small.lab.yaml").write_text(rootlab.small("small"))
    (tmp_path / "test_small.py").write_text(_TESTS.replace("NAME", "small.lab.yaml"))
    done = _pytest(tmp_path)
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "in web: said this" in done.stdout
    (evidence,) = (tmp_path / "lab-evidence").iterdir()
    sizes = {file.name: file.stat().st_size for file in evidence.iterdir()}
    assert set(sizes) == {
        "connections.txt", "internet.pcap", "logs.txt", "plan.txt", "ports.txt", "rules.txt", "topology.yaml",
    }  # fmt: skip
    assert min(sizes.values()) > 24, f"a pcap file's header has 24 bytes: {sizes}"
    assert "198.51.100.10" in (evidence / "connections.txt").read_text()
    assert b"GET / HTTP/1.1" in (evidence / "internet.pcap").read_bytes()
    assert str(evidence) in done.stdout
    assert not list(netns.RUN.glob("lab.small-*"))


_SIDE_BY_SIDE = """
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab("small.lab.yaml", scope="session")
HERE = Path(__file__).parent


def _met(lab, mine, other):
    (HERE / mine).write_text(lab.name)
    end = time.monotonic() + 30
    while not (HERE / other).exists():  # until the other process has its lab, too
        assert time.monotonic() < end
        time.sleep(0.02)
    lab.vm("web").run(["curl", "-sS", "-m", "10", "http://198.51.100.10/"])
    assert lab.vm("web").run(["hostname"]).stdout.strip() == "web"
    assert [one.client_address for one in lab.host("far").connections(port=80)] == ["40.1.2.3"]


def test_once_more(lab):
    assert lab.name == (HERE / "MINE").read_text()
"""


def test_processes_have_labs_of_their_own_and_each_session_one(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "small.lab.yaml").write_text(rootlab.small("small"))
    for mine, other in (("one", "two"), ("two", "one")):
        text = _SIDE_BY_SIDE.replace("MINE", mine)
        called = f"\n\ndef test_first(lab):\n    _met(lab, {mine!r}, {other!r})\n\n\ndef test_once_more"
        (tmp_path / f"test_{mine}.py").write_text(text.replace("\n\ndef test_once_more", called, 1))
    done = _pytest(tmp_path, "-p", "xdist", "-n", "2", "--dist", "loadfile")
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    names = [(tmp_path / name).read_text() for name in ("one", "two")]
    assert names[0] != names[1]
    assert all(name.startswith("small-") for name in names)
    assert not list(netns.RUN.glob("lab.small-*"))


def test_a_test_whose_marker_names_nothing_fails_with_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text("def test_it(lab):\n    pass\n")
    done = _pytest(tmp_path)
    assert 'no topology; a test with a lab has @pytest.mark.lab("FILE.lab.yaml"' in done.stdout
