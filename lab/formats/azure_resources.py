"""Evaluated resources of Azure, in the forms that its tools print them, and the resources of templates.

One shape comes out: keys in small letters, with what is under ``properties`` beside the rest, as ``az`` prints it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from lab.formats import arm
from lab.formats.arm import Unknown, get

Kind = Literal["template", "parameters", "resources", "terraform", "unknown"]
#: What the importer reads of a template: the rest is not evaluated.
_READ = ("microsoft.network/", "microsoft.compute/virtualmachines", "microsoft.compute/virtualmachinescalesets")
_ROOT = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/lab"


class Resource(msgspec.Struct, frozen=True):
    """A resource; its type is in small letters, and so are the keys of its body."""

    id: str
    type: str
    name: str
    place: str
    body: dict[str, Any]

    @property
    def key(self) -> str:
        """Return the id as ids compare."""
        return self.id.lower()

    @property
    def title(self) -> str:
        """Return how messages name it."""
        return f"{self.place}: {self.type.rpartition('/')[2]} {shown(self.name)}"


class Read(msgspec.Struct, frozen=True):
    """The resources of some files, what is wrong with the files, and what is not known; each with its place."""

    resources: tuple[Resource, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    #: What the lab's own templates say of the topology that they were made of, "" if none does.
    name: str = ""
    profile: str = ""


def shown(text: object) -> str:
    """Return a text of the input as messages and comments show it: printable, and not too long."""
    plain = re.sub(r"[^ -~]+", "?", str(text))
    return plain if len(plain) <= 200 else plain[:199] + "~"


def is_read(kind: str) -> bool:
    """Tell whether the importer reads the values of a type, which is in small letters."""
    return kind.startswith(_READ) and not kind.endswith("/extensions")


def kind_of(data: object) -> Kind:
    """Tell what a file's value is."""
    schema = str(get(data, "$schema", "")).lower()
    found: Kind = "unknown"
    if "terraform_version" in data if isinstance(data, dict) else False:
        found = "terraform"
    elif "deploymentparameters" in schema:
        found = "parameters"
    elif "deploymenttemplate" in schema or (get(data, "resources") is not None and get(data, "contentVersion")):
        found = "template"
    elif (
        any(isinstance(get(data, key), list) for key in _LISTS)
        or isinstance(data, list)
        or (isinstance(get(data, "id"), str) and "/providers/" in get(data, "id").lower())
    ):
        found = "resources"
    elif isinstance(get(data, "parameters"), dict):
        found = "parameters"
    return found


#: Where lists of resources are: Resource Graph, REST, and the prediction of a template.
_LISTS = ("data", "value", "predictedResources")


def read(files: Sequence[tuple[str, object]], linked: Callable[[str], object]) -> Read:
    """Return the resources of files that were read; the parameters of all are those of every template."""
    given: dict[str, Any] = {}
    for _, data in files:
        if kind_of(data) == "parameters":
            parameters = get(data, "parameters")
            for name, one in parameters.items() if isinstance(parameters, dict) else ():
                secret = get(one, "reference") is not None
                given[name] = Unknown("a secret of a key vault") if secret else get(one, "value", one)
    resources: list[Resource] = []
    problems: list[str] = []
    notes: list[str] = []
    for file, data in files:
        kind = kind_of(data)
        if kind == "template":
            try:
                made = arm.deploy(data, given, linked=linked, wanted=is_read)
            except arm.TemplateError as error:
                problems.append(f"{file}: {shown_line(error)}")
                continue
            problems += [f"{file}: {one.place}: {shown_line(one.text)}" for one in made.problems]
            notes += [f"{file}: {one.place}: {shown_line(one.text)}" for one in made.notes]
            resources += [_resource(f"{file}: {one['place']}", one) for one in made.resources]
        elif kind == "resources":
            resources += _listed(file, data, problems)
    own = [get(get(data, "metadata"), "lab") for _, data in files if kind_of(data) == "template"]
    name, profile = (
        next((text for one in own if (text := known_text(get(one, key)))), "") for key in ("name", "profile")
    )
    return Read(tuple(_once(resources, notes)), tuple(problems), tuple(notes), name, profile)


def shown_line(text: object) -> str:
    """Return a message as one printable line."""
    plain = re.sub(r"[^ -~]+", "?", str(text))
    return plain if len(plain) <= 500 else plain[:499] + "~"


def _once(resources: Sequence[Resource], notes: list[str]) -> Iterator[Resource]:
    """Yield each resource once: two files may hold the same one."""
    seen: dict[str, Resource] = {}
    for one in resources:
        if one.key in seen:
            notes.append(f"{one.title}: left out, as the same is at {seen[one.key].place}")
        else:
            seen[one.key] = one
            yield one


def _listed(file: str, data: Any, problems: list[str]) -> Iterator[Resource]:
    where = ""
    items: list[Any] = [data]
    if isinstance(data, list):
        items = data
    for key in _LISTS:
        if isinstance(get(data, key), list):
            where, items = key, get(data, key)
            break
    for index, one in enumerate(items):
        place = f"{file}: {where}[{index}]" if where or len(items) > 1 else f"{file}: [{index}]"
        kind, name, id_ = _identity(one)
        if kind and name:
            yield _resource(place, {**one, "type": kind, "name": name, "id": id_})
        else:
            text = "no type and name, and no id that says them; a resource must have them; print it with `az … -o json`"
            problems.append(f"{place}: {text}")


def _identity(one: object) -> tuple[str, str, str]:
    """Return the type, the name with those of its parents, and the id of a resource."""
    id_, kind, name = (get(one, key) for key in ("id", "type", "name"))
    if isinstance(id_, str) and "/providers/" in id_.lower():
        space, *parts = re.split("/providers/", id_, flags=re.IGNORECASE)[-1].strip("/").split("/")
        if len(parts) >= 2 and len(parts) % 2 == 0:
            return "/".join((space, *parts[::2])), "/".join(parts[1::2]), id_
    if isinstance(kind, str) and isinstance(name, str) and "/" in kind and name:
        space, *types = kind.strip("/").split("/")
        names = name.split("/")
        pairs = "/".join(f"{a}/{b}" for a, b in zip(types, names, strict=False))
        return kind, name, f"{_ROOT}/providers/{space}/{pairs}"
    return "", "", ""


def _resource(place: str, one: dict[str, Any]) -> Resource:
    body = flattened({key: value for key, value in one.items() if key != "place"})
    name = str(one["name"])
    return Resource(id=str(one["id"]), type=str(one["type"]).lower(), name=name, place=shown(place), body=body)


def flattened(value: Any) -> Any:
    """Return a value with keys in small letters, and with what is under ``properties`` beside the rest."""
    if isinstance(value, list):
        return [flattened(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {str(key).lower(): flattened(part) for key, part in value.items()}
    inner = made.get("properties")
    if isinstance(inner, dict):
        del made["properties"]
        made = {**inner, **made}
    return made


def known_text(value: object) -> str:
    """Return a value if it is text that is known, else nothing."""
    return value if isinstance(value, str) and not value.startswith("[") else ""


def reference(value: object) -> str:
    """Return the id that a value refers to, in small letters, or nothing."""
    found = get(value, "id") if isinstance(value, dict) else value
    return known_text(found).lower().rstrip("/")


def items(body: object, key: str) -> list[dict[str, Any]]:
    """Return the objects of a list of a body."""
    found = get(body, key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
