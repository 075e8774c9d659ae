"""A fuzzer of `lab import azure`: real templates, broken in ways that files are broken.

    python -m tests.fuzz.azure 10000 [FIRST]

runs that many inputs, from a number on, and prints each that is answered by anything but a topology that `lab check`
passes or a refusal. The same number is the same input.
"""

import copy
import faulthandler
import json
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lab import topology
from lab.azure import profile
from lab.errors import TopologyError
from lab.formats import arm, azure_files, azure_resources, azure_topology, xml
from lab.topology.imported import playable

FIXTURES = Path(__file__).parents[1] / "fixtures" / "arm"
PARTS = ("azuredeploy.json", "azuredeploy.parameters.json")
CASES = tuple(sorted(path.name for path in FIXTURES.iterdir() if path.is_dir()))
#: What one input may take of a processor, in seconds, and all of them of memory, in MiB.
SECONDS, MEMORY = 2, 600

Keys = tuple[Any, ...]


class Fault(NamedTuple):
    """An input that is not answered as it must be."""

    number: int
    case: str
    what: str


# --- one input ---


class _Twice(dict[str, Any]):
    """An object that is written with one of its keys twice."""

    def items(self) -> Any:
        pairs = list(super().items())
        return [*pairs, *pairs[:1]]


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 65535, 65536, 2**31, 10**9, 10**30, 1.5, float("inf"), float("nan")),
    *(
        "",
        " ",
        "*",
        "x" * 5000,
        "0.0.0.0/0",
        "10.0.0.0/33",
        "10.0.0.1",
        "300.1.1.1",
        "::1",
        "2001:db8::/32",
        "-5",
        "1-0",
    ),
    *(
        "\0",
        "\n",
        "é",
        "\ud800",
        "#",
        "a: b",
        "[",
        "]",
        "[[",
        "[x]",
        "[[x]",
        "/",
        "//",
        "/subscriptions/",
        "..",
        "null",
    ),
    *([], {}, [[]], [{}], [None], {"": {}}, {"id": None}, {"id": 5}, {"id": []}, [[[]]], {"value": {}}, {"copy": []}),
    *("GEN-UNIQUE", "GEN-UNIQUE-0", "GEN-PASSWORD", "Standard", "tcp", "All", "Internet", "AzureCloud", "10.0.0.0/8"),
)
_EXPRESSIONS = (
    *("[variables('loop-a')]", "[parameters('nowhere')]", "[copyIndex()]", "[concat(variables('loop-a'), 'x')]"),
    *("[range(0, 2000000000)]", "[resourceId('a/b', 'c')]", "[resourceId('a')]", "[resourceId()]", "[reference('x')]"),
    *(
        "[" + "concat(" * 200 + "'x'" + ")" * 200 + "]",
        "[if(true())]",
        "[json('{')]",
        "[json('[' )]",
        "[format('{9}')]",
    ),
    *("[substring('abc', 5)]", "[split('', '')]", "[div(1, 0)]", "[int('x')]", "[first(5)]", "[length(1)]"),
    *("[padLeft('x', 2000000000)]", "[replace('aaaa', 'a', variables('big'))]", "[variables('big')]", "[x.y()]"),
    *("[guid()]", "[uniqueString()]", "[take('x', -1)]", "[subscription().x]", "[resourceGroup().tags.x]", "[1]"),
    *("[createObject('a')]", "[union(createObject(), createArray())]", "[cidrSubnet('10.0.0.0/8', 99, 1)]", "[a b]"),
    *("[map(range(0, 10000), lambda('x', map(range(0, 10000), lambda('y', 1))))]", "[lambda('x')]", "[map(1, 2)]"),
    *("[environment().suffixes['x']]", "[deployment().properties.x]", "[listKeys('x', '1').keys[0].value]", "['x'.y]"),
    *("[toObject(5, 5)]", "[sort(createArray(1, 'x'), lambda('a', 'b', less(variables('loop-a'), 1)))]", "[.]", "[()]"),
)


def _places(data: Any, at: Keys = ()) -> Iterator[Keys]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(pairs):
        yield (*at, key)
        yield from _places(value, (*at, key))


def _holder(data: Any, at: Keys) -> Any:
    for key in at[:-1]:
        data = data[key]
    return data


def _removed(chance: random.Random, data: Any, at: Keys) -> None:
    del _holder(data, at)[at[-1]]


def _replaced(chance: random.Random, data: Any, at: Keys) -> None:
    _holder(data, at)[at[-1]] = copy.deepcopy(chance.choice(_VALUES))


def _expressed(chance: random.Random, data: Any, at: Keys) -> None:
    _holder(data, at)[at[-1]] = chance.choice(_EXPRESSIONS)


def _renamed(chance: random.Random, data: Any, at: Keys) -> None:
    holder = _holder(data, at)
    if isinstance(holder, dict):
        key = at[-1]
        wanted = chance.choice(
            (key.upper(), key.lower(), key + " ", key[:-1], "copy", "properties", "id", "type", "[x]")
        )
        holder[wanted] = holder.pop(key)


def _doubled(chance: random.Random, data: Any, at: Keys) -> None:
    holder, key = _holder(data, at), at[-1]
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif chance.random() < 0.5:
        holder[key.swapcase()] = copy.deepcopy(holder[key])
    elif len(at) > 1:
        _holder(data, at[:-1])[at[-2]] = _Twice(holder)


def _cut(chance: random.Random, data: Any, at: Keys) -> None:
    holder, key = _holder(data, at), at[-1]
    value = holder[key]
    if isinstance(value, str) and value:
        first = chance.randrange(len(value))
        last = chance.randrange(first, len(value)) + 1
        holder[key] = value[:first] + value[last:]
    elif isinstance(value, list):
        del value[chance.randrange(len(value) + 1) :]


def _moved(chance: random.Random, data: Any, at: Keys) -> None:
    other = chance.choice(list(_places(data)))
    _holder(data, at)[at[-1]] = copy.deepcopy(_holder(data, other)[other[-1]])


def _looped(chance: random.Random, data: Any, at: Keys) -> None:
    count: Any = chance.choice((0, 2, 3, 40, 800, 801, 10**9, -1, "5", "[parameters('n')]", None, 1.5))
    loop: dict[str, Any] = {"name": chance.choice(("loop", "", "x")), "count": count}
    value = _holder(data, at)[at[-1]]
    if isinstance(value, dict):
        value["copy"] = loop if chance.random() < 0.5 else [{**loop, "input": "[copyIndex('loop')]"}, loop]


def _deepened(chance: random.Random, data: Any, at: Keys) -> None:
    value = _holder(data, at)[at[-1]]
    many = chance.choice((3, 40, 99, 150))
    for _ in range(many):
        value = {"properties": value} if chance.random() < 0.5 else [value]
    _holder(data, at)[at[-1]] = value


def _nested(chance: random.Random, data: Any, at: Keys) -> None:
    resources = data.get("resources") if isinstance(data, dict) else None
    if isinstance(resources, list):
        scope = {"expressionEvaluationOptions": {"scope": chance.choice(("inner", "outer", 5))}}
        template: Any = copy.deepcopy(data)
        for _ in range(chance.choice((1, 2, 9))):
            body = {"mode": "Incremental", "template": template, **scope}
            nested = {"type": "Microsoft.Resources/deployments", "name": "n", "properties": body}
            template = {"contentVersion": "1.0.0.0", "resources": [nested]}
        resources.append(nested)


def _variables(chance: random.Random, data: Any, at: Keys) -> None:
    if isinstance(data, dict):
        known = data.setdefault("variables", {})
        if isinstance(known, dict):
            known["loop-a"] = chance.choice(("[variables('loop-b')]", {"x": "[variables('loop-a')]"}))
            known["loop-b"] = "[concat(variables('loop-a'), variables('loop-a'))]"
            known["big"] = "[concat(variables('big1'), variables('big1'))]"
            for level in range(1, 40):
                known[f"big{level}"] = f"[concat(variables('big{level + 1}'), variables('big{level + 1}'))]"
            known["big40"] = "x" * 100


_CHANGES: tuple[Callable[[random.Random, Any, Keys], None], ...] = (
    *(
        _removed,
        _removed,
        _replaced,
        _replaced,
        _replaced,
        _expressed,
        _expressed,
        _renamed,
        _doubled,
        _cut,
        _cut,
        _cut,
    ),
    *(_moved, _moved, _looped, _deepened, _nested, _variables),
)


def _bytes_changed(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 30))):
        changed[chance.randrange(len(changed))] = chance.choice(b'\x00\x7f\xff"{}[],:\\/*\n0e')
    return bytes(changed)


def _bytes_repeated(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at : at + 400] * chance.choice((2, 50)) + data[at:]


_ENCODINGS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    lambda _chance, data: data.decode("utf-8", "replace").encode("utf-16"),
    lambda _chance, data: data.decode("utf-8", "replace").encode("utf-16-be"),
    lambda _chance, data: b"\xef\xbb\xbf" + data,
    lambda _chance, data: data.decode("utf-8", "replace").encode("latin-1", "replace"),
    lambda chance, data: data[: chance.randrange(len(data) + 1)],
    _bytes_changed,
    _bytes_repeated,
    lambda chance, _data: chance.choice((b"", b"[", b"{}", b"[]", b"null", b"0", b"{" * 50_000, b"[" * 90 + b"]" * 90)),
)


def _encoded(chance: random.Random, text: str) -> bytes:
    """Return a text as bytes, most often as it should be."""
    data = text.encode("utf-8", "surrogatepass")
    return chance.choice(_ENCODINGS)(chance, data) if chance.random() < 0.25 else data


def evaluated(case: str) -> dict[str, Any]:
    """Return the resources of a case as Resource Graph prints them."""
    template, parameters = (json.loads((FIXTURES / case / part).read_text()) for part in PARTS)
    given = {name: one.get("value") for name, one in parameters["parameters"].items()}
    made = arm.deploy(template, given, wanted=azure_resources.is_read).resources
    data = [{key: value for key, value in one.items() if key != "place"} for one in made]
    return {"data": json.loads(json.dumps(data, default=str))}


def changed(data: Any, number: int) -> Any:
    """Return a value with one to four places changed."""
    chance = random.Random(number)
    for _ in range(chance.randint(1, 4)):
        places = list(_places(data))
        if places:
            chance.choice(_CHANGES)(chance, data, chance.choice(places))
    return data


def mutant(number: int) -> tuple[str, list[tuple[Path, bytes]]]:
    """Return the case and the files of one input."""
    chance = random.Random(number)
    case = CASES[number % len(CASES)]
    files = []
    for part in PARTS:
        data = json.loads((FIXTURES / case / part).read_text())
        if part == PARTS[0] and chance.random() < 0.3:
            data = evaluated(case)
        for _ in range(chance.choice((0, 1, 1, 2, 3, 8)) if part == PARTS[0] else chance.choice((0, 0, 1))):
            places = list(_places(data))
            change = chance.choice(_CHANGES)
            if places:
                change(chance, data, chance.choice(places))
        try:
            text = json.dumps(data, indent=chance.choice((None, 2)))
        except RecursionError:
            text = "{}"
        files.append((Path(f"{case}-{part}"), _encoded(chance, text)))
    return case, files


# --- what becomes of it ---


def fault(files: list[tuple[Path, bytes]], *, probes: bool) -> str | None:
    """Return what is wrong with the answer to some files."""
    begun = time.process_time()
    try:
        found, lines = _answer(files, probes=probes)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        at = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {str(error)[:160]!r}"
    took = time.process_time() - begun
    odd = [line for line in lines if not line.isprintable() or len(line) > 2000]
    if took > SECONDS:
        found = f"it took {took:.1f} s"
    elif odd:
        found = f"a line that cannot be printed: {odd[0][:200]!r}"
    return found


def _answer(files: list[tuple[Path, bytes]], *, probes: bool) -> tuple[str | None, list[str]]:
    """Return what is wrong with what is made of some files, and the lines that are printed."""
    try:
        texts = [(path, xml.decoded(data)) for path, data in files]
    except UnicodeDecodeError:
        return None, []  # the command line refuses it
    try:
        read = azure_files.read(texts)
        made = azure_topology.imported(read.resources, "case", profile.NAMES[-1], probes=probes)
        text, network, now = playable(made, "case.lab.yaml", azure_files.head("case"))
    except TopologyError as error:
        without = [line for line in error.lines if line.count(";") < 2]
        return (f"an error without advice: {without[0]}" if without else None), list(error.lines)
    same = topology.parse(text, "case.lab.yaml") == network
    return None if same else "its topology is read as another network", [*read.notes, *map(str, now.left)]


def run(numbers: range, said: Callable[[Fault], None] = lambda _fault: None) -> list[Fault]:
    """Return the faults of some inputs."""
    faults = []
    for number in numbers:
        case, files = mutant(number)
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            what = fault(files, probes=number % 2 == 0)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if what is not None:
            faults.append(Fault(number, case, what))
            said(faults[-1])
    return faults


def main() -> None:
    """Run as many inputs as was asked for."""
    many, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    begun = time.process_time()
    faults = run(range(first, first + many), lambda one: print(*one, flush=True))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{many} inputs, {len(faults)} faults, {time.process_time() - begun:.0f} s, at most {most} MiB")
    sys.exit(1 if faults or most > MEMORY else 0)


if __name__ == "__main__":
    main()
