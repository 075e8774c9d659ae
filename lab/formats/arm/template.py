"""Parameters, variables, loops, nested deployments and references become resources."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from lab.formats.arm.calls import Calls
from lab.formats.arm.errors import LimitError, Limits, TemplateError
from lab.formats.arm.scope import Lazy, Loop, Scope, placeholders
from lab.formats.arm.values import Partial, Unknown, get, kind

#: Reads a template that another one names, by the path that it gives; nothing if there is none.
Linked = Callable[[str], object]
DEPLOYMENT = "microsoft.resources/deployments"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a template, or not known of it, and where."""

    place: str
    text: str


class Evaluated(msgspec.Struct, frozen=True):
    """The resources of a template, what could not be evaluated, and what is not known."""

    resources: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]


class Declared:
    """A resource of a template; a loop declares several."""

    def __init__(self, body: dict[str, Any], scope: Scope, loops: tuple[Loop, ...], place: str) -> None:
        self.body, self.scope, self.loops, self.place = body, scope, loops, place
        self.type = self.name = self.id = ""
        self.inner: Scope | None = None
        self.made: Any = None
        self.busy = False


def deploy(
    template: object,
    parameters: Mapping[str, Any],
    *,
    linked: Linked = lambda _path: None,
    wanted: Callable[[str], bool] = lambda _type: True,
    location: str = "westeurope",
) -> Evaluated:
    """Evaluate a template; of a type that is not wanted only the name is.

    Raises:
        TemplateError: it is no template, or asks for more than any deployment may be.

    """
    if not isinstance(template, dict):
        raise TemplateError(f"found {kind(template)}; a template is an object with resources; name one")
    made = placeholders(parameters)
    given: dict[str, Lazy] = {name: partial(_same, value) for name, value in made.items()}
    run = _Deployment(linked, wanted, location)
    try:
        run.expand(Scope(template, given))
        run.settle()
        resources = tuple(run.resources())
    except RecursionError:
        raise LimitError(
            "values that refer to values too many times over; no template is so deep; correct it"
        ) from None
    return Evaluated(resources, tuple(run.problems), tuple(run.notes))


class _Deployment(Calls):
    """The run of one template and of all that it nests."""

    def __init__(self, linked: Linked, wanted: Callable[[str], bool], location: str) -> None:
        super().__init__(location)
        self.linked, self.wanted = linked, wanted
        self.declared: list[Declared] = []
        self.waiting: list[Declared] = []
        self.by_id: dict[str, Declared] = {}
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []

    # --- from templates to resources that have a name ---

    def expand(self, scope: Scope, depth: int = 0) -> None:
        """Find the resources of a template, and of the templates in it."""
        if depth > Limits.NESTED:
            raise LimitError(f"templates nested {depth} deep; at most {Limits.NESTED} are allowed; flatten them")
        resources = get(scope.template, "resources", [])
        entries: list[tuple[str, str, Any]]
        if isinstance(resources, dict):
            entries = [(f"resources.{name}", name, body) for name, body in resources.items()]
        elif isinstance(resources, list):
            entries = [(f"resources[{i}]", "", body) for i, body in enumerate(resources)]
        else:
            raise TemplateError(f"{kind(resources)} as resources; it must be a list or an object; correct it")
        for place, symbol, body in entries:
            where = f"{scope.place}.{place}" if scope.place else place
            if isinstance(body, dict):
                self._attempt(where, partial(self._declare, scope, body, where, symbol, depth), get(body, "type"))
            else:
                self.problems.append(Problem(where, f"{kind(body)}; a resource is an object; correct it"))

    def _attempt(self, place: str, action: Callable[[], Any], kind_: object = None) -> Any:
        """Do something of a resource; what is wrong with one of a type that is not wanted is a note."""
        try:
            return action()
        except LimitError as error:
            if error.placed:
                raise
            placed = LimitError(f"{place}: {error}")
            placed.placed = True
            raise placed from None
        except TemplateError as error:
            lowered = kind_.lower() if isinstance(kind_, str) else DEPLOYMENT
            if lowered == DEPLOYMENT or self.wanted(lowered):
                self.problems.append(Problem(place, str(error)))
            else:
                self.notes.append(Problem(place, f"a {kind_} that is left out: {error}"))
            return None

    def _declare(self, scope: Scope, body: dict[str, Any], place: str, symbol: str, depth: int) -> None:
        if get(body, "existing") is True:
            self._existing(scope, body, symbol)
            return
        copy = get(body, "copy")
        own: list[tuple[Loop, ...]] = [()]
        if isinstance(copy, dict):
            name = str(get(copy, "name", ""))
            number = self.value(get(copy, "count"), scope, scope.loops)
            if isinstance(number, Unknown):
                self.notes.append(Problem(place, f"a loop of {number.why} copies; one is taken"))
                number = 1
            own = [(Loop(name, i, of_resource=True),) for i in range(self.copies(number))]
        for loops in own:
            where = f"{place}[{loops[0].index}]" if loops else place
            self.limits.resource()
            one = Declared(body, scope, (*scope.loops, *loops), where)
            self._attempt(where, partial(self._add, one, symbol, depth), get(body, "type"))

    def _add(self, one: Declared, symbol: str, depth: int, parent: Declared | None = None) -> None:
        wanted = self.value(get(one.body, "condition", True), one.scope, one.loops)
        if isinstance(wanted, Unknown):
            self.notes.append(Problem(one.place, f"a condition on {wanted.why}; the resource is taken"))
        elif wanted is False or (isinstance(wanted, str) and wanted.lower() == "false"):
            return
        if not self.named(one, parent):
            self.waiting.append(one)
            return
        if symbol:
            one.scope.symbols.setdefault(symbol.lower(), []).append(one.id)
        if one.id.lower() in self.by_id:
            self.notes.append(Problem(self.by_id[one.id.lower()].place, f"declared again at {one.place}, which counts"))
        self.declared.append(one)
        self.by_id[one.id.lower()] = one
        if one.type.lower() == DEPLOYMENT:
            self._nest(one, depth)
        children = get(one.body, "resources")
        entries = list(children.values()) if isinstance(children, dict) else children
        for index, child in enumerate(entries if isinstance(entries, list) else ()):
            where = f"{one.place}.resources[{index}]"
            if isinstance(child, dict):
                self.limits.resource()
                below = Declared(child, one.scope, one.loops, where)
                self._attempt(where, partial(self._add, below, "", depth + 1, one))

    def named(self, one: Declared, parent: Declared | None = None) -> bool:
        """Give a resource its type, name and id; tell whether that worked."""
        kind_, name = get(one.body, "type"), self.value(get(one.body, "name"), one.scope, one.loops)
        kind_ = self.value(kind_, one.scope, one.loops)
        if isinstance(name, Unknown) and isinstance(kind_, str):
            one.type, one.name = kind_, f"({name.why})"
            return False
        if not isinstance(kind_, str) or not isinstance(name, str) or not name or not kind_:
            raise TemplateError("no type or no name that is text; a resource must have both; add it")
        if parent is not None and not kind_.lower().startswith(parent.type.lower() + "/"):
            kind_ = f"{parent.type}/{kind_}"
        if parent is not None and name.count("/") < kind_.count("/") - 1:
            name = f"{parent.name}/{name}"
        one.type, one.name = kind_.strip("/"), name.strip("/")
        one.id = self.id_of(one.scope, one.type, one.name.split("/"))
        return True

    def _existing(self, scope: Scope, body: dict[str, Any], symbol: str) -> None:
        name, type_ = self.value(get(body, "name"), scope, scope.loops), get(body, "type")
        if isinstance(name, str) and isinstance(type_, str):
            scope.symbols.setdefault(symbol.lower(), []).append(self.id_of(scope, type_, name.split("/")))

    def settle(self) -> None:
        """Name the resources whose names depend on others; what stays without a name is a problem if it is wanted."""
        for _ in range(Limits.NESTED):
            waiting, self.waiting = self.waiting, []
            if not waiting:
                return
            for one in waiting:
                one.scope.known.clear()
                self._attempt(one.place, partial(self._add, one, "", 1))
            if len(self.waiting) == len(waiting):
                break
        for one in self.waiting:
            text = f"the name of a {one.type} depends on {one.name[1:-1]}"
            if self.wanted(one.type.lower()):
                self.problems.append(Problem(one.place, f"{text}; it must be known; give it in a parameter file"))
            else:
                self.notes.append(Problem(one.place, f"{text}; the resource is left out"))
        self.waiting = []

    def _nest(self, one: Declared, depth: int) -> None:
        """Expand a nested or linked template."""
        properties = get(one.body, "properties", {})
        template = get(properties, "template")
        link = get(properties, "templateLink")
        inner = str(get(get(properties, "expressionEvaluationOptions"), "scope", "outer")).lower() == "inner"
        if template is None and link is not None:
            path = get(link, "relativePath") or get(link, "uri")
            found = self.value(path, one.scope, one.loops)
            template, inner = self.linked(found) if isinstance(found, str) else None, True
            if template is None:
                shown = str(found).partition("?")[0][:100]
                text = f"a linked template, {shown}, that is not beside the file; all its resources are left out"
                self.notes.append(Problem(one.place, text))
                return
        if not isinstance(template, dict):
            raise TemplateError("a deployment without a template; it must have one; add it")
        group = self.value(get(one.body, "resourceGroup", one.scope.group), one.scope, one.loops)
        subscription = self.value(get(one.body, "subscriptionId", one.scope.subscription), one.scope, one.loops)
        place = f"{one.place}.template"
        if inner:
            scope = Scope(template, dict(self._given(properties, one)), place=place)
        else:
            parts = ("parameters", "variables", "functions", "definitions")
            outer = {part: get(one.scope.template, part) for part in parts if get(one.scope.template, part) is not None}
            body = {key: value for key, value in template.items() if key.lower() not in parts}
            scope = Scope({**body, **outer}, one.scope.given, place=place)
            scope.loops = one.loops
        scope.name = one.name
        scope.group = group if isinstance(group, str) else one.scope.group
        scope.subscription = subscription if isinstance(subscription, str) else one.scope.subscription
        one.inner = scope
        self.expand(scope, depth + 1)

    def _given(self, properties: Any, one: Declared) -> Iterator[tuple[str, Lazy]]:
        parameters = get(properties, "parameters")
        for name, given in parameters.items() if isinstance(parameters, dict) else ():
            if get(given, "reference") is not None:
                yield name, lambda: Unknown("a secret of a key vault")
            else:
                raw = get(given, "value")
                yield name, partial(self.value, raw, one.scope, one.loops)

    # --- from named resources to their values ---

    def resources(self) -> Iterator[dict[str, Any]]:
        """Yield every resource; one that is declared twice is the later one, where it first was."""
        for one in self.declared:
            if self.by_id[one.id.lower()] is one and one.type.lower() != DEPLOYMENT:
                made = self._attempt(one.place, partial(self.made, one), one.type)
                if made is not None:
                    yield made

    def made(self, one: Declared) -> dict[str, Any]:
        """Return a resource with its values."""
        if one.made is None:
            if one.busy:
                raise TemplateError(f"{one.type} {one.name} refers to itself; it must not; correct it")
            one.busy = True
            try:
                made: dict[str, Any] = {"id": one.id, "type": one.type, "name": one.name, "place": one.place}
                keys = (
                    ("location", "sku", "zones", "kind", "plan", "properties") if self.wanted(one.type.lower()) else ()
                )
                made |= {
                    key: self.value(get(one.body, key), one.scope, one.loops)
                    for key in keys
                    if get(one.body, key) is not None
                }
                one.made = made
            finally:
                one.busy = False
        return dict(one.made)

    def referred(self, target: str, scope: Scope, *, full: bool) -> Any:
        """Return what a template itself says of a resource: by id, name in the template, or name."""
        ids = scope.symbols.get(target.lower())
        one = self.by_id.get(ids[0].lower()) if ids else self.by_id.get(target.lower())
        if one is None and not target.startswith("/"):
            names = (d for d in self.declared if d.name.lower() == target.lower())
            one = next(iter(sorted(names, key=lambda d: d.scope is not scope)), None)
        if one is None:
            return Unknown(f"a property of {target[:100]}, which this file does not deploy")
        if one.busy:
            return Unknown(f"a property of {one.name}, which refers to itself")
        if one.inner is not None:
            return Partial(outputs=self._outputs(one.inner))
        if not self.wanted(one.type.lower()):
            return Unknown(f"a property of {one.type} {one.name}")
        made = self.made(one)
        properties = _partial(made.get("properties", {}), one.id)
        if not full:
            return properties
        return Partial({**made, "properties": properties, "resourceId": one.id})

    def _outputs(self, scope: Scope) -> Partial:
        outputs = get(scope.template, "outputs")
        found = Partial()
        for name, output in outputs.items() if isinstance(outputs, dict) else ():
            raw = get(output, "value")
            if raw is None or str(get(output, "type", "")).lower().startswith("secure"):
                found[name] = Partial(value=Unknown(f'the output "{name}"'))
            else:
                value = scope.once("output", name, partial(self.value, raw, scope, scope.loops))
                found[name] = Partial(value=value)
        return found


def _same(value: Any) -> Any:
    return value


def _partial(value: Any, parent: str, key: str = "") -> Any:
    """Return what is known of a resource's properties, with the ids of its named parts."""
    if isinstance(value, dict):
        made = Partial({name: _partial(part, parent, name) for name, part in value.items()})
        if key and isinstance(get(value, "name"), str) and get(value, "id") is None:
            made["id"] = f"{parent}/{key}/{get(value, 'name')}"
        return made
    if isinstance(value, list):
        return [_partial(part, parent, key) for part in value]
    return value
