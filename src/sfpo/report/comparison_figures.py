"""The figures of a comparison. Accuracies and reductions come from its summary; the rest are means over seeds."""

import math
from collections.abc import Callable
from typing import Any

from sfpo.records.efficiency import NEARLY
from sfpo.records.rows import Row
from sfpo.records.summary import NEARLY_REDUCTION, percent, times
from sfpo.report.ceiling import with_error
from sfpo.report.colors import DASHES, NEUTRAL, Color, color_of, shades
from sfpo.report.figure import Axis, Bars, Curves, Estimate, Figure, Intervals, Level, Series, Stack, Values
from sfpo.report.folder import Comparison, Run, Variant, column
from sfpo.report.run_figures import (
    ACCURACY,
    ENTROPY,
    FEWEST_OF_A_CURVE,
    KL,
    NORM,
    REWARD,
    ROLLOUTS,
    SECONDS,
    STEP,
    STEP_SECONDS,
    TOKENS,
    kl_of,
    passes_of,
)
from sfpo.report.thinning import thinned

_RANGE = "Mean over seeds; band: from the lowest to the highest seed."


class ComparisonFigures:
    """Draws each variant with the same colour and dash in all figures."""

    def __init__(self, comparison: Comparison, most: int) -> None:
        self._variants = comparison.variants
        self._varied = comparison.varied
        self._most = most
        self.looks = _looks(comparison.variants)

    def results(self, problems: int) -> list[Figure]:
        """What was learned: accuracy, or the reward where few evaluations were made; and what was saved on the way.

        Args:
            problems: how many held-out problems there are.
        """
        drawn = [variant for variant in self._variants if "curve" in variant.figures]
        if not drawn:
            return []
        if not any(has_curve(variant) for variant in drawn):
            return [*self._rewards(), self._ends(drawn), *self._swept()]
        return [*self._accuracies(drawn, problems), *self._reductions(drawn), *self._swept()]

    def _accuracies(self, drawn: list[Variant], problems: int) -> list[Figure]:
        # Draw the target only if all variants share it.
        targets = {float(target) for variant in drawn if (target := variant.figures.get("target_accuracy"))}
        levels = [Level(target, "GRPO's best") for target in targets] if len(targets) == 1 else []
        seeds = max(len(variant.figures["seeds_done"]) for variant in drawn)
        band = "band: 95 % bootstrap interval over seeds." if seeds > 1 else "one seed, so there is no interval."
        if levels:
            band += " GRPO's best: the highest of its curve, each evaluation averaged with its neighbours."
        figures: list[Figure] = []
        for key, axis, by in (("rollouts", ROLLOUTS, "rollouts"), ("seconds", SECONDS, "time")):
            series = [self._accuracy(variant, key) for variant in drawn]
            title, caption = f"Accuracy against {by}", f"Held-out accuracy, mean over seeds; {band}"
            curves = Curves(f"accuracy_by_{key}", title, caption, axis, ACCURACY, series, levels)
            figures.append(with_error(curves, problems))
        return figures

    def _reductions(self, drawn: list[Variant]) -> list[Figure]:
        others = [variant for variant in drawn if variant.figures.get("baseline") != variant.name]
        rollouts, time, target = "rollout_reduction", "time_reduction", "GRPO's best accuracy"
        if not any(variant.figures.get(rollouts, {}).get("value") for variant in others):
            # Where GRPO's best is near the ceiling, none may reach it, and still all may come close sooner.
            rollouts, time = NEARLY_REDUCTION["rollout"], NEARLY_REDUCTION["time"]
            target = f"{100 * NEARLY:.0f} % of GRPO's best accuracy"
        figures: list[Figure] = []
        for key, amount in ((rollouts, "rollouts"), (time, "time")):
            rows = [self._reduction(variant, key) for variant in others if key in variant.figures]
            if rows:
                less = "fewer rollouts" if amount == "rollouts" else "less time"
                axis = Axis(f"times {less} than GRPO", "times")
                title = f"{amount.capitalize()} saved on the way to {target}"
                caption = (
                    "95 % bootstrap intervals over seeds. Right of the dashed line a variant needs less than GRPO."
                )
                figures.append(Intervals(key, title, caption, axis, rows, 1.0))
        return figures

    def _rewards(self) -> list[Figure]:
        """Rewards against the rollouts that they took."""
        return self._over("reward_by_rollouts", "Reward against rollouts", ROLLOUTS, REWARD, "sfpo/rollouts", "reward")

    def _ends(self, drawn: list[Variant]) -> Figure:
        """The last evaluation of each variant."""
        rows = []
        for variant in drawn:
            end = variant.figures["final_accuracy"]
            color, _ = self.looks[variant.name]
            rows.append(Estimate(variant.title, end["value"], end["low"], end["high"], percent(end), color))
        before = drawn[0].figures["curve"]["accuracy"][0]
        caption = "95 % bootstrap intervals over seeds. The dashed line is the first evaluation. To see curves, set --eval_every."
        return Intervals("accuracy", "Held-out accuracy at the end", caption, ACCURACY, rows, before)

    def training(self) -> list[Figure]:
        """The variants' rewards, response lengths, gradient norms and seconds."""
        mean_length = [
            Series(variant.title, curve["rollouts"], curve["length"], *self._look(variant))
            for variant in self._variants
            if (curve := variant.figures.get("curve"))
        ]
        on_held_out = "On held-out problems; mean over seeds."
        figures: list[Figure] = [
            *self._over_steps("reward", "Reward", REWARD, "reward"),
            *self._over_steps("length", "Response length", TOKENS, "completions/mean_length"),
        ]
        if mean_length:
            title = "Response length on held-out problems"
            figures.append(Curves("held_out_length", title, on_held_out, ROLLOUTS, TOKENS, mean_length))
        return [*figures, *self._over_steps("grad_norm", "Gradient norm", NORM, "grad_norm"), *self._time()]

    def gate(self) -> list[Figure]:
        """Entropy, α and KL of all variants, and the KL as a share of its budget where there is one."""
        return [
            *self._over_steps("entropy", "Entropy", ENTROPY, "sfpo/entropy"),
            *self._over_steps("alpha", "α", Axis("α"), "sfpo/alpha"),
            *self._over_steps("kl", "KL before the last pass", KL, kl_of),
            *self._over_steps(
                "kl_of_budget",
                "KL as a share of its budget",
                Axis("KL (% of the budget)", "percent"),
                _share_of_budget,
            ),
        ]

    def passes(self) -> list[Figure]:
        """The distance of each pass from the sampling policy, averaged over the steps that made the pass and over seeds."""
        figures: list[Figure] = []
        counts = {
            variant.name: max((passes_of(run) for run in variant.runs.values()), default=0)
            for variant in self._variants
        }
        for key, title, axis in (
            ("kl", "KL from the sampling policy, pass by pass", KL),
            ("ratio_mean", "Mean importance ratio, pass by pass", Axis("mean ratio to the sampling policy")),
            ("ratio_max", "Largest importance ratio, pass by pass", Axis("largest ratio of a token")),
            ("clip_fraction", "Clipped tokens, pass by pass", Axis("tokens clipped (%)", "percent")),
            ("grad_norm", "Gradient norm, pass by pass", NORM),
        ):
            series = []
            for variant in self._variants:
                runs = list(variant.runs.values())
                count = counts[variant.name]
                if count > 1:
                    values = [_mean(_pass_values(runs, index, key)) for index in range(count)]
                    indices: Values = [float(index) for index in range(count)]
                    series.append(Series(variant.title, indices, values, *self._look(variant)))
            if series:
                caption = "Mean over steps and seeds."
                figures.append(Curves(f"pass_{key}", title, caption, Axis("pass", "integer"), axis, series))
        return figures

    def _look(self, variant: Variant) -> tuple[Color, Values, Values, Any, tuple[int, ...]]:
        """The arguments of a series without a band that follow x and y."""
        color, dash = self.looks[variant.name]
        return color, [], [], "line", dash

    def _accuracy(self, variant: Variant, key: str) -> Series:
        curve = variant.figures["curve"]
        color, dash = self.looks[variant.name]
        several = len(variant.figures["seeds_done"]) > 1
        low, high = (curve["low"], curve["high"]) if several else ([], [])
        return Series(variant.title, curve[key], curve["accuracy"], color, low, high, dash=dash)

    def _reduction(self, variant: Variant, key: str) -> Estimate:
        interval = variant.figures[key]
        # 0 means never: then there is no value to draw, but an interval may start at 0.
        several = interval["low"] is not None or interval["high"] is not None
        low = interval["low"] or 0.0 if several else None
        color, _ = self.looks[variant.name]
        return Estimate(variant.title, interval["value"] or None, low, interval["high"], times(interval), color)

    def _swept(self) -> list[Figure]:
        """Final accuracy against a setting, if this is the only one that varies and its values are numbers."""
        if len(self._varied) != 1:
            return []
        ((setting, values),) = self._varied.items()
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            return []
        if not all(map(math.isfinite, numbers)):
            return []
        series = []
        for method in dict.fromkeys(variant.method for variant in self._variants):
            points = sorted(
                [
                    (float(variant.settings[setting]), variant.figures["final_accuracy"])
                    for variant in self._variants
                    if variant.method == method and setting in variant.settings and "final_accuracy" in variant.figures
                ],
                key=lambda point: point[0],
            )
            if len(points) > 1:
                ends: list[Values] = [[figures[end] for _, figures in points] for end in ("value", "low", "high")]
                if None in ends[1]:  # one seed
                    ends[1:] = [], []
                series.append(Series(method, [x for x, _ in points], ends[0], color_of(method), ends[1], ends[2]))
        if not series:
            return []
        x = Axis(setting, log=min(numbers) > 0 and max(numbers) / min(numbers) >= 10)
        caption = "At the end of training; band: 95 % bootstrap interval over seeds."
        return [Curves("accuracy_by_setting", f"Final accuracy against {setting}", caption, x, ACCURACY, series)]

    def _over_steps(
        self, name: str, title: str, axis: Axis, value: str | Callable[[Row], float | None]
    ) -> list[Figure]:
        return self._over(name, title, STEP, axis, "step", value)

    def _over(
        self, name: str, title: str, x: Axis, y: Axis, at: str, value: str | Callable[[Row], float | None]
    ) -> list[Figure]:
        """The mean over seeds of a value of the log, or of one computed from its rows, with the range of the seeds."""
        series = []
        for variant in self._variants:
            found: dict[float, list[float]] = {}
            for run in variant.runs.values():
                ys = column(run.steps, value) if isinstance(value, str) else [value(row) for row in run.steps]
                for place, one in zip(column(run.steps, at), ys, strict=True):
                    if place is not None and one is not None:
                        found.setdefault(place, []).append(one)
            if found:
                chosen = thinned(sorted(found.items()), self._most)
                color, dash = self.looks[variant.name]
                several = len(variant.runs) > 1
                series.append(
                    Series(
                        variant.title,
                        [place for place, _ in chosen],
                        [_mean(values) for _, values in chosen],
                        color,
                        [min(values) for _, values in chosen] if several else [],
                        [max(values) for _, values in chosen] if several else [],
                        dash=dash,
                    )
                )
        return [Curves(name, title, _RANGE, x, y, series)] if series else []

    def _time(self) -> list[Figure]:
        rows = []
        for variant in self._variants:
            steps = [row for run in variant.runs.values() for row in run.steps]
            rollout, update = (
                _mean([value for value in column(steps, f"sfpo/{part}_seconds") if value is not None])
                for part in ("rollout", "update")
            )
            if rollout is not None and update is not None:
                rows.append(Stack(variant.title, [rollout, update]))
        if not rows:
            return []
        caption = "Mean over steps and seeds, without evaluations."
        parts = [("rollouts", NEUTRAL), ("update", Color("#b98a1d", "#e0b94f"))]
        return [Bars("time", "Time of a step", caption, STEP_SECONDS, parts, rows, "s")]


def has_curve(variant: Variant) -> bool:
    """Whether a variant was evaluated often enough for a curve."""
    return "curve" in variant.figures and len(variant.figures["curve"]["accuracy"]) >= FEWEST_OF_A_CURVE


def _looks(variants: list[Variant]) -> dict[str, tuple[Color, tuple[int, ...]]]:
    looks: dict[str, tuple[Color, tuple[int, ...]]] = {}
    for method in dict.fromkeys(variant.method for variant in variants):
        own = [variant for variant in variants if variant.method == method]
        for index, (variant, color) in enumerate(zip(own, shades(method, len(own)), strict=True)):
            looks[variant.name] = color, DASHES[index % len(DASHES)]
    return looks


def _share_of_budget(row: Row) -> float | None:
    reached, budget = (column([row], f"sfpo/kl_{name}")[0] for name in ("reached", "budget"))
    return reached / budget if reached is not None and budget else None


def _pass_values(runs: list[Run], index: int, key: str) -> list[float]:
    return [value for run in runs for value in column(run.steps, f"sfpo/pass_{index}/{key}") if value is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
