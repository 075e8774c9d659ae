"""The cmdlets of the language itself, which listings need beside Azure's."""

from collections.abc import Iterable
from typing import Any

from lab.powershell.binding import Cmdlet, Given, Parameter
from lab.powershell.values import Value


def _where(_context: Any, given: Given) -> Iterable[Value]:
    item = given.values["InputObject"]
    return [item] if given.values["FilterScript"](item) else []


CMDLETS: tuple[Cmdlet[Any], ...] = (
    Cmdlet(
        name="Where-Object",
        aliases=("?", "where"),
        parameters=(
            Parameter(name="FilterScript", kind="block", required=True, position=0),
            Parameter(name="InputObject", kind="any", required=True, piped="object"),
        ),
        run=_where,
    ),
)
