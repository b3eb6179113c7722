"""The figures of a report for papers, one column wide, as matplotlib draws them."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sfpo.report.content import Content
from sfpo.report.figure import Axis, Bars, Curves, Figure, Intervals, Series, Values
from sfpo.report.output import made_folder

_STYLE: dict[Any, Any] = {
    "font.size": 8,
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
    # The same figure is the same file.
    "svg.hashsalt": "sfpo",
}
_WIDTH, _HEIGHT, _DPI = 3.5, 2.3, 300
"""The width of a column, and the height of a figure without its legend, in inches."""
_LINE, _ROW = 0.135, 0.2
"""The height of a line of text, and of a bar or an interval, in inches."""
_CHARACTERS = 58
"""What fits into the width in the legend's size."""
_FORMATS = {"percent": "{:g}", "times": "{:g}", "integer": "{:,.0f}"}
_MOST_BANDS = 6
"""A figure with more lines than this shows no bands, as on the page."""
_BEHIND_TEXT = {"facecolor": "white", "linewidth": 0, "pad": 0.5}
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": "sfpo"}, "png": {"Software": "sfpo"}}


class Drawing(Canvas):
    """A figure of matplotlib that a notebook shows as it is, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        return _saved(self, "png")


def draw_all(content: Content) -> dict[str, Drawing]:
    """Every figure of a report by its name, those of a comparison's runs together."""
    own = [*content.runs[0].gate, *content.runs[0].passes] if content.kind == "run" else []
    figures = [*content.results, *content.training, *content.gate, *content.passes, *own]
    errors = [figure.error for figure in figures if isinstance(figure, Curves) and figure.error is not None]
    with matplotlib.rc_context(_STYLE):
        return {figure.name: _draw(figure) for figure in [*figures, *errors]}


def write_figures(content: Content, folder: Path, forms: Sequence[str]) -> Path:
    """Write every figure of a report into the `figures/` of its folder; returns that folder.

    Args:
        forms: "png", "svg" or both.

    Raises:
        UsageError: a file cannot be written, or is a symbolic link.
    """
    with made_folder(folder, "figures") as place:
        for name, figure in draw_all(content).items():
            for form in forms:
                place.write(f"{name}.{form}", _saved(figure, form))
    return folder / "figures"


def _saved(figure: Canvas, form: str) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Names may have characters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(file, format=form, dpi=_DPI, metadata=_METADATA[form])
    return file.getvalue()


def _draw(figure: Figure) -> Drawing:
    if isinstance(figure, Curves):
        return _draw_curves(figure)
    if isinstance(figure, Intervals):
        texts = [row.text for row in figure.rows]
    else:
        texts = [" + ".join(f"{value:.3g} {figure.unit}" for value in row.values) for row in figure.rows]
    # A name as long as some are would leave no room to its left, so it stands above its row.
    names = [row.label for row in figure.rows]
    labels = [
        textwrap.wrap(name, max(12, _CHARACTERS - 4 - len(text))) for name, text in zip(names, texts, strict=True)
    ]
    # The vertical axis is in inches from the top.
    tops = list(accumulate((_ROW + _LINE * len(lines) for lines in labels), initial=0.0))
    canvas = Drawing(figsize=(_WIDTH, 0.5 + tops[-1]))
    axes = canvas.subplots()
    axes.set_ylim(tops[-1], 0.0)
    middles = [end - 0.6 * _ROW for end in tops[1:]]
    if isinstance(figure, Intervals):
        _draw_intervals(figure, middles, axes)
    else:
        _draw_bars(figure, middles, axes)
    for top, lines, text in zip(tops, labels, texts, strict=False):
        at: dict[str, Any] = {
            "transform": axes.get_yaxis_transform(),
            "va": "top",
            "fontsize": 7,
            "bbox": _BEHIND_TEXT,
        }
        axes.text(0.0, top, "\n".join(lines), ha="left", **at)
        axes.text(1.0, top, text, ha="right", color="#555555", **at)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    _label(axes, figure.x, None)
    _add_legend(canvas, axes)
    return canvas


def _draw_curves(figure: Curves) -> Drawing:
    canvas = Drawing(figsize=(_WIDTH, _HEIGHT))
    axes = canvas.subplots()
    if figure.shades:
        spans = [(start, end - start) for start, end in figure.shades]
        across: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "label": figure.shade_label}
        axes.broken_barh(spans, (0.0, 1.0), color="#000000", alpha=0.08, lw=0, **across)
    for series in figure.series:
        _draw_series(series, axes, banded=len(figure.series) <= _MOST_BANDS)
    for index, level in enumerate(figure.levels):
        # If there is a line on either side, one label is enough for both.
        axes.axhline(level.value, color="#777777", lw=0.8, ls="--", label=None if index else level.label)
    if figure.x.log:
        axes.set_xscale("log")
        values = sorted({x for series in figure.series for x in _floats(series.x)})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    if figure.y.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        # A line that is level everywhere lies between the ticks of 0 and its own value.
        ys = {
            value for series in figure.series for value in [*series.y, *series.low, *series.high] if value is not None
        }
        if len(ys) == 1 and not figure.levels:
            (height,) = ys
            axes.set_ylim(1.1 * min(height, 0.0), 1.1 * max(height, 0.0) or 1.0)
    _label(axes, figure.x, figure.y)
    _add_legend(canvas, axes)
    return canvas


def _add_legend(canvas: Canvas, axes: Axes) -> None:
    """A legend below the axes, where it hides nothing, for which the figure grows."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) < 2:
        return
    # A sample of the line and the gap after a column are about as wide as eight characters.
    columns = max(1, min(len(labels), 3, _CHARACTERS // (max(map(len, labels)) + 8)))
    labels = [textwrap.fill(label, _CHARACTERS - 8) for label in labels]
    lines = max(sum(label.count("\n") + 1 for label in labels[column::columns]) for column in range(columns))
    canvas.set_figheight(canvas.get_figheight() + _LINE * (lines + 0.5))
    canvas.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.2)


def _draw_series(series: Series, axes: Axes, banded: bool) -> None:
    x, y, color = _floats(series.x), _floats(series.y), series.color.light
    area = series.style == "area"
    if series.low and (area or banded):
        alpha, label = (0.75, series.name) if area else (0.15, None)
        axes.fill_between(x, _floats(series.low), _floats(series.high), color=color, alpha=alpha, lw=0, label=label)
    if series.style == "points":
        axes.plot(x, y, "o", color=color, ms=2.5, label=series.name)
    elif not area:
        style = (0, series.dash) if series.dash else "-"
        marker = "o" if len(y) <= 12 else ""
        drawn = "steps-mid" if series.style == "step" else "default"
        axes.plot(x, y, color=color, ls=style, marker=marker, ms=2.5, drawstyle=drawn, label=series.name)


def _draw_intervals(figure: Intervals, middles: list[float], axes: Axes) -> None:
    axes.axvline(figure.reference, color="#777777", lw=0.8, ls="--")
    for middle, row in zip(middles, figure.rows, strict=True):
        if row.value is None:
            continue
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [middle, middle], color=row.color.light, lw=3, alpha=0.45)
        axes.plot([row.value], [middle], "o", color=row.color.light, ms=4)
    axes.set_xlim(left=0.0)


def _draw_bars(figure: Bars, middles: list[float], axes: Axes) -> None:
    ends = [0.0] * len(figure.rows)
    for index, (name, color) in enumerate(figure.parts):
        values = [row.values[index] for row in figure.rows]
        axes.barh(middles, values, 0.7 * _ROW, left=ends, color=color.light, label=name)
        ends = [end + value for end, value in zip(ends, values, strict=True)]


def _label(axes: Axes, x: Axis, y: Axis | None) -> None:
    axes.set_xlabel(x.label)
    _format(axes.xaxis, x)
    if y is not None:
        axes.set_ylabel(y.label)
        _format(axes.yaxis, y)


def _format(axis: XAxis | YAxis, described: Axis) -> None:
    if described.form == "integer" and not described.log:
        axis.set_major_locator(MaxNLocator(6, integer=True))
    form = _FORMATS.get(described.form)
    if form is not None:
        scale = 100.0 if described.form == "percent" else 1.0
        axis.set_major_formatter(FuncFormatter(lambda value, _: form.format(round(scale * value, 6))))


def _floats(values: Values) -> list[float]:
    """Values with NaN for gaps, as matplotlib expects."""
    return [float("nan") if value is None else value for value in values]
