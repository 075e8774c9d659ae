"""Programs of a file, and what is expected of programs, in the model's words."""

from collections.abc import Container, Iterable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lab.azure import model
from lab.azure.programs import Execution
from lab.azure.programs import Program as Made
from lab.errors import Problem

if TYPE_CHECKING:
    from lab.topology.shape import Expectation, Program

#: Keys of an expectation that say something of a program, and of a flow.
_OF_PROGRAMS = ("exit_status", "output", "output_matches", "timeout_in_seconds")
_OF_FLOWS = ("source_ip", "source_port", "answered_by", "outcome")


def servers(raw: Iterable[Any]) -> tuple[model.Service, ...]:
    """Return the lab's own servers among what a node runs."""
    return tuple(one for one in raw if isinstance(one, model.Service))


def programs(raw: Iterable[Any]) -> tuple[Made, ...]:
    """Return the programs among what a node runs; those without a name are called by their program."""
    given = [one for one in raw if not isinstance(one, model.Service)]
    taken = {one.name for one in given if one.name}
    made = []
    for one in given:
        made.append(_program(one, one.name or _free(PurePath(one.command[0]).name, taken)))
        taken.add(made[-1].name)
    return tuple(made)


def _free(name: str, taken: Iterable[str]) -> str:
    number = 1
    while (found := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return found


def _program(raw: "Program", name: str) -> Made:
    # A port is a whole number, a time is not.
    bound = raw.ready if isinstance(raw.ready, int) else raw.port if raw.ready is None else None
    return Made(
        name=name,
        command=raw.command,
        port=raw.port or 0,
        protocol=raw.protocol,
        environment=tuple(sorted(raw.env.items())),
        folder=raw.cwd,
        ready_port=bound or 0,
        ready_s=raw.ready if isinstance(raw.ready, float) else 0.0,
        restarts=raw.restart == "always",
    )


def expectations(raw: Iterable["Expectation"]) -> tuple[model.Expectation | Execution, ...]:
    """Return what is expected of flows and programs; one with neither or both is left out, for its problem."""
    return tuple(_expectation(one) for one in raw if (one.to is None) != (one.run is None))


def _expectation(raw: "Expectation") -> model.Expectation | Execution:
    if raw.to is None:
        assert raw.run is not None
        return Execution(
            sender=raw.sender,
            command=raw.run,
            exit_status=raw.exit_status or 0,
            output=raw.output,
            output_matches=raw.output_matches,
            timeout_s=raw.timeout_in_seconds or 10.0,
            claim=raw.claim,
        )
    return model.Expectation(
        sender=raw.sender,
        to=raw.to,
        source_ip=raw.source_ip,
        source_port=raw.source_port,
        answered_by=raw.answered_by,
        outcome=raw.outcome,
        claim=raw.claim,
    )


def problems(raw: Iterable["Expectation"], cut: Container[str]) -> Iterator[Problem]:
    """Yield what is wrong with the keys of expectations; what was ``cut`` out of the file has its problem already."""
    for index, one in enumerate(raw):
        path = ("expect", str(index))
        if one.to is None and one.run is None and ("to" in cut or "run" in cut):
            continue
        if (one.to is None) == (one.run is None):
            yield Problem(
                path=path,
                found='neither "to" nor "run"' if one.to is None else 'both "to" and "run"',
                must="an expectation is of a flow to somewhere, or of a program that is run",
                advice="give one of the two",
            )
            continue
        foreign = _OF_PROGRAMS if one.run is None else _OF_FLOWS
        for key in foreign:
            if getattr(one, key) not in (None, ()):
                yield Problem(
                    path=(*path, key),
                    found=f'"{key}" of {"a flow" if one.run is None else "a program"}',
                    must=f"{', '.join(foreign)} are said of {'programs' if one.run is None else 'flows'}",
                    advice="remove it, or write two expectations",
                )
