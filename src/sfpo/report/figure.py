"""The data of a figure, independent of who draws it: Observable Plot on the page, matplotlib for papers."""

from dataclasses import dataclass, field
from typing import Literal

from sfpo.report.colors import Color

Form = Literal["number", "integer", "percent", "times"]
Values = list[float | None]


@dataclass(frozen=True)
class Axis:
    """An axis; the label includes the unit, and `form` determines how values are written."""

    label: str
    form: Form = "number"
    log: bool = False


@dataclass(frozen=True)
class Series:
    """One line with straight or stepped segments, or points, or an area from `low` to `high`; None leaves a gap.

    `low` and `high` are as long as `y`, or empty if there is no band.
    """

    name: str
    x: Values
    y: Values
    color: Color
    low: Values = field(default_factory=list)
    high: Values = field(default_factory=list)
    style: Literal["line", "step", "points", "area"] = "line"
    dash: tuple[int, ...] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line."""

    value: float
    label: str


@dataclass(frozen=True)
class Curves:
    """Series over a common axis. `shades` are ranges of x to mark, and `shade_label` says what they mean.

    `error` is the same figure with what is missing to 100 % on a logarithmic axis, for accuracies near their ceiling.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: list[Series]
    levels: list[Level] = field(default_factory=list)
    shades: list[tuple[float, float]] = field(default_factory=list)
    shade_label: str = ""
    error: "Curves | None" = None
    kind: Literal["curves"] = "curves"


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `text` puts it into words, even if there is no value to draw."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    color: Color


@dataclass(frozen=True)
class Intervals:
    """Estimates below one another. `reference` is the value at which nothing is gained or lost."""

    name: str
    title: str
    caption: str
    x: Axis
    rows: list[Estimate]
    reference: float
    kind: Literal["intervals"] = "intervals"


@dataclass(frozen=True)
class Stack:
    """One bar: the parts' values in the order of `Bars.parts`."""

    label: str
    values: list[float]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, each stacked from the same parts; `unit` follows every value."""

    name: str
    title: str
    caption: str
    x: Axis
    parts: list[tuple[str, Color]]
    rows: list[Stack]
    unit: str
    kind: Literal["bars"] = "bars"


Figure = Curves | Intervals | Bars
