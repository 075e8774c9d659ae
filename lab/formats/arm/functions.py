"""The template functions that need no template: each takes values and returns one."""

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from itertools import islice, zip_longest
from typing import Any
from urllib.parse import quote, unquote, urljoin

from lab.formats.arm.errors import Limits, TemplateError
from lab.formats.arm.text import read_json
from lab.formats.arm.values import Unknown, get, has, kind

Function = Callable[..., Any]
#: Found in files that the expressions of a template make; never the time of a clock: twice the same result.
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_MAX_NUMBER = 2**63


def _text(value: Any) -> str:
    """Return a value as the functions for text show it."""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), default=str)
    return "" if value is None else str(value)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TemplateError(f"{kind(value)}; a whole number must stand there; correct the expression")
    return value


def _whole(value: int) -> int:
    if abs(value) >= _MAX_NUMBER:
        raise TemplateError("a number over 64 bits; no value is so large; correct the expression")
    return value


def _is_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{kind(value)}; text must stand there; correct the expression")
    return value


def _concat(*values: Any) -> Any:
    if any(isinstance(value, list) for value in values):
        return [item for value in values for item in (value if isinstance(value, list) else [value])]
    return "".join(map(_text, values))


def _format(pattern: str, *values: Any) -> str:
    def one(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        index = int(match[1])
        if index >= len(values):
            raise TemplateError(f"{{{index}}} in a format of {len(values)} values; each must be given; correct it")
        value, digits = values[index], re.fullmatch(r":[dD]?(0*[0-9]{0,2})", match[2] or "")
        if digits and isinstance(value, int):
            width = int(digits[1] or 0) if match[2][1:2] in "dD" else len(digits[1])
            return f"{value:0{width}d}" if width else str(value)
        return _text(value)

    return re.sub(r"\{\{|\}\}|\{([0-9]{1,4})(:[^}]*)?\}", one, _is_text(pattern))


def _length(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise TemplateError(f"the length of {kind(value)}; it must be text, a list or an object; correct it")
    return len(value)


def _substring(text: str, start: int, length: int | None = None) -> str:
    first, size = _number(start), len(_is_text(text))
    last = size if length is None else first + _number(length)
    if not 0 <= first <= last or first > size:
        raise TemplateError(f"characters {first} to {last} of a text of {size}; it must have them; correct it")
    return text[first:last]  # a placeholder may be shorter than what a user would have typed


def _range(start: int, number: int) -> list[int]:
    first, size = _number(start), _number(number)
    if not 0 <= size <= Limits.RANGE:
        raise TemplateError(f"a range of {size:,} numbers; it must be 0 to {Limits.RANGE:,}; correct it")
    return list(range(first, first + size))


def _split(text: str, marks: Any) -> list[str]:
    wanted = [_is_text(mark) for mark in (marks if isinstance(marks, list) else [marks])]
    return re.split("|".join(map(re.escape, wanted)), _is_text(text)) if all(wanted) and wanted else [text]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _contains(value: Any, part: Any) -> bool:
    if isinstance(value, str):
        return _text(part) in value
    if isinstance(value, dict):
        return has(value, _text(part))
    return isinstance(value, list) and any(item == part for item in value)


def _compare(test: Callable[[Any, Any], bool]) -> Function:
    def compare(one: Any, other: Any) -> bool:
        if isinstance(one, str) and isinstance(other, str):
            return test(one, other)
        return test(_number(one), _number(other))

    return compare


def _bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    if isinstance(value, int):
        return bool(value)
    raise TemplateError(f"{kind(value)}; true or false must stand there; correct the expression")


def _int(value: Any) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER:
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,19}\s*", value):
        return _whole(int(value))
    raise TemplateError(f"{kind(value)} that is no whole number; it must be one; correct the expression")


def _json(text: str) -> Any:
    """Read JSON, and what is taken for it: single quotes, and keys without any."""
    try:
        return read_json(_is_text(text))
    except TemplateError:
        loose = re.sub(r"'((?:[^'\\]|\\.)*)'", lambda match: json.dumps(match[1]), text)
        return read_json(re.sub(r"([{,]\s*)([A-Za-z_$][\w$]*)\s*:", r'\1"\2":', loose))


def _union(*values: Any) -> Any:
    if all(isinstance(value, dict) for value in values):
        merged: dict[str, Any] = {}
        for value in values:
            for key, part in value.items():
                old = merged.get(key)
                merged[key] = _union(old, part) if isinstance(old, dict) and isinstance(part, dict) else part
        return merged
    lists: list[Any] = []
    seen: set[str] = set()
    for item in (item for value in values if isinstance(value, list) for item in value):
        mark = json.dumps(item, sort_keys=True, default=str)
        if mark not in seen:
            seen.add(mark)
            lists.append(item)
    return lists


def _intersection(first: Any, *others: Any) -> Any:
    if isinstance(first, dict):
        return {k: v for k, v in first.items() if all(get(other, k, _MISSING) == v for other in others)}
    if not isinstance(first, list):
        raise TemplateError(f"the intersection of {kind(first)}; it must be of lists or objects; correct it")
    return [item for item in first if all(isinstance(other, list) and item in other for other in others)]


_MISSING = object()


def _take(value: Any, number: int) -> Any:
    count = max(0, _number(number))
    return dict(islice(value.items(), count)) if isinstance(value, dict) else value[:count]


def _skip(value: Any, number: int) -> Any:
    count = max(0, _number(number))
    return dict(islice(value.items(), count, None)) if isinstance(value, dict) else value[count:]


def _first(value: Any) -> Any:
    return value[0] if value else ("" if isinstance(value, str) else None)


def _last(value: Any) -> Any:
    return value[-1] if value else ("" if isinstance(value, str) else None)


def _flatten(value: Any) -> list[Any]:
    return [item for part in value for item in (part if isinstance(part, list) else [part])]


def _unique(*values: Any) -> str:
    """Return 13 letters and digits that depend on the values alone; they are not those that Azure computes."""
    digest = hashlib.sha256("\0".join(map(_text, values)).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:13]


def _pad(text: Any, width: int, fill: str = " ") -> str:
    if _number(width) > Limits.RANGE:
        raise TemplateError(f"a text of {width:,} characters; it must be at most {Limits.RANGE:,}; correct it")
    return _text(text).rjust(max(0, width), _is_text(fill)[:1] or " ")


def _replace(text: str, old: str, new: str) -> str:
    many = _is_text(text).count(_is_text(old)) if old else 0
    if many * len(_is_text(new)) > Limits.TEXT:
        raise TemplateError(f"a text of more than {Limits.TEXT:,} characters; none is so long; correct it")
    return text.replace(old, new) if old else text


def _subnet(prefix: str, length: int, index: int) -> str:
    network = ip_network(_is_text(prefix), strict=False)
    wanted, bits = _number(index), _number(length) - network.prefixlen
    if not 0 <= bits <= network.max_prefixlen - network.prefixlen or not 0 <= wanted < 1 << bits:
        raise TemplateError(f"subnet {wanted} of /{length} in {prefix}; the prefix must hold it; correct it")
    size = 1 << (network.max_prefixlen - int(length))
    return f"{ip_network((int(network.network_address) + wanted * size, int(length)))}"


def _host(prefix: str, index: int) -> str:
    network = ip_network(_is_text(prefix), strict=False)
    wanted = _number(index) + 1
    if not 0 < wanted < network.num_addresses:
        raise TemplateError(f"address {wanted} of {prefix}; the prefix must hold it; correct the expression")
    return str(network.network_address + wanted)


def _parse_cidr(prefix: str) -> dict[str, Any]:
    network = ip_network(_is_text(prefix), strict=False)
    first, last = network.network_address, network.broadcast_address
    return {
        "network": str(first),
        "netmask": str(network.netmask),
        "broadcast": str(last),
        "cidr": network.prefixlen,
        "firstUsable": str(first + 1),
        "lastUsable": str(last - 1),
    }


def _date(*_: object) -> str:
    return _EPOCH.strftime("%Y%m%dT%H%M%SZ")


def _decoded(text: str) -> str:
    return base64.b64decode(_is_text(text), validate=False).decode("utf-8", "replace")


def _divide(test: Callable[[int, int], int]) -> Function:
    def divide(one: Any, other: Any) -> int:
        if _number(other) == 0:
            raise TemplateError("a division by zero; the divisor must be another number; correct the expression")
        return test(_number(one), other)

    return divide


def _extreme(choose: Callable[[list[int]], int]) -> Function:
    def extreme(*values: Any) -> int:
        numbers = values[0] if len(values) == 1 and isinstance(values[0], list) else list(values)
        return choose([_number(value) for value in numbers])

    return extreme


def _join(values: Any, mark: str) -> str:
    return _is_text(mark).join(map(_text, values))


FUNCTIONS: dict[str, Function] = {
    "add": lambda a, b: _whole(_number(a) + _number(b)),
    "array": lambda value: value if isinstance(value, list) else [value],
    "base64": lambda text: base64.b64encode(_is_text(text).encode()).decode(),
    "base64tojson": lambda text: _json(_decoded(text)),
    "base64tostring": _decoded,
    "bool": _bool,
    "buildurl": lambda *parts: "/".join(map(_text, parts)),
    "cidrhost": _host,
    "cidrsubnet": _subnet,
    "concat": _concat,
    "contains": _contains,
    "createarray": lambda *values: list(values),
    "createobject": lambda *parts: {_text(k): v for k, v in zip_longest(parts[::2], parts[1::2])},
    "datauri": lambda text: "data:text/plain;base64," + base64.b64encode(_text(text).encode()).decode(),
    "datauritostring": lambda text: _decoded(_is_text(text).rpartition(",")[2]),
    "datetimeadd": lambda *_: _date(),
    "datetimefromepoch": lambda *_: _date(),
    "datetimetoepoch": lambda *_: int(_EPOCH.timestamp()),
    "div": _divide(lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)),
    "empty": lambda value: value is None or value in ("", [], {}),
    "endswith": lambda text, end: _is_text(text).lower().endswith(_is_text(end).lower()),
    "equals": _equal,
    "false": lambda: False,
    "first": _first,
    "flatten": _flatten,
    "format": _format,
    "greater": _compare(lambda a, b: bool(a > b)),
    "greaterorequals": _compare(lambda a, b: bool(a >= b)),
    "guid": lambda *values: str(uuid.uuid5(uuid.NAMESPACE_URL, "\0".join(map(_text, values)))),
    "indexof": lambda text, part: (
        (text.index(part) if part in text else -1)
        if isinstance(text, list)
        else _is_text(text).lower().find(_is_text(part).lower())
    ),
    "int": _int,
    "intersection": _intersection,
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": _join,
    "json": _json,
    "last": _last,
    "lastindexof": lambda text, part: _is_text(text).lower().rfind(_is_text(part).lower()),
    "length": _length,
    "less": _compare(lambda a, b: bool(a < b)),
    "lessorequals": _compare(lambda a, b: bool(a <= b)),
    "max": _extreme(max),
    "min": _extreme(min),
    "mod": _divide(lambda a, b: abs(a) % abs(b) * (1 if a >= 0 else -1)),
    "mul": lambda a, b: _whole(_number(a) * _number(b)),
    "newguid": lambda: Unknown("a new identifier of each deployment"),
    "not": lambda value: not _bool(value),
    "null": lambda: None,
    "objectkeys": sorted,
    "padleft": _pad,
    "parsecidr": _parse_cidr,
    "range": _range,
    "replace": _replace,
    "shallowmerge": lambda values: {key: part for value in values for key, part in value.items()},
    "skip": _skip,
    "split": _split,
    "startswith": lambda text, start: _is_text(text).lower().startswith(_is_text(start).lower()),
    "string": lambda value: ("true" if value else "false") if isinstance(value, bool) else _text(value),
    "sub": lambda a, b: _whole(_number(a) - _number(b)),
    "substring": _substring,
    "take": _take,
    "tolower": lambda text: _is_text(text).lower(),
    "toupper": lambda text: _is_text(text).upper(),
    "trim": lambda text: _is_text(text).strip(),
    "true": lambda: True,
    "union": _union,
    "uniquestring": _unique,
    "uri": lambda base, relative: urljoin(_is_text(base), _is_text(relative)),
    "uricomponent": lambda text: quote(_is_text(text), safe=""),
    "uricomponenttostring": lambda text: unquote(_is_text(text)),
    "utcnow": _date,
}
