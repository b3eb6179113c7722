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
NEUTRAL = Color("#5d6673", "#a3adbb")

DASHES = ((), (6, 3), (2, 2), (9, 3, 2, 3))
"""Lengths of dashes and gaps, in points, which distinguish lines of similar colour."""


def color_of(method: str) -> Color:
    """The colour of a method; grey for an unknown one."""
    return _METHODS.get(method, NEUTRAL)


def shades(color: Color, count: int) -> list[Color]:
    """`count` colours of one hue, from faint to strong."""
    if count == 1:
        return [color]
    positions = [index / (count - 1) for index in range(count)]
    return [
        Color(_mix(color.light, "#ffffff", "#1c1005", at), _mix(color.dark, "#20242b", "#ffffff", at))
        for at in positions
    ]


def _mix(color: str, first: str, last: str, at: float) -> str:
    """Mix the colour with 40 % of `first` at 0, leave it unchanged at 0.5, and mix it with 40 % of `last` at 1."""
    other, share = (first, 0.8 * (0.5 - at)) if at < 0.5 else (last, 0.8 * (at - 0.5))
    parts = zip(_channels(color), _channels(other), strict=True)
    return "#" + "".join(f"{round(own + share * (towards - own)):02x}" for own, towards in parts)


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[index : index + 2], 16) for index in (1, 3, 5))
