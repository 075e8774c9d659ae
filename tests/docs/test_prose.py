"""Words that make a reader stop: subjects have names here, and docstrings begin with what is done."""

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = [file for file in (CHECKOUT / "scripts").glob("*") if file.is_file()]
SOURCES = sorted([*(CHECKOUT / "lab").rglob("*.py"), *SCRIPTS])
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "topologies").glob("*.yaml")])
#: Claims are reworded with their statements, one document at a time.
CLAIMS = CHECKOUT / "lab" / "verify" / "claims"
NO_SUBJECT = re.compile(
    r"\b(nobody|whoever|somebody|have it done|has it done|what is None (is|stays))\b", re.IGNORECASE
)
NO_IMPERATIVE = re.compile(r"(Have|Go on) ")


def unnamed(text: str) -> list[str]:
    """Return the lines that speak of somebody who is not named."""
    return [f"{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if NO_SUBJECT.search(line)]


def indirect(text: str) -> list[str]:
    """Return the docstrings that do not begin with what a function does."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            said = ast.get_docstring(node) or ""
            found += [f"{node.name}: {said.splitlines()[0]}"] if NO_IMPERATIVE.match(said) else []
    return found


def test_every_subject_has_a_name() -> None:
    files = [file for file in (*SOURCES, *PAGES) if not file.is_relative_to(CLAIMS)]
    assert [f"{file.relative_to(CHECKOUT)}:{line}" for file in files for line in unnamed(file.read_text())] == []


def test_a_docstring_begins_with_what_is_done() -> None:
    files = [file for file in SOURCES if file.suffix == ".py"]
    assert [f"{file.relative_to(CHECKOUT)}: {found}" for file in files for found in indirect(file.read_text())] == []


def test_such_words_are_seen() -> None:
    assert unnamed("a\n# Nobody asks") == ["2: # Nobody asks"]
    assert indirect('def f():\n    """Have it run."""\n') == ["f: Have it run."]
