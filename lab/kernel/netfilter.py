"""Packet-filter tables: whole tables, written through libiptc by python-iptables.

A table is replaced in one step that the kernel does at once or not at all; connections that
are being tracked keep their translation. python-iptables keeps the first namespace it saw, so a
table is written by a child process of its own, and writes *legacy* tables: read them back
with ``iptables-legacy-save``.

An object of python-iptables costs about half a millisecond to build. Rules of one shape are
therefore encoded once; addresses, ports, marks, translation and comment are patched into the bytes.
"""

import ctypes
import errno
import itertools
import os
import socket
import struct
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from lab.errors import KernelError, MachineError
from lab.flow import PortRange
from lab.kernel import netns
from lab.plan import (
    BUILTIN_CHAINS,
    TABLES,
    ClampSegments,
    CtTarget,
    DestinationNat,
    FlowMark,
    HashMark,
    Jump,
    Policy,
    Provenance,
    Queue,
    Reset,
    Rule,
    SetMark,
    SourceNat,
    Table,
    Terminal,
    Timeout,
)

# What python-iptables asks for when it is imported, and does as well without, costs 80 ms: distutils, which setuptools
# answers for in a virtual environment; and its own C half, which ldconfig, gcc and ld are asked for in turn.
sys.modules.setdefault("distutils", None)  # type: ignore[arg-type]
os.environ.setdefault("IPTABLES_LIBDIR", sysconfig.get_path("purelib"))
import iptc  # noqa: E402
import iptc.xtables  # noqa: E402


class _LongerOption(ctypes.Structure):
    """What an extension says of one of its options: struct xt_option_entry of xtables.h since iptables 1.8.11."""

    _fields_ = (*iptc.xtables.xt_option_entry._fields_, ("base", ctypes.c_uint))


def _fit_options() -> None:
    """Let python-iptables find the options of extensions in libraries of iptables 1.8.11 and later (Debian 13).

    python-iptables 1.2.0 knows the shorter structure only. Of a list of longer ones it finds the first, and then what
    it takes for the end: the first option's ``base``, which is 0, in place of the next one's name.
    """
    extensions = iptc.xtables.xtables(iptc.xtables.NFPROTO_IPV4)
    udp = extensions.find_match("udp")[0]
    if udp.x6_options[1].name is not None:
        return

    def option(_extensions: object, entries: Any, name: bytes) -> Any:
        options = ctypes.cast(entries, ctypes.POINTER(_LongerOption))
        for number in itertools.count():
            entry = options[number]
            if not entry.name:
                break
            if entry.name == name:
                return ctypes.cast(ctypes.pointer(entry), ctypes.POINTER(iptc.xtables.xt_option_entry))[0]
        return None

    iptc.xtables.xtables._option_lookup = option  # noqa: SLF001 - the one place that reads the structure


_fit_options()

# Values that stand for what is patched, chosen to appear nowhere else in an entry.
_MARK_COMMENT = "?" * 64
_MARK_ADDRESS = "222.173.190.239"
_MARK_FIRST, _MARK_LAST = 0x5AC3, 0xC3A5
_MARK_PORT, _MARK_MARK, _MARK_BITS = 0x6B1D, 0x7A5C1E33, 0x7A5C1E55
_MARK_PORTS, _MARK_SOURCE_PORTS = PortRange(_MARK_PORT, _MARK_PORT), PortRange(0x5A2E, 0x5A2E)
_CONTESTED_S, _INVALID_TRIES = 10.0, 10  # how long others may keep us from writing a table
_COMMENT_BYTES = 256  # struct xt_comment_info, linux/netfilter/xt_comment.h
#: struct ipt_ip begins with source, destination, source mask, destination mask, four bytes each.
_SOURCE_AT, _DESTINATION_AT, _SOURCE_MASK_AT, _DESTINATION_MASK_AT = 0, 4, 8, 12


def write(namespace: str, tables: dict[Table, tuple[Policy | Rule, ...]], *, only: bool = False) -> None:
    """Make tables of a namespace hold these items and nothing else, each table in one step.

    ``only``: empty every other table that the namespace has begun to use.

    Raises:
        MachineError: the kernel has no such table, match or target.
        KernelError: the kernel refused a table.

    """
    netns.run_in(namespace, _write_here, namespace, tables, only=only)


#: What the trial of the target CT names.
TRIAL_TIMEOUT = Timeout(place="", why=Provenance("doctor", "trial"), name="1", seconds=1, nominal_s=1)


def gaps() -> list[str]:
    """Return the matches and targets of a lab's rules that the kernel refuses.

    Must run in a namespace that no other process uses, and that has the ``TRIAL_TIMEOUT``.
    """
    trial = Rule(
        place="", why=Provenance("doctor", "trial"), table="nat", chain="PREROUTING", target=Terminal("ACCEPT")
    )
    change = msgspec.structs.replace
    trials = {
        "match conntrack": change(trial, ctstate="NEW"),
        "match mark": change(trial, mark=1),
        "target SNAT": change(trial, chain="POSTROUTING", protocol="tcp", target=SourceNat("192.0.2.1", "1-2")),
        "target DNAT": change(trial, target=DestinationNat("192.0.2.1")),
        "target NFQUEUE": change(trial, table="mangle", ctstate="NEW", ctstatus="!CONFIRMED", target=Queue(0)),
        "match of a part of the mark": change(trial, mark=1, mark_mask=1),
        "match of ports": change(
            trial, protocol="udp", source_ports=PortRange(1, 2), destination_ports=PortRange(3, 4)
        ),
        "target MARK": change(trial, table="filter", chain="FORWARD", target=SetMark(1)),
        "target CONNMARK": change(trial, table="mangle", target=FlowMark("restore", 1)),
        "target CT": change(trial, table="raw", protocol="tcp", target=CtTarget(TRIAL_TIMEOUT.name)),
        "target TCPMSS": change(trial, table="mangle", chain="FORWARD", protocol="tcp", target=ClampSegments(1350)),
        "target REJECT": change(
            trial, table="filter", chain="FORWARD", protocol="tcp", ctstate="INVALID", target=Reset()
        ),
        "target HMARK": change(trial, target=HashMark("src,dst", 2, 1)),
    }
    missing = []
    for name, rule in trials.items():
        try:
            netns.in_child(_write_here, "trial", {rule.table: (rule,)})
        except (KernelError, MachineError):
            missing.append(name)
    return missing


def _write_here(namespace: str, tables: dict[Table, tuple[Policy | Rule, ...]], *, only: bool = False) -> None:
    if only:
        used = Path("/proc/thread-self/net/ip_tables_names").read_text().split()
        others: tuple[Table, ...] = tuple(t for t in TABLES if t in used and t not in tables)
        tables = {**tables, **dict.fromkeys(others, ())}
    for name, items in tables.items():
        try:
            table = iptc.Table(name)
        except iptc.IPTCError as error:
            raise MachineError(
                f"iptables table {name}: {error}; the kernel must have legacy iptables; "
                f"load it with `modprobe iptable_{name}`"
            ) from None
        table.autocommit = False
        try:
            _commit(table, items)
        except (iptc.IPTCError, iptc.XTablesError, ValueError) as error:
            raise KernelError(
                f"{namespace}: table {name}: {error}; the kernel must take its {len(items)} items; run `lab doctor`"
            ) from None


def _commit(table: Any, items: Iterable[Policy | Rule]) -> None:
    """Fill a table and write it; again if another process has written it between our reading and our writing.

    The kernel then says EAGAIN, or EINVAL when it is about to keep the counters. The latter has other causes, too.
    """
    invalid = 0
    end = time.monotonic() + _CONTESTED_S
    while True:
        _fill(table, items)
        try:
            table.commit()
        except iptc.IPTCError as error:
            invalid += os.strerror(errno.EINVAL) in str(error)
            contested = os.strerror(errno.EAGAIN) in str(error) or 0 < invalid < _INVALID_TRIES
            if not contested or time.monotonic() > end:
                raise
            table.refresh()
        else:
            return


def _fill(table: Any, items: Iterable[Policy | Rule]) -> None:
    ordered = tuple(items)
    chains = {item.chain for item in ordered} | {
        item.target.chain for item in ordered if isinstance(item, Rule) and isinstance(item.target, Jump)
    }
    for chain in list(table.chains):
        table.flush_entries(chain.name)
    for chain in list(table.chains):
        if chain.name in BUILTIN_CHAINS:
            table.set_policy(chain.name, iptc.Policy("ACCEPT"))
        elif chain.name not in chains:
            table.delete_chain(chain.name)
    for name in sorted(chains - BUILTIN_CHAINS):
        if not table.is_chain(name):
            table.create_chain(name)
    encode = encoder()
    for item in ordered:
        if isinstance(item, Policy):
            table.set_policy(item.chain, iptc.Policy(item.verdict))
        else:
            data = encode(item)
            table.append_entry(item.chain, (ctypes.c_ubyte * len(data)).from_buffer(data))


def encoder() -> Callable[[Rule], bytearray]:
    """Return a function that encodes rules, building each shape once."""
    shapes: dict[Rule, _Shape] = {}

    def encode(rule: Rule) -> bytearray:
        shape = msgspec.structs.replace(
            rule,
            why=None,
            source=None if rule.source is None else "",
            destination=None if rule.destination is None else "",
            **_marked_values(rule),
            target=_marked(rule.target),
        )
        if shape not in shapes:
            shapes[shape] = _Shape(rule)
        return shapes[shape].fill(rule)

    return encode


def _marked_values(rule: Rule) -> dict[str, Any]:
    """Return a rule's ports and mark replaced by the marks; one port is a range like any other.

    A mark of which a part counts stays as it is: there are few of them.
    """
    return {
        "destination_ports": None if rule.destination_ports is None else _MARK_PORTS,
        "source_ports": None if rule.source_ports is None else _MARK_SOURCE_PORTS,
        "mark": None if rule.mark is None else rule.mark if rule.mark_mask is not None else _MARK_MARK,
    }


def _marked(target: Any) -> Any:
    """Return a target with its translation replaced by the marks."""
    if isinstance(target, SourceNat):
        return SourceNat(_MARK_ADDRESS, f"{_MARK_FIRST}-{_MARK_LAST}" if target.ports else None)
    if isinstance(target, DestinationNat):
        return DestinationNat(_MARK_ADDRESS, _MARK_FIRST if target.port else None)
    if isinstance(target, SetMark) and target.whole:
        return SetMark(_MARK_BITS, whole=True)
    return target


class _Shape:
    """The bytes of a rule with gaps for addresses, port, mark, translation and comment."""

    def __init__(self, rule: Rule) -> None:
        marked = msgspec.structs.replace(rule, **_marked_values(rule))
        self.data = bytes(_build(marked, _marked(rule.target)).rule)
        # struct xt_tcp and xt_udp: first and last source port, first and last destination port;
        # struct xt_mark_mtinfo1: the mark, then its mask.
        self.ports_at = self._at("=HH", marked.destination_ports, _MARK_PORT, _MARK_PORT)
        self.source_ports_at = self._at("=HH", marked.source_ports, _MARK_SOURCE_PORTS.first, _MARK_SOURCE_PORTS.last)
        self.mark_at = self._at("=I", None if rule.mark_mask is not None else rule.mark, _MARK_MARK)
        bits = rule.target if isinstance(rule.target, SetMark) and rule.target.whole else None
        self.bits_at = self._at("=I", bits, _MARK_BITS)
        self.comment_at = self.data.index(_MARK_COMMENT.encode())
        mark = socket.inet_aton(_MARK_ADDRESS)
        self.address_at = _all(self.data, mark)
        first, last = struct.pack("!H", _MARK_FIRST), struct.pack("!H", _MARK_LAST)
        nat = isinstance(rule.target, SourceNat | DestinationNat)
        tail = self.address_at[0] if nat else len(self.data)
        self.first_at = [at for at in _all(self.data, first) if at > tail]
        self.last_at = [at for at in _all(self.data, last) if at > tail]

    def _at(self, form: str, wanted: object, *marks: int) -> int | None:
        """Return where the marks of a match are, None if the rule has no such match."""
        return None if wanted is None else self.data.index(struct.pack(form, *marks))

    def fill(self, rule: Rule) -> bytearray:
        data = bytearray(self.data)
        for prefix, at, mask_at in (
            (rule.source, _SOURCE_AT, _SOURCE_MASK_AT),
            (rule.destination, _DESTINATION_AT, _DESTINATION_MASK_AT),
        ):
            if prefix is not None:
                address, length = prefix.split("/")
                mask = (0xFFFFFFFF << (32 - int(length))) & 0xFFFFFFFF
                data[at : at + 4] = socket.inet_aton(address)
                data[mask_at : mask_at + 4] = struct.pack("!I", mask)
        if self.ports_at is not None and rule.destination_ports is not None:
            struct.pack_into("=HH", data, self.ports_at, rule.destination_ports.first, rule.destination_ports.last)
        if self.source_ports_at is not None and rule.source_ports is not None:
            struct.pack_into("=HH", data, self.source_ports_at, rule.source_ports.first, rule.source_ports.last)
        if self.mark_at is not None:
            struct.pack_into("=I", data, self.mark_at, rule.mark)
        if self.bits_at is not None and isinstance(rule.target, SetMark):
            struct.pack_into("=I", data, self.bits_at, rule.target.bits)
        comment = str(rule.why).encode()[: _COMMENT_BYTES - 1]
        data[self.comment_at : self.comment_at + _COMMENT_BYTES] = comment.ljust(_COMMENT_BYTES, b"\0")
        target = rule.target
        if isinstance(target, SourceNat | DestinationNat):
            for at in self.address_at:
                data[at : at + 4] = socket.inet_aton(target.address)
            if isinstance(target, SourceNat):
                first, _, last = (target.ports or "0-0").partition("-")
            else:
                first = last = str(target.port or 0)
            for at in self.first_at:
                data[at : at + 2] = struct.pack("!H", int(first))
            for at in self.last_at:
                data[at : at + 2] = struct.pack("!H", int(last or first))
        return data


def _all(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def _build(rule: Rule, target: Any) -> Any:
    """Return python-iptables' object of a rule, with ``target`` for its own."""
    built = iptc.Rule()
    if rule.source is not None:
        built.src = rule.source
    if rule.destination is not None:
        built.dst = rule.destination
    if rule.in_interface is not None:
        built.in_interface = rule.in_interface
    if rule.out_interface is not None:
        built.out_interface = rule.out_interface
    if rule.protocol is not None:
        built.protocol = rule.protocol
    _match_ports(built, rule)
    if rule.icmp_type is not None:
        built.create_match("icmp").icmp_type = rule.icmp_type
    if rule.ctstate is not None:
        match = built.create_match("conntrack")
        match.ctstate = rule.ctstate
        if rule.ctstatus is not None:
            match.ctstatus = rule.ctstatus
    elif rule.ctstatus is not None:
        built.create_match("conntrack").ctstatus = rule.ctstatus
    if rule.mark is not None:
        mask = "" if rule.mark_mask is None else f"/{rule.mark_mask:#x}"
        built.create_match("mark").mark = f"{rule.mark:#x}{mask}"
    built.create_match("comment").comment = _MARK_COMMENT
    _aim(built, target)
    built.final_check()  # some extensions complete their bytes only here
    return built


def _match_ports(built: Any, rule: Rule) -> None:
    if rule.source_ports is None and rule.destination_ports is None:
        return
    ports = built.create_match(rule.protocol)
    if rule.source_ports is not None:
        ports.sport = f"{rule.source_ports.first}:{rule.source_ports.last}"
    if rule.destination_ports is not None:
        ports.dport = f"{rule.destination_ports.first}:{rule.destination_ports.last}"


def _aim(built: Any, target: Any) -> None:
    """Give a rule its target."""
    match target:
        case Terminal(name) | Jump(name):
            built.target = iptc.Target(built, name)
        case SourceNat():
            built.create_target("SNAT").to_source = target.to
        case DestinationNat():
            built.create_target("DNAT").to_destination = target.to
        case Queue(number):
            built.create_target("NFQUEUE").queue_num = str(number)
        case SetMark(bits, whole):
            built.create_target("MARK").set_xmark = f"{bits:#x}/{0xFFFFFFFF if whole else bits:#x}"
        case FlowMark(action, mask):
            option = built.create_target("CONNMARK")
            setattr(option, f"{action}_mark", "")
            option.nfmask = option.ctmask = hex(mask)
        case CtTarget(timeout):
            option = built.create_target("CT")
            if timeout:
                option.timeout = timeout
            option.ctevents = target.events
        case HashMark(fields, modulus, seed):
            option = built.create_target("HMARK")
            option.hmark_tuple = fields
            option.hmark_mod = str(modulus)
            option.hmark_offset = "1"
            option.hmark_rnd = hex(seed)
        case Reset():
            built.create_target("REJECT").reject_with = "tcp-reset"
        case ClampSegments(size):
            built.create_match("tcp").tcp_flags = ["SYN,RST", "SYN"]
            built.create_target("TCPMSS").set_mss = str(size)
