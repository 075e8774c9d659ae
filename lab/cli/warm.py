"""``python -m lab.cli.warm``: the command line, loaded once and forked for each command (see kernel/warm.py).

What claims ask of the command line is asked of the very program that a user starts, without its start.
"""

import importlib

import lab.cli
from lab.kernel import apply, warm

#: What commands import when they run.
_LOADED = (
    *("lab.predict.forecast", "lab.topology"),
    *(f"lab.runtime.{name}" for name in ("lifecycle", "operate", "replay", "show", "snat_usage")),
    *("rich.console", "rich.table"),
)


def main() -> None:
    """Run the command line for each order."""
    for module in _LOADED:
        importlib.import_module(module)
    apply.preload()
    warm.serve("lab", lab.cli.main)


if __name__ == "__main__":
    main()
