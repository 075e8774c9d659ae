"""Azure Resource Manager templates become the resources that they deploy; nothing is read from elsewhere or written.

errors.py       what cannot be evaluated, and how much a template may ask for
text.py         JSON with comments
values.py       values that only Azure knows, and access without regard to case
expressions.py  the text of an expression becomes a tree
functions.py    the template functions that need no template
template.py     parameters, variables, loops, nested deployments and references become resources
"""

from lab.formats.arm.errors import Limits, TemplateError
from lab.formats.arm.template import Evaluated, Problem, deploy
from lab.formats.arm.text import read_json
from lab.formats.arm.values import Unknown, get

__all__ = ["Evaluated", "Limits", "Problem", "TemplateError", "Unknown", "deploy", "get", "read_json"]
