"""The figures of one run."""

from dataclasses import replace

from sfpo.records.pass_at_k import pass_at_1
from sfpo.records.rows import Row
from sfpo.report.colors import DASHES, NEUTRAL, color_of, shades
from sfpo.report.figure import Axis, Curves, Figure, Level, Series, Values
from sfpo.report.folder import Run, column
from sfpo.report.gate import band, closed_ranges, has_gate
from sfpo.report.region import has_region
from sfpo.report.thinning import thinned

STEP = Axis("step", "integer")
ROLLOUTS = Axis("rollouts sampled", "integer")
SECONDS = Axis("seconds of rollouts and updates")
ACCURACY = Axis("held-out accuracy (%)", "percent")
TOKENS = Axis("tokens")
REWARD = Axis("mean reward")
NORM = Axis("gradient norm before clipping")
NATS = Axis("nats per token")

# The figures that have one line for every pass: name, title, axis, caption.
_OF_PASSES = (
    ("ratio_mean", "Mean importance ratio", Axis("mean ratio to the sampling policy"), "How far each pass has moved on average: 1 is the sampling policy."),
    ("ratio_max", "Largest importance ratio", Axis("largest ratio of a token"), "The one token that moved furthest."),
    ("kl", "KL from the sampling policy", Axis("KL (nats per token)"), "Estimated on the step's own rollouts."),
    ("clip_fraction", "Clipped tokens", Axis("tokens clipped (%)", "percent"), "Tokens beyond the clipping range, which add nothing to the gradient."),
    ("grad_norm", "Gradient norm of each pass", NORM, "Mean over the pass's mini-batches."),
)  # fmt: skip


def evaluated(run: Run) -> list[Row]:
    """The evaluations on held-out problems that have an accuracy."""
    return [row for row in run.evaluations if row.get("problems") and "accuracy" in row]


def interval_of(row: Row) -> tuple[float, float, float]:
    """Accuracy of an evaluation that asked each problem once, with its 95 % interval over problems."""
    right = round(row["accuracy"] * row["problems"])
    estimate = pass_at_1([[True]] * right + [[False]] * (row["problems"] - right))
    return row["accuracy"], estimate.low, estimate.high


def results(run: Run) -> list[Figure]:
    """Accuracy on held-out problems and benchmarks."""
    figures: list[Figure] = []
    spent = run.spent
    known = [row for row in evaluated(run) if row["step"] in spent]
    estimates = [interval_of(row) for row in known]
    if known:
        caption = (
            f"{known[-1]['problems']:,} held-out problems, one sampled answer each. Band: 95 % interval over problems; it "
            "is for one seed and says nothing about other seeds."
        )
        for index, axis, by in ((0, ROLLOUTS, "rollouts"), (1, SECONDS, "seconds")):
            accuracy = Series(
                "held-out accuracy",
                [spent[row["step"]][index] for row in known],
                [value for value, _, _ in estimates],
                color_of(run.method),
                [low for _, low, _ in estimates],
                [high for _, _, high in estimates],
            )
            name, title = f"accuracy_by_{by}", f"Accuracy against {by}"
            figures.append(Curves(name, title, caption, axis, ACCURACY, [accuracy]))
    names = list(dict.fromkeys(str(row.get("benchmark")) for row in run.benchmarks))
    if names:
        of_benchmark = {name: [row for row in run.benchmarks if str(row.get("benchmark")) == name] for name in names}
        series = [
            Series(
                name,
                column(rows, "step"),
                column(rows, "pass@1"),
                color,
                column(rows, "pass@1_low"),
                column(rows, "pass@1_high"),
                dash=DASHES[index % len(DASHES)],
            )
            for index, ((name, rows), color) in enumerate(
                zip(of_benchmark.items(), shades(color_of(run.method), len(names)), strict=True)
            )
        ]
        caption = "Band: 95 % interval over problems."
        axis = Axis("pass@1 (%)", "percent")
        figures.append(Curves("benchmarks", "Benchmarks", caption, STEP, axis, series))
    return figures


def training(run: Run, most: int) -> list[Figure]:
    """Rewards, response lengths, gradient norms and seconds of at most `most` steps."""
    rows = thinned(run.steps, most)
    steps, color = column(rows, "step"), color_of(run.method)
    sampled = Series("rollouts", steps, column(rows, "completions/mean_length"), color)
    held_out = Series(
        "held-out problems",
        column(run.evaluations, "step"),
        column(run.evaluations, "mean_length"),
        NEUTRAL,
        style="points",
    )
    return _with_data(
        [
            _line("reward", "Reward", "Mean over a step's rollouts.", REWARD, rows, "reward", run),
            Curves("length", "Response length", "Mean length of a response.", STEP, TOKENS, [sampled, held_out]),
            _line(
                "cut_off",
                "Responses cut off",
                "Rollouts that reached the maximum length.",
                Axis("rollouts cut off (%)", "percent"),
                rows,
                "completions/clipped_ratio",
                run,
            ),
            _line("grad_norm", "Gradient norm", "In a step's first pass.", NORM, rows, "grad_norm", run),
            _time(rows, run),
        ]
    )


def gate(run: Run, most: int) -> list[Figure]:
    """The entropy, the gate's band around it, Z, and α."""
    rows = thinned(run.steps, most)
    steps, color = column(rows, "step"), color_of(run.method)
    shaded = closed_ranges(run)
    label = "α = 0: plain GRPO"
    allowed = band(run)
    tau, two_sided = allowed.tau, allowed.is_two_sided
    mean, std = column(rows, "sfpo/entropy_mean"), column(rows, "sfpo/entropy_std")
    low, high = (
        [None if m is None or s is None else m + sign * tau * s for m, s in zip(mean, std, strict=True)]
        for sign in (-1, 1)
    )
    entropy = [Series("entropy of the sampling policy", steps, column(rows, "sfpo/entropy"), color)]
    caption = "Mean over a step's completion tokens."
    if any(value is not None for value in mean):
        # One-sided: the gate does not act below the mean.
        lower = low if two_sided else mean
        entropy.append(Series("the gate's band", steps, mean, NEUTRAL, lower, high, dash=(4, 3)))
        caption += (
            f" Band: mean of the last {allowed.window} steps {'±' if two_sided else '+'} {tau:g} standard deviations."
        )
    levels = [Level(tau, f"τ = {tau:g}"), *([Level(-tau, f"−{tau:g}")] if two_sided else [])]
    z = [Series("Z", steps, column(rows, "sfpo/z"), color)]
    alpha = [Series("α", steps, column(rows, "sfpo/alpha"), color, style="step")]
    z_axis = Axis("Z (standard deviations)")
    figures = [Curves("entropy", "Entropy", caption, STEP, NATS, entropy, [], shaded, label)]
    if has_gate(run):
        caption = f"The gate closes where {'|Z|' if two_sided else 'Z'} reaches τ."
        figures.append(Curves("z", "Z", caption, STEP, z_axis, z, levels, shaded, label))
    if has_gate(run) or has_region(run):
        caption = "0 makes the step plain GRPO." + (
            " Above 1 the trajectory is extrapolated." if has_region(run) else ""
        )
        figures.append(Curves("alpha", "α", caption, STEP, Axis("α"), alpha, [], shaded, label))
    if has_region(run):
        kl = [
            Series("reached before the slow pass", steps, column(rows, "sfpo/kl_reached"), color),
            Series(
                "predicted at the trajectory's end", steps, column(rows, "sfpo/kl_predicted"), NEUTRAL, dash=(1, 3)
            ),
            Series("budget", steps, column(rows, "sfpo/kl_budget"), NEUTRAL, style="step", dash=(4, 3)),
        ]
        caption = "KL to the policy that sampled, over the completions that have an advantage. The budget shrinks with their share."
        figures.append(Curves("kl_budget", "KL and its budget", caption, STEP, NATS, kl, [], shaded, label))
    return _with_data(figures)


def passes(run: Run, most: int) -> list[Figure]:
    """How far the passes within a step move, for at most `most` steps; no figures if no pass leaves its start."""
    count, first_moves = passes_of(run), moves_in_pass_0(run)
    if count < 2 and not first_moves:
        return []
    rows = thinned(run.steps, most)
    steps = column(rows, "step")
    colors = shades(NEUTRAL, count - 1) if count > 2 else [NEUTRAL]
    figures = []
    for key, title, axis, caption in _OF_PASSES:
        series = [
            Series(
                f"pass {index}{' (slow)' if is_slow(run, index) else ''}",
                steps,
                column(rows, f"sfpo/pass_{index}/{key}"),
                color_of(run.method) if index == count - 1 else colors[index],
                dash=DASHES[(count - 1 - index) % len(DASHES)],
            )
            # If pass 0 stays at the sampling policy, its gradient norm is its only value that is not known beforehand.
            for index in range(0 if first_moves or key == "grad_norm" else 1, count)
        ]
        figures.append(Curves(f"pass_{key}", title, caption, STEP, axis, series))
    return _with_data(figures)


def passes_of(run: Run) -> int:
    """The largest number of passes that a step of the run made."""
    return next((index for index in range(1_000) if not any(f"sfpo/pass_{index}/kl" in row for row in run.steps)), 0)


def moves_in_pass_0(run: Run) -> bool:
    """Whether pass 0 has several mini-batches, so that the later ones start at a distance from the sampling policy."""
    return any(kl for kl in column(run.steps, "sfpo/pass_0/kl"))


def is_slow(run: Run, index: int) -> bool:
    """Whether a pass is the slow correction."""
    if run.method == "gxpo":
        return index == 2
    # If a KL budget ends trajectories early, the slow correction is not always the same pass.
    return run.method == "sfpo" and run.settings.get("inner_steps") == index and not has_region(run)


def _line(name: str, title: str, caption: str, axis: Axis, rows: list[Row], key: str, run: Run) -> Curves:
    series = Series(axis.label, column(rows, "step"), column(rows, key), color_of(run.method))
    return Curves(name, title, caption, STEP, axis, [series])


def _time(rows: list[Row], run: Run) -> Curves:
    steps = column(rows, "step")
    rollout, update = column(rows, "sfpo/rollout_seconds"), column(rows, "sfpo/update_seconds")
    total: Values = [None if a is None or b is None else a + b for a, b in zip(rollout, update, strict=True)]
    zero: Values = [None if value is None else 0.0 for value in rollout]
    series = [
        Series("update", steps, update, color_of(run.method), rollout, total, style="area"),
        Series("rollouts", steps, rollout, NEUTRAL, zero, rollout, style="area"),
    ]
    caption = "Without evaluations."
    return Curves("time", "Time of a step", caption, STEP, Axis("seconds per step"), series)


def _with_data(figures: list[Curves]) -> list[Figure]:
    """Only the figures and series that have recorded values."""
    kept = [(figure, [one for one in figure.series if any(y is not None for y in one.y)]) for figure in figures]
    return [replace(figure, series=series) for figure, series in kept if series]
