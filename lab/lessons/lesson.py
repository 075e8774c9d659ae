"""The file of a lesson: a topology, and steps that each have a task, hints, checks and a solution."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from lab import topology
from lab.azure.model import Network
from lab.errors import TopologyError, UsageError, did_you_mean
from lab.topology.text import LOADER, Positions, check_depth, data_of

SUFFIX = ".lesson.yaml"
#: The lessons that come with the tool, in the order of their numbers: NN-NAME.lesson.yaml.
BUNDLED = Path(__file__).resolve().parent
#: Letters of a lesson's name: its lab is called learn-NAME, and a lab's name has at most 20.
_NAME_MOST = 14
_MAX_BYTES = 256 * 1024
_NO_COMMANDS = ("exec", "shell", "learn")  # they become another program, or need a lesson


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Text = Annotated[str, Field(min_length=1)]


class Edit(_Part):
    """A change of the lab's file: a text that stands in it once, and what takes its place."""

    replace: Text
    by: str


class Answer(_Part):
    """What the learner is to find out; capitals and blanks do not matter."""

    answer: Text


class Flows(_Part):
    """How many flows of a node must be open at the same time."""

    flows: Annotated[int, Field(ge=1, le=65535)]
    sender: Annotated[Text, Field(alias="from")]
    to: Annotated[str, Field(pattern=r"^[^:/]+:[0-9]{1,5}/(tcp|udp)$")]


def _kind(value: object) -> str:
    """Tell which kind of check a mapping is, by a key that no other has."""
    if isinstance(value, Answer | Flows):
        return type(value).__name__.lower()
    keys = value if isinstance(value, dict) else ()
    return next((name for name in ("answer", "flows") if name in keys), "expect")


#: An expectation of the topology format is read with the topology, which knows its names.
Check = Annotated[
    Annotated[Answer, Tag("answer")] | Annotated[Flows, Tag("flows")] | Annotated[dict[str, Any], Tag("expect")],
    Discriminator(_kind),
]


def _solution(value: object) -> Literal["edit", "command"]:
    return "edit" if isinstance(value, dict | Edit) else "command"


Command = Annotated[str, Field(pattern=r"^lab [a-z]")]


Change = Annotated[Annotated[Edit, Tag("edit")] | Annotated[Command, Tag("command")], Discriminator(_solution)]


class Step(_Part):
    """One task."""

    task: Text
    begins: tuple[Command, ...] = ()  # what happens to the lab before the task is set
    hints: tuple[Text, ...] = ()
    check: Annotated[tuple[Check, ...], Field(min_length=1)]
    solution: Annotated[tuple[Change, ...], Field(min_length=1)] | Literal["answer"]
    then: str = ""  # what is told once the checks hold

    @property
    def edits(self) -> list[Edit]:
        """What its solution changes in the file."""
        return [part for part in self.solution if isinstance(part, Edit)]

    @property
    def commands(self) -> list[str]:
        """The commands of its solution."""
        return [part for part in self.solution if isinstance(part, str)] if self.solution != "answer" else []

    @property
    def answers(self) -> list[str]:
        """What its checks ask for."""
        return [check.answer for check in self.check if isinstance(check, Answer)]


class Lesson(_Part):
    """A lesson; ``name`` and ``file`` follow from where it is."""

    title: Text
    minutes: Annotated[int, Field(ge=1, le=60)]
    topology: Text  # the text of one, or the name of a file: bundled, or beside the lesson
    text: Text
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    name: str = ""
    file: Path = Path()

    @property
    def lab(self) -> str:
        """The name of its lab."""
        return f"learn-{self.name}"

    def network(self, checks: Sequence[dict[str, Any]] = ()) -> Network:
        """Return the network that it begins with, which expects what some checks say.

        Raises:
            TopologyError: the topology or a check is wrong.

        """
        node = yaml.compose(self.start(), Loader=LOADER)
        data = data_of(node, (), Positions()) if node is not None else None
        assert isinstance(data, dict)  # it was parsed when the lesson was read
        return topology.parse(json.dumps({**data, "expect": list(checks)}), str(self.file))

    def start(self) -> str:
        """Return the text of its lab's file as it is at the beginning, under the lab's name."""
        text = self.topology
        if "\n" not in text.strip():
            near = self.file.parent / text.strip()
            text = topology.read(near if near.is_file() else Path(text.strip()))
        text = re.sub(r"(?m)^name:.*\n", "", text, count=1)
        return f"{heading(self)}\nname: {self.lab}\n{text}"

    def text_at(self, step: int) -> str:
        """Return the text of its lab's file once the solutions of the first so many steps are in it.

        Raises:
            TopologyError: a text that a solution replaces does not stand in the file once.

        """
        text, wrong = self.start(), []
        for number, one in enumerate(self.steps[:step], start=1):
            for edit in one.edits:
                if (count := text.count(edit.replace)) != 1:
                    wrong.append(
                        f'{self.file}: step {number}: "{_clip(edit.replace)}" stands {count} times in the topology; '
                        "what a solution replaces must stand there once; quote more or other text of it"
                    )
                text = text.replace(edit.replace, edit.by, 1)
        if wrong:
            raise TopologyError(wrong)
        return text


def heading(lesson: Lesson) -> str:
    """Return the first line of a lesson's file, by which it is known as one that may be written again."""
    return f"# Lesson {lesson.name}: {lesson.title}"


def lessons() -> list[Lesson]:
    """Return the bundled lessons, in their order."""
    return [load(file) for file in sorted(BUNDLED.glob(f"*{SUFFIX}"))]


def find(name: str) -> Lesson:
    """Return the lesson that a name, a number or the path of a file means.

    Raises:
        UsageError: there is none.
        TopologyError: its file is wrong.

    """
    if name.endswith((".yaml", ".yml")):
        return load(Path(name))
    files = {file.name.removesuffix(SUFFIX): file for file in sorted(BUNDLED.glob(f"*{SUFFIX}"))}
    for number, (stem, file) in enumerate(files.items(), start=1):
        if name in (_name(stem), str(number)):
            return load(file)
    raise UsageError(f'no lesson "{name}"; {did_you_mean(name, map(_name, files))}; see `lab learn`')


def names() -> list[str]:
    """Return the names of the bundled lessons, in their order."""
    return [_name(file.name.removesuffix(SUFFIX)) for file in sorted(BUNDLED.glob(f"*{SUFFIX}"))]


def _name(stem: str) -> str:
    return re.sub(r"^[0-9]+-", "", stem)


def load(file: Path) -> Lesson:
    """Read a lesson.

    Raises:
        UsageError: the file cannot be read.
        TopologyError: with every problem of its form; or with those of its topology and its checks.

    """
    text = _read(file)
    positions = Positions()
    try:
        check_depth(text)
        node = yaml.compose(text, Loader=LOADER)
        data = data_of(node, (), positions) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        found = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark else 1
        raise TopologyError([f"{file}:{line}: {found}; a lesson is YAML; correct this line"]) from None
    if not isinstance(data, dict):
        raise TopologyError([f"{file}:1: no mapping; a lesson is a mapping of keys; begin with: title: …"])
    name = _name(file.name.removesuffix(".yaml").removesuffix(".yml").removesuffix(".lesson"))
    wrong = [f"{file}:{line}: {problem}" for line, problem in positions.problems]
    if not re.fullmatch(rf"[a-z][a-z0-9-]{{0,{_NAME_MOST - 1}}}", name):
        must = f"it is 1 to {_NAME_MOST} small letters, digits and hyphens, a letter first"
        wrong.append(f'{file}:1: a lesson is called as its file, "{name}"; {must}; rename the file')
    try:
        lesson = Lesson.model_validate({**data, "name": name or "x", "file": file})
    except ValidationError as error:
        wrong += [f"{file}:{_line(positions, item['loc'])}: {_problem(item)}" for item in error.errors()]
        raise TopologyError(wrong) from None
    wrong += _wrong_commands(lesson, positions)
    if not wrong:
        wrong += _wrong_topology(lesson, positions)
    if wrong:
        raise TopologyError(wrong)
    return lesson


def _read(file: Path) -> str:
    must = f"a lesson is a text file; name another, such as mine{SUFFIX}"
    try:
        raw = file.read_bytes()
        if len(raw) > _MAX_BYTES:
            raise UsageError(f"{file}: {len(raw):,} bytes; a lesson has at most {_MAX_BYTES:,}; split it")
        return raw.decode()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; {must}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: bytes that are not UTF-8; {must}") from None


def _line(positions: Positions, place: Sequence[int | str]) -> int:
    return positions.line(tuple(str(part) for part in place if part not in ("answer", "flows", "expect", "edit")))


def _problem(item: Any) -> str:
    """Say what does not fit the form of a lesson, where it stands, and what must hold."""
    words = [str(part) for part in item["loc"] if part not in ("expect", "edit", "command")]
    where = ".".join(words)
    if item["type"] == "missing":
        return f'{where}: it is not there; "{words[-1]}" is required; add it'
    if item["type"] == "extra_forbidden":
        known = {key for part in (Lesson, Step, Edit, Answer, Flows) for key in part.model_fields} - {"name", "file"}
        return f"{where}: unknown key; a lesson has other keys; {did_you_mean(words[-1], known)}"
    return f"{where}: {_clip(str(item['input']))}; {item['msg'][:1].lower()}{item['msg'][1:]}; correct it"


def _wrong_commands(lesson: Lesson, positions: Positions) -> list[str]:
    """Say which commands cannot be run: they must be of lab, and name the lesson's lab, as a learner types them."""
    wrong = []
    for number, step in enumerate(lesson.steps):
        where = f"{lesson.file}:{positions.line(('steps', str(number)))}: step {number + 1}"
        for command in (*step.begins, *step.commands):
            words = shlex.split(command)
            if words[1] in _NO_COMMANDS or lesson.lab not in words:
                must = f"a lesson's command is one of lab that names its lab, {lesson.lab}, and none of "
                wrong.append(f'{where}: "{command}"; {must}{", ".join(_NO_COMMANDS)}; write: lab … {lesson.lab} …')
        if step.solution == "answer" and not step.answers:
            wrong.append(f'{where}: solution "answer"; a check must ask for one; add a check "answer"')
    return wrong


def _wrong_topology(lesson: Lesson, positions: Positions) -> list[str]:
    """Say what is wrong with the topology at each step, and with what its steps expect."""
    try:
        for number in range(len(lesson.steps) + 1):
            topology.parse(lesson.text_at(number), str(lesson.file))
    except TopologyError as error:
        return [_moved(line, lesson, positions.line(("topology",)) - 2) for line in error.lines]
    wrong: list[str] = []
    for number, step in enumerate(lesson.steps):
        line = positions.line(("steps", str(number), "check"))
        try:
            lesson.network([check for check in step.check if isinstance(check, dict)])
        except TopologyError as error:
            wrong += [one.replace(f"{lesson.file}:1:", f"{lesson.file}:{line}:", 1) for one in error.lines]
    return wrong


def _moved(line: str, lesson: Lesson, by: int) -> str:
    """Return a problem of a topology that stands in a lesson, with its line there."""
    found = re.match(rf"{re.escape(str(lesson.file))}:(\d+): ", line)
    if not found or "\n" not in lesson.topology.strip():
        return line
    return f"{lesson.file}:{int(found[1]) + by}: {line[found.end() :]}"


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
