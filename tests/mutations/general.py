"""Mutants of any line of the rules, which the tests without root must notice: ``scripts/mutate --general``.

A mutation of a claim's fact is written by hand. A mutant is made from the syntax: a comparison with another operator, a
truth value turned over, a whole number one more or less, a branch that is never taken. A sample that its seed fixes is
tried. What survives is listed in ``survivors.yaml``, one by one, with what became of it.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from tests.mutations import CHECKOUT

#: What is mutated: figures of the revisions, rules, deciders, and limits.
SUBJECTS = (
    "lab/azure/profile.py",
    "lab/azure/invariants.py",
    "lab/azure/vpn_limits.py",
    "lab/azure/outbound_rules.py",
    "lab/azure/public_ips.py",
    "lab/path/*.py",
    "lab/deciders/*.py",
)
SURVIVORS = Path(__file__).with_name("survivors.yaml")
#: Tests that need no root and judge rules; the nearest to a subject come first.
_TESTS = (
    *("tests/unit/deciders", "tests/unit/path", "tests/unit/azure", "tests/unit/topology"),
    *("tests/unit/test_compile.py", "tests/golden"),
)
_NEEDED = ("lab", "tests", "topologies", "docs", "pyproject.toml", "README.md", "CHANGELOG.md")
_DEADLINE_S = 600.0
_SWAPS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
}
Word = Literal["killed", "equivalent", "unclaimed"]


class Mutant(msgspec.Struct, frozen=True):
    """One change of one place: of the bytes from ``start`` to ``end`` of a file, ``old`` becomes ``new``."""

    key: str
    file: str
    start: int
    end: int
    new: str

    def applied(self, source: bytes) -> bytes:
        """Return a file's text with the change."""
        return source[: self.start] + self.new.encode() + source[self.end :]


class Survivor(msgspec.Struct, frozen=True):
    """A mutant that the tests did not notice when it was first tried, and what became of it.

    killed: by a test written since, which ``reason`` names. equivalent: it changes nothing that can be observed.
    unclaimed: nothing that the project states depends on it.
    """

    mutant: str
    word: Word
    reason: str


class Survey(msgspec.Struct, frozen=True):
    """A run over a sample of all mutants, and its survivors."""

    date: str
    seed: int
    tried: int
    of: int
    survivors: tuple[Survivor, ...] = ()


def survey() -> Survey:
    """Return the run whose survivors are kept."""
    return msgspec.yaml.decode(SURVIVORS.read_bytes(), type=Survey)


def mutants() -> list[Mutant]:
    """Return every mutant of every subject, in the order of the files."""
    files = sorted({path for subject in SUBJECTS for path in CHECKOUT.glob(subject)})
    return [mutant for file in files for mutant in _of_file(file.relative_to(CHECKOUT).as_posix(), file.read_bytes())]


def sample(count: int, seed: int) -> list[Mutant]:
    """Return so many mutants, the same ones for the same seed, in the order of the files."""
    found = mutants()
    chosen = set(random.Random(seed).sample(range(len(found)), min(count, len(found))))
    return [mutant for number, mutant in enumerate(found) if number in chosen]


def _of_file(file: str, source: bytes) -> Iterator[Mutant]:
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    met = Counter[str]()
    for where, node, new in _changes(ast.parse(source), ""):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        old = " ".join(source[start:end].decode().split())
        text = f"{file}: {where or 'module'}: {old} -> {new}"
        met[text] += 1
        yield Mutant(f"{text} ({met[text]})" if met[text] > 1 else text, file, start, end, new)


def _changes(node: ast.AST, where: str) -> Iterator[tuple[str, ast.expr, str]]:
    """Yield what may be changed below a node: the function or class, the expression, and its other text."""
    if isinstance(node, ast.JoinedStr):
        return  # the words of a message
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        where = f"{where}.{node.name}".lstrip(".")
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _SWAPS:
        other = ast.Compare(node.left, [_SWAPS[type(node.ops[0])]], node.comparators)
        yield where, node, f"({ast.unparse(other)})"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield where, node, str(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield where, node, str(node.value + 1)
        yield where, node, f"({node.value - 1})"
    if isinstance(node, ast.If):
        yield where, node.test, "False"
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child, where)


def tests_for(file: str) -> list[list[str]]:
    """Return the tests to run for a mutant of a file, those of its own first: the first failure is enough."""
    own = Path("tests/unit") / Path(file).relative_to("lab").parent / f"test_{Path(file).name}"
    return [*([[own.as_posix()]] if (CHECKOUT / own).exists() else []), list(_TESTS)]


def _noticed(tree: Path, mutant: Mutant) -> bool:
    """Tell whether a test fails in a tree with the mutant; a test that does not end has noticed it, too."""
    file, original = tree / mutant.file, (CHECKOUT / mutant.file).read_bytes()
    file.write_bytes(mutant.applied(original))
    try:
        return any(_fails(tree, tests) for tests in tests_for(mutant.file))
    finally:
        file.write_bytes(original)


def _fails(tree: Path, tests: Sequence[str]) -> bool:
    options = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header", "--hypothesis-seed=0")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", *options, *tests],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def run(chosen: Sequence[Mutant], results: Path | None, jobs: int) -> list[tuple[str, bool]]:
    """Try mutants, each in a copy of the checkout; return which were noticed; those in ``results`` are known."""
    known: dict[str, bool] = {}
    if results is not None and results.exists():
        known = dict(msgspec.json.decode(line, type=tuple[str, bool]) for line in results.read_bytes().splitlines())
    todo = [mutant for mutant in chosen if mutant.key not in known]
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        trees = [Path(folder) / str(number) for number in range(jobs)]
        for tree in trees:
            for name in _NEEDED:
                copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copyfile
                tree.mkdir(exist_ok=True)
                copy(CHECKOUT / name, tree / name)

        def share(number: int) -> None:
            for mutant in todo[number::jobs]:
                known[mutant.key] = _noticed(trees[number], mutant)
                print(f"{'killed' if known[mutant.key] else 'survived'}: {mutant.key}", flush=True)
                if results is not None:
                    with results.open("ab") as kept:
                        kept.write(msgspec.json.encode((mutant.key, known[mutant.key])) + b"\n")

        with ThreadPoolExecutor(max_workers=jobs) as pool:
            list(pool.map(share, range(jobs)))
    return [(mutant.key, known[mutant.key]) for mutant in chosen]


def report() -> list[str]:
    """Return the lines about the survivors that are kept."""
    kept = survey()
    words = Counter(one.word for one in kept.survivors)
    counted = ", ".join(f"{words[word]} {word}" for word in ("killed", "equivalent", "unclaimed"))
    head = f"General run of {kept.date}, seed {kept.seed}: {kept.tried} of {kept.of} mutants tried"
    lines = [f"  {one.word}: {one.mutant}\n      {one.reason}" for one in kept.survivors]
    return ["", f"{head}, {len(kept.survivors)} survived at first: {counted}", *lines]
