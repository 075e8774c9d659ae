"""What `lab check` says of files that it refuses: read the difference of these texts in a review.

`errors/NAME.lab.yaml` has the files, each after a line `--- # what is wrong`; `errors/NAME.txt` has what is said of
each.
After an intended change: `.venv/bin/python -P -m pytest tests/golden --regold`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.topology import parse

FOLDER = Path(__file__).parent / "errors"
NAMES = sorted(file.name.removesuffix(".lab.yaml") for file in FOLDER.glob("*.lab.yaml"))


def _files(name: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each file, and its text."""
    parts = re.split(r"^--- # (.+)\n", (FOLDER / f"{name}.lab.yaml").read_text(), flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def _said(text: str) -> list[str]:
    try:
        parse(text, "f")
    except TopologyError as error:
        return list(error.lines)
    return ["it is accepted"]


def told(name: str) -> list[str]:
    """Return the lines of the text that belongs beside some files."""
    return [line for what, text in _files(name) for line in (f"--- {what}", *_said(text))]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_refused_in_the_words_that_were_reviewed(name: str, pytestconfig: pytest.Config) -> None:
    golden = FOLDER / f"{name}.txt"
    if pytestconfig.getoption("regold"):
        golden.write_text("".join(f"{line}\n" for line in told(name)))
    assert golden.exists(), "run pytest tests/golden --regold, and review the file"
    assert told(name) == golden.read_text().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_refused_with_its_line_and_in_parts(name: str) -> None:
    """Where, what was found, and what must hold or what to do; a title, such as a key of a file, has no semicolon."""
    for what, text in _files(name):
        assert [line for line in _said(text) if not re.match(r"f:\d+: .+; .+", line)] == [], what


def test_the_errors_are_of_files_that_are_there() -> None:
    assert len(NAMES) > 3
    assert sorted(file.stem for file in FOLDER.glob("*.txt")) == NAMES
    assert sum(1 for name in NAMES for _ in _files(name)) > 150
