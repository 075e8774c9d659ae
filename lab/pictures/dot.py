"""A picture as Graphviz text, and as SVG by Graphviz' own layout."""

from collections.abc import Iterator

import graphviz

from lab.pictures.diagram import Box, Card, Diagram, Link

#: Colours by kind: of a card or link in a light and in a dark surrounding (fill or line).
_FILLS = {
    "vm": ("#e3f0fc", "#17344f"),
    "down": ("#fbe0dd", "#5a211c"),
    "host": ("#eeeeee", "#3a3a3a"),
    "balancer": ("#e2f4e4", "#1c4023"),
    "gateway": ("#fff0d2", "#4c3a12"),
    "site": ("#eeeeee", "#3a3a3a"),
    "group": ("#f1e6fa", "#3c2750"),
}
_LINES = {
    "rule": ("#2e7d32", "#81c784"),
    "tunnel": ("#b26a00", "#ffb74d"),
    "peering": ("#1565c0", "#64b5f6"),
    "broken": ("#c62828", "#ef9a9a"),
}
_INK, _FRAME, _PAGE = ("#1b1b1b", "#f2f2f2"), ("#8a8a8a", "#7d7d7d"), ("#ffffff", "#121417")
_FONT = "Helvetica, Arial, sans-serif"


def text(picture: Diagram) -> str:
    """Return a picture in the DOT language."""
    return "\n".join(_lines(picture)) + "\n"


def svg(picture: Diagram) -> str:
    """Return a picture as SVG that follows the reader's light or dark scheme.

    Raises:
        graphviz.ExecutableNotFound: Graphviz is not installed.

    """
    drawn = str(graphviz.pipe("dot", "svg", text(picture).encode()), "utf-8")
    at = drawn.index(">", drawn.index("<svg")) + 1
    return f"{drawn[:at]}\n<style>{_style()}</style>{drawn[at:]}"


def _lines(picture: Diagram) -> Iterator[str]:
    yield f"digraph {_quoted(picture.title)} {{"
    yield '  graph [rankdir=LR, compound=true, nodesep=0.25, ranksep=1.1, pad=0.3, class=page, bgcolor="#ffffff",'
    yield f'         fontname="{_FONT}", fontsize=13, label={_quoted(picture.title)}, labelloc=t, labeljust=l]'
    yield f'  node [shape=box, style="rounded,filled", fontname="{_FONT}", fontsize=11, margin="0.12,0.07",'
    yield f'        color="{_FRAME[0]}", fontcolor="{_INK[0]}"]'
    yield f'  edge [fontname="{_FONT}", fontsize=9, arrowsize=0.7, fontcolor="{_INK[0]}"]'
    for box in picture.boxes:
        yield from _box(box, "  ")
    for link in picture.links:
        yield f"  {_link(link)}"
    yield "}"


def _box(box: Box, indent: str) -> Iterator[str]:
    yield f"{indent}subgraph {_quoted('cluster ' + box.key)} {{"
    yield f'{indent}  graph [label={_quoted(box.title)}, style=rounded, color="{_FRAME[0]}", class=box, bgcolor=none,'
    yield f'{indent}         fontcolor="{_INK[0]}", labeljust=l]'
    for card in box.cards:
        yield f"{indent}  {_card(card)}"
    for inner in box.boxes:
        yield from _box(inner, indent + "  ")
    if not box.cards and not any(inner.cards for inner in box.boxes):
        yield f"{indent}  {_quoted('nothing in ' + box.key)} [shape=point, style=invis]"
    yield f"{indent}}}"


def _card(card: Card) -> str:
    rows = [f"<b>{_escaped(card.title)}</b>", *map(_escaped, card.lines)]
    label = "<br/>".join(rows)
    shown = f"label=<{label}>, tooltip={_quoted(card.title)}"
    return f'{_quoted(card.key)} [{shown}, fillcolor="{_FILLS[card.kind][0]}", class="{card.kind}"]'


def _link(link: Link) -> str:
    light = _LINES[link.kind][0]
    ends = f"{_quoted(link.source)} -> {_quoted(link.target)}"
    both = "" if link.kind == "rule" else ", dir=both, style=dashed, penwidth=1.6"
    return f'{ends} [label={_quoted(link.label)}, color="{light}", class="{link.kind}"{both}]'


def _quoted(words: str) -> str:
    return '"' + words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _style() -> str:
    """Return what turns the colours of a light surrounding into those of a dark one.

    What has a tooltip is drawn within a link of its own, so the shape of a card is not a child of its group.
    """
    rules = [f"svg{{background:{_PAGE[1]}}}", f".graph>polygon{{fill:{_PAGE[1]};stroke:none}}"]
    rules += [f"text{{fill:{_INK[1]}}}", f".box>path,.node path{{stroke:{_FRAME[1]}}}"]
    rules += [f".{kind} path{{fill:{dark}}}" for kind, (_, dark) in _FILLS.items()]
    for kind, (_, dark) in _LINES.items():
        rules.append(f".{kind} path{{stroke:{dark};fill:none}}.{kind} polygon{{stroke:{dark};fill:{dark}}}")
    return "@media (prefers-color-scheme:dark){" + "".join(rules) + "}"
