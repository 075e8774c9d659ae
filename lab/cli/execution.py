"""What every command that changes something keeps to: root is asked for, an interrupt is undone."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lab.cli.output import count, print_operation, progress, say_ended
from lab.errors import Interrupted, MachineError

if TYPE_CHECKING:
    from lab.operations.base import Operation


def need_root() -> None:
    """Go on only as root. Asked for when all that can be said without it is said.

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
    """Have Ctrl-C, SIGTERM and SIGHUP interrupt only what comes after this."""
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


def perform(name: str, operation: "Operation", *, said: bool = True, to_stderr: bool = False) -> None:
    """Do a management operation, and say what it changed, unless the caller does."""
    need_root()
    from lab.runtime import operate

    with interruptible(), progress() as say:
        outcome = operate.perform(name, operation, say)
    say_ended(name, outcome.ended)
    if said:
        click.echo(f"{name}: {operation}: {count(outcome.changed, 'change')}", err=to_stderr)


def perform_as(name: str, operation: "Operation", cmdlet: str, output: str) -> None:
    """Do what a cmdlet of the documents does, and print what it prints: the three columns of an operation."""
    perform(name, operation, to_stderr=True)
    print_operation(cmdlet, output)
