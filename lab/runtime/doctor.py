"""What this machine can and cannot do for a lab, and the package that would mend it."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from lab.agent.servers import find_sshd
from lab.errors import LabError
from lab.kernel import charon, netns, rootless


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a lab needs."""

    what: str
    ok: bool
    needed_for: str
    found: str
    mend: str = ""


#: Programs that are run, the package that has each, and what for.
_PROGRAMS = {
    "ssh": ("openssh-client", "the ssh probe of Source IP of outbound flows, 2018-12-11"),
    "ssh-keygen": ("openssh-client", "ssh services"),
    "nslookup": ("bind9-dnsutils", "the lookup of Outbound connections, 2017-05-31"),
    "curl": ("curl", "trying things by hand"),
    "iptables-legacy-save": ("iptables", "reading the rules back by hand"),
}


def examine() -> list[Finding]:
    """Try everything a lab needs; what needs root is tried only as root."""
    return [_python(), _root(), *_denied(), *_kernel(), *_programs(), _sshd(), *_gateways()]


def _python() -> Finding:
    found = sys.version.split()[0]
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(what="Python", ok=ok, needed_for="everything", found=found, mend="" if ok else "use 3.11 to 3.13")


def _root() -> Finding:
    ok = os.geteuid() == 0
    return Finding(
        what="root",
        ok=ok,
        needed_for="up, down, exec, verify",
        found="yes" if ok else f"user {os.geteuid()}",
        mend="" if ok else "run it with sudo",
    )


def _denied() -> list[Finding]:
    """Say what a user namespace denies; without root, whether the kernel lets this user make one."""
    if os.geteuid() != 0:
        refused = rootless.refused()
        mend = "" if not refused else "see user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns"
        found = refused or "yes"
        return [Finding(what="user namespace", ok=not refused, needed_for="lab --rootless", found=found, mend=mend)]
    return [
        Finding(
            what=what,
            ok=False,
            needed_for=needed_for,
            found="denied in a user namespace",
            mend="run it with sudo, if it is needed",
        )
        for what, needed_for in rootless.limits().items()
    ]


def _kernel() -> list[Finding]:
    if os.geteuid() != 0:
        return []
    findings = [
        _try("network namespaces", "everything", _makes_namespace, "a kernel with CONFIG_NET_NS and CONFIG_VETH")
    ]
    missing = netns.in_child(_netfilter_gaps)
    findings.append(
        Finding(
            what="legacy iptables",
            ok=not missing,
            needed_for="all translation",
            found="complete" if not missing else "missing: " + ", ".join(missing),
            mend=""
            if not missing
            else "load the modules iptable_nat, iptable_filter, iptable_raw, xt_conntrack, xt_HMARK, xt_NFQUEUE, "
            "xt_connmark, xt_CT, nfnetlink_cttimeout",
        )
    )
    findings.append(
        _try("flow table", "SNAT ports", _enters_flow, "load the modules nf_conntrack_netlink and nfnetlink_queue")
    )
    findings.append(_try("nf_tables", "fragments, from profile 2022-03 on", _drops_fragments, "load nf_tables"))
    return findings


def _try(what: str, needed_for: str, trial: Callable[[], None], mend: str) -> Finding:
    try:
        netns.in_child(trial)
    except (LabError, OSError) as error:
        return Finding(what=what, ok=False, needed_for=needed_for, found=str(error), mend=mend)
    return Finding(what=what, ok=True, needed_for=needed_for, found="yes")


def _makes_namespace() -> None:
    netns.leave_machine()


def _netfilter_gaps() -> list[str]:
    from lab.kernel import netfilter, timeouts  # noqa: PLC0415 - takes a while to load

    netns.leave_machine()
    with contextlib.suppress(LabError):  # without it, the rule that names it is among the gaps
        timeouts.write_here([netfilter.TRIAL_TIMEOUT])
    return netfilter.gaps()


def _enters_flow() -> None:
    from lab.kernel import flows, netfilter  # noqa: PLC0415

    netns.leave_machine()
    netfilter.gaps()  # a rule that asks for a flow's state switches tracking on
    flows.try_out()


def _drops_fragments() -> None:
    from lab.kernel import fragments  # noqa: PLC0415

    netns.leave_machine()
    fragments.try_out()


def _programs() -> list[Finding]:
    findings = []
    for program, (package, needed_for) in _PROGRAMS.items():
        path = shutil.which(program)
        mend = "" if path else f"apt-get install {package}"
        found = path or "not found"
        findings.append(Finding(what=program, ok=path is not None, needed_for=needed_for, found=found, mend=mend))
    return findings


def _sshd() -> Finding:
    path: Path | None = find_sshd()
    return Finding(
        what="sshd",
        ok=path is not None,
        needed_for="ssh services",
        found=str(path or "not found"),
        mend="" if path else "run scripts/setup, which unpacks one without starting it",
    )


def _gateways() -> list[Finding]:
    lacking = charon.missing()
    findings = [
        Finding(
            what="strongSwan",
            ok=not lacking,
            needed_for="VPN gateways",
            found=f"missing: {lacking}"
            if lacking
            else "; ".join(filter(None, (f"{charon.folder()}", charon.confined()))),
            mend="run scripts/setup, which unpacks it without starting it" if lacking else "",
        )
    ]
    if os.geteuid() != 0:
        return findings
    by_kernel = charon.kernel_esp() == "kernel"
    device = Path("/dev/net/tun").exists()
    return [
        *findings,
        Finding(
            what="ESP",
            ok=by_kernel or device,
            needed_for="VPN gateways",
            found="by the kernel"
            if by_kernel
            else "in user space, in UDP 4500: the kernel has no ESP or no xfrm interface",
            mend="" if by_kernel or device else "load the module tun",
        ),
    ]
