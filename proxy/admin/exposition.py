"""The text of `/metrics`, rendered in slices so that callers are served in between.

Rendering takes about 13 microseconds a series, and a busy proxy has thousands: in one go that would delay
every request by as much. A thread would not help, since it would take the interpreter lock for as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy

from prometheus_client import exposition as plain
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from proxy.observe.steps import STEP, Steps

_EOF = b"# EOF\n"


class _Slice(Collector):
    """Some samples of one metric, in the shape that encoders take."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def exposition(metrics: Iterable[Metric], accept: str) -> tuple[str, Steps[bytes]]:
    """The content type and the text: OpenMetrics where `accept` (the header's value) names it.

    The library's own choice of an encoder raises on a version that is no number. `metrics` are taken as the
    steps are. A step takes about a millisecond, and what the metric takes to be made.
    """
    if "application/openmetrics-text" in accept.lower():
        return openmetrics.CONTENT_TYPE_LATEST, _text(metrics, openmetrics.generate_latest, end=_EOF)
    return plain.CONTENT_TYPE_PLAIN_0_0_4, _text(metrics, plain.generate_latest, end=b"")


def _text(metrics: Iterable[Metric], encode: Callable[[Collector], bytes], *, end: bytes) -> Steps[bytes]:
    text = bytearray()
    for metric in metrics:
        samples = metric.samples
        for start in range(0, max(1, len(samples)), STEP):
            part = copy(metric)  # some collectors give the same object at each scrape
            part.samples = samples[start : start + STEP]
            slice_ = encode(_Slice(part)).removesuffix(_EOF)
            text += slice_ if start == 0 else _without_head(slice_)
            yield
    return bytes(text + end)


def _without_head(text: bytes) -> bytes:
    """`text` from its first sample on: a metric is described once, before its first."""
    while text.startswith(b"#"):
        text = text.partition(b"\n")[2]
    return text
