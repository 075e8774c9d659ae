"""What a user typed, read: the lab or file that is meant, names, ranges, addresses."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from lab.azure.model import CloudService, Network, Subnet
    from lab.predict.forecast import Service


SUFFIX = ".lab.yaml"
_SECRET_BYTES = 4096  # far more than a shared key has


def here() -> Path:
    """Return the working directory.

    Raises:
        UsageError: it was removed.

    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError(
            "the working directory was removed; files are looked for in it; change to another folder: cd ~"
        ) from None


def only_file() -> Path:
    """Return the only topology of the folder.

    Raises:
        UsageError: there is none, or more than one.

    """
    folder = here()
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) != 1:
        what = "no" if not found else f"{len(found)}"
        raise UsageError(f"{folder}: {what} *{SUFFIX} here; without FILE there must be exactly one; name a FILE")
    return found[0].relative_to(folder)


def read_secret(file: Path) -> str:
    """Return the one line of a file, or of standard input for ``-``; messages quote nothing of it.

    Raises:
        UsageError: it cannot be read, or has none or more than one.

    """
    must = "it must hold one line, the key"
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as opened:
            lines = opened.read(_SECRET_BYTES).decode().splitlines()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; {must}; name another file, or - for standard input") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: bytes that are not UTF-8; {must}; name another file") from None
    if len(lines) != 1:
        raise UsageError(f"{file}: {len(lines)} lines; {must}; name another file")
    return lines[0]


def read_text(file: Path, most: int, what: str) -> str:
    """Read a file that a user named: UTF-8, or UTF-16 as PowerShell writes it. ``most``: bytes.

    Raises:
        UsageError: it cannot be read, or is too large.

    """
    from lab.formats import xml

    try:
        if file.stat().st_size > most:
            raise UsageError(f"{file}: larger than {most:,} bytes; it must be a {what}; name one")
        return xml.decoded(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; it must be a {what}; name one") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: {error}; a {what} is a text file; name one") from None


def network_named(name: str) -> "Network":
    """Return the network of a topology file, or of a running lab as it is now."""
    from lab import topology

    if name.endswith(SUFFIX):
        return topology.load(Path(name))
    from lab.runtime import operate

    return operate.network_of(name)


def state_of(name: str, network: "Network") -> "tuple[frozenset[str], dict[frozenset[str], str]]":
    """Return the pool members that are down and the tunnels that are broken; of a file, what its groups deny alone."""
    if name.endswith(SUFFIX):
        from lab.predict import forecast

        return frozenset(forecast.unprobed(network)), {}
    from lab.predict import matrix
    from lab.runtime import lifecycle, show

    return lifecycle.down_now(network), matrix.broken(network, show.describe(name).gateways)


def service_named(network: "Network", name: str) -> "CloudService":
    """Return the cloud service of that name.

    Raises:
        UsageError: there is none.

    """
    found = network.cloud_service(name)
    if found is None:
        known = [service.name for service in network.cloud_services]
        owner = network.service_of(name)
        if owner is not None:
            raise UsageError(
                f'{network.name}: "{name}" is a VM; a cloud service must be named; name its service: {owner.name}'
            )
        raise UsageError(f'{network.name}: no cloud service "{name}"; {did_you_mean(name, known)}')
    return found


def services_named(lab_or_file: str, service: str | None) -> "Sequence[CloudService]":
    """Return the cloud service of that name, or all, of a topology file or a running lab."""
    network = network_named(lab_or_file)
    return network.cloud_services if service is None else (service_named(network, service),)


def read_name(text: str) -> str:
    """Return the name of a network, site, subnet or public IP.

    Raises:
        UsageError: it is none.

    """
    import re

    from lab.azure.model import TITLE, TITLE_WORDS

    if not re.fullmatch(TITLE, text):
        raise UsageError(f'"{text[:80]}": {TITLE_WORDS}; choose another')
    return text


def read_prefixes(texts: Sequence[str]) -> "tuple[IPv4Network, ...]":
    """Read address ranges.

    Raises:
        UsageError: there is none, or one is no prefix.

    """
    from lab.azure.addresses import read_prefix

    if not texts:
        raise UsageError("no address range; there must be at least one; give it: --address-space 10.3.0.0/16")
    found, problems = [], []
    for text in texts:
        try:
            found.append(read_prefix(text))
        except ValueError as error:
            problems.append(f'"{text}": {error}; a range is an IPv4 prefix such as 10.3.0.0/16')
    if problems:
        raise UsageError("\n".join(problems))
    return tuple(found)


def read_subnet(name: str, prefix: str) -> "Subnet":
    """Read a subnet."""
    from lab.azure.model import Subnet

    return Subnet(name=read_name(name), address_prefix=read_prefixes([prefix])[0])


def read_address(text: str) -> "IPv4Address":
    """Read an address.

    Raises:
        UsageError: it is none.

    """
    from lab.azure.addresses import read_address as read

    try:
        return read(text)
    except ValueError:
        raise UsageError(f'"{text}" is no IPv4 address, such as 203.0.113.2; correct it') from None


def read_service(text: str) -> "Service":
    """Read ``80``, ``80/tcp``, ``53/udp`` or ``icmp``.

    Raises:
        UsageError: it is none of them.

    """
    from lab.azure.addresses import read_whole
    from lab.predict.forecast import Service

    port, _, protocol = text.partition("/")
    if text == "icmp":
        return Service("icmp")
    if not text:
        raise UsageError("a flow without a port; it goes to NODE:PORT, NODE:PORT/udp or NODE/icmp; add it")
    number = read_whole(port) or 0
    if not 1 <= number <= 65535 or protocol not in ("", "tcp", "udp"):
        raise UsageError(
            f'"{text}" is no service; it must be PORT/tcp, PORT/udp or icmp, with a PORT of 1-65535; '
            "use one such as 80/tcp"
        )
    return Service("udp" if protocol == "udp" else "tcp", number)
