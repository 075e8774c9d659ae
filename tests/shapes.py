"""The shapes of docs/reference/json.md, read, and held against values.

A shape is written as JSON with less: ``{"key", "key": SHAPE, …}`` has these keys (``…``: and others), ``{name: SHAPE}``
is a map with keys of the user's, ``[SHAPE]`` a list, and a word in capitals is the shape that is so named.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "json.md"
_TOKEN = re.compile(r'\s*("[^"]*"|[{}\[\],:|]|…[A-Z]*|[^\s{}\[\],:"…|]+)')

#: A shape: its keys, with "…" if there may be others, a map {"*": shape}, a list [shape], the name of one, or anything.
Shape = dict[str, Any] | list[Any] | str | None


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)

    def take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            del self.tokens[0]
            return True
        return False

    def shape(self) -> Shape:
        if self.take("{"):
            return self.entries()
        if self.take("["):
            found = self.shape()
            while not self.take("]"):
                del self.tokens[0]
            return [found]
        words = []
        while self.tokens and self.tokens[0] not in (",", "}", "]"):
            words.append(self.tokens.pop(0))
        return words[0] if len(words) == 1 and words[0].isupper() else None

    def entries(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while not self.take("}"):
            if self.take(","):
                continue
            key = self.tokens.pop(0)
            if key.startswith("…"):
                made[key] = None
            elif key.startswith('"'):
                made[key.strip('"')] = self.shape() if self.take(":") else None
            else:  # a key of the user's, of one word or more
                while self.tokens[0] not in (":", ",", "}"):
                    del self.tokens[0]
                made["*"] = self.shape() if self.take(":") else None
        return made


def read() -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shape of each command's answer, by what is typed, and the shapes that have names."""
    answers: dict[str, Shape] = {}
    named: dict[str, Shape] = {}
    page = PAGE.read_text()
    for name, text in re.findall(r"([A-Z]+): `(\{.*?\})`", " ".join(page.split())):
        named[name] = _Reader(text).shape()
    for line in page.splitlines():
        row = re.match(r"\| `(lab [^`]+)` \| .*?`(\{.*?\})`", line)
        if row:
            answers[row[1]] = _Reader(row[2]).shape()
    operation = _Reader(re.search(r"management operation answers `(.*?)`", page)[1]).shape()  # type: ignore[index]
    listed = page.partition("## Operations")[2].partition("\n\n| ")[0]
    answers |= dict.fromkeys(re.findall(r"`(lab [a-z- ]+)`", " ".join(listed.split())), operation)
    return answers, named


def unlike(value: Any, shape: Shape, named: dict[str, Shape], where: str = "") -> list[str]:
    """Return in which places a value has other keys than its shape."""
    if isinstance(shape, str):
        return unlike(value, named[shape], named, where) if value is not None else []
    if isinstance(shape, list) and isinstance(value, list):
        return [found for item in value for found in unlike(item, shape[0], named, f"{where}[]")]
    if not isinstance(shape, dict) or not isinstance(value, dict):
        return []
    if "*" in shape:
        shape = dict.fromkeys(value, shape["*"])
    keys = {key: found for key, found in shape.items() if not key.startswith("…")}
    for spread in (key[1:] for key in shape if key.startswith("…") and key != "…"):
        keys |= named[spread]  # type: ignore[operator]
    wrong = [f"{where}: {key} is not documented" for key in value if key not in keys and "…" not in shape]
    wrong += [f"{where}: {key} is not there" for key in keys if key not in value]
    for key in value.keys() & keys.keys():
        wrong += unlike(value[key], keys[key], named, f"{where}.{key}")
    return wrong


def misfits(words: Sequence[str], answer: str) -> list[str]:
    """Return in which places the answer of a command, of these words, is not as the page says."""
    answers, named = read()
    typed = f"lab {' '.join(words)} "
    fitting = [name for name in answers if typed.startswith(_literal(name) + " ")]
    if not fitting:
        return [f"{typed}: no shape is documented"]
    value = json.loads(answer)
    longest = max(len(_literal(name)) for name in fitting)
    wrong = [unlike(value, answers[name], named) for name in fitting if len(_literal(name)) == longest]
    return min(wrong, key=len)


def _literal(name: str) -> str:
    """Return what is typed of a command as it stands on the page, before the first word in capitals."""
    return re.split(r" [A-Z]", name, maxsplit=1)[0]
