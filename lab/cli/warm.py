"""``python -m lab.cli.warm``: the command line, loaded once and forked for each command (see kernel/warm.py).

What claims ask of the command line is asked of the very program that a user starts, without its start.
"""

import rich.console
import rich.table  # noqa: F401 - what tables are printed with

import lab.cli
from lab.kernel import warm
from lab.runtime import lifecycle, operate, replay, show, snat_usage  # noqa: F401 - what commands import when they run


def main() -> None:
    """Run the command line for each order."""
    warm.serve("lab", lab.cli.main)


if __name__ == "__main__":
    main()
