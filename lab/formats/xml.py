"""XML of the documents' configuration files: elements and attributes that know their lines, and nothing else of XML.

What a file may define, types and entities, is never read: a few lines of it can fill the memory, or name other files.
"""

from typing import Any
from xml.etree import ElementTree as ET

from defusedxml import DTDForbidden
from defusedxml.ElementTree import DefusedXMLParser

from lab.errors import TopologyError


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
