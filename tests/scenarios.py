"""What is done while a command is killed, and what must hold after it: for the tests and for `scripts/kill-steps`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests import kills, rootlab

NAME = "killed"
_MORE = "  more: {subnet: vnet1/front, services: [http:80]}\n  alone:"
Places = Callable[[int], Iterable[int]]  # of so many steps, those before which a command is killed


class Scenario:
    """A machine as it was before, and the files of a lab on it."""

    def __init__(self, folder: Path) -> None:
        self.small, self.larger = folder / "small.lab.yaml", folder / "larger.lab.yaml"
        self.small.write_text(rootlab.small(NAME))
        self.larger.write_text(rootlab.small(NAME).replace("  alone:", _MORE).replace("[web]", "[web, more]"))
        # What the tests themselves start is there from now on, and the folders that all labs share.
        rootlab.ok("up", self.small)
        rootlab.ok("down", NAME)
        self.before = kills.machine()
        self.killed = 0

    def up(self, places: Places) -> None:
        """Kill `up` from nothing; `down`, or `up` and `down`, leave nothing."""
        for number in places(self._steps("up", self.small)):
            rootlab.ok("down", NAME)
            self._kill(number, "up", self.small)
            if number % 2:
                rootlab.ok("up", self.small)
                self._whole()
            self._down()
            rootlab.ok("up", self.small)

    def change(self, places: Places) -> None:
        """Kill a change; `up` makes the lab whole, with either file."""
        rootlab.ok("up", self.small)
        for number in places(self._steps("up", self.larger)):
            rootlab.ok("up", self.small)
            self._kill(number, "up", self.larger)
            rootlab.ok("up", self.larger if number % 2 else self.small)
            self._whole()

    def operations(self, places: Places) -> None:
        """Kill operations; `up` makes the lab whole."""
        rootlab.ok("up", self.small)
        for words in (("public-ip", "set", NAME, "alone", "own"), ("vm", "deallocate", NAME, "alone")):
            for number in places(self._steps(*words)):
                rootlab.ok("up", self.small)
                self._kill(number, *words)
                rootlab.ok("up", self.small)
                self._whole()
            rootlab.ok("up", self.small)

    def down(self, places: Places) -> None:
        """Kill `down`; another one leaves nothing."""
        rootlab.ok("up", self.small)
        for number in places(self._steps("down", NAME)):
            rootlab.ok("up", self.small)
            self._kill(number, "down", NAME)
            self._down()

    def _steps(self, *words: str | Path) -> int:
        """Return how many steps a command takes that is not killed."""
        if words[0] == "up" and words[1] == self.small:
            rootlab.run("down", NAME)
        steps = kills.kill_at(-1, *words)
        assert steps is not None
        assert steps > 10
        return steps

    def _kill(self, number: int, *words: str | Path) -> None:
        self.killed += kills.kill_at(number, *words) is None

    def _whole(self) -> None:
        assert "differs: " not in rootlab.ok("show", NAME)
        assert rootlab.ask(NAME, "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"
        assert rootlab.ask(NAME, "alone", "http://198.51.100.10/")["node"] == "far"

    def _down(self) -> None:
        """Remove the lab; the machine is as it was."""
        done = rootlab.run("down", NAME)
        assert done.returncode in (0, 2), done.stderr  # 2: it was killed before it made anything
        rootlab.wait_until(lambda: not self._changed(), "the machine as it was", self._changed)

    def _changed(self) -> dict[str, Any]:
        now = kills.machine()
        return {what: (was, now[what]) for what, was in self.before.items() if now[what] != was}
