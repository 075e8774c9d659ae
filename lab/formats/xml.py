"""XML of the documents' configuration files: elements and attributes that know their lines, and nothing else of XML.

What a file may define, types and entities, is never read: a few lines of it can fill the memory, or name other files.
"""

import codecs
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from defusedxml import DTDForbidden
from defusedxml.ElementTree import DefusedXMLParser

from lab.errors import TopologyError, did_you_mean

#: Attributes that any element of any document may have (XML Schema).
_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"


class Part(NamedTuple):
    """What an element of a schema may have: attributes, None for any, and elements, each with how many; None: any."""

    attributes: tuple[str, ...] | None
    elements: Mapping[str, int | None]


class Unfit(NamedTuple):
    """What does not fit a schema, and where."""

    element: ET.Element
    where: str
    found: str
    must: str
    advice: str


def decoded(raw: bytes) -> str:
    """Return the text of a file: UTF-8, or UTF-16 as PowerShell's Out-File and > write it.

    Raises:
        UnicodeDecodeError: it is none of them.

    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    if raw[:2] in (b"<\0", b"\0<"):
        return raw.decode("utf-16-le" if raw[:1] == b"<" else "utf-16-be")
    return raw.decode("utf-8-sig")


def plain_name(element: ET.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def unfit(element: ET.Element, namespace: str, schema: Mapping[str, Part]) -> Iterator[Unfit]:
    """Yield what is in an element, and in those in it, that its schema does not have there, or not so often.

    An element that the schema does not describe is not looked into.
    """
    name = plain_name(element)
    part, seen = schema[name], Counter[str]()
    count = Counter(plain_name(child) for child in element)
    for attribute in element.attrib:
        if part.attributes is not None and attribute not in part.attributes and not attribute.startswith(_INSTANCE):
            yield _unknown(element, name, f'unknown attribute "{attribute}"', attribute, part.attributes)
    for child in element:
        plain = plain_name(child)
        if child.tag != f"{{{namespace}}}{plain}" or plain not in part.elements:
            other = child.tag.rpartition("}")[0].lstrip("{")
            of = "" if other == namespace else f" of {other or 'no namespace'}"
            yield _unknown(child, name, f'unknown element "{plain}"{of}', plain, tuple(part.elements))
            continue
        seen[plain] += 1
        if seen[plain] - 1 == part.elements[plain]:
            must = f"it has at most {part.elements[plain]}"
            yield Unfit(child, name, f"{count[plain]} {plain}", must, "keep one")
        if plain in schema:
            yield from unfit(child, namespace, schema)


def _unknown(element: ET.Element, where: str, found: str, name: str, known: tuple[str, ...]) -> Unfit:
    close = did_you_mean(name, known)
    advice = close if "mean" in close else "remove it"
    return Unfit(element, where, found, f"it may have {', '.join(known) or 'none'}", advice)


class _Element(ET.Element):
    line: int


class _Builder(ET.TreeBuilder):
    """Makes elements that know where they begin."""

    parser: Any
    above: int  # lines that were taken away before the first

    def start(self, tag: Any, attrs: Any, /) -> Any:
        made: Any = super().start(tag, attrs)
        made.line = self.above + self.parser.CurrentLineNumber
        return made


def line_of(element: ET.Element) -> int:
    """Return the line on which an element of ``parsed`` begins."""
    assert isinstance(element, _Element)
    return element.line


def parsed(text: str, file: str, what: str) -> ET.Element:
    """Return the root of a text; ``what`` the file is and ``file`` are named in messages.

    Raises:
        TopologyError: it is no plain XML.

    """
    # Nothing may be before an XML declaration, and what is pasted out of a page is indented.
    body = text.strip()
    above = text[: len(text) - len(text.lstrip())].count("\n")
    builder = _Builder(element_factory=_Element)
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    builder.parser, builder.above = parser.parser, above
    must = f"a {what} is plain XML"
    try:
        parser.feed(body)
        root: ET.Element = parser.close()
    except DTDForbidden as error:
        line = above + parser.parser.CurrentLineNumber
        must = f"{must}, which defines no types or entities and reads no other file"
        found = f"a document type definition (<!DOCTYPE {error.name} …>)"
        raise TopologyError([f"{file}:{line}: {found}; {must}; remove it"]) from None
    except ET.ParseError as error:
        found = str(error).rpartition(": line")[0]
        raise TopologyError([f"{file}:{above + error.position[0]}: {found}; {must}; correct it"]) from None
    except ValueError as error:
        raise TopologyError([f"{file}: {error}; {must}; correct it"]) from None
    return root
