"""What an IKE daemon is told, as it was reviewed: by both ways to encrypt, whichever this machine has.

After an intended change: `.venv/bin/python -P -m pytest tests/golden --regold`.
"""

import json
from pathlib import Path

import pytest

from lab.compile import compile as compile_network
from lab.kernel import charon
from lab.plan import IkeDaemon, Tunnel
from lab.topology import load

HERE = Path(__file__).parent
TOPOLOGIES = HERE.parents[1] / "topologies"


def told(esp: charon.Esp) -> str:
    """Return a daemon's configuration, and the connections of an IKEv2 and of an IKEv1 gateway."""
    plan = compile_network(load(TOPOLOGIES / "multi-site.lab.yaml"))
    addresses = {c.place: c.address for c in plan.of(IkeDaemon)}
    chosen = [
        t for t in plan.of(Tunnel) if (t.place, t.name) in (("gw.Spoke2", "to-hub-and-3"), ("gw.Branch", "site8"))
    ]
    connections = [charon.connection(t, addresses[t.place], esp, n) for n, t in enumerate(chosen)]
    return charon.configuration(esp) + json.dumps(connections, indent=2) + "\n"


@pytest.mark.parametrize("esp", ["kernel", "user space"])
def test_a_daemon_is_told_what_was_reviewed(esp: charon.Esp, pytestconfig: pytest.Config) -> None:
    golden = HERE / f"charon.{esp.replace(' ', '-')}.txt"
    if pytestconfig.getoption("regold"):
        golden.write_text(told(esp))
    assert golden.exists(), "run pytest tests/golden --regold, and review the file"
    assert told(esp).splitlines() == golden.read_text().splitlines()


def test_the_two_differ_in_who_encrypts_and_in_how_a_packet_finds_its_tunnel() -> None:
    """The kernel knows a tunnel by its interface; in user space policies that are traps lead to it by their number."""
    kernel, user = told("kernel"), told("user space")
    plugins = [next(line for line in text.splitlines() if "load =" in line) for text in (user, kernel)]
    assert ["kernel-libipsec" in line for line in plugins] == [True, False]

    def children(text: str) -> dict[str, dict[str, object]]:
        connections = json.loads(text[text.index("\n[") :])
        return {name: child for c in connections for one in c.values() for name, child in one["children"].items()}

    by_kernel, by_user = children(kernel), children(user)
    assert set(by_user) - set(by_kernel) == {"to-hub-and-3-out", "to-hub-and-3-in"}
    for name, child in by_kernel.items():
        identity = {child.pop(key) for key in ("if_id_in", "if_id_out")}
        assert identity == {"1" if name.startswith("site8") else "2"}
    tunnel = by_user["to-hub-and-3-0"]
    assert (tunnel.pop("policies"), tunnel.pop("reqid")) == ("no", by_user["to-hub-and-3-out"]["reqid"])
    assert {name: by_user[name] for name in by_kernel} == by_kernel
    assert [by_user[f"to-hub-and-3-{way}"]["start_action"] for way in ("out", "in")] == ["trap", "trap"]
    assert by_user["to-hub-and-3-out"]["remote_ts"] == ["10.10.0.0/16", "10.30.0.0/16"]


def test_a_trial_of_the_kernel_is_a_whole_message() -> None:
    """struct xfrm_usersa_info is 224 bytes; then two algorithms of 68 bytes and a key each, with their headers."""
    assert len(charon._trial_state()) == 224 + (4 + 68 + 20) + (4 + 68 + 16)
