"""Records of the documents' logs, as `lab events` prints them."""

import json
import re
from typing import Any

_KEYS = ["time", "systemId", "category", "resourceId", "operationName", "properties"]
_FORMS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z",
    "systemId": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "resourceId": r"/SUBSCRIPTIONS/[^a-z/]+/RESOURCEGROUPS/[^a-z/]+"
    r"/PROVIDERS/MICROSOFT\.NETWORK/LOADBALANCERS/[^a-z/]+",
    "operationName": "LoadBalancerProbeHealthStatus",
}


def malformed(record: dict[str, Any], category: str) -> str:
    """Return how a record differs from the documents' form, "" if it does not. The lab's own is under ``lab``."""
    if [key for key in record if key != "lab"] != _KEYS:
        return f"the record has the keys {', '.join(record)}"
    forms = {**_FORMS, "category": category}
    wrong = [key for key, form in forms.items() if not re.fullmatch(form, str(record[key]))]
    return f"its {wrong[0]} is {record[wrong[0]]}" if wrong else ""


def probe_records(text: str) -> list[dict[str, Any]]:
    """Return the records of a log of probes; percentages are text, as they are printed."""
    found: list[dict[str, Any]] = json.loads(text, parse_float=str)["records"]
    return found
