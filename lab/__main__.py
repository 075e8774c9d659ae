"""``python -m lab``, and the script ``lab``: an interrupt is heard before anything slow is loaded."""

import os
import signal

_INTERRUPTED = 130


def _end(*_: object) -> None:
    """End at once: nothing was made, or all is done."""
    os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)


def main() -> None:
    """Load the command line and run it. A shell's job in the background has interrupts ignored, and keeps that."""
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears:
        signal.signal(signal.SIGINT, _end)
    # `scripts/lab` holds interrupts back while Python starts: one that came is heard now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    from lab.cli import main as run

    try:
        if hears:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _end()
    finally:
        if hears:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the status is known; Python only tidies up


if __name__ == "__main__":
    main()
