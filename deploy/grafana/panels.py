"""The kinds of panels that the dashboard is made of, on Grafana's grid of 24 columns."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8
THIRD, HALF, WHOLE = 8, 12, 24
"""Widths."""

Panel = stat.Panel | bargauge.Panel | timeseries.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` may name labels as `{{label}}`."""

    expr: str
    legend: str


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = THIRD,
    stacked: bool = False,
    ceiling: float | None = None,
) -> timeseries.Panel:
    """Values over time from zero up, the largest first in the tooltip. `ceiling` is the highest possible."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if ceiling is not None:
        panel.max(ceiling)
    for number, query in enumerate(queries):
        panel.with_target(_target(query, number))
    return panel


def figure(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *steps: tuple[float | None, str],
    width: int = THIRD,
    nothing: str = "no data",
) -> stat.Panel:
    """One figure over the whole range shown. `steps` are lower bounds with their colours, None the lowest."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(width)
        .height(HEIGHT)
        .no_value(nothing)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(_thresholds(*steps))
        .reduce_options(_last())
        .with_target(_target(query).instant())
    )


def bars(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *steps: tuple[float | None, str],
    width: int = THIRD,
    nothing: str = "no data",
) -> bargauge.Panel:
    """One bar for each series, as it stands at the end of the range shown."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(HEIGHT)
        .no_value(nothing)
        .orientation(VizOrientation.HORIZONTAL)
        .thresholds(_thresholds(*steps))
        .reduce_options(_last())
        .with_target(_target(query).instant())
    )


def _target(query: Query, number: int = 0) -> Dataquery:
    return (
        Dataquery()
        .datasource(DATASOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(chr(ord("A") + number))
    )


def _thresholds(*steps: tuple[float | None, str]) -> build.ThresholdsConfig:
    made = [Threshold(value=value, color=colour) for value, colour in steps or ((None, "blue"),)]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
