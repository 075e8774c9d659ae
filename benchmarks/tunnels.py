"""Tunnels: how soon they are connected, how much they carry, and how much memory a daemon takes.

    sudo .venv/bin/python -P benchmarks/tunnels.py [-o json] [--wireguard /path/to/wireguard-go]

Setup: in a lab, from the start of the first daemon to the moment when both gateways know the tunnel as connected,
against a bare pair: two daemons in two namespaces, driven over vici by this program alone, with the same plugins
and proposals. Then ten tunnels of one gateway against one tunnel. Throughput: one TCP connection from a VM through
both gateways, encrypted as the newest revision has it (AES-256-GCM); against wireguard-go in the very same places,
and against a daemon whose ciphers are strongSwan's own instead of OpenSSL's.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import vici

from benchmarks import common
from lab.kernel import charon, daemons, netns

ONE, TEN, GCM, SOFT, GUARD = "bench-one", "bench-ten", "bench-gcm", "bench-soft", "bench-guard"
SECONDS = 3.0
PORT = 7000
_KEY = "benchmark"
_SOFT_PLUGINS = "random nonce aes sha1 sha2 gcm gmp kdf hmac {esp}kernel-netlink socket-default vici"


def topology(
    folder: Path, name: str, sites: int, *, keys: tuple[str, str] = (_KEY, _KEY), profile: str = "seeds"
) -> Path:
    """Write a pair of virtual networks, or one with so many sites."""
    lines = [f"name: {name}", f"profile: {profile}", "virtual_networks:"]
    for number in (1, 2):
        subnets = f"{{s: 10.{number}.0.0/24, GatewaySubnet: 10.{number}.255.0/27}}"
        lines.append(f"  v{number}: {{address_space: [10.{number}.0.0/16], subnets: {subnets}}}")
    lines.append("virtual_machines: {a: {subnet: v1/s}, b: {subnet: v2/s, private_ip_address: 10.2.0.4}}")
    lines += ["vpn_gateways: {v1: {routing: dynamic}, v2: {routing: dynamic}}", "local_networks:"]
    if not sites:
        lines += [f"  s{n}: {{address_space: [10.{n}.0.0/16], vpn_gateway: v{n}}}" for n in (1, 2)]
    for n in range(sites):
        lines.append(
            f"  d{n}: {{address_space: [172.16.{n}.0/24], vpn_gateway_address: 131.2.3.{n + 1}, vpn_device: {{}}}}"
        )
    lines.append("connections:")
    if not sites:
        lines += [
            f"  - {{virtual_network: v1, local_network: s2, shared_key: {keys[0]}}}",
            f"  - {{virtual_network: v2, local_network: s1, shared_key: {keys[1]}}}",
        ]
    lines += [f"  - {{virtual_network: v1, local_network: d{n}, shared_key: {_KEY}}}" for n in range(sites)]
    file = folder / f"{name}.lab.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def known(name: str) -> dict[str, Any]:
    return dict(json.loads(Path(f"/run/lab/{name}/gateways.json").read_text()))


def setup(file: Path, name: str) -> float:
    """Bring a lab up and return the seconds from the first daemon's start to the last tunnel's being connected."""
    with common.removed(name):
        common.run(common.LAB, "up", file)
        end = time.monotonic() + 10
        while True:
            gateways = known(name)
            tunnels = [t for g in gateways.values() for t in g["tunnels"].values()]
            if tunnels and all(t["state"] == "Connected" for t in tunnels):
                break
            assert time.monotonic() < end, tunnels
            time.sleep(0.02)
        used = [g for g in gateways.values() if g["tunnels"]]
        return float(max(t["established"] for t in tunnels) - min(g["started"] for g in used))


def bare(folder: Path) -> float:
    """Return the seconds from the start of two daemons to a tunnel between them, with nothing around them."""
    names = ("bench-bare1", "bench-bare2")
    processes: list[daemons.Attended] = []
    words = ["ip", "link", "add", "e0", "netns", names[0], "type", "veth", "peer", "name", "e0", "netns", names[1]]
    try:
        for name in names:
            common.run("ip", "netns", "add", name)
        common.run(*words)
        for number, name in enumerate(names, start=1):
            for command in (
                "link set e0 up",
                f"addr add 20.0.0.{number}/24 dev e0",
                f"addr add 10.{number}.0.1/32 dev e0",
            ):
                common.run("ip", "-n", name, *command.split())
            own = folder / name
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
            (own / "strongswan.conf").write_text(charon.configuration("user space"))
        began = time.monotonic()
        processes += [_daemon(name, folder / name) for name in names]
        sessions = [_session(folder / name) for name in names]
        for me, session in enumerate(sessions, start=1):
            peer = 3 - me
            session.load_shared({"id": "k", "type": "IKE", "data": _KEY, "owners": [f"20.0.0.{peer}"]})
            child = {
                "local_ts": [f"10.{me}.0.0/16"],
                "remote_ts": [f"10.{peer}.0.0/16"],
                "esp_proposals": ["aes256-sha1"],
            }
            ends = {side: {"auth": "psk", "id": f"20.0.0.{n}"} for side, n in (("local", me), ("remote", peer))}
            session.load_conn({"c": {
                "version": "2", "local_addrs": [f"20.0.0.{me}"], "remote_addrs": [f"20.0.0.{peer}"],
                "proposals": ["aes256-sha1-modp1024"], **ends, "children": {"c": child},
            }})  # fmt: skip
        list(sessions[0].initiate({"child": "c", "timeout": "5000", "loglevel": "-1"}))
        return time.monotonic() - began
    finally:
        for process in processes:
            process.end()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _daemon(name: str, own: Path) -> daemons.Attended:
    def inside() -> None:
        netns.enter(name)
        netns.bind({charon.folder(): charon.COMPILED_IN, own: Path("/run")})

    command, environment = [str(charon.folder() / "charon")], {"STRONGSWAN_CONF": "/run/strongswan.conf"}
    return daemons.attend(command, own / "log", environment, inside)


def _session(own: Path) -> vici.Session:
    while True:
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.connect(str(own / "vici"))
        except OSError:
            opened.close()
            time.sleep(0.001)
        else:
            return vici.Session(opened)


# --- throughput ---


def throughput(traffic: Path, lab: str) -> float:
    words = (traffic, "push", "10.2.0.4", PORT - 1, SECONDS)
    return float(json.loads(common.run(*common.inside(lab, "a"), *words))["rate"]) * 1000


@contextlib.contextmanager
def wireguard(program: str) -> Iterator[None]:
    """Have wireguard-go carry what is between the two networks of its lab, in the gateways' own places."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    keys = [X25519PrivateKey.generate() for _ in (1, 2)]
    running = []
    try:
        for number in (1, 2):
            place = common.inside(GUARD, f"gw.v{number}")
            common.run(*place, "iptables-legacy", "-F")
            common.run(*place, "iptables-legacy", "-P", "FORWARD", "ACCEPT")
            quiet = subprocess.DEVNULL
            running.append(subprocess.Popen([*place, program, "-f", f"wg{number}"], stdout=quiet, stderr=quiet))
        for number in (1, 2):
            peer = known(GUARD)[f"gw.v{3 - number}"]["address"]
            _configure(
                number, keys[number - 1].private_bytes_raw(), keys[2 - number].public_key().public_bytes_raw(), peer
            )
            place = common.inside(GUARD, f"gw.v{number}")
            common.run(*place, "ip", "link", "set", f"wg{number}", "up")
            common.run(*place, "ip", "route", "replace", f"10.{3 - number}.0.0/16", "dev", f"wg{number}")
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _configure(number: int, private: bytes, public: bytes, peer: str) -> None:
    file, end = Path(f"/var/run/wireguard/wg{number}.sock"), time.monotonic() + 5
    while not file.exists():
        assert time.monotonic() < end, "wireguard-go does not listen"
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.connect(str(file))
        text = f"set=1\nprivate_key={private.hex()}\nlisten_port=51820\npublic_key={public.hex()}\n"
        opened.sendall(f"{text}endpoint={peer}:51820\nallowed_ip=10.{3 - number}.0.0/16\n\n".encode())
        assert b"errno=0" in opened.recv(100), base64.b64encode(public)


def memory(name: str) -> int:
    """Return the private memory of one of a lab's daemons; KiB."""
    process = known(name)["gw.v1"]["pid"]
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def main() -> None:
    options = common.arguments(__doc__, wireguard={"default": shutil.which("wireguard-go"), "help": "wireguard-go"})
    common.need_root()
    common.on_signals()
    rounds = options.rounds or 7
    data: dict[str, Any] = {}
    rows = []
    with common.workplace() as folder, common.removed(ONE, TEN, GCM, SOFT, GUARD), contextlib.ExitStack() as stack:
        one, ten = topology(folder, ONE, 0), topology(folder, TEN, 10)
        common.say(f"setup, {rounds} rounds")
        things: dict[str, Callable[[], float]] = {
            "bare": lambda: bare(folder), "lab": lambda: setup(one, ONE), "ten": lambda: setup(ten, TEN),
        }  # fmt: skip
        found = common.interleaved(rounds, things)
        single = common.goal(common.ratio(found["lab"], found["bare"]), 1.5, at_most=True)
        many = common.goal(common.ratio(found["ten"], found["lab"]), 5, at_most=True)
        data["setup_s"] = {**found, "one": single, "ten_tunnels": many}
        rows += [
            (
                "one tunnel, s",
                common.spread(found["lab"]),
                "bare pair",
                common.spread(found["bare"]),
                common.verdict(single),
            ),
            (
                "ten tunnels, s",
                common.spread(found["ten"]),
                "one tunnel",
                common.spread(found["lab"]),
                common.verdict(many),
            ),
        ]
        traffic = common.compiled("traffic.c", folder)
        (folder / "sitecustomize.py").write_text(f"import lab.kernel.charon as c\nc._PLUGINS = {_SOFT_PLUGINS!r}\n")
        common.run(common.LAB, "up", topology(folder, GCM, 0, profile="2018-12"))
        soft = {**os.environ, "PYTHONPATH": f"{folder}:{common.CHECKOUT}"}
        common.run(common.LAB, "up", topology(folder, SOFT, 0, profile="2018-12"), env=soft)
        carriers = {"lab": GCM, "software": SOFT}
        if options.wireguard:
            common.run(common.LAB, "up", topology(folder, GUARD, 0, keys=("one", "other")))
            stack.enter_context(wireguard(options.wireguard))
            carriers["wireguard-go"] = GUARD
        for name in carriers.values():
            stack.enter_context(common.answering(name, "b", traffic, "serve", "10.2.0.4", PORT, 1))
        common.say(f"throughput, {rounds} rounds")
        rates = common.interleaved(
            rounds, {who: (lambda name=name: throughput(traffic, name)) for who, name in carriers.items()}
        )
        data["mbit_s"], data["private_kib"] = rates, memory(GCM)
        for who, limit in (("wireguard-go", 0.65), ("software", 8)):
            if who in rates:
                reached = common.goal(common.ratio(rates["lab"], rates[who]), limit)
                data[f"throughput_to_{who}"] = reached
                cells = (common.spread(rates["lab"], ".0f"), who, common.spread(rates[who], ".0f"))
                rows.append(("throughput, Mbit/s", *cells, common.verdict(reached)))
        rows.append(("private memory of a daemon, KiB", str(data["private_kib"]), "", "", ""))
    common.report(options, ("", "lab", "against", "", "ratio"), rows, data)


if __name__ == "__main__":
    main()
