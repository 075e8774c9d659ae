"""What an IKE daemon is told, as it was reviewed: by both ways to encrypt, whichever this machine has.

After an intended change: `.venv/bin/python -P -m pytest tests/golden --regold`.
"""

import json
from pathlib import Path

import pytest

from lab.compile import compile as compile_network
from lab.kernel import charon
from lab.plan import Charon, Tunnel
from lab.topology import load

HERE = Path(__file__).parent
TOPOLOGIES = HERE.parents[1] / "topologies"


def told(esp: charon.Esp) -> str:
    """Return a daemon's configuration, and the connections of an IKEv2 and of an IKEv1 gateway."""
    plan = compile_network(load(TOPOLOGIES / "multi-site.lab.yaml"))
    addresses = {c.place: c.address for c in plan.of(Charon)}
    chosen = [
        t for t in plan.of(Tunnel) if (t.place, t.name) in (("gw.Spoke2", "to-hub-and-3"), ("gw.Branch", "site8"))
    ]
    connections = [charon.connection(t, addresses[t.place], esp) for t in chosen]
    return charon.configuration(esp) + json.dumps(connections, indent=2) + "\n"


@pytest.mark.parametrize("esp", ["kernel", "user space"])
def test_a_daemon_is_told_what_was_reviewed(esp: charon.Esp, pytestconfig: pytest.Config) -> None:
    golden = HERE / f"charon.{esp.replace(' ', '-')}.txt"
    if pytestconfig.getoption("regold"):
        golden.write_text(told(esp))
    assert golden.exists(), "run pytest tests/golden --regold, and review the file"
    assert told(esp).splitlines() == golden.read_text().splitlines()


def test_the_two_differ_in_who_encrypts_and_in_nothing_else() -> None:
    kernel, user = told("kernel").splitlines(), told("user space").splitlines()
    by_kernel = [line.split(":")[0].split(" =")[0].strip() for line in kernel if line not in user]
    by_user = [line for line in user if line not in kernel]
    assert set(by_kernel) == {"load", '"if_id_in"', '"if_id_out"'}
    (load_line,) = [line for line in by_user if "load =" in line]
    assert "kernel-libipsec" in load_line
    assert "kernel-libipsec" not in "".join(kernel)


def test_a_trial_of_the_kernel_is_a_whole_message() -> None:
    """struct xfrm_usersa_info is 224 bytes; then two algorithms of 68 bytes and a key each, with their headers."""
    assert len(charon._trial_state()) == 224 + (4 + 68 + 20) + (4 + 68 + 16)
