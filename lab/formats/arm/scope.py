"""One deployment of a template: its parameters, variables and functions, each evaluated when it is asked for."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lab.formats.arm.errors import TemplateError
from lab.formats.arm.values import Unknown, get, has

#: A value that is not evaluated yet.
Lazy = Callable[[], Any]
SUBSCRIPTION, GROUP = "00000000-0000-0000-0000-000000000000", "lab"


class Loop(msgspec.Struct, frozen=True):
    """Where a copy loop is."""

    name: str
    index: int
    of_resource: bool


class Scope:
    """What names mean inside one template."""

    def __init__(
        self,
        template: Mapping[str, Any],
        given: Mapping[str, Lazy],
        *,
        name: str = "deployment",
        place: str = "",
        group: str = GROUP,
        subscription: str = SUBSCRIPTION,
    ) -> None:
        self.template, self.given = template, {key.lower(): value for key, value in given.items()}
        self.name, self.place, self.group, self.subscription = name, place, group, subscription
        self.known: dict[tuple[str, str], Any] = {}
        self.busy: set[tuple[str, str]] = set()
        #: Ids of the resources by their names in the template: a list for a loop.
        self.symbols: dict[str, list[str]] = {}
        #: Of a nested template that is evaluated in the scope around it: the loops that its deployment is in.
        self.loops: tuple[Loop, ...] = ()

    def once(self, kind: str, name: str, make: Lazy) -> Any:
        """Return a value that is evaluated once.

        Raises:
            TemplateError: it refers to itself.

        """
        key = (kind, name.lower())
        if key not in self.known:
            if key in self.busy:
                raise TemplateError(f'the {kind} "{name}" refers to itself; it must not; correct it')
            self.busy.add(key)
            try:
                self.known[key] = make()
            finally:
                self.busy.discard(key)
        return self.known[key]

    def is_secure(self, declared: object) -> bool:
        """Tell whether a parameter is a secret."""
        kind = get(declared, "type")
        reference = get(declared, "$ref")
        if isinstance(reference, str):
            kind = get(get(get(self.template, "definitions"), reference.rpartition("/")[2]), "type", kind)
        return isinstance(kind, str) and kind.lower().startswith("secure")

    def parameter(self, name: str, resolve: Callable[[Any], Any]) -> Any:
        """Return the value of a parameter; a secret is unknown, and so is one without a value."""
        declared = get(get(self.template, "parameters"), name)
        if not isinstance(declared, dict):
            raise TemplateError(f'no parameter "{name[:80]}"; the template must declare it; correct the name')
        if self.is_secure(declared):
            return Unknown(f'the secure parameter "{name}"')
        if name.lower() in self.given:
            value = self.once("parameter", name, self.given[name.lower()])
            if value is not None or not has(declared, "defaultValue"):
                return value
        if has(declared, "defaultValue"):
            return self.once("default of parameter", name, lambda: resolve(get(declared, "defaultValue")))
        if get(declared, "nullable") is True:
            return None
        return Unknown(f'the parameter "{name}", which has no value')


def placeholders(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with names in place of the words that stand for one that is to be made up."""
    seen: dict[str, int] = {}

    def one(value: Any) -> Any:
        if not isinstance(value, str) or not re.match(r"GE[NT]-[A-Z]", value):
            return value
        if value.startswith(("GEN-PASSWORD", "GEN-SSH", "GEN-GUID")):
            return Unknown("a placeholder for what is made up for each deployment")
        match = re.fullmatch(r"GEN-UNIQUE(?:-([0-9]{1,3}))?", value)
        if not match:
            return value.lower()
        seen[value] = number = seen.get(value, 0) + 1
        made = f"lab{number if number > 1 else ''}unique"
        return made[: int(match[1])] if match[1] else made

    return {name: one(value) for name, value in parameters.items()}
