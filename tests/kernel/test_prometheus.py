"""A real Prometheus scrapes a lab, and the alert of examples/alerts fires before ports run out."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import netns
from lab.plan import namespace
from lab.runtime import load
from tests import prometheus, rootlab

ALERTS = rootlab.CHECKOUT / "examples" / "alerts"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prometheus.programs(tmp_path_factory.mktemp("prometheus"))


def test_the_alerts_are_what_promtool_expects(programs: Path) -> None:
    for words in (["check", "rules", "lab.rules.yaml"], ["test", "rules", "lab.test.yaml"]):
        done = subprocess.run([programs / "promtool", *words], cwd=ALERTS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


@contextmanager
def _started(*command: str | Path) -> Iterator[None]:
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _alerts(port: int) -> list[dict[str, Any]]:
    status, said = _get(port, "/api/v1/alerts")
    return json.loads(said)["data"]["alerts"] if status == 200 else []


def _value(port: int, metric: str) -> float | None:
    """Return what Prometheus knows of the VM's TCP."""
    status, said = _get(port, f"/api/v1/query?query={metric}%7BBackend%3D%22web%22%2CProtocolType%3D%22Tcp%22%7D")
    found = json.loads(said)["data"]["result"] if status == 200 else []
    return float(found[0]["value"][1]) if found else None


@pytest.mark.root
def test_an_alert_fires_before_ports_run_out(programs: Path, tmp_path: Path) -> None:
    of_lab, of_server = _free_port(), _free_port()
    config = {
        "global": {"scrape_interval": "300ms", "evaluation_interval": "300ms", "scrape_timeout": "300ms"},
        "rule_files": [str(ALERTS / "lab.rules.yaml")],
        "scrape_configs": [{"job_name": "lab", "static_configs": [{"targets": [f"127.0.0.1:{of_lab}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    text = rootlab.small("scraped") + "overrides: {snat_ports_per_vm: 64}\n"
    served = (sys.executable, "-P", "-m", "lab", "metrics", "scraped", "--listen", f"127.0.0.1:{of_lab}")
    asking = (
        programs / "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{of_server}",
    )  # fmt: skip

    def opened(kind: int) -> socket.socket:
        with netns.visit(namespace("scraped", "web")):
            return socket.socket(socket.AF_INET, kind)

    with ExitStack() as stack:
        stack.enter_context(rootlab.running(tmp_path, text))
        client = stack.enter_context(closing(load.Client(opened)))
        stack.enter_context(_started(*served))
        stack.enter_context(_started(*asking))
        rootlab.wait_until(lambda: _value(of_server, "AllocatedSnatPorts") == 64, "a scrape")
        assert [alert for alert in _alerts(of_server) if alert["labels"]["alertname"].startswith("Snat")] == []
        done = client.open([load.Target("198.51.100.10", 7000, "tcp")], 52, timeout_s=5.0)
        assert [result.outcome for result in done] == ["answered"] * 52  # of 64: none is refused yet
        rootlab.wait_until(lambda: bool(_alerts(of_server)), "an alert")
        fired = _alerts(of_server)[0]
        assert (fired["state"], fired["labels"]["alertname"]) == ("firing", "SnatPortsRunOut")
        assert (fired["labels"]["Backend"], float(fired["value"])) == ("web", 52)
        client.end(52, "rst")
        rootlab.ok("down", "scraped")
        status, said = _get(of_lab, "/metrics")
        assert (status, said.count("\n")) == (503, 1)
        assert said.startswith('no lab "scraped"; a lab must be up first')
