"""A picture as Mermaid text, which GitHub, GitLab and many editors draw."""

from collections.abc import Iterator

from lab.pictures.diagram import Box, Card, Diagram

_STYLES = {
    "vm": "fill:#e3f0fc,stroke:#4a7ba6,color:#1b1b1b",
    "down": "fill:#fbe0dd,stroke:#c62828,color:#1b1b1b",
    "host": "fill:#eeeeee,stroke:#8a8a8a,color:#1b1b1b",
    "site": "fill:#eeeeee,stroke:#8a8a8a,color:#1b1b1b",
    "balancer": "fill:#e2f4e4,stroke:#2e7d32,color:#1b1b1b",
    "gateway": "fill:#fff0d2,stroke:#b26a00,color:#1b1b1b",
    "group": "fill:#f1e6fa,stroke:#7b4fa3,color:#1b1b1b",
}
_ARROWS = {"rule": "-->", "tunnel": "<-.->", "peering": "<-->", "broken": "<-.->"}


def text(picture: Diagram) -> str:
    """Return a picture as a Mermaid flowchart."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Diagram) -> Iterator[str]:
    names = {key: f"n{number}" for number, key in enumerate(_keys(picture.boxes))}
    yield "---"
    yield f"title: {picture.title}"
    yield "---"
    yield "flowchart LR"
    for box in picture.boxes:
        yield from _box(box, names, "  ")
    for link in picture.links:
        label = f"|{_quoted(link.label)}|" if link.label else ""
        yield f"  {names[link.source]} {_ARROWS[link.kind]}{label} {names[link.target]}"
    used = dict.fromkeys(card.kind for box in picture.boxes for card in _cards(box))
    for kind in used:
        yield f"  classDef {kind} {_STYLES[kind]}"


def _keys(boxes: tuple[Box, ...]) -> Iterator[str]:
    for box in boxes:
        yield box.key
        yield from (card.key for card in box.cards)
        yield from _keys(box.boxes)


def _cards(box: Box) -> Iterator[Card]:
    yield from box.cards
    for inner in box.boxes:
        yield from _cards(inner)


def _box(box: Box, names: dict[str, str], indent: str) -> Iterator[str]:
    yield f"{indent}subgraph {names[box.key]}[{_quoted(box.title or ' ')}]"
    for card in box.cards:
        label = "\n".join((card.title, *card.lines))
        yield f"{indent}  {names[card.key]}[{_quoted(label)}]:::{card.kind}"
    for inner in box.boxes:
        yield from _box(inner, names, indent + "  ")
    yield f"{indent}end"


def _quoted(words: str) -> str:
    """Return a text as Mermaid quotes it: its own marks by number, lines as ``<br/>``."""
    for mark, number in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        words = words.replace(mark, number)
    return '"' + words.replace("\n", "<br/>") + '"'
