"""A user's own programs in nodes: ready when `up` returns, watched, logged, fed with files, and ended with the lab."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kernel import netns
from lab.plan import namespace
from tests import rootlab

pytestmark = pytest.mark.root

_TEXT = """\
name: x-programs
internet:
  partner:
    address: 198.51.100.10
    services:
      - {name: site, exec: [python3, -u, -m, http.server, "8080"], port: 8080, cwd: pages}
  api: {address: 198.51.100.20, services: [http:80, udp:90]}
virtual_networks:
  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
virtual_machines:
  web:
    subnet: vnet1/front
    services:
      - {exec: [sh, -c, 'echo "$GREETING from $LAB_NODE"; sleep 987 & wait'], ready: 0.1s, env: {GREETING: hello}}
expect:
  - {from: web, run: [curl, -sS, "http://partner:8080/"], output: own page}
  - {from: web, run: [curl, -sS, "http://api/"], output_matches: '"client_address": "192\\.0\\.2\\.\\d+"'}
  - {from: web, run: [sleep, "60"], timeout_in_seconds: 0.2}
  - {from: web, run: [sh, -c, "exit 3"], exit_status: 4}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("programs")
    (made / "pages").mkdir()
    (made / "pages/index.html").write_text("own page\n")
    return made


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    with rootlab.running(folder, _TEXT) as name:
        yield name
    assert rootlab.leftovers(name) == []


def _processes(lab: str, place: str) -> list[str]:
    """Return the commands of the processes in a place."""
    where = netns.path(namespace(lab, place))
    if not where.exists():
        return []
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/net").stat().st_ino == where.stat().st_ino:
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_programs_are_ready_after_up_and_are_among_what_a_node_has(lab: str) -> None:
    assert rootlab.must(lab, "web", "curl", "-sS", "http://198.51.100.10:8080/") == "own page\n"
    assert "exec site:8080/tcp" in json.loads(rootlab.ok("show", lab, "-o", "json"))["nodes"][1]["services"]
    assert "web sh | hello from web\n" in rootlab.ok("logs", lab, "web")


def test_a_program_that_ends_is_started_again(lab: str) -> None:
    rootlab.must(lab, "partner", "sh", "-c", "kill $(ss -Hltnp 'sport = 8080' | sed 's/.*pid=//; s/,.*//')")
    rootlab.wait_until(
        lambda: rootlab.inside(lab, "web", "curl", "-s", "http://198.51.100.10:8080/").stdout == "own page\n",
        "the site is there again",
    )
    assert "partner: site was ended by signal 15; starting it again in 1 s" in rootlab.ok("logs", lab)


def test_files_are_copied_into_a_node_and_back(lab: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("there\n")
    rootlab.ok("copy", lab, tmp_path / "in.txt", "web:deep/in.txt")
    assert rootlab.ok("exec", lab, "web", "--", "sh", "-c", 'cat "$LAB_FILES/deep/in.txt"') == "there\n"
    rootlab.ok("copy", lab, "web:deep", tmp_path / "back")
    assert (tmp_path / "back/in.txt").read_text() == "there\n"
    for source, target, said in (
        ("web:../x", "x", "it must lie within"),
        ("a", "b", "one of the two must be in a node"),
        ("a", "wb:b", 'no node "wb"; did you mean "web"'),
        (str(tmp_path / "none"), "web:b", "No such file or directory"),
    ):
        refused = rootlab.run("copy", lab, source, target)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr


def test_a_command_in_a_node_has_an_end_when_its_time_is_over(lab: str) -> None:
    assert rootlab.run("exec", "--timeout", "0.2", lab, "web", "--", "sleep", "60").returncode == 124


def test_who_came_to_a_server_is_in_the_log_of_its_node(lab: str) -> None:
    assert rootlab.ask(lab, "web", "http://198.51.100.20/")["client_address"] == "192.0.2.254"
    script = "import socket; s=socket.socket(2,2); s.sendto(b'x',('198.51.100.20',90)); s.settimeout(9); s.recv(99)"
    rootlab.must(lab, "web", "python3", "-c", script)

    def seen() -> set[tuple[str, str]]:
        logs = json.loads(rootlab.ok("logs", lab, "api", "-o", "json"))["logs"]
        lines = [json.loads(line) for log in logs for line in log["lines"]]
        return {(line["service"], line["client_address"]) for line in lines if line["node"] == "api"}

    wanted = {("http:80/tcp", "192.0.2.254"), ("udp:90/udp", "192.0.2.254")}
    rootlab.wait_until(lambda: seen() >= wanted, "both are logged", seen)


def test_own_expectations_are_judged_alone_and_each_says_why_it_does_not_hold(lab: str, folder: Path) -> None:
    done = rootlab.run("verify", folder / f"{lab}.lab.yaml", "--expect", "-o", "json")
    assert done.returncode == 1, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [(r["id"], r["verdict"]) for r in results] == [
        ("expect-1", "HOLDS"),
        ("expect-2", "HOLDS"),
        ("expect-3", "CONTRADICTED"),
        ("expect-4", "CONTRADICTED"),
    ]
    assert "it did not end within 0.2 s" in results[2]["reason"]
    assert results[3]["reason"].endswith("exit status 3")


def test_a_program_ends_with_its_vm_and_with_all_that_it_started(lab: str) -> None:
    assert any("sleep 987" in one for one in _processes(lab, "web"))
    rootlab.ok("vm", "stop", lab, "web")
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x00987" in _read(p)]
    rootlab.ok("vm", "start", lab, "web")
    rootlab.wait_until(lambda: any("sleep 987" in one for one in _processes(lab, "web")), "it runs again")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("{exec: [sh, -c, 'echo no such database; exit 5'], ready: 9000}", "ended with status 5 before it was ready"),
        ("{exec: [no-such-program]}", "no command 'no-such-program'"),
        ("{exec: [sleep, 1], cwd: nowhere}", "no folder"),
    ],
)
def test_a_lab_whose_program_does_not_get_ready_is_not_made(program: str, said: str, tmp_path: Path) -> None:
    text = f"name: x-unready\ninternet:\n  far: {{address: 198.51.100.10, services: [{program}]}}\n"
    (tmp_path / "x.lab.yaml").write_text(text)
    done = rootlab.run("up", tmp_path / "x.lab.yaml")
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert rootlab.leftovers("x-unready") == []
