"""The figures of a comparison. Accuracies and reductions come from its summary; the rest are means over seeds."""

from collections.abc import Callable
from typing import Any

from sfpo.records.summary import times
from sfpo.report.colors import DASHES, NEUTRAL, Color, color_of, shades
from sfpo.report.figure import Axis, Bars, Curves, Estimate, Figure, Intervals, Level, Series, Stack, Values
from sfpo.report.folder import Comparison, Run, Variant, column
from sfpo.report.gate import has_gate
from sfpo.report.region import has_region
from sfpo.report.run_figures import ACCURACY, NATS, NORM, REWARD, ROLLOUTS, SECONDS, STEP, TOKENS, passes_of
from sfpo.report.thinning import thinned

_RANGE = "Mean over seeds; band: from the lowest to the highest seed."


class ComparisonFigures:
    """Draws each variant with the same colour and dash in all figures."""

    def __init__(self, comparison: Comparison, most: int) -> None:
        self._variants = comparison.variants
        self._varied = comparison.varied
        self._most = most
        self.looks = _looks(comparison.variants)

    def results(self) -> list[Figure]:
        """Accuracy, and the rollouts and seconds saved to reach the baseline's best."""
        figures: list[Figure] = []
        drawn = [variant for variant in self._variants if "curve" in variant.figures]
        if drawn:
            # Draw the target only if all variants share it.
            targets = {float(target) for variant in drawn if (target := variant.figures.get("target_accuracy"))}
            levels = [Level(target, "GRPO's best") for target in targets] if len(targets) == 1 else []
            seeds = max(len(variant.figures["seeds_done"]) for variant in drawn)
            band = "band: 95 % bootstrap interval over seeds." if seeds > 1 else "one seed, so there is no interval."
            for key, axis in (("rollouts", ROLLOUTS), ("seconds", SECONDS)):
                series = [self._accuracy(variant, key) for variant in drawn]
                title = f"Accuracy against {key}"
                caption = f"Held-out accuracy, mean over seeds; {band}"
                figures.append(Curves(f"accuracy_by_{key}", title, caption, axis, ACCURACY, series, levels))
        for key, amount in (("rollout_reduction", "rollouts"), ("time_reduction", "seconds")):
            rows = [
                self._reduction(variant, key)
                for variant in self._variants
                if key in variant.figures and variant.figures.get("baseline") != variant.name
            ]
            if rows:
                axis = Axis(f"times fewer {amount}", "times")
                title = f"{amount.capitalize()} saved on the way to GRPO's best accuracy"
                caption = (
                    f"95 % bootstrap intervals over seeds; right of 1×, a variant needs fewer {amount} than GRPO."
                )
                figures.append(Intervals(key, title, caption, axis, rows, 1.0))
        return figures + self._swept()

    def training(self) -> list[Figure]:
        """The variants' rewards, response lengths, gradient norms and seconds."""
        mean_length = [
            Series(variant.name, curve["rollouts"], curve["length"], *self._look(variant))
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
        """Entropy of all variants, α of those in which it varies, and the KL of those with a budget."""
        return [
            *self._over_steps("entropy", "Entropy", NATS, "sfpo/entropy"),
            *self._over_steps("alpha", "α", Axis("α, mean over seeds"), "sfpo/alpha", _alpha_varies),
            *self._over_steps("kl_reached", "KL before the slow pass", NATS, "sfpo/kl_reached"),
        ]

    def passes(self) -> list[Figure]:
        """The distance of each pass from the sampling policy, averaged over the steps that made the pass and over seeds."""
        figures: list[Figure] = []
        for key, title, axis in (
            ("kl", "KL from the sampling policy, pass by pass", Axis("KL (nats per token)")),
            ("ratio_mean", "Mean importance ratio, pass by pass", Axis("mean ratio to the sampling policy")),
            ("ratio_max", "Largest importance ratio, pass by pass", Axis("largest ratio of a token")),
            ("clip_fraction", "Clipped tokens, pass by pass", Axis("tokens clipped (%)", "percent")),
            ("grad_norm", "Gradient norm, pass by pass", NORM),
        ):
            series = []
            for variant in self._variants:
                runs = list(variant.runs.values())
                count = max((passes_of(run) for run in runs), default=0)
                if count > 1:
                    values = [_mean(_pass_values(runs, index, key)) for index in range(count)]
                    indices: Values = [float(index) for index in range(count)]
                    series.append(Series(variant.name, indices, values, *self._look(variant)))
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
        return Series(variant.name, curve[key], curve["accuracy"], color, low, high, dash=dash)

    def _reduction(self, variant: Variant, key: str) -> Estimate:
        interval = variant.figures[key]
        # 0 means never: then there is no value to draw, but an interval may start at 0.
        several = interval["low"] is not None or interval["high"] is not None
        low = interval["low"] or 0.0 if several else None
        color, _ = self.looks[variant.name]
        return Estimate(variant.name, interval["value"] or None, low, interval["high"], times(interval), color)

    def _swept(self) -> list[Figure]:
        """Final accuracy against a setting, if this is the only one that varies and its values are numbers."""
        if len(self._varied) != 1:
            return []
        ((setting, values),) = self._varied.items()
        try:
            numbers = [float(value) for value in values]
        except ValueError:
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
        self, name: str, title: str, axis: Axis, key: str, include: Callable[[Variant], bool] = lambda _: True
    ) -> list[Figure]:
        series = []
        for variant in self._variants:
            by_step: dict[int, list[float]] = {}
            for run in variant.runs.values():
                for row, value in zip(run.steps, column(run.steps, key), strict=True):
                    if value is not None:
                        by_step.setdefault(row["step"], []).append(value)
            if by_step and include(variant):
                chosen = thinned(sorted(by_step.items()), self._most)
                color, dash = self.looks[variant.name]
                several = len(variant.runs) > 1
                series.append(
                    Series(
                        variant.name,
                        [float(step) for step, _ in chosen],
                        [_mean(values) for _, values in chosen],
                        color,
                        [min(values) for _, values in chosen] if several else [],
                        [max(values) for _, values in chosen] if several else [],
                        dash=dash,
                    )
                )
        return [Curves(name, title, _RANGE, STEP, axis, series)] if series else []

    def _time(self) -> list[Figure]:
        rows = []
        for variant in self._variants:
            steps = [row for run in variant.runs.values() for row in run.steps]
            rollout, update = (
                _mean([value for value in column(steps, f"sfpo/{part}_seconds") if value is not None])
                for part in ("rollout", "update")
            )
            if rollout is not None and update is not None:
                rows.append(Stack(variant.name, [rollout, update]))
        if not rows:
            return []
        caption = "Mean over steps and seeds, without evaluations."
        parts = [("rollouts", NEUTRAL), ("update", Color("#b98a1d", "#e0b94f"))]
        return [Bars("time", "Time of a step", caption, Axis("seconds per step"), parts, rows)]


def _looks(variants: list[Variant]) -> dict[str, tuple[Color, tuple[int, ...]]]:
    looks: dict[str, tuple[Color, tuple[int, ...]]] = {}
    for method in dict.fromkeys(variant.method for variant in variants):
        own = [variant for variant in variants if variant.method == method]
        for index, (variant, color) in enumerate(zip(own, shades(color_of(method), len(own)), strict=True)):
            looks[variant.name] = color, DASHES[index % len(DASHES)]
    return looks


def _alpha_varies(variant: Variant) -> bool:
    return any(has_gate(run) or has_region(run) for run in variant.runs.values())


def _pass_values(runs: list[Run], index: int, key: str) -> list[float]:
    return [value for run in runs for value in column(run.steps, f"sfpo/pass_{index}/{key}") if value is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
