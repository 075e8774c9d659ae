"""``lab learn``: lessons with tasks in a running lab, checked by packets."""

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.arguments import here
from lab.cli.execution import interruptible, need_root
from lab.cli.options import output_option, wait_option
from lab.cli.output import print_json, print_table, progress
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.lessons.course import Checked, Course, Progress
    from lab.lessons.lesson import Lesson

_ACTS = ("check", "hint", "solve", "restore", "end")


@click.command("learn")
@click.argument("lesson", required=False, metavar="[LESSON|FILE]")
@click.option("--check", is_flag=True, help="Check the task, by packets in the lab as it is.")
@click.option("--answer", metavar="TEXT", help="Check the task with this answer to its question.")
@click.option("--hint", is_flag=True, help="Give one more hint.")
@click.option("--solve", is_flag=True, help="Do what the solution says, and show it.")
@click.option("--restore", is_flag=True, help="Bring lab and file back to the beginning of the task.")
@click.option("--end", is_flag=True, help="Take the lesson's lab down, and remove its file.")
@wait_option
@output_option
def learn(lesson: str | None, answer: str | None, output: str, **acts: bool) -> None:
    """List lessons, or take one: tasks in a running lab, checked by packets. Needs root but for the list.

    A lesson brings up a lab called learn-LESSON, writes its topology to this folder, and sets its first task. Solve it
    by changing the file (`lab up FILE`) or the running lab, and check it; then comes the next. LESSON is a name or
    number of the list, or the file of a lesson of your own. Exit status 1: a check does not hold yet.

    \b
    Example:
      lab learn
      sudo lab learn source-ip
      sudo lab learn source-ip --check
    """
    chosen = [act for act in _ACTS if acts[act]]
    if lesson is None:
        if chosen or answer is not None:
            raise UsageError("lab learn: no lesson; it must be named; see `lab learn`")
        _list(output)
        return
    if len(chosen) > 1 or (answer is not None and chosen not in ([], ["check"])):
        raise UsageError(f"lab learn: {', '.join(f'--{act}' for act in chosen)}; one thing at a time; give one of them")
    from lab.lessons import lesson as lessons
    from lab.lessons.course import Course

    course = Course(lessons.find(lesson), _executed)
    need_root()
    at = course.progress
    act = "check" if answer is not None else chosen[0] if chosen else ""
    with interruptible("the lesson stands where it stood"):
        if at is None and act:
            raise UsageError(f"{lesson}: it does not run; it must, for --{act}; run: lab learn {lesson}")
        _do(course, at, act, answer, lesson, output)


def _do(course: "Course", at: "Progress | None", act: str, answer: str | None, typed: str, output: str) -> None:
    """Do what was asked for, and say where the learner stands then."""
    if at is None:
        with progress() as say:
            at = course.begin(here(), say)
        _say(f"{course.lesson.lab} is up; its file: {Path(at.file).name}", output)
        _say(f"\n{course.lesson.title}\n\n{course.lesson.text.strip()}", output)
    elif act == "end":
        course.end(at)
        _say(f"{course.lesson.lab}: ended", output)
    checks: list[Checked] = []
    steps = course.lesson.steps
    if at.step >= len(steps) and act in ("check", "hint", "solve"):
        act = ""
    if act == "check":
        at, checks = _check(course, at, answer, output)
    elif act in ("solve", "restore"):
        with progress() as say:
            (course.solve if act == "solve" else course.restore)(at, say)
        _say("\n".join(solution(course.lesson, at.step)) if act == "solve" else "it stands as the task began", output)
    elif act == "hint":
        at = course.hint(at)
        _say("\n".join(_hints(course.lesson, at)), output)
    if output == "json":
        print_json(_standing(course.lesson, at, checks))
    elif act not in ("hint", "solve", "end") and all(one.verdict == "HOLDS" for one in checks):
        _say_task(course.lesson, at, typed)
    _leave(checks)


def _say(text: str, output: str) -> None:
    click.echo(text, err=output == "json")


def _leave(checks: "Sequence[Checked]") -> None:
    """End with the status of what does not hold."""
    verdicts = {one.verdict for one in checks}
    if verdicts - {"HOLDS"}:
        sys.exit(1 if "CONTRADICTED" in verdicts else 3)


def _check(course: "Course", at: "Progress", answer: str | None, output: str) -> "tuple[Progress, list[Checked]]":
    """Check the step, say what was seen, and go on if all holds."""
    from lab.verify.probe import Prober

    with progress() as say, Prober() as prober:
        say("checking")
        checks = course.check(at, answer, prober)
    if output == "table":
        for one in checks:
            word = {"HOLDS": "yes", "CONTRADICTED": "not yet"}.get(one.verdict, "unclear")
            why = f" ({one.reason})" if one.reason else ""
            click.echo(f"{word}: {one.what}: expected {one.expected}; seen {one.observed}{why}")
    step = course.lesson.steps[at.step]
    if all(one.verdict == "HOLDS" for one in checks):
        if step.then:
            _say(f"\n{step.then.strip()}", output)
        at = course.advance(at)
    return at, checks


def _say_task(lesson: "Lesson", at: "Progress", typed: str) -> None:
    if at.step >= len(lesson.steps):
        click.echo(f"\nDone: {lesson.title}. Take its lab down: sudo lab learn {typed} --end")
        return
    step = lesson.steps[at.step]
    click.echo(f"\nTask {at.step + 1} of {len(lesson.steps)}: {step.task.strip()}")
    check = "--answer TEXT" if step.answers else "--check"
    click.echo(f"\nThen: sudo lab learn {typed} {check}    (or --hint, --solve, --restore, --end)")


def solution(lesson: "Lesson", step: int) -> list[str]:
    """Return the lines that show a solution: what changes in the file, commands, answers."""
    one = lesson.steps[step]
    lines = []
    for edit in one.edits:
        lines += [f"- {line}" for line in edit.replace.splitlines()] + [f"+ {line}" for line in edit.by.splitlines()]
    if one.edits:
        lines.append(f"$ sudo lab up {lesson.lab}.lab.yaml")
    lines += [f"$ sudo {command}" for command in one.commands]
    lines += [f"--answer {answer!r}" if " " in answer else f"--answer {answer}" for answer in one.answers]
    return lines


def _hints(lesson: "Lesson", at: "Progress") -> list[str]:
    hints = lesson.steps[at.step].hints[: at.hints]
    left = len(lesson.steps[at.step].hints) - len(hints)
    more = f"{left} more" if left else "there are no more; --solve shows the solution"
    return [*(f"{number}. {hint.strip()}" for number, hint in enumerate(hints, start=1)), f"({more})"]


def _standing(lesson: "Lesson", at: "Progress", checks: "Sequence[Checked]") -> dict[str, object]:
    """Return where the learner stands, for programs."""
    done = at.step >= len(lesson.steps)
    step = None if done else lesson.steps[at.step]
    return {
        "lesson": lesson.name,
        "lab": lesson.lab,
        "file": at.file,
        "step": at.step,
        "steps": len(lesson.steps),
        "done": done,
        "task": step.task.strip() if step else "",
        "hints": step.hints[: at.hints] if step else (),
        "checks": checks,
    }


def _executed(words: Sequence[str]) -> None:
    """Run a command of lab in this process; what it says is not shown."""
    root = click.get_current_context().find_root().command
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            root.main(args=[*words], prog_name="lab", standalone_mode=False)
    except SystemExit as ended:
        if ended.code:
            must = "a command of a lesson must succeed; correct the lesson"
            raise UsageError(f"lab {' '.join(words)}: {said.getvalue().strip()}; {must}") from None


def _list(output: str) -> None:
    from lab.lessons import course
    from lab.lessons import lesson as lessons

    at = course.running()
    found = lessons.lessons()
    ours = {str(one.file) for one in found}
    found += [lessons.load(Path(file)) for file in sorted(at) if file not in ours and Path(file).is_file()]
    rows = []
    for number, one in enumerate(found, start=1):
        progress = at.get(str(one.file))
        state = "-" if progress is None else "done" if progress.step >= len(one.steps) else f"task {progress.step + 1}"
        rows.append({"number": number, "name": one.name, "title": one.title, "minutes": one.minutes,
                     "steps": len(one.steps), "lab": one.lab, "state": state})  # fmt: skip
    if output == "json":
        print_json({"lessons": rows})
        return
    table = [[str(row[key]) for key in ("number", "name", "title", "minutes", "steps", "state")] for row in rows]
    print_table(("", "LESSON", "TITLE", "MIN", "TASKS", "STATE"), table)
    click.echo("\nTake one: sudo lab learn LESSON")


COMMANDS: tuple[click.Command, ...] = (learn,)
