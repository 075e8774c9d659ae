"""Expressions are evaluated: functions that need the template, loops inside values, and limits."""

from collections.abc import Callable
from functools import cmp_to_key, partial
from typing import Any

from lab.formats.arm.errors import LimitError, Limits, TemplateError
from lab.formats.arm.expressions import Access, Call, Literal, Node, is_expression, parse
from lab.formats.arm.functions import FUNCTIONS
from lab.formats.arm.scope import Lazy, Loop, Scope
from lab.formats.arm.values import Unknown, get, item, kind

_FAULTS = (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError, ArithmeticError)
#: Functions that make something of arguments that are unknown.
_TOLERANT = frozenset({"createarray", "createobject", "array", "union"})
_FUNCTION_OF_VALUES = {
    "managementgroup": "the management group",
    "deployer": "who deploys",
    "providers": "the resource providers",
    "pickzones": "the zones of a region",
    "getsecret": "a secret of a key vault",
}


class Here:
    """Where an expression stands: its template, the loops around it, and the variables of lambdas."""

    __slots__ = ("local", "loops", "scope")

    def __init__(self, scope: Scope, loops: tuple[Loop, ...] = (), local: dict[str, Any] | None = None) -> None:
        self.scope, self.loops, self.local = scope, loops, local or {}


class Calls:
    """Evaluates values; what a template deploys is told by ``referred``."""

    def __init__(self, location: str) -> None:
        self.limits, self.location = Limits(), location

    def referred(self, target: str, scope: Scope, *, full: bool) -> Any:
        """Return what a template itself says of a resource."""
        raise NotImplementedError

    def copies(self, number: Any) -> int:
        """Return how often a loop runs.

        Raises:
            TemplateError: that is no number, or too large.

        """
        if isinstance(number, str) and 0 < len(number) < 10 and number.isdecimal():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise TemplateError(f"a loop of {kind(number)}; it must be a number of copies; correct it")
        if number > Limits.COPIES:
            raise LimitError(f"a loop of {number:,} copies; at most {Limits.COPIES} are allowed; split the loop")
        return number

    def id_of(self, scope: Scope, kind_: str, names: list[str]) -> str:
        """Return the id of a resource of a deployment's resource group."""
        return f"/subscriptions/{scope.subscription}/resourceGroups/{scope.group}{_provider(kind_, names)}"

    # --- values ---

    def value(self, raw: Any, scope: Scope, loops: tuple[Loop, ...] = ()) -> Any:
        """Return a value of a template with every expression in it evaluated."""
        return self.walk(raw, Here(scope, loops))

    def walk(self, raw: Any, here: Here) -> Any:
        """Evaluate what is inside lists and objects."""
        self.limits.spend()
        if isinstance(raw, str):
            if not is_expression(raw):
                return raw[1:] if raw.startswith("[[") else raw
            found = self.evaluate(parse(raw), here)
            if isinstance(found, dict | list | str):
                self.limits.measure(found)
            return found
        if isinstance(raw, list):
            return [self.walk(part, here) for part in raw]
        if not isinstance(raw, dict):
            return raw
        made: dict[str, Any] = {}
        for key, part in raw.items():
            if key.lower() == "copy" and isinstance(part, list):
                for loop in part:
                    name = str(get(loop, "name"))
                    made[name] = self._loop(loop, here)
            else:
                name = self.walk(key, here) if is_expression(key) else key
                made[name if isinstance(name, str) else key] = self.walk(part, here)
        return made

    def _loop(self, loop: Any, here: Here) -> Any:
        number = self.walk(get(loop, "count"), here)
        if isinstance(number, Unknown):
            return number
        name, body = str(get(loop, "name")), get(loop, "input")
        return [
            self.walk(body, Here(here.scope, (*here.loops, Loop(name, i, of_resource=False)), here.local))
            for i in range(self.copies(number))
        ]

    def evaluate(self, node: Node, here: Here) -> Any:
        """Return the value of an expression's tree."""
        self.limits.spend()
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Access):
            return item(self.evaluate(node.of, here), self.evaluate(node.key, here), safe=node.safe)
        special = getattr(self, f"_do_{node.name}", None)
        if special is not None:
            return self._guarded(node.name, lambda: special(node.arguments, here))
        return self._called(node.name, [self.evaluate(argument, here) for argument in node.arguments], here)

    def _called(self, name: str, arguments: list[Any], here: Here) -> Any:
        """Return what a function makes of its values."""
        if name.startswith("list") or name in _FUNCTION_OF_VALUES:
            return Unknown(_FUNCTION_OF_VALUES.get(name, "a secret that only Azure knows"))
        if "." in name:
            return self._own_function(name, arguments, here)
        function = FUNCTIONS.get(name)
        if function is None:
            raise TemplateError(f'no function "{name[:60]}" is known; it must be one of a template; correct it')
        unknown = [argument for argument in arguments if isinstance(argument, Unknown)]
        if unknown and name not in _TOLERANT:
            return unknown[0]
        found = self._guarded(name, lambda: function(*arguments))
        if isinstance(found, dict | list | str):
            self.limits.measure(found)
        return found

    def _guarded(self, name: str, make: Lazy) -> Any:
        try:
            return make()
        except _FAULTS as error:
            text = " ".join(str(error).split())[:120].replace("<lambda>", name)
            raise TemplateError(f"{name}(): {text}; its arguments must fit; correct the expression") from None

    def _own_function(self, name: str, arguments: list[Any], here: Here) -> Any:
        space, _, member = name.partition(".")
        for group in get(here.scope.template, "functions") or []:
            if str(get(group, "namespace")).lower() != space:
                continue
            body = get(get(group, "members"), member)
            if isinstance(body, dict):
                declared = [str(get(one, "name")) for one in get(body, "parameters") or []]
                template: dict[str, Any] = {"parameters": {one: {} for one in declared}}
                given: dict[str, Lazy] = {
                    one: partial(_same, value) for one, value in zip(declared, arguments, strict=False)
                }
                return self.value(get(get(body, "output"), "value"), Scope(template, given))
        raise TemplateError(f'no function "{name[:60]}"; the template must define it; correct the name')

    # --- functions that take arguments as they are needed ---

    def _do_if(self, arguments: tuple[Node, ...], here: Here) -> Any:
        chosen, yes, no = arguments
        test = self.evaluate(chosen, here)
        if isinstance(test, Unknown):
            return test
        return self.evaluate(yes if FUNCTIONS["bool"](test) else no, here)

    def _do_and(self, arguments: tuple[Node, ...], here: Here) -> Any:
        return self._all(arguments, here, until=False)

    def _do_or(self, arguments: tuple[Node, ...], here: Here) -> Any:
        return self._all(arguments, here, until=True)

    def _all(self, arguments: tuple[Node, ...], here: Here, *, until: bool) -> Any:
        unknown = None
        for argument in arguments:
            value = self.evaluate(argument, here)
            if isinstance(value, Unknown):
                unknown = value
            elif FUNCTIONS["bool"](value) is until:
                return until
        return unknown or not until

    def _do_coalesce(self, arguments: tuple[Node, ...], here: Here) -> Any:
        return next((v for a in arguments if (v := self.evaluate(a, here)) is not None), None)

    def _do_tryget(self, arguments: tuple[Node, ...], here: Here) -> Any:
        found = self.evaluate(arguments[0], here)
        for key in arguments[1:]:
            found = item(found, self.evaluate(key, here), safe=True)
        return found

    def _do_fail(self, arguments: tuple[Node, ...], here: Here) -> Any:
        said = self.evaluate(arguments[0], here)
        raise TemplateError(f"the template says: {said}; its parameters must be as it asks; correct them")

    # --- lambdas ---

    def _lambda(self, node: Node, here: Here) -> Callable[..., Any]:
        if not isinstance(node, Call) or node.name != "lambda" or not node.arguments:
            raise TemplateError("no lambda; one must stand there; correct the expression")
        names = [str(self.evaluate(name, here)).lower() for name in node.arguments[:-1]]

        def call(*values: Any) -> Any:
            return self.evaluate(
                node.arguments[-1],
                Here(here.scope, here.loops, {**here.local, **dict(zip(names, values, strict=False))}),
            )

        call.__dict__["takes"] = len(names)
        return call

    def _over(self, arguments: tuple[Node, ...], here: Here) -> tuple[Any, Callable[..., Any]]:
        return self.evaluate(arguments[0], here), self._lambda(arguments[1], here)

    def _do_lambdavariables(self, arguments: tuple[Node, ...], here: Here) -> Any:
        return here.local[str(self.evaluate(arguments[0], here)).lower()]

    def _do_map(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, call = self._over(arguments, here)
        if isinstance(values, Unknown):
            return values
        return [call(value, i) for i, value in enumerate(values)]

    def _do_filter(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, call = self._over(arguments, here)
        if isinstance(values, Unknown):
            return values
        return [value for i, value in enumerate(values) if call(value, i) is True]

    def _do_reduce(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, made = self.evaluate(arguments[0], here), self.evaluate(arguments[1], here)
        call = self._lambda(arguments[2], here)
        if isinstance(values, Unknown):
            return values
        for index, value in enumerate(values):
            made = call(made, value, index)
        return made

    def _do_sort(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, call = self._over(arguments, here)
        if isinstance(values, Unknown):
            return values
        return sorted(values, key=cmp_to_key(lambda a, b: -1 if call(a, b) is True else 1))

    def _do_toobject(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, key = self._over(arguments, here)
        if isinstance(values, Unknown):
            return values
        make = self._lambda(arguments[2], here) if len(arguments) > 2 else _same
        return {str(key(value)): make(value) for value in values}

    def _do_mapvalues(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, call = self._over(arguments, here)
        return values if isinstance(values, Unknown) else {key: call(value) for key, value in values.items()}

    def _do_groupby(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values, call = self._over(arguments, here)
        groups: dict[str, list[Any]] = {}
        for value in () if isinstance(values, Unknown) else values:
            groups.setdefault(str(call(value)), []).append(value)
        return values if isinstance(values, Unknown) else groups

    # --- functions of the deployment ---

    def _texts(self, arguments: tuple[Node, ...], here: Here) -> list[Any] | Unknown:
        found = [self.evaluate(argument, here) for argument in arguments]
        return next((value for value in found if isinstance(value, Unknown)), found)

    def _do_parameters(self, arguments: tuple[Node, ...], here: Here) -> Any:
        name = str(self.evaluate(arguments[0], here))
        return here.scope.parameter(name, lambda raw: self.value(raw, here.scope))

    def _do_variables(self, arguments: tuple[Node, ...], here: Here) -> Any:
        name, scope = str(self.evaluate(arguments[0], here)), here.scope
        variables = get(scope.template, "variables")
        absent = object()
        raw = get(variables, name, absent)
        if raw is absent:
            loops = get(variables, "copy")
            for loop in loops if isinstance(loops, list) else ():
                if str(get(loop, "name")).lower() == name.lower():
                    return scope.once("variable", name, partial(self._loop, loop, Here(scope)))
            raise TemplateError(f'no variable "{name[:80]}"; the template must have it; correct the name')
        return scope.once("variable", name, lambda: self.value(raw, scope))

    def _do_copyindex(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values = [self.evaluate(argument, here) for argument in arguments]
        names = [value for value in values if isinstance(value, str)]
        offset = next((value for value in values if isinstance(value, int)), 0)
        if names:
            loop = next((one for one in reversed(here.loops) if one.name.lower() == names[0].lower()), None)
        else:
            own = [one for one in here.loops if one.of_resource] or list(here.loops)
            loop = own[-1] if own else None
        if loop is None:
            raise TemplateError("copyIndex() outside its loop; it must be inside; correct the expression")
        return loop.index + offset

    def _do_resourcegroup(self, _arguments: tuple[Node, ...], here: Here) -> Any:
        scope = here.scope
        return {
            "id": f"/subscriptions/{scope.subscription}/resourceGroups/{scope.group}",
            "name": scope.group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.location,
            "tags": {},
            "properties": {"provisioningState": "Succeeded"},
        }

    def _do_subscription(self, _arguments: tuple[Node, ...], here: Here) -> Any:
        own = here.scope.subscription
        return {"id": f"/subscriptions/{own}", "subscriptionId": own, "tenantId": own, "displayName": "lab"}

    def _do_tenant(self, _arguments: tuple[Node, ...], here: Here) -> Any:
        return {"tenantId": here.scope.subscription, "displayName": "lab", "countryCode": ""}

    def _do_deployment(self, _arguments: tuple[Node, ...], here: Here) -> Any:
        link = {"uri": "https://example.invalid/azuredeploy.json"}
        properties = {"template": {"contentVersion": "1.0.0.0"}, "templateLink": link, "mode": "Incremental"}
        return {"name": here.scope.name, "location": self.location, "properties": properties}

    def _do_environment(self, _arguments: tuple[Node, ...], _here: Here) -> Any:
        return {
            "name": "AzureCloud",
            "resourceManager": "https://management.azure.com/",
            "suffixes": {
                "storage": "core.windows.net",
                "keyvaultDns": ".vault.azure.net",
                "sqlServerHostname": ".database.windows.net",
                "azureDatalakeStoreFileSystem": "azuredatalakestore.net",
            },
            "authentication": {"loginEndpoint": "https://login.microsoftonline.com/", "audiences": []},
        }

    def _do_resourceid(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values = self._texts(arguments, here)
        if isinstance(values, Unknown):
            return values
        texts = [str(value) for value in values]
        at = next((i for i, text in enumerate(texts[:3]) if "/" in text), None)
        if at is None:
            raise TemplateError("resourceId() without a type; it must be given first; correct the expression")
        group = texts[at - 1] if at else here.scope.group
        subscription = texts[0] if at == 2 else here.scope.subscription
        return f"/subscriptions/{subscription}/resourceGroups/{group}{_provider(texts[at], texts[at + 1 :])}"

    def _do_subscriptionresourceid(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values = self._texts(arguments, here)
        if isinstance(values, Unknown):
            return values
        texts = [str(value) for value in values]
        own = here.scope.subscription if "/" in texts[0] else texts.pop(0)
        return f"/subscriptions/{own}{_provider(texts[0], texts[1:])}"

    def _do_tenantresourceid(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values = self._texts(arguments, here)
        return values if isinstance(values, Unknown) else _provider(str(values[0]), [str(v) for v in values[1:]])

    def _do_extensionresourceid(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values = self._texts(arguments, here)
        if isinstance(values, Unknown):
            return values
        return f"{values[0]}{_provider(str(values[1]), [str(value) for value in values[2:]])}"

    def _do_reference(self, arguments: tuple[Node, ...], here: Here) -> Any:
        values = self._texts(arguments, here)
        if isinstance(values, Unknown):
            return values
        full = len(values) > 2 and str(values[2]).lower() == "full"
        return self.referred(str(values[0]), here.scope, full=full)

    def _do_references(self, arguments: tuple[Node, ...], here: Here) -> Any:
        symbol = str(self.evaluate(arguments[0], here)).lower()
        full = len(arguments) > 1
        return [self.referred(found, here.scope, full=full) for found in here.scope.symbols.get(symbol, [])]


def _same(value: Any) -> Any:
    return value


def _provider(kind_: str, names: list[str]) -> str:
    """Return the end of an id.

    Raises:
        TemplateError: there is not a name for each part of the type.

    """
    space, *parts = kind_.strip("/").split("/")
    if len(parts) != len(names):
        names = [part for name in names for part in name.split("/") if part]
    if len(parts) != len(names) or not parts:
        raise TemplateError(f"{len(names)} names for the type {kind_[:80]}; each part must have one; correct it")
    return f"/providers/{space}/" + "/".join(f"{part}/{name}" for part, name in zip(parts, names, strict=True))
