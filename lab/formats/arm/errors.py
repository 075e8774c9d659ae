"""What cannot be evaluated, and how much a template may ask for."""

from collections.abc import Iterable


class TemplateError(Exception):
    """An expression, or a part of a template, that has no value; the text says what was found and what must hold."""


class LimitError(TemplateError):
    """A template asks for more than any deployment may be; ``placed`` once its text begins with the place."""

    placed = False


class Limits:
    """What is left of the work that one template may cause.

    Azure Resource Manager allows 800 copies of one loop and templates of 4 MB; the other limits leave room for every
    template that it accepts.
    """

    COPIES = 800
    RANGE = 10_000
    TEXT = 400_000
    RESOURCES = 10_000
    NESTED = 8
    WORK = 600_000

    def __init__(self) -> None:
        self.left = self.WORK
        self.resources = 0

    def spend(self, amount: int = 1) -> None:
        """Take from what is left.

        Raises:
            LimitError: nothing is left.

        """
        self.left -= amount
        if self.left < 0:
            raise LimitError(
                f"the template asks for more than {self.WORK:,} steps; no deployment is so large; split it"
            )

    def measure(self, value: object) -> None:
        """Take the size of a list or an object from what is left, shared parts each time that they appear.

        Raises:
            LimitError: it is larger than what is left, or a text of it is too long.

        """
        stack: list[Iterable[object]] = [(value,)]
        while stack:
            for item in stack.pop():
                self.spend()
                if isinstance(item, dict):
                    stack.append(item.values())
                elif isinstance(item, list):
                    stack.append(item)
                elif isinstance(item, str) and len(item) > self.TEXT:
                    raise LimitError(
                        f"a text of {len(item):,} characters; at most {self.TEXT:,} are allowed; shorten it"
                    )

    def resource(self) -> None:
        """Count a resource.

        Raises:
            LimitError: there are too many.

        """
        self.resources += 1
        if self.resources > self.RESOURCES:
            raise LimitError(f"more than {self.RESOURCES:,} resources; no deployment has so many; split the template")
