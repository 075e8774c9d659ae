"""What every command that changes something keeps to: root is asked for, an interrupt is undone."""

import functools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import output_option, shown_lab_argument, wait_option
from lab.cli.output import count, print_operation, progress, say_ended
from lab.errors import Interrupted, MachineError

if TYPE_CHECKING:
    from lab.kernel.apply import Outcome
    from lab.operations.base import Operation


def need_root() -> None:
    """Refuse unless this is root. Call it after every check that needs no privilege.

    Raises:
        MachineError: this is not root.

    """
    if os.geteuid() != 0:
        raise MachineError(
            f"user {os.geteuid()}: network namespaces need root; nothing was made; run it again with sudo"
        )


@contextmanager
def interruptible(undone: str = "what was made is removed") -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into what Ctrl-C does: undo, then exit 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {undone}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer Ctrl-C, SIGTERM and SIGHUP until this is over."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


@contextmanager
def for_a_while(name: str, begin: "Operation", end: "Operation") -> Iterator[None]:
    """Do a management operation, and another that ends it, whatever becomes of what is done in between."""
    need_root()
    from lab.runtime import operate

    def do(operation: "Operation") -> None:
        with progress() as say:
            outcome = operate.perform(name, operation, say)
        say_ended(name, outcome.ended)
        click.echo(f"{name}: {operation}: {count(outcome.changed, 'change')}", err=True)

    begun = False
    with interruptible("what was begun is over"):
        try:
            with undisturbed():
                do(begin)
                begun = True
            yield
        finally:
            if begun:
                with undisturbed():
                    do(end)


def perform(name: str, operation: "Operation") -> "Outcome":
    """Do a management operation; return what it changed."""
    need_root()
    from lab.runtime import operate

    with interruptible(), progress() as say:
        outcome = operate.perform(name, operation, say)
    say_ended(name, outcome.ended)
    return outcome


def perform_as(name: str, operation: "Operation", cmdlet: str, output: str) -> None:
    """Do what a cmdlet of the documents does, and print what it prints: the three columns of an operation."""
    outcome = perform(name, operation)
    click.echo(f"{name}: {operation}: {count(outcome.changed, 'change')}", err=True)
    print_operation(cmdlet, output)


def operates(cmdlet: str) -> Callable[[Callable[..., "Operation"]], Callable[..., None]]:
    """Make a command of a function that returns a management operation: the lab first, ``--wait`` and ``-o`` last.

    The operation is done in the lab, and printed as the documents print the ``cmdlet`` that does it.
    """

    def decorate(asked: Callable[..., "Operation"]) -> Callable[..., None]:
        @functools.wraps(asked)
        def command(name: str, output: str, **given: Any) -> None:
            perform_as(name, asked(**given), cmdlet, output)

        own: list[click.Parameter] = command.__dict__.pop("__click_params__", [])
        made = wait_option(output_option(command))
        made.__dict__["__click_params__"] += own  # click has them in reverse
        return shown_lab_argument(made)

    return decorate
