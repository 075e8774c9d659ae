"""What packet-filter tables hold, read back from the kernel and compared with what a plan says, rule by rule.

The kernel hands out a table as one block of entries (linux/netfilter_ipv4/ip_tables.h). An entry of it and one that was
encoded to be written have the same bytes, but for counters, and for the place in the block that a jump names.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType

import msgspec

from lab.errors import KernelError
from lab.plan import BUILTIN_CHAINS, TABLES, Foreign, Item, Jump, Policy, Provenance, Rule, Table, Terminal

_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32sI5I5III")  # struct ipt_getinfo
_ENTRIES_AT = 40  # struct ipt_get_entries: the table's name, the size, and the entries at a multiple of eight
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_IP_BYTES, _OFFSETS_AT, _MATCHES_AT = 84, 88, 112  # struct ipt_entry: addresses, offsets, then counters, then matches
_HEAD = struct.Struct("=H29sB")  # struct xt_entry_match and xt_entry_target: size, name, revision
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -5: "RETURN"}
_NOT_OURS = Provenance("kernel", "not of this lab")

_libc = ctypes.CDLL(None, use_errno=True)


class Entry(msgspec.Struct, frozen=True):
    """A rule as the kernel has it, without its counters."""

    addresses: bytes
    matches: bytes
    target: str
    options: bytes

    @property
    def comment(self) -> str:
        """What the rule says of itself."""
        at = self.matches.find(b"comment\0")
        return "" if at < 0 else self.matches[at + 30 :].split(b"\0", 1)[0].decode(errors="replace")

    def __str__(self) -> str:
        comment = f" ({self.comment})" if self.comment else ""
        return f"-j {self.target}{comment}"


class Held(msgspec.Struct):
    """What a table of the kernel holds."""

    policies: dict[str, str]
    chains: dict[str, list[Entry]]


def differences_here(
    place: str, wanted: Mapping[Table, tuple[Policy | Rule, ...]]
) -> tuple[list[Item], list[tuple[Foreign, Table]]]:
    """Return what the tables of the namespace this process is in lack, and what they have beside what is wanted.

    Raises:
        KernelError: a table cannot be read.

    """
    used = Path("/proc/thread-self/net/ip_tables_names").read_text().split()
    missing: list[Item] = []
    foreign: list[tuple[Foreign, Table]] = []
    for table in TABLES:
        items = wanted.get(table, ())
        if table in used:
            lacks, more = _compare(place, table, items, read_here(table))
            missing += lacks
            foreign += more
        else:
            missing += items
    return missing, foreign


def _compare(
    place: str, table: Table, items: tuple[Policy | Rule, ...], held: Held
) -> tuple[list[Item], list[tuple[Foreign, Table]]]:
    from lab.kernel import netfilter  # noqa: PLC0415 - loads python-iptables, which is needed for tables with rules only

    def other(text: str) -> tuple[Foreign, Table]:
        return Foreign(place=place, why=_NOT_OURS, text=f"-t {table} {text}"), table

    missing: list[Item] = []
    policies = {item.chain: item for item in items if isinstance(item, Policy)}
    missing += [item for item in policies.values() if held.policies.get(item.chain) != item.verdict]
    foreign = [
        other(f"-P {chain} {verdict}")
        for chain, verdict in held.policies.items()
        if verdict != (policies[chain].verdict if chain in policies else "ACCEPT")
    ]
    wanted: dict[str, list[Rule]] = {}
    for item in items:
        if isinstance(item, Rule):
            wanted.setdefault(item.chain, []).append(item)
    encode = netfilter.encoder()
    for chain in sorted(wanted.keys() | held.chains.keys()):
        rules, there = wanted.get(chain, []), held.chains.get(chain, [])
        encoded = [_encoded(rule, encode) for rule in rules]
        for change, begin, end, first, last in SequenceMatcher(None, encoded, there, autojunk=False).get_opcodes():
            if change != "equal":
                missing += rules[begin:end]
                foreign += [other(f"-A {chain} {entry}") for entry in there[first:last]]
    targets = (item.target for item in items if isinstance(item, Rule))
    named = {item.chain for item in items} | {target.chain for target in targets if isinstance(target, Jump)}
    foreign += [other(f"-N {chain}") for chain in held.chains if chain not in named | BUILTIN_CHAINS]
    return missing, foreign


def _encoded(rule: Rule, encode: Callable[[Rule], bytearray]) -> Entry:
    """Return the entry that a rule is written as; python-iptables cannot encode a jump to a chain that is not there."""
    target = rule.target
    if isinstance(target, Jump):
        entry = _entry(bytes(encode(msgspec.structs.replace(rule, target=Terminal("ACCEPT")))), standard=True)
        return msgspec.structs.replace(entry, target=target.chain)
    return _entry(bytes(encode(rule)), standard=isinstance(target, Terminal))


def read_here(table: str) -> Held:
    """Return what a table of the namespace this process is in holds.

    Raises:
        KernelError: it cannot be read.

    """
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as opened:
        while True:
            info = _INFO.unpack(_get(opened, table, _GET_INFO, _INFO.size, 0))
            size = info[13]
            try:
                block = _get(opened, table, _GET_ENTRIES, _ENTRIES_AT + size, size)[_ENTRIES_AT:]
            except BlockingIOError:
                continue  # it was replaced between the two questions
            hooks = {
                name: (info[2 + number], info[7 + number])
                for number, name in enumerate(_HOOKS)
                if info[1] & 1 << number
            }
            return _parsed(block, hooks)


def _get(opened: socket.socket, table: str, option: int, length: int, size: int) -> bytes:
    """Ask for a socket option whose buffer holds a question, which Python's own ``getsockopt`` cannot."""
    buffer = ctypes.create_string_buffer(struct.pack("=32sI", table.encode(), size), length)
    room = ctypes.c_uint(length)
    if _libc.getsockopt(opened.fileno(), socket.IPPROTO_IP, option, buffer, ctypes.byref(room)) != 0:
        number = ctypes.get_errno()
        if number == errno.EAGAIN:
            raise BlockingIOError
        raise KernelError(f"table {table}: cannot be read: error {number}; root is needed; run `lab doctor`")
    return buffer.raw


def _parsed(block: bytes, hooks: dict[str, tuple[int, int]]) -> Held:
    """Return the chains of a block; ``hooks``: where a built-in chain begins, and where its policy is."""
    begins = {begin: name for name, (begin, _) in hooks.items()}
    ends = {end: name for name, (_, end) in hooks.items()}
    entries: list[tuple[int, bytes]] = []
    at = 0
    while at < len(block):
        length = struct.unpack_from("=H", block, at + _OFFSETS_AT + 2)[0]
        entries.append((at, block[at : at + length]))
        at += length
    # A chain of a user's begins after an entry with the target ERROR, which has its name.
    own = {at + len(data): name for at, data in entries if (name := _chain_name(data)) is not None}
    held = Held({}, {name: [] for name in (*begins.values(), *own.values()) if name != "ERROR"})
    chain = ""
    for number, (at, data) in enumerate(entries):
        if _chain_name(data) is not None:
            continue
        chain = begins.get(at, own.get(at, chain))
        entry = _entry(data, own)
        if at in ends:
            held.policies[ends[at]] = entry.target
        elif chain in begins.values() or not _is_last(entries, number):
            held.chains[chain].append(entry)
    return held


def _is_last(entries: list[tuple[int, bytes]], number: int) -> bool:
    """Tell whether an entry is the unwritten RETURN at the end of a chain of a user's."""
    return number + 1 == len(entries) or _chain_name(entries[number + 1][1]) is not None


def _chain_name(data: bytes) -> str | None:
    at = struct.unpack_from("=H", data, _OFFSETS_AT)[0]
    _, name, _ = _HEAD.unpack_from(data, at)
    return _text(data[at + _HEAD.size :]) if _text(name) == "ERROR" else None


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def _entry(data: bytes, chains: Mapping[int, str] = MappingProxyType({}), *, standard: bool = False) -> Entry:
    """Return an entry; ``chains``: where those of users begin, which jumps name by it.

    ``standard``: the target is a verdict or a jump that was encoded, and still has its name.
    """
    at, end = struct.unpack_from("=HH", data, _OFFSETS_AT)
    _, raw, revision = _HEAD.unpack_from(data, at)
    name, options = _text(raw), bytes([revision]) + data[at + _HEAD.size : end]
    if not name:
        verdict = struct.unpack_from("=i", options, 1)[0]
        name, standard = _VERDICTS.get(verdict) or chains.get(verdict, "?"), True
    return Entry(data[:_IP_BYTES], data[_MATCHES_AT:at], name, b"" if standard else options)
