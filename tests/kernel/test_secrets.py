"""A shared key is nowhere where others may read it; what is in a node reaches neither the host nor another lab."""

import json
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kernel import netns
from lab.plan import namespace
from tests import rootlab, unprivileged

pytestmark = pytest.mark.root

KEY = "Sup3rSecretKeyOfTheTunnel"
NEW_KEY = "An0therSecretKeyOfTheTunnel"
_READING = (
    "list",
    "show secret",
    "plan FILE",
    "plan FILE --diff",
    "events secret",
    "logs secret far",
    "gateway show secret",
)
_READING += ("outbound secret", "ports secret", "explain secret vm1 vm2:80/tcp")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("secret")
    text = (rootlab.TOPOLOGIES / "vnet-to-vnet.lab.yaml").read_text()
    assert "A1b2C3D4" in text
    text = text.replace("name: vnet-to-vnet", "name: secret").replace("A1b2C3D4", KEY)
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limit[1], limit[1]))  # as where cores are kept
    with rootlab.running(folder, text):
        resource.setrlimit(resource.RLIMIT_CORE, limit)
        yield folder / "secret.lab.yaml"


def readable_by_others() -> Iterator[Path]:
    """Yield the files of the lab that others than root may read, by their own mode and that of all folders above."""
    for folder, folders, files in os.walk("/run/lab"):
        folders[:] = [name for name in folders if Path(folder, name).stat().st_mode & stat.S_IXOTH]
        for name in files:
            path = Path(folder, name)
            if path.is_file() and path.stat().st_mode & stat.S_IROTH:
                yield path


def test_a_shared_key_is_in_no_answer_title_environment_or_file_that_others_read(file: Path):
    site, said = "site-VNet2", list[str]()
    for words in (("--key", NEW_KEY), (NEW_KEY,)):  # the second is a mistake that is easily made
        done = rootlab.run("gateway", "key", "set", "secret", "VNet1", site, *words)
        assert done.returncode == (0 if "--key" in words else 2)
        said += [done.stdout, done.stderr]
    for words in _READING:
        for form in ("table", "json"):
            done = rootlab.run(*(str(file) if word == "FILE" else word for word in words.split()), "-o", form)
            assert done.returncode == 0, f"{words}: {done.stderr}"
            said += [done.stdout, done.stderr]
    for words in (("graph", "secret"), ("graph", "secret", "-o", "json"), ("metrics", "secret")):
        said.append(rootlab.ok(*words))
    bad = rootlab.run("gateway", "key", "set", "secret", "VNet1", "no-such-site", "--key", NEW_KEY)
    assert bad.returncode != 0
    broken = file.with_name("broken.lab.yaml")
    broken.write_text(file.read_text().replace("address_space: [10.1.0.0/16]", "address_space: [10.1.0.0/99]", 1))
    wrong = rootlab.run("check", broken)
    assert wrong.returncode == 2
    said += [bad.stdout, bad.stderr, wrong.stdout, wrong.stderr]
    for name in Path("/proc").glob("[0-9]*"):
        try:
            if b"lab" in (title := (name / "cmdline").read_bytes()) or b"charon" in title:
                said += [title.decode(errors="replace"), (name / "environ").read_text(errors="replace")]
        except OSError:
            continue
    files = list(readable_by_others())
    assert {"record.json", "plan.json", "outline.json"} <= {path.name for path in files}
    found = [text[:200] for text in said if KEY in text or NEW_KEY in text]
    found += [str(path) for path in files if any(key.encode() in path.read_bytes() for key in (KEY, NEW_KEY))]
    assert found == []
    kept = Path("/run/lab/secret/network.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert NEW_KEY.encode() in kept.read_bytes(), "or nothing is tried here"


def test_the_processes_that_have_a_key_leave_no_core(file: Path):
    assert file.exists()
    for name in ("agent", "charon"):
        pids = [p for p in Path("/proc").glob("[0-9]*") if name.encode() in _command(p)]
        limits = [(p / "limits").read_text() for p in pids]
        assert limits, name
        assert all("Max core file size        0 " in text for text in limits), name


def _command(process: Path) -> bytes:
    try:
        if (process / "root/run").stat().st_dev != Path("/run").stat().st_dev and b"charon" not in (
            process / "cmdline"
        ).read_bytes():
            return b""
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return b""
    return b"agent" if b"lab.agent" in words else b"charon" if words[0].endswith(b"charon") else b""


def test_a_process_in_a_node_reaches_no_socket_of_the_host_or_of_another_node(file: Path):
    assert file.exists()
    opened = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('\\0lab-test'); s.listen(); input()"
    name = namespace("secret", "vm1")
    serving = subprocess.Popen(
        ["python3", "-c", opened],
        stdin=subprocess.PIPE,
        preexec_fn=lambda: netns.enter(name),  # noqa: PLW1509
    )
    try:
        rootlab.wait_until(lambda: "lab-test" in rootlab.must("secret", "vm1", "cat", "/proc/net/unix"), "it listens")
        ask = "import socket; socket.socket(socket.AF_UNIX).connect('\\0lab-test')"
        for place in ("vm2", "far"):
            assert "Connection refused" in rootlab.run("exec", "secret", place, "--", "python3", "-c", ask).stderr
    finally:
        serving.communicate(b"\n")


def test_names_that_would_write_to_a_terminal_are_refused_and_shown_harmless(tmp_path: Path):
    escape = "\x1b[31mred"
    file = tmp_path / "escape.lab.yaml"
    file.write_text(rootlab.small("escape").replace("web", json.dumps(escape)))
    for words in (("check", file), ("up", file), ("show", escape), ("exec", escape, escape, "--", "true")):
        done = rootlab.run(*words)
        assert done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr
    odd = tmp_path / f"{escape}.lab.yaml"
    odd.write_text("name: [")
    done = rootlab.run("check", odd)
    assert "\x1b" not in done.stdout + done.stderr


def test_the_environment_of_a_caller_decides_nothing_under_sudo(tmp_path: Path):
    """Modules are taken from no folder of the caller's: neither the current one nor one that PYTHONPATH names."""
    (tmp_path / "click.py").write_text("raise SystemExit('taken from the folder')\n")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('taken from the folder')\n")
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "click.py")}
    done = subprocess.run(
        [rootlab.CHECKOUT / "scripts/lab", "--version"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "taken from the folder" not in done.stdout + done.stderr
    assert done.returncode == 0


def test_a_user_reads_no_file_that_may_hold_a_key(file: Path):
    assert file.exists()
    done = unprivileged.run("gateway", "key", "show", "secret", "VNet1", "site-VNet2")
    assert KEY not in done.stdout + done.stderr
    assert NEW_KEY not in done.stdout + done.stderr
    done = unprivileged.run("show", "secret", "-o", "json")
    assert done.returncode == 0
