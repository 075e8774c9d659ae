"""A random topology is brought up, looked at, changed by a command, looked at, edited, and looked at again."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from lab import topology
from lab.kernel import apply
from lab.runtime import lifecycle
from tests import rootlab
from tests.differential import drawing, wire

Say = Callable[[str], None]


@contextmanager
def removed(name: str):  # type: ignore[no-untyped-def]
    """Remove the lab at the end, whatever happens."""
    try:
        yield
    finally:
        apply.down(name)


def bring_up(folder: Path, data: drawing.Data) -> str:
    """Make a topology run, from nothing or as a difference; return its text."""
    text = drawing.text_of(data)
    file = folder / f"{data['name']}.lab.yaml"
    file.write_text(text)
    lifecycle.bring_up(lifecycle.load(file), file, lambda _: None)
    return text


def run(folder: Path, seed: int, data: drawing.Data | None = None) -> list[str]:
    """Return what differs from the documents for the topology of a number, before and after changes."""
    first = drawing.draw(seed) if data is None else data
    name = first["name"]
    with removed(name):
        found = [f"at first: {line}" for line in wire.look(name, bring_up(folder, first))]
        changed = drawing.change(seed, first)
        if changed is not None and not found:
            (noun, *words), after = changed
            verbs = words[:2] if noun == "nsg" else words[:1]
            done = rootlab.run(noun, *verbs, name, *words[len(verbs) :])
            if done.returncode != 0:
                return [f"lab {' '.join(changed[0])}: exit {done.returncode}: {done.stderr}"]
            said = " ".join(changed[0])
            found = [f"after {said}: {line}" for line in wire.look(name, drawing.text_of(after))]
        if not found:
            edited = drawing.edited(seed, first)
            topology.parse(drawing.text_of(edited), "edited.lab.yaml")
            found = [f"after an edit: {line}" for line in wire.look(name, bring_up(folder, edited))]
    return found
