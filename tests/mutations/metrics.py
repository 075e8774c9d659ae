"""Mutations of what is claimed of metrics."""

from tests.mutations import Mutation

_HERE, _METRICS = "snat-exhaustion", "lab/runtime/metrics.py"


def _of(fact: str, old: str, new: str) -> Mutation:
    return Mutation("N-ML-4", fact, _HERE, _METRICS, old, new)


MUTATIONS = (
    _of("ports allocated", "add_metric(labels, usage.allocated)", "add_metric(labels, usage.allocated + 1)"),
    _of("ports used", "add_metric(labels, usage.flows)", "add_metric(labels, usage.given)"),
    _of("ports used", "add_metric(labels, usage.flows)", "add_metric(labels, usage.flows - 1)"),
    _of("connections that succeeded", '"Successful"), usage.given)', '"Successful"), usage.flows // 2)'),
    _of("connections that failed", '"Failed"), usage.refused)', '"Failed"), 0)'),
)
