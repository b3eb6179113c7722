"""The figures of a report as PNG files, one column wide."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sfpo.errors import UsageError
from sfpo.report.content import Content, content_of
from sfpo.report.figure import Axis, Bars, Curves, Figure, Intervals, Series, Values
from sfpo.report.folder import read_folder

_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 7,
    # Names are never formulas, whatever characters they contain.
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}
_WIDTH, _HEIGHT, _DPI = 3.5, 2.6, 300
_FORMATS = {"percent": "{:g}", "times": "{:g}×", "integer": "{:,.0f}"}
_MOST_IN_PLOT = 6
"""A figure with more lines than this has its legend below and shows no bands, as on the page."""


def write_figures(folder: Path) -> Path:
    """Draw every figure of the run or comparison in `folder` into its `figures/`; returns that folder.

    Raises:
        UsageError: there is nothing to draw, or a file cannot be written.
    """
    target = folder / "figures"
    try:
        target.mkdir(exist_ok=True)
        with matplotlib.rc_context(_STYLE):
            for figure in _figures(content_of(read_folder(folder))):
                _draw(figure).savefig(target / f"{figure.name}.png", dpi=_DPI)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or target}: {error.strerror}") from error
    return target


def _figures(content: Content) -> list[Figure]:
    """The figures of a comparison's runs together, or all figures of a single run."""
    own = [*content.runs[0].gate, *content.runs[0].passes] if content.kind == "run" else []
    return [*content.results, *content.training, *content.gate, *content.passes, *own]


def _draw(figure: Figure) -> Canvas:
    if isinstance(figure, Curves):
        outside = len(figure.series) > _MOST_IN_PLOT
        canvas = Canvas(figsize=(_WIDTH, _HEIGHT + (0.14 * len(figure.series) if outside else 0.0)))
        axes = canvas.subplots()
        _draw_curves(figure, axes)
        handles, labels = axes.get_legend_handles_labels()
        if outside:
            canvas.legend(handles, labels, loc="outside lower center")
        elif len(handles) > 1:
            axes.legend(handles, labels)
        return canvas
    canvas = Canvas(figsize=(_WIDTH, 0.7 + 0.26 * len(figure.rows)))
    axes = canvas.subplots()
    if isinstance(figure, Intervals):
        _draw_intervals(figure, axes)
    else:
        _draw_bars(figure, axes)
    axes.set_yticks(range(len(figure.rows)), [row.label for row in figure.rows])
    axes.set_ylim(len(figure.rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    _label(axes, figure.x, None)
    return canvas


def _draw_curves(figure: Curves, axes: Axes) -> None:
    for index, (start, end) in enumerate(figure.shades):
        axes.axvspan(start, end, color="#000000", alpha=0.08, lw=0, label=None if index else figure.shade_label)
    for index, level in enumerate(figure.levels):
        # If there is a line on either side, one label is enough for both.
        axes.axhline(level.value, color="#777777", lw=0.8, ls="--", label=None if index else level.label)
    for series in figure.series:
        _draw_series(series, axes, banded=len(figure.series) <= _MOST_IN_PLOT)
    if figure.x.log:
        axes.set_xscale("log")
        values = sorted({x for series in figure.series for x in _floats(series.x)})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    _label(axes, figure.x, figure.y)


def _draw_series(series: Series, axes: Axes, banded: bool) -> None:
    x, y, color = _floats(series.x), _floats(series.y), series.color.light
    area = series.style == "area"
    if series.low and (area or banded):
        alpha, label = (0.75, series.name) if area else (0.15, None)
        axes.fill_between(x, _floats(series.low), _floats(series.high), color=color, alpha=alpha, lw=0, label=label)
    if series.style == "points":
        axes.plot(x, y, "o", color=color, ms=3, label=series.name)
    elif not area:
        style = (0, series.dash) if series.dash else "-"
        marker = "o" if len(y) <= 12 else ""
        drawn = "steps-mid" if series.style == "step" else "default"
        axes.plot(x, y, color=color, ls=style, marker=marker, ms=2.5, drawstyle=drawn, label=series.name)


def _draw_intervals(figure: Intervals, axes: Axes) -> None:
    axes.axvline(figure.reference, color="#777777", lw=0.8, ls="--")
    for index, row in enumerate(figure.rows):
        if row.value is None:
            axes.text(figure.reference, index, f" {row.text}", va="center", color="#555555", fontsize=7)
            continue
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [index, index], color=row.color.light, lw=3, alpha=0.45)
        axes.plot([row.value], [index], "o", color=row.color.light, ms=4)


def _draw_bars(figure: Bars, axes: Axes) -> None:
    ends = [0.0] * len(figure.rows)
    for index, (name, color) in enumerate(figure.parts):
        values = [row.values[index] for row in figure.rows]
        axes.barh(range(len(values)), values, 0.6, left=ends, color=color.light, label=name)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(figure.parts))


def _label(axes: Axes, x: Axis, y: Axis | None) -> None:
    axes.set_xlabel(x.label)
    _format(axes.xaxis, x)
    if y is not None:
        axes.set_ylabel(y.label)
        _format(axes.yaxis, y)


def _format(axis: XAxis | YAxis, described: Axis) -> None:
    if described.form == "integer":
        axis.set_major_locator(MaxNLocator(6, integer=True))
    form = _FORMATS.get(described.form)
    if form is not None:
        scale = 100.0 if described.form == "percent" else 1.0
        axis.set_major_formatter(FuncFormatter(lambda value, _: form.format(round(scale * value, 6))))


def _floats(values: Values) -> list[float]:
    """Values with NaN for gaps, as matplotlib expects."""
    return [float("nan") if value is None else value for value in values]
