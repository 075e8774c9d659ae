"""What a failed test leaves of its lab: plan, rules, connections, SNAT ports, logs, and packets."""

from pathlib import Path

from lab.errors import LabError
from lab.kernel import daemons, netns
from lab.kernel.state import StateDir
from lab.plan import namespace
from lab.runtime import logs
from lab.testing.running import Lab

_SHOWN = 20  # lines of a file that the report quotes


def gather(lab: Lab, folder: Path) -> str:
    """Write what a lab is and saw to a folder; return a summary. What cannot be had is said, and raises nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = StateDir(lab.name).plan()
    edges = [place for place in plan.places() if place.startswith("lb.")]
    texts = {
        "topology.yaml": lab.file.read_text(),
        "plan.txt": plan.text(),
        "ports.txt": _ports(lab),
        "connections.txt": "".join(f"# {place}\n{_said(lab, place, 'conntrack', '-L')}" for place in edges),
        "rules.txt": "".join(f"# {p}\n{_said(lab, p, 'iptables-legacy-save')}" for p in plan.places()),
        "logs.txt": "".join(f"{log} | {line}\n" for log in logs.logs(lab.name) for line in log.lines),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    if lab.capture is not None:
        lab.capture.write(folder / "internet.pcap")
    quoted = [f"{name}:\n{_first(texts[name])}" for name in ("ports.txt", "connections.txt") if texts[name].strip()]
    return "\n".join([f"evidence in {folder}: {', '.join([*texts, 'internet.pcap'])}", *quoted])


def _ports(lab: Lab) -> str:
    try:
        return "".join(f"{one}\n" for one in lab.ports())
    except LabError as error:
        return f"{error}\n"


def _said(lab: Lab, place: str, *command: str) -> str:
    try:
        return daemons.run(command, inside=lambda: netns.enter(namespace(lab.name, place))).stdout
    except LabError as error:
        return f"{error}\n"


def _first(text: str) -> str:
    lines = text.splitlines()
    more = [f"… {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])
