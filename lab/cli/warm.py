"""``python -m lab.cli.warm``: the command line, loaded once and forked for each command (see kernel/warm.py).

What claims ask of the command line is asked of the very program that a user starts, without its start.
"""

import importlib

import lab.cli
from lab.kernel import warm

#: What commands import when they run.
_LOADED = ("forecast", "lifecycle", "manage", "ports", "replay", "show", "topology")


def main() -> None:
    """Run the command line for each order."""
    for module in (*(f"lab.{name}" for name in _LOADED), "rich.console", "rich.table"):
        importlib.import_module(module)
    warm.serve("lab", lab.cli.main)


if __name__ == "__main__":
    main()
