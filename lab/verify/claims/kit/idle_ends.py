"""What the ends of an idle flow are told of its end."""

from lab.verify.experiment import LeftFlow

#: Seconds of real time: a machine may be busy with something else, and a clock is read late.
LATE_S, EARLY_S = 5.0, 0.3


def said_told(flow: LeftFlow) -> str:
    """Say what the ends of a flow were told."""
    parts = [
        f"{t.end} {t.what} after {t.seconds:.1f} s{'' if t.believed else ', not to be believed'}" for t in flow.told
    ]
    return ", ".join(parts) or "nothing"


def not_reset_in_time(flow: LeftFlow, idle_s: float) -> str:
    """Return what contradicts that both ends of a flow were reset after a time, "" if nothing does."""
    for end in ("client", "server"):
        told = [t for t in flow.told if t.end == end]
        if [t.what for t in told] != ["RST"]:
            return f"the {end} got {len(told)} resets instead of one"
        if not told[0].believed:
            return f"the reset to the {end} has another sequence number than it expects"
        if not idle_s - EARLY_S <= told[0].seconds <= idle_s + LATE_S:
            return f"the reset to the {end} came after {told[0].seconds:.1f} s"
    return "" if flow.ended else "the client's kernel did not believe the reset"
