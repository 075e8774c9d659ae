"""SNAT ports in use over time, as SVG that takes its colours from the page around it."""

from collections.abc import Sequence

from markupsafe import escape

from lab.verify.evidence import Sample

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 520, 150, 44, 10, 12, 28


def ports(samples: Sequence[Sample], subject: str) -> str:
    """Return the plot of samples, as steps with a caption; a dashed line is what is allocated."""
    last = max(sample.seconds for sample in samples) or 1.0
    allocated = max(sample.allocated for sample in samples)
    most = max(allocated, *(sample.used for sample in samples)) or 1
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(seconds: float, used: float) -> tuple[float, float]:
        return round(_LEFT + seconds / last * width, 1), round(_TOP + height - used / most * height, 1)

    x, y = at(0.0, 0)
    way = f"M{x:g} {y:g}" + "".join(f"H{left:g}V{up:g}" for left, up in (at(s.seconds, s.used) for s in samples))
    bottom, right = _TOP + height, _LEFT + width
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_words(samples, subject)}">',
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>',
    ]
    if allocated:
        level = at(0, allocated)[1]
        parts.append(f'<path class="allocated" d="M{_LEFT} {level:g}H{right}"/>')
    parts += [
        f'<path class="used" d="{way}H{right}"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 10}" text-anchor="end">{most}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">0 s</text>',
        f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">{last:.2f} s</text>',
        "</svg>",
        f'<p class="caption">{"flows open; dashed: SNAT ports allocated" if allocated else "flows open"}</p>',
    ]
    return "".join(parts)


def _words(samples: Sequence[Sample], subject: str) -> str:
    most = max(sample.used for sample in samples)
    said = f"{subject}: at most {most} flows are open in {max(sample.seconds for sample in samples):.2f} s"
    allocated = max(sample.allocated for sample in samples)
    return str(escape(f"{said}, of {allocated} SNAT ports" if allocated else said))
