"""What was measured as tables: medians of the rounds, their ratios to the peers, and what is required."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.peers.proxies import ASYNCIO, DIRECT, ENVOY, NGINX, OURS, TEXTBOOK
from tests.bench.report import table, verdict

MOST_OF_TEXTBOOK = 0.85
MOST_P50 = 2.0
LEAST_BULK = 0.9
MOST_GROWTH_MIB, MOST_START_MS, MOST_IDLE_MIB = 10.0, 600.0, 60.0
NOTHING = "–"

Samples = Mapping[str, Sequence[Sequence[float]]]
"""Of each proxy, a row of figures for each round."""


def medians(samples: Samples) -> dict[str, list[float]]:
    """Of each figure over the rounds."""
    return {
        name: [median(column) for column in zip(*rounds, strict=True)] for name, rounds in samples.items()
    }


def over(samples: Samples, one: str, other: str, place: int) -> float | None:
    """The ratio of two proxies' medians of one figure; None where either did not take part."""
    middle = medians(samples)
    return middle[one][place] / middle[other][place] if one in middle and other in middle else None


def saturation(samples: Samples) -> str:
    """Throughput over nginx's; CPU over Envoy's and the textbook's."""
    rows = []
    for name, (rate, cpu) in medians(samples).items():
        ratios = [over(samples, name, NGINX, 0)]
        ratios += [over(samples, name, other, 1) if name != DIRECT else None for other in (ENVOY, TEXTBOOK)]
        nginx, envoy, textbook = map(_ratio, ratios)
        rows.append((name, f"{rate:,.0f}", nginx, f"{cpu:.1f}" if cpu else NOTHING, envoy, textbook))
    return table(("", "requests/s", "÷ nginx", "CPU, µs a request", "÷ Envoy", "÷ textbook"), rows)


def cpu_verdict(samples: Samples) -> str:
    """What CPU a request may take."""
    value = over(samples, OURS, TEXTBOOK, 1)
    return _verdicts(_at_most("CPU a request ÷ textbook", value, MOST_OF_TEXTBOOK))


def latency(samples: Samples, rates: Sequence[int]) -> str:
    """p50 and p99 at each rate, each with its ratio to nginx's."""
    columns = [f"{percentile} at {rate:,}/s, µs" for rate in rates for percentile in ("p50", "p99")]
    rows = []
    for name, figures in medians(samples).items():
        cells = [
            (f"{figure:,.0f}", _ratio(over(samples, name, NGINX, place)))
            for place, figure in enumerate(figures)
        ]
        rows.append((name, *(cell for pair in cells for cell in pair)))
    return table(("", *(name for column in columns for name in (column, "÷ nginx"))), rows)


def latency_verdicts(samples: Samples, rates: Sequence[int]) -> str:
    """How much later an answer may come than from Python that only passes bytes."""
    lines = [
        _at_most(f"p50 ÷ {ASYNCIO} at {rate:,}/s", over(samples, OURS, ASYNCIO, 2 * place), MOST_P50)
        for place, rate in enumerate(rates)
    ]
    return _verdicts(*lines)


def bulk(samples: Samples, columns: Sequence[str], growth: Mapping[str, float]) -> str:
    """MB a second, with the ratio to nginx's, and MiB of growth."""
    rows = []
    for name, figures in medians(samples).items():
        cells = [
            (f"{figure:,.0f}", _ratio(over(samples, name, NGINX, place)))
            for place, figure in enumerate(figures)
        ]
        grown = NOTHING if name == DIRECT else f"{growth[name]:.1f}"
        rows.append((name, *(cell for pair in cells for cell in pair), grown))
    return table(("", *(name for column in columns for name in (column, "÷ nginx")), "growth, MiB"), rows)


def bulk_verdicts(samples: Samples, columns: Sequence[str], growth: Mapping[str, float]) -> str:
    """What large bodies may take."""
    lines = [
        _at_least(f"{column} ÷ nginx", over(samples, OURS, NGINX, place), LEAST_BULK)
        for place, column in enumerate(columns)
    ]
    return _verdicts(*lines, _at_most("growth in MiB", growth.get(OURS), MOST_GROWTH_MIB))


def slow(growth: Mapping[str, float]) -> str:
    """MiB of growth, and what it may be."""
    shown = table(("", "growth, MiB"), [(name, f"{grown:.1f}") for name, grown in growth.items()])
    return f"{shown}\n\n{_verdicts(_at_most('growth in MiB', growth.get(OURS), MOST_GROWTH_MIB))}"


def start(samples: Samples) -> str:
    """Milliseconds and MiB, and what they may be."""
    middle = medians(samples)
    rows = [(name, f"{took:.0f}", f"{memory:.1f}") for name, (took, memory) in middle.items()]
    ours = middle.get(OURS, (None, None))
    lines = _verdicts(
        _at_most("exec to listening in ms", ours[0], MOST_START_MS),
        _at_most("idle memory in MiB", ours[1], MOST_IDLE_MIB),
    )
    return f"{table(('', 'exec to listening, ms', 'idle, MiB'), rows)}\n\n{lines}"


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _at_most(what: str, value: float | None, most: float) -> str | None:
    if value is None:
        return None
    return verdict(f"{what} at most {most:g} (is {value:.2f})", holds=value <= most)


def _at_least(what: str, value: float | None, least: float) -> str | None:
    if value is None:
        return None
    return verdict(f"{what} at least {least:g} (is {value:.2f})", holds=value >= least)


def _verdicts(*lines: str | None) -> str:
    return "\n".join(line for line in lines if line is not None)
