"""strongSwan's IKE daemon: one for each gateway, started in its namespace, spoken to over vici.

A daemon has a /run of its own, a folder of the lab's under that name: its pid file has a fixed path there, and its
vici socket and configuration lie beside it. The program comes from a folder that ``scripts/setup`` unpacked, never
from the system's: nothing is installed that would start by itself, and a profile of AppArmor's, which the system's
charon has and which denies other configurations, is attached by path and so never meets this one.

ESP is done by the kernel where it can, else in user space by the daemon (kernel-libipsec; ESP then travels in UDP
4500). In user space inner packets pass one interface for all tunnels, ipsec0; in the kernel each tunnel has its own.

A route-based tunnel takes anything, so which tunnel a packet takes is for routes to say, not for selectors. The kernel
knows that by the interface. kernel-libipsec knows policies only, and finds the first that fits: of those with which
tunnels come up, any to any, it would always be the same one. So a tunnel comes up without policies, and beside it
its policies are installed as traps, for the same request number: outwards one to its peer's prefixes, inwards one from
anywhere. A packet that comes in is held against those of its own tunnel only, by that number.
"""

import asyncio
import contextlib
import os
import re
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from vici.protocol import Message, Packet

from lab.errors import LabError, MachineError
from lab.kernel import daemons, netns
from lab.plan import ANYWHERE, Tunnel

Esp = Literal["kernel", "user space"]

#: Where strongSwan looks for its plugins, whatever it was unpacked to: its own folder is bound over this one.
COMPILED_IN = Path("/usr/lib/ipsec")
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
_START_S = 30.0  # how long a daemon may take until it listens
_INTERFACE = "ipsec"
#: Request numbers of ours begin here, far from those that a daemon gives itself, from 1 on.
_REQUESTS = 0x10000

#: aesni and openssl, and neither aes nor gcm: those, in software, are ten times slower and would be preferred. Where
#: the processor lacks what aesni needs, it offers nothing, and openssl is next.
_PLUGINS = "random nonce aesni openssl kdf hmac {esp}kernel-netlink socket-default vici"

# A peer that is silent is given up after about 3 s: 0.5 s, then 1.3 times as long each time, 4 packets. The daemon
# writes routes for its policies, which do not say where packets go here: into a table that is asked last (``ways``).
# allow_peer_ts: and no others, which would keep IKE out of them.
_CONFIGURATION = """\
charon {{
  load = {plugins}
  threads = 16
  routing_table = 221
  routing_table_prio = 40000
  close_ike_on_child_failure = yes
  delete_rekeyed_delay = 1
  retransmit_timeout = 0.5
  retransmit_base = 1.3
  retransmit_tries = 3
  filelog {{
    stderr {{
      default = 1
      ike_name = yes
      flush_line = yes
    }}
  }}
  plugins {{
    openssl {{
      load_legacy = no
    }}
    kernel-libipsec {{
      allow_peer_ts = yes
    }}
    vici {{
      socket = unix:///run/vici
    }}
  }}
}}
"""


def configuration(esp: Esp) -> str:
    """Return a daemon's strongswan.conf; it holds no secret."""
    return _CONFIGURATION.format(plugins=_PLUGINS.format(esp="" if esp == "kernel" else "kernel-libipsec "))


def interface(esp: Esp, number: int) -> str:
    """Return the interface that inner packets of a tunnel pass; ``number`` is its own among those of its daemon."""
    return f"{_INTERFACE}{number if esp == 'kernel' else 0}"


def connection(tunnel: Tunnel, address: str, esp: Esp, number: int) -> dict[str, Any]:
    """Return a tunnel as vici's load-conn takes it; ``number`` is its own among those of its daemon.

    There is one child for each pair of selectors. Security associations are renewed in the last tenth of their time.
    """
    child = {
        "esp_proposals": list(tunnel.esp),
        "life_time": str(tunnel.esp_lifetime_s),
        "rekey_time": str(tunnel.esp_lifetime_s * 9 // 10),
        "rand_time": str(tunnel.esp_lifetime_s // 20),
        "dpd_action": "clear",
        "close_action": "none",
    }
    if esp == "kernel":
        # What ties policies to the tunnel's interface; 0 would be none.
        child |= {"if_id_in": str(number + 1), "if_id_out": str(number + 1)}
    children = {
        child_name(tunnel, position): {**child, "local_ts": [one], "remote_ts": [other]}
        for position, (one, other) in enumerate(tunnel.selectors)
    }
    if esp == "user space" and tunnel.version == 2:
        request = {"reqid": str(_REQUESTS + number)}
        (up,) = children.values()
        # The first that fits is what a peer's request is answered with: traps come after it.
        traps = {"out": list(tunnel.remote), "in": [ANYWHERE]}
        children = {name: {**up, **request, "policies": "no"} for name in children} | {
            f"{tunnel.name}-{way}": {**up, **request, "remote_ts": prefixes, "start_action": "trap"}
            for way, prefixes in traps.items()
        }
    return {
        tunnel.name: {
            "version": str(tunnel.version),
            "local_addrs": [address],
            "remote_addrs": [tunnel.peer],
            "proposals": list(tunnel.ike),
            "unique": "replace",
            "mobike": "no",
            "keyingtries": "1",
            "dpd_delay": "2",
            "rekey_time": str(tunnel.ike_lifetime_s * 9 // 10),
            "over_time": str(tunnel.ike_lifetime_s // 10),
            "rand_time": str(tunnel.ike_lifetime_s // 20),
            "local": {"auth": "psk", "id": address},
            "remote": {"auth": "psk", "id": tunnel.peer},
            "children": children,
        }
    }


def child_name(tunnel: Tunnel, position: int) -> str:
    """Return the name of a tunnel's child; an IKEv1 tunnel may have several."""
    return f"{tunnel.name}-{position}"


def children(tunnel: Tunnel) -> list[str]:
    """Return the names of a tunnel's children."""
    return [child_name(tunnel, position) for position in range(len(tunnel.selectors))]


# --- what this machine has --------------------------------------------------------------------


def folder() -> Path:
    """Return the folder that strongSwan was unpacked to."""
    return Path(sys.prefix) / "lib/lab-strongswan/usr/lib/ipsec"


def missing() -> str:
    """Return what of strongSwan is not there, "" if all is."""
    needed = (folder() / "charon", folder() / "plugins/libstrongswan-vici.so", COMPILED_IN)
    return ", ".join(str(path) for path in needed if not path.exists())


def confined() -> str:
    """Return what AppArmor means for the daemons here, "" where there is none."""
    try:
        on = _APPARMOR.read_text().strip() == "Y"
    except FileNotFoundError:
        on = False
    return f"AppArmor confines {COMPILED_IN}/charon; the lab runs {folder()}/charon, which it does not" if on else ""


def kernel_esp() -> Esp:
    """Return who encrypts on this machine: tries in a namespace of its own. Needs root."""
    return "kernel" if netns.in_child(_kernel_does) else "user space"


def _kernel_does() -> bool:
    netns.leave_machine()
    try:
        _ask_xfrm(_XFRM_MSG_NEWSA, _trial_state())
        make_interface(0)
    except OSError:
        return False
    return True


def forget() -> None:
    """Remove what a daemon that was killed left of itself in the kernel's ESP, in the namespace this process is in.

    Raises:
        OSError: the kernel has no IPsec.

    """
    for message in (_XFRM_MSG_FLUSHSA, _XFRM_MSG_FLUSHPOLICY):
        # struct xfrm_usersa_flush is the protocol, 255 for any; a flush of policies has no body.
        _ask_xfrm(message, b"\xff" if message == _XFRM_MSG_FLUSHSA else b"")


def make_interface(number: int) -> None:
    """Make a tunnel's interface where the kernel encrypts, in the namespace this process is in.

    Raises:
        OSError: the kernel has no such interface.

    """
    from pyroute2 import IPRoute  # noqa: PLC0415 - only a kernel that encrypts needs it
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    name = interface("kernel", number)
    with IPRoute() as route:
        if not route.link_lookup(ifname=name):
            try:
                route.link("add", ifname=name, kind="xfrm", xfrm_if_id=number + 1)
            except NetlinkError as error:
                raise OSError(error.code, str(error)) from None
        route.link("set", index=route.link_lookup(ifname=name)[0], state="up", mtu=1400)


def remove_interface(number: int) -> None:
    """Remove a tunnel's interface, and the routes through it; one that is gone is fine."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - only a kernel that encrypts needs it

    with IPRoute() as route:
        for index in route.link_lookup(ifname=interface("kernel", number)):
            route.link("del", index=index)


_NETLINK_XFRM = 6
_XFRM_MSG_NEWSA, _XFRM_MSG_FLUSHSA, _XFRM_MSG_FLUSHPOLICY = 16, 28, 29
_XFRMA_ALG_AUTH, _XFRMA_ALG_CRYPT = 1, 2
_REQUEST_ACK = 5


def _ask_xfrm(kind: int, body: bytes) -> None:
    """Send a message of linux/xfrm.h and wait for the answer.

    Raises:
        OSError: the kernel refuses it, or has no IPsec at all.

    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_XFRM) as opened:
        opened.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK, 1, 0) + body)
        code = -struct.unpack_from("=i", opened.recv(4096), 16)[0]
    # There was nothing to flush.
    if code and not (kind != _XFRM_MSG_NEWSA and code == 3):
        raise OSError(code, os.strerror(code))


def _trial_state() -> bytes:
    """Return an ESP state between two loopback addresses, as struct xfrm_usersa_info with its two algorithms."""
    address = socket.inet_aton("127.0.0.1").ljust(16, b"\0")
    selector = bytes(56)
    identity = address + struct.pack("!IB3x", 0x1000, socket.IPPROTO_ESP)
    forever = struct.pack("=4Q", *[2**64 - 1] * 4) + bytes(32)
    rest = bytes(32) + struct.pack("=12xIIHBBB7x", 0, 1, socket.AF_INET, 1, 0, 0)
    head = selector + identity + address + forever + rest
    attributes = b""
    for number, name, size in ((_XFRMA_ALG_AUTH, b"hmac(sha1)", 20), (_XFRMA_ALG_CRYPT, b"cbc(aes)", 16)):
        algorithm = name.ljust(64, b"\0") + struct.pack("=I", size * 8) + bytes(size)
        attributes += struct.pack("=HH", 4 + len(algorithm), number) + algorithm
    return head + attributes


# --- a daemon -----------------------------------------------------------------------------------


def start(namespace: str, own: Path, esp: Esp, log: Path) -> daemons.Attended:
    """Start the daemon of a namespace; ``own`` is its folder, which it sees as /run. It ends with this process.

    Raises:
        MachineError: strongSwan is not there.

    """
    if lacking := missing():
        raise MachineError(f"strongSwan: no {lacking}; gateways need it; run scripts/setup, which unpacks it")
    netns.make_folder(own.parent, 0o700)
    netns.make_folder(own, 0o700)
    for left in ("charon.pid", "vici"):
        (own / left).unlink(missing_ok=True)
    file = own / "strongswan.conf"
    file.write_text(configuration(esp))

    def inside() -> None:
        netns.enter(namespace)
        netns.bind({folder(): COMPILED_IN, own: Path("/run")})

    return daemons.attend([str(folder() / "charon")], log, {"STRONGSWAN_CONF": "/run/strongswan.conf"}, inside)


def last_words(log: Path) -> str:
    """Return the last line of a daemon's log, and what AppArmor may have to do with it."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    words = lines[-1] if lines else "nothing"
    return f"{words} ({confined()})" if confined() and "ermission denied" in " ".join(lines[-20:]) else words


Event = Mapping[str, Any]


class Vici:
    """A daemon's control socket: commands, which are answered in their order, and events as they come."""

    def __init__(self, heard: Callable[[str, Event], None]) -> None:
        self._heard = heard
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._ended = True  # nothing has begun yet
        self._reading: asyncio.Task[None] | None = None

    async def open(self, own: Path, process: daemons.Attended) -> None:
        """Connect to the daemon that has just been started, as soon as it listens.

        Raises:
            LabError: it ended, or takes too long.

        """
        loop = asyncio.get_running_loop()
        end = loop.time() + _START_S
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self._reader, self._writer = await asyncio.open_unix_connection(str(own / "vici"))
                break
            if not process.running() or loop.time() > end:
                state = f"not listening after {_START_S:g} s" if process.running() else "no longer running"
                raise LabError(f"charon is {state}")
            await asyncio.sleep(0.001)  # it has no other way to tell
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack("!I", await self._reader.readexactly(4))
                packet = Packet.parse(await self._reader.readexactly(length))
                if packet.response_type == Packet.EVENT:
                    self._heard(packet.event_type.decode(), _text(Message.deserialize(packet.payload)))
                else:
                    self._answer(packet)
        self._ended = True
        while self._waiting:
            self._answer(None)

    def _answer(self, packet: Any) -> None:
        asked = self._waiting.popleft()
        if not asked.done():  # the caller may have been cancelled
            asked.set_result(packet)

    async def _exchange(self, packet: bytes) -> Any:
        answer = None
        if not self._ended:
            asked = asyncio.get_running_loop().create_future()
            self._waiting.append(asked)
            self._writer.write(struct.pack("!I", len(packet)) + packet)
            answer = await asked
        if answer is None:
            raise LabError("charon has ended")
        return answer

    async def listen(self, event: str) -> None:
        """Report an event from now on."""
        await self._exchange(Packet.register_event(event))

    async def ask(self, command: str, message: Mapping[str, Any] | None = None) -> Event:
        """Give a command and return the answer.

        Raises:
            LabError: the daemon refuses it, or has ended.

        """
        answer = await self._exchange(Packet.request(command, Message.serialize(message or {})))
        said: Event = _text(Message.deserialize(answer.payload))
        if said.get("success") == "no":
            raise LabError(f"charon refuses {command}: {said.get('errmsg', 'without a reason')}")
        return said

    async def close(self) -> None:
        """Close the socket."""
        if self._reading is not None:
            self._writer.close()
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _text(value: Any) -> Any:
    """Return a message with text for bytes."""
    if isinstance(value, dict):
        return {key: _text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_text(inner) for inner in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def prefixes(selectors: list[str]) -> tuple[str, ...]:
    """Return the prefixes of traffic selectors as the daemon lists them, each once."""
    found = (re.match(r"([\d.]+)(/\d+)?", selector) for selector in selectors)
    return tuple(sorted({f"{match[1]}{match[2] or '/32'}" for match in found if match}))
