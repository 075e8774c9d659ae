"""What faults of the machine and of others leave behind: open modes, a full disk, broken files, killed processes."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lab.kernel import netns
from lab.kernel.state import StateDir
from tests import rootlab

pytestmark = pytest.mark.root

RUN = Path("/run/lab")


def writable(folder: Path) -> list[str]:
    """Return what others than its owner may write; a daemon's own socket lets root's group in."""
    found = []
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if mode & (0o002 if stat.S_ISSOCK(mode) else 0o022) and not stat.S_ISLNK(mode):
            found.append(f"{path} {mode:o}")
    return found


def lab(*words: str | Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command line behind another command."""
    command = [*before, sys.executable, "-P", "-m", "lab", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def faulty(name: str) -> str:
    """Return a small topology with servers of every kind, a pool, and probes that are fast."""
    return (
        rootlab.small(name)
        .replace("https:443", "https:443, ftp:21, ssh:22")
        .replace("alone: {subnet: vnet1/front}", "alone: {subnet: vnet1/front, services: [http:80]}")
        .replace("pool: [web]", "pool: [web, alone]")
        + "overrides: {time_scale: 20}\n"
    )


def test_without_a_umask_nothing_of_a_lab_may_be_written_by_others(tmp_path: Path):
    file = tmp_path / "open.lab.yaml"
    file.write_text(
        (rootlab.TOPOLOGIES / "vnet-to-vnet.lab.yaml").read_text().replace("name: vnet-to-vnet", "name: open")
    )
    servers = tmp_path / "open2.lab.yaml"
    servers.write_text(faulty("open2"))
    before = os.umask(0)
    try:
        for topology in (file, servers):
            rootlab.ok("up", topology)
        rootlab.ask("open2", "web", "http://198.51.100.10/")
        rootlab.must("open2", "web", "bash", "-c", "exec 3<>/dev/tcp/198.51.100.10/22; head -c 4 <&3")
        rootlab.wait_until(lambda: any((RUN / "open2/log").glob("*.auth.log")), "sshd has said something")
        assert writable(RUN) == []
        assert writable(netns.RUN) == []
    finally:
        os.umask(before)
        rootlab.ok("down", "open", "open2")


def test_a_killed_ftp_server_is_started_again(tmp_path: Path):
    with rootlab.running(tmp_path, faulty("ftp")) as name:
        rootlab.must(name, "web", "curl", "-sS", "-m", "10", "ftp://198.51.100.10/lab.json")
        (server,) = (p for p in Path("/proc").glob("[0-9]*") if _serves_ftp(p, name))
        os.kill(int(server.name), signal.SIGKILL)
        rootlab.wait_until(
            lambda: rootlab.inside(name, "web", "curl", "-s", "-m", "5", "ftp://198.51.100.10/lab.json").status == 0,
            "it answers again",
        )


def _serves_ftp(process: Path, name: str) -> bool:
    try:
        return f"/run/lab/{name}/ftp/far".encode() in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_full_disk_passes(tmp_path: Path):
    """While it is full a member goes down; when there is room again its rule follows, and `up` and `down` work."""

    def work() -> None:
        netns.bind({})
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", "/run"], check=True)
        file = tmp_path / "full.lab.yaml"
        file.write_text(faulty("full"))
        rootlab.ok("up", file)
        folder = StateDir("full")
        down = [key for key in folder.health() if key.endswith("/alone")]
        assert [folder.health()[key].up for key in down] == [True]
        fill()
        rootlab.must("full", "alone", "iptables-legacy", "-I", "INPUT", "-p", "tcp", "--dport", "80", "-j", "DROP")
        rootlab.wait_until(lambda: "alone" not in rules(), "its rule is gone though nothing can be written", rules)
        Path("/run/fill").unlink()
        rootlab.wait_until(
            lambda: [(folder.health()[key].up, folder.health()[key].applied) for key in down] == [(False, True)],
            "what is known is written, though it was known while nothing could be",
        )
        rootlab.must("full", "alone", "iptables-legacy", "-F", "INPUT")
        rootlab.wait_until(lambda: "alone" in rules(), "its rule is back", rules)
        rootlab.ok("up", file)
        fill()
        rootlab.ok("down", "full")
        assert not (RUN / "full").exists()

    netns.in_child(work)


def fill() -> None:
    """Leave no room at all in /run."""
    with Path("/run/fill").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass


def rules() -> str:
    """Return the names of members that the load balancer's rules speak of."""
    saved = rootlab.must("full", "lb.vnet1", "iptables-legacy-save", "-t", "nat")
    address = {"10.1.0.4": "alone", "10.1.0.5": "web"}
    return " ".join(name for at, name in address.items() if f"--to-destination {at}:80" in saved)


def test_a_broken_record_keeps_no_lab(tmp_path: Path):
    """Neither its own, which is removed by its marks or made anew, nor another."""
    files = {}
    for name in ("sound", "broken", "broken2"):
        files[name] = tmp_path / f"{name}.lab.yaml"
        files[name].write_text(f"name: {name}\ninternet:\n  far: {{address: 198.51.100.10}}\n")
        rootlab.ok("up", files[name])

    def truncate(name: str) -> None:
        record = StateDir(name).record_file
        record.write_bytes(record.read_bytes()[:20])

    truncate("broken")
    listed = rootlab.ok("list")
    assert "sound" in listed
    assert "cannot be read: /run/lab/broken/record.json" in " ".join(listed.split())
    assert rootlab.ok("down", "broken") == "broken: down\n"
    assert rootlab.leftovers("broken") == []
    truncate("broken2")
    assert "broken2: up, " in rootlab.ok("up", files["broken2"])
    assert "broken2: running" in rootlab.ok("show", "broken2")
    truncate("broken2")
    assert rootlab.ok("down", "--all").splitlines() == ["broken2: down", "sound: down"]
    assert [rootlab.leftovers(name) for name in files] == [[], [], []]


def test_what_dead_labs_left_is_listed_and_removed_and_nothing_else(tmp_path: Path):
    """Of a lab whose folder is gone, and of one whose making was killed; a namespace of another tool stays."""
    theirs = "lab.lost.theirs"
    subprocess.run(["ip", "netns", "add", theirs], check=True)
    try:
        for name in ("alive", "lost", "half"):
            file = tmp_path / f"{name}.lab.yaml"
            file.write_text(f"name: {name}\ninternet:\n  far: {{address: 198.51.100.10}}\n")
            rootlab.ok("up", file)
        shutil.rmtree(RUN / "lost")
        folder = StateDir("half")
        record = folder.read()
        assert record is not None
        folder.write(msgspec.structs.replace(record, state="building"))
        found = json.loads(rootlab.ok("gc", "-o", "json"))["found"]
        assert {one["lab"]: one["removed"] for one in found} == {"half": False, "lost": False}
        assert {one["lab"]: one["why"] for one in found} == {
            "half": "a command was killed while building it",
            "lost": "it has no record",
        }
        assert found[1]["namespaces"] == ["lab.lost.far", "lab.lost.internet"]
        assert found[1]["processes"]
        assert netns.exists("lab.lost.far")
        rootlab.ok("gc", "--yes")
        assert rootlab.leftovers("half") == []
        assert rootlab.leftovers("lost") == [theirs]
        assert rootlab.ok("gc") == "no dead lab has left anything\n"
        assert "alive: running" in rootlab.ok("show", "alive")
    finally:
        subprocess.run(["ip", "netns", "del", theirs], check=True)
        rootlab.ok("down", "alive")


def test_a_folder_without_a_record_is_removed():
    """As `up` leaves it that was killed when it had made its folder."""
    for folder in ("log", "own"):
        (RUN / "early" / folder).mkdir(parents=True)
    (RUN / "early/record.json.tmp").write_text("{")
    assert rootlab.ok("down", "early") == "early: down\n"
    assert rootlab.leftovers("early") == []


def test_too_few_open_files_are_said_and_keep_no_lab(tmp_path: Path):
    file = tmp_path / "few.lab.yaml"
    machines = "".join(f"  vm{n}: {{subnet: vnet1/front}}\n" for n in range(40))
    file.write_text(rootlab.small("few").replace("  alone:", machines + "  alone:"))
    few = ("prlimit", "--nofile=64:64")
    try:
        said = lab("up", file, before=(*few, "setpriv", "--bounding-set=-sys_resource"))
        assert said.returncode == 4, said.stderr
        assert said.stderr.strip().splitlines()[-1].startswith("open files: 64 are allowed, and few with")
        assert not (RUN / "few").exists()
        rootlab.ok("up", file)
        done = lab("down", "few", before=(*few, "setpriv", "--bounding-set=-sys_resource"))
        assert (done.returncode, done.stdout) == (0, "few: down\n"), done.stderr
        assert rootlab.leftovers("few") == []
    finally:
        rootlab.ok("down", "few")


def test_what_is_written_has_its_mode_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        netns.make_folder(tmp_path / "a", 0o755)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    finally:
        os.umask(before)


def test_a_tunnel_comes_back_after_a_full_disk(tmp_path: Path):
    """Its daemon ends while its configuration cannot be written."""

    def work() -> None:
        netns.bind({})
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", "/run"], check=True)
        file = tmp_path / "tunnel.lab.yaml"
        text = (rootlab.TOPOLOGIES / "vnet-to-vnet.lab.yaml").read_text()
        file.write_text(text.replace("name: vnet-to-vnet", "name: tunnel"))
        rootlab.ok("up", file)
        try:
            pid = StateDir("tunnel").tunnels()["gw.VNet1"].pid
            fill()
            os.kill(pid, signal.SIGKILL)
            rootlab.wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "the daemon has ended")
            rootlab.wait_until(lambda: not (RUN / "tunnel/gateways/gw.VNet1/vici").exists(), "it was started in vain")
            Path("/run/fill").unlink()
            rootlab.wait_until(lambda: connected("tunnel", pid), "it is connected again", lambda: str(pid))
        finally:
            rootlab.ok("down", "tunnel")

    netns.in_child(work)


def connected(name: str, before: int) -> bool:
    """Tell whether another daemon runs than before, and its tunnels are connected."""
    gateway = StateDir(name).tunnels()["gw.VNet1"]
    return gateway.pid != before and all(t.state == "Connected" for t in gateway.tunnels.values())
