"""Accuracies near 100 %, whose differences a linear axis hides: the same curves as errors on a logarithmic axis."""

from dataclasses import replace

from sfpo.report.figure import Axis, Curves, Level, Series, Values

NEAR = 0.9
"""From this accuracy on, a figure can be switched to errors."""
ERROR = Axis("held-out error (%)", "percent", log=True)


def with_error(figure: Curves, problems: int) -> Curves:
    """The figure of accuracies, with its errors if one of them is near the ceiling.

    Args:
        problems: how many held-out problems there are. No error counts as half a problem, since a logarithmic axis has no 0.
    """
    least = 0.5 / max(1, problems)
    if not any(y is not None and y >= NEAR for series in figure.series for y in series.y):
        return figure
    error = replace(
        figure,
        name=f"{figure.name}_error",
        title=figure.title.replace("Accuracy", "Error"),
        caption=f"{figure.caption} 100 % right is drawn as {100 * least:.2g} % error, half a problem.",
        y=ERROR,
        series=[_errors(series, least) for series in figure.series],
        levels=[Level(max(least, 1.0 - level.value), level.label) for level in figure.levels],
    )
    return replace(figure, error=error)


def _errors(series: Series, least: float) -> Series:
    def of(values: Values) -> Values:
        return [None if value is None else max(least, 1.0 - value) for value in values]

    return replace(series, y=of(series.y), low=of(series.high), high=of(series.low))
