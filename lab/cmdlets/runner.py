"""A script played against a lab, through effects: what it prints comes as text, a statement at a time."""

from collections.abc import Iterator
from random import Random

from lab.cmdlets import endpoints, machines, services, vpn
from lab.cmdlets.session import CmdletSession, Effects
from lab.errors import Interrupted, LabError
from lab.powershell import builtins
from lab.powershell.binding import Table
from lab.powershell.evaluate import Note, Session, check, mended
from lab.powershell.parser import parse
from lab.powershell.printing import printed
from lab.powershell.syntax import Script

TABLE: Table[CmdletSession] = Table(
    (*builtins.CMDLETS, *services.CMDLETS, *endpoints.CMDLETS, *machines.CMDLETS, *vpn.CMDLETS)
)


class Stopped(LabError):  # noqa: N818 - what a script was
    """A script ended before its end; ends as what stopped it would, and says what was done before."""

    def __init__(self, text: str, cause: LabError) -> None:
        self.exit_code = cause.exit_code
        super().__init__(text)


def read(text: str, file: str) -> tuple[Script, tuple[Note, ...]]:
    """Return a script that every cmdlet takes as it stands, and what was read otherwise than PowerShell would.

    Raises:
        ScriptError: it cannot be read, or a cmdlet or parameter is not known.

    """
    script, notes = mended(parse(text, file), TABLE)
    check(script, TABLE)
    return script, notes


def play(script: Script, effects: Effects, random: Random) -> Iterator[str]:
    """Play a script; yield what each statement prints.

    Raises:
        Stopped: a statement could not be done; those before it are.

    """
    desk = CmdletSession(effects, random)
    try:
        for left in Session(TABLE, desk).run(script):
            if left:
                yield printed(left)
    except LabError as error:
        raise Stopped(desk.outcome(error), error) from error
    except KeyboardInterrupt:
        interrupted = Interrupted("interrupted")
        raise Stopped(desk.outcome(interrupted), interrupted) from None
