"""Colours that colour-blind readers can tell apart (after Okabe and Ito), for light and dark pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Color:
    """As #rrggbb, on a light and on a dark page."""

    light: str
    dark: str


# A method has the same colour everywhere.
_METHODS = {
    "sfpo": Color("#d1570a", "#ff9350"),
    "grpo": Color("#0a6cb0", "#62b5f5"),
    "multi_epoch": Color("#008f69", "#35cfa2"),
    "lookahead": Color("#a2508b", "#e29bcf"),
    "gxpo": Color("#8a6d00", "#d9bd3f"),
}
# What the first and the last of a method's variants tend to. A change of hue sets more lines apart than one of lightness.
_ENDS = {
    "sfpo": (Color("#c99a00", "#ffe27a"), Color("#7b1560", "#d98cff")),
    "grpo": (Color("#2fa9c9", "#9fe6ff"), Color("#1d2a80", "#8f9bff")),
    "multi_epoch": (Color("#7fae2e", "#cdea80"), Color("#0a4650", "#5fc3cf")),
    "lookahead": (Color("#d68fc0", "#ffc9ec"), Color("#4f2a6e", "#b79bf0")),
    "gxpo": (Color("#bfa32a", "#f5e08a"), Color("#4d3b00", "#b08f2a")),
}
NEUTRAL = Color("#5d6673", "#a3adbb")

DASHES = ((), (6, 3), (2, 2), (9, 3, 2, 3))
"""Lengths of dashes and gaps, in points, which distinguish lines of similar colour."""


def color_of(method: str) -> Color:
    """The colour of a method; grey for an unknown one."""
    return _METHODS.get(method, NEUTRAL)


def shades(method: str, count: int) -> list[Color]:
    """`count` colours for the variants of a method, or for the lines of one run, with its own colour among them."""
    own = color_of(method)
    if count == 1:
        return [own]
    first, last = _ENDS.get(method, (Color("#9aa1ab", "#5a6270"), Color("#2b3038", "#e3e7ed")))
    # Of two, the first keeps the method's own colour.
    positions = [1.0, 2.0] if count == 2 else [2 * index / (count - 1) for index in range(count)]
    return [
        Color(_mix(first.light, own.light, last.light, at), _mix(first.dark, own.dark, last.dark, at))
        for at in positions
    ]


def _mix(first: str, own: str, last: str, at: float) -> str:
    """`first` at 0, `own` at 1, and `last` at 2."""
    start, end, share = (first, own, at) if at < 1.0 else (own, last, at - 1.0)
    parts = zip(_channels(start), _channels(end), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[index : index + 2], 16) for index in (1, 3, 5))
